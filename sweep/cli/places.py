"""Where a run's progress is shown: a bar at a terminal or in a notebook's cell, a line now and then in a log file."""

from __future__ import annotations

import contextlib
import html
import sys
from collections.abc import Callable
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from sweep.cli.output import BAR, bar
from sweep.cli.pace import Pace

LINE_EVERY = 15.0  # seconds between lines of a log
CELL_EVERY = 0.25  # seconds between two looks of a notebook's cell, each of which is sent to a browser


class View(Protocol):
    """What there is to show of a run: see `sweep.cli.progress.ProgressView`."""

    at: str
    pace: Pace
    clock: Callable[[], float]

    def text(self) -> str: ...
    def clocks(self) -> str: ...
    def getting_ready(self) -> bool: ...


class Place:
    """Nowhere; and what every other place does, from `begin` to `end`, which comes after errors too."""

    def begin(self, view: View) -> None:
        """The run begins."""

    def stage(self, view: View) -> None:
        """`view.at` has changed."""

    def heard(self, view: View, *, notable: bool) -> None:
        """A pack has reported; `notable`: it is the first one to, or nothing is left to train."""

    def end(self, view: View) -> None:
        """The run has ended, well or not."""


def of_command() -> Place:
    """Standard error, whatever that is."""
    return Terminal() if sys.stderr.isatty() else Log()


def of_python() -> Place:
    """The notebook's cell or the terminal in front of a user; nowhere in a script that nobody watches."""
    if in_notebook():
        return Cell()
    return Terminal() if sys.stderr is not None and sys.stderr.isatty() else Place()


def in_notebook() -> bool:
    """Whether a notebook runs this: an IPython with a kernel, which shows HTML. Imports nothing."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class Log(Place):
    """A line of standard error for every stage, and one every so many seconds."""

    line_at = 0.0  # seconds of the view's clock

    def begin(self, view: View) -> None:
        """See Place."""
        self.line_at = view.clock()

    def stage(self, view: View) -> None:
        """See Place."""
        line(view.at)

    def heard(self, view: View, *, notable: bool) -> None:
        """See Place."""
        now = view.clock()
        if notable or now - self.line_at > LINE_EVERY:
            self.line_at = now
            line(view.text() if view.getting_ready() else as_line(view))


class Terminal(Place):
    """A bar of rich's on standard error, gone when the run is over."""

    def begin(self, view: View) -> None:
        """See Place."""
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=BAR // 2),
            TextColumn("{task.percentage:>3.0f} %"),
            Clocks(view),
            console=Console(stderr=True),
            disable=not view.pace.packs,
            transient=True,
        )
        self.task = self.bar.add_task("", total=1.0)
        self.bar.start()

    def stage(self, view: View) -> None:
        """See Place."""
        self.bar.update(self.task, description=view.at)

    def heard(self, view: View, *, notable: bool) -> None:
        """See Place."""
        self.bar.update(self.task, completed=view.pace.done, description=view.text())

    def end(self, view: View) -> None:
        """See Place."""
        self.bar.stop()


class Clocks(ProgressColumn):
    """Time gone and time left, running on between reports."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self.view = view

    def render(self, task: Task) -> Text:
        """See rich."""
        return Text(self.view.clocks())


class Cell(Place):
    """One output of a notebook's cell, shown anew in its place; it stays when the run is over. Needs no widgets."""

    shown_at = 0.0  # seconds of the view's clock

    def begin(self, view: View) -> None:
        """See Place."""
        from IPython.display import display

        self.handle: Any = display(Look(view), display_id=True) if view.pace.packs else None

    def stage(self, view: View) -> None:
        """See Place."""
        if self.handle is not None:
            self.shown_at = view.clock()
            self.handle.update(Look(view))

    def heard(self, view: View, *, notable: bool) -> None:
        """See Place."""
        if notable or view.clock() - self.shown_at >= CELL_EVERY:
            self.stage(view)

    def end(self, view: View) -> None:
        """See Place."""
        self.stage(view)


class Look:
    """A view as it is now, for a notebook."""

    def __init__(self, view: View) -> None:
        self.done, self.text, self.line = view.pace.done, f"{view.text()}, {view.clocks()}", as_line(view)

    def _repr_html_(self) -> str:
        """The browser's own bar, which is light or dark as the page is."""
        percent = f"{100 * self.done:.0f}&nbsp;%"
        return f'<progress value="{self.done:.4f}" max="1"></progress> {percent} &ensp; {html.escape(self.text)}'

    def __repr__(self) -> str:
        """For frontends without HTML."""
        return self.line


def as_line(view: View) -> str:
    """`[#####---------------]  25 % 600 of 1,080 trials, 21.5 M trial-steps/s, 0:48 elapsed, 0:51 left`."""
    return f"{bar(view.pace.done)} {view.text()}, {view.clocks()}"


def line(text: str) -> None:
    """A line on standard error; that it cannot be read any more ends no training."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)
