"""The progress of a run, at a terminal: trials, steps per second, time left. In a log file: a line now and then."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from sweep.service import Plan
from sweep.worker import Progress as PackProgress

LINE_EVERY = 15.0  # seconds between lines where there is no terminal


class ProgressView:
    """Shows what packs report. A context manager; `heard` is the listener to pass on."""

    def __init__(self, planned: Plan) -> None:
        self.trials = planned.missing
        self.packs = len(planned.packs)
        self.total = sum(len(p.trials) * p.shape.steps for p in planned.packs)
        self.seen: dict[str, PackProgress] = {}
        self.began = time.monotonic()
        self.line_at = self.began
        self.terminal = sys.stderr.isatty()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not self.terminal or not planned.packs,
            transient=True,
        )
        self.task = self.bar.add_task("starting", total=max(1, self.total))

    def __enter__(self) -> ProgressView:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def heard(self, progress: PackProgress) -> None:
        """A pack has reported."""
        self.seen[progress.pack] = progress
        steps = sum(p.step * p.members for p in self.seen.values())
        self.bar.update(self.task, completed=steps, description=self.text())
        now = time.monotonic()
        ended = all(p.finished for p in self.seen.values()) and len(self.seen) == self.packs
        if not self.terminal and (now - self.line_at > LINE_EVERY or ended):
            self.line_at = now
            print(f"{self.text()}, {100 * steps / max(1, self.total):.0f} %", file=sys.stderr, flush=True)

    def text(self) -> str:
        """`600 of 1,080 trials, 3 of 9 packs, 21.5 M steps/s`: whole packs, and the steps of this run, all trials'."""
        finished = [p for p in self.seen.values() if p.finished]
        trials = sum(p.members for p in finished)
        rate = sum(p.trained for p in self.seen.values()) / max(1e-9, time.monotonic() - self.began)
        speed = f"{rate / 1e6:.1f} M" if rate >= 1e5 else f"{rate:,.0f}"
        return f"{trials:,} of {self.trials:,} trials, {len(finished)} of {self.packs} packs, {speed} steps/s"
