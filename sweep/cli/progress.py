"""The progress of a run: what it is at, trials, trial-steps per second, time gone and time left."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console

from sweep.cli.output import count, speed
from sweep.cli.pace import Pace
from sweep.cli.places import Place, line, of_command
from sweep.cluster import calibration, placement
from sweep.cluster.worker import Progress as PackProgress
from sweep.packing import PlannedPack
from workloads.paths import COMPILED

if TYPE_CHECKING:
    from sweep.planning import Plan
    from sweep.service import Outcome
    from sweep.tracking.behind import Tracker


class ProgressView:
    """Tells what packs report. A context manager; `heard` is the listener to pass on, and `stage` what else goes on."""

    def __init__(
        self,
        packs: Sequence[PlannedPack],
        *,
        at_once: int = 1,
        measured: Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
        later: int = 0,
        place: Place | None = None,
    ) -> None:
        """`later`: trials of rounds after that of `packs`; `place`: where it is shown, standard error otherwise."""
        self.pace = Pace(packs, at_once=at_once, measured=measured or {}, clock=clock, later=later)
        self.of_round = ""
        self.clock = clock
        self.began = clock()
        self.ends: float | None = None
        self.at = ""  # the stage that no pack reports from
        self.place = place or of_command()

    def __enter__(self) -> ProgressView:
        self.place.begin(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.at, self.ends = "", None
        self.place.end(self)

    def stage(self, text: str) -> None:
        """What the run is at while no pack reports."""
        self.at, self.ends = text, None
        self.place.stage(self)

    def grow(self, planned: Plan) -> None:
        """Another round begins."""
        self.pace.grow(planned.packs, planned.later)
        self.of_round = f"{planned.round}, "
        self.stage(f"{planned.round}: {planned.missing:,} trials")

    def heard(self, progress: PackProgress) -> None:
        """A pack has reported."""
        self.at = ""
        self.pace.heard(progress)
        left = self.pace.left()
        self.ends = None if left is None else self.clock() + left
        ended = len(self.pace.finished) + len(self.pace.failed) == len(self.pace.packs)
        first = len(self.pace.seen) == 1 and not progress.trained
        self.place.heard(self, notable=ended or first)

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


def view_of(planned: Plan, *, here: bool, workers: int | None, place: Place | None = None) -> ProgressView:
    """The view of a plan that is carried out, in this process or on a Ray."""
    at_once = 1 if here else placement.at_once(planned.packs, workers)
    return ProgressView(planned.packs, at_once=at_once, measured=calibration.read(), later=planned.later, place=place)


def executed(
    planned: Plan,
    view: ProgressView,
    tracker: Tracker | None,
    *,
    here: bool,
    address: str | None,
    workers: int | None,
    replace: bool,
) -> Outcome:
    """A plan carried out as `service.execute` does, while the view tells how far it is and the tracker follows."""
    from sweep import service

    return service.execute(
        planned,
        listener=view.heard,
        address=address,
        workers=workers,
        inline=here,
        on_finished=tracker.nudge if tracker else lambda: None,
        on_round=view.grow,
        stage=view.stage,
        replace=replace,
    )


@contextlib.contextmanager
def working(text: str) -> Iterator[None]:
    """Name what goes on when the training is over."""
    if not sys.stderr.isatty():
        line(text)
        yield
        return
    with Console(stderr=True).status(text):
        yield


def clock(seconds: float) -> str:
    """0:09, 12:58, 3:07:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
