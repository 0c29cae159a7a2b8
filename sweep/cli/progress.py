"""The progress of a run on standard error: what it is at, trials, trial-steps per second, time gone and time left.

A bar at a terminal; in a log file a line now and then.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from sweep.cli.output import BAR, bar, count, speed
from sweep.cli.pace import Pace
from sweep.cluster.worker import Progress as PackProgress
from sweep.packing import PlannedPack
from workloads.paths import COMPILED

LINE_EVERY = 15.0  # seconds between lines where there is no terminal


class ProgressView:
    """Shows what packs report. A context manager; `heard` is the listener to pass on, and `stage` what else goes on."""

    def __init__(
        self,
        packs: Sequence[PlannedPack],
        *,
        at_once: int = 1,
        measured: Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
        later: int = 0,
    ) -> None:
        """`later`: trials of rounds after that of `packs`."""
        self.pace = Pace(packs, at_once=at_once, measured=measured or {}, clock=clock, later=later)
        self.of_round = ""
        self.clock = clock
        self.began = self.line_at = clock()
        self.ends: float | None = None
        self.at = ""  # the stage that no pack reports from
        self.terminal = sys.stderr.isatty()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=BAR // 2),
            TextColumn("{task.percentage:>3.0f} %"),
            Clocks(self),
            console=Console(stderr=True),
            disable=not self.terminal or not packs,
            transient=True,
        )
        self.task = self.bar.add_task("", total=1.0)

    def __enter__(self) -> ProgressView:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def stage(self, text: str) -> None:
        """What the run is at, before the first pack reports."""
        self.at = text
        self.bar.update(self.task, description=text)
        if not self.terminal:
            line(text)

    def grow(self, packs: Sequence[PlannedPack], *, later: int, name: str) -> None:
        """Another round begins, called `round 2 of 5`."""
        self.pace.grow(packs, later)
        self.of_round = f"{name}, "
        self.stage(f"{name}: {sum(len(pack.trials) for pack in packs):,} trials")

    def heard(self, progress: PackProgress) -> None:
        """A pack has reported."""
        self.at = ""
        self.pace.heard(progress)
        now = self.clock()
        left = self.pace.left()
        self.ends = None if left is None else now + left
        self.bar.update(self.task, completed=self.pace.done, description=self.text())
        ended = len(self.pace.finished) + len(self.pace.failed) == len(self.pace.packs)
        compiling = self.getting_ready()
        first = len(self.pace.seen) == 1 and not progress.trained
        if not self.terminal and (now - self.line_at > LINE_EVERY or ended or first):
            self.line_at = now
            line(self.text() if compiling else f"{bar(self.pace.done)} {self.text()}, {self.clocks()}")

    def getting_ready(self) -> bool:
        """Whether no pack trains because those under way do not yet."""
        under_way = self.pace.under_way
        return bool(under_way) and not any(p.trained for p in under_way)

    def text(self) -> str:
        """`600 of 1,080 trials, 21.5 M trial-steps/s`: trials of whole packs; or what the run is at instead."""
        if self.at:
            return self.at
        if self.getting_ready():
            path = self.pace.packs[self.pace.under_way[-1].pack].path
            verb = "compiling" if path in COMPILED else "setting up"
            return f"{verb} {len(self.pace.seen)} of {len(self.pace.packs)} packs"
        trials = sum(p.members for p in self.pace.finished)
        whole = self.pace.trials + self.pace.later
        failed = f", {count(len(self.pace.failed), 'pack')} failed" if self.pace.failed else ""
        return f"{self.of_round}{trials:,} of {whole:,} trials{failed}, {speed(self.pace.rate())}"

    def clocks(self) -> str:
        """`0:48 elapsed, 0:51 left`."""
        now = self.clock()
        left = "" if self.ends is None else f", {clock(max(0.0, self.ends - now))} left"
        return f"{clock(now - self.began)} elapsed{left}"


class Clocks(ProgressColumn):
    """Time gone and time left, running on between reports."""

    def __init__(self, view: ProgressView) -> None:
        super().__init__()
        self.view = view

    def render(self, task: Task) -> Text:
        """See rich."""
        return Text(self.view.clocks())


@contextlib.contextmanager
def working(text: str) -> Iterator[None]:
    """Name what goes on when the training is over."""
    if not sys.stderr.isatty():
        line(text)
        yield
        return
    with Console(stderr=True).status(text):
        yield


def line(text: str) -> None:
    """A line on standard error; that it cannot be read any more ends no training."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """0:09, 12:58, 3:07:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
