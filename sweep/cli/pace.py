"""How fast a run trains and when it will be done, from what its packs report.

The speed is that of the last half minute's new steps. The time left comes from the packs themselves: from what a pack
that trains has shown since its first steps (which were compiled for), and from what packs like the others took before,
corrected by how this run compares with that so far.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sweep.cluster.placement import guessed_seconds, measured_seconds, together
from sweep.cluster.worker import Progress
from sweep.packing import PlannedPack

WINDOW = 30.0  # seconds


class Pace:
    """What is known of a run under way. `clock` gives seconds."""

    def __init__(
        self,
        packs: Sequence[PlannedPack],
        *,
        at_once: int,
        measured: Mapping[str, float],
        clock: Callable[[], float],
        later: int = 0,
    ) -> None:
        self.packs: dict[str, PlannedPack] = {}
        self.expected: dict[str, float] = {}  # seconds, each
        self.guessed = False
        self.measured = measured
        self.at_once = at_once
        self.clock = clock
        self.grow(packs, later)
        self.seen: dict[str, Progress] = {}
        self.first: dict[str, Progress] = {}  # of each attempt, once it has trained
        self.trained = 0  # trial-steps of this run, those of attempts that died too
        self.marks: deque[tuple[float, int]] = deque([(clock(), 0)])  # (time, trained then)

    def grow(self, packs: Sequence[PlannedPack], later: int) -> None:
        """Another round's packs, and how many trials there will be in rounds that are not known yet."""
        seconds = {pack.id: measured_seconds(pack, self.measured) for pack in packs}
        self.packs |= {pack.id: pack for pack in packs}
        self.expected |= {pack.id: seconds[pack.id] or guessed_seconds(pack) for pack in packs}
        self.guessed = self.guessed or any(value is None for value in seconds.values())
        self.later = later

    @property
    def trials(self) -> int:
        """All that are known of."""
        return sum(len(pack.trials) for pack in self.packs.values())

    @property
    def total(self) -> float:
        """Trial-steps, those of later rounds like those of known ones."""
        steps = sum(len(pack.trials) * pack.shape.steps for pack in self.packs.values())
        return steps + self.later * steps / max(1, self.trials)

    def heard(self, progress: Progress) -> None:
        """A pack has reported."""
        before = self.seen.get(progress.pack)
        if progress.failed and before is not None:
            progress = replace(before, failed=True)
        same = before is not None and before.attempt == progress.attempt
        self.trained += progress.trained - (before.trained if before is not None and same else 0)
        if not same:
            self.first.pop(progress.pack, None)
        if progress.trained:
            self.first.setdefault(progress.pack, progress)
        self.seen[progress.pack] = progress
        now = self.clock()
        self.marks.append((now, self.trained))
        while len(self.marks) > 2 and now - self.marks[1][0] >= WINDOW:
            self.marks.popleft()

    @property
    def done(self) -> float:
        """Which part of all steps is done, those of earlier runs included."""
        return sum(p.step * p.members for p in self.seen.values()) / max(1, self.total)

    @property
    def finished(self) -> list[Progress]:
        """The packs that are."""
        return [p for p in self.seen.values() if p.finished]

    @property
    def under_way(self) -> list[Progress]:
        """The packs that train or get ready to."""
        return [p for p in self.seen.values() if not p.finished and not p.failed]

    @property
    def failed(self) -> list[Progress]:
        """The packs that this run has given up."""
        return [p for p in self.seen.values() if p.failed]

    def rate(self) -> float:
        """Trial-steps per second over the last half minute."""
        (then, before), (now, trained) = self.marks[0], self.marks[-1]
        return (trained - before) / (now - then) if now > then else 0.0

    def left(self) -> float | None:
        """Seconds until all packs are done; None while nothing is known to tell it from."""
        factor = self.factor()
        if factor is None:
            return None
        seconds = [self.pack_left(pack, factor) for pack in self.packs.values()]
        at_once = max(self.at_once, len(self.under_way), 1)
        later = self.later * factor * sum(self.expected.values()) / max(1, self.trials)
        return together([s for s in seconds if s > 0] or [0.0], at_once) + later / at_once

    def factor(self) -> float | None:
        """How many times longer packs take than was expected of them."""
        took = expected = 0.0
        for pack, p in self.seen.items():
            if p.trained:
                took += p.seconds
                expected += self.expected[pack] * p.trained / (p.members * p.steps)
        if expected:
            return took / expected
        return None if self.guessed else 1.0

    def pack_left(self, pack: PlannedPack, factor: float) -> float:
        """Seconds that a pack has to train yet."""
        now, first = self.seen.get(pack.id), self.first.get(pack.id)
        if now is not None and now.failed:
            return 0.0
        if now is not None and first is not None and now.trained > first.trained:
            per_step = (now.seconds - first.seconds) / (now.trained - first.trained) * now.members
            return per_step * (now.steps - now.step)
        part = 1.0 if now is None else 1.0 - now.step / max(1, now.steps)
        return self.expected[pack.id] * factor * part
