"""Which scheduled parts of a learner act in which step.

A part of period k acts in the steps that k divides, a trial's first step among them. What a step computes then follows
from which of the distinct periods divide it: n of them make at most 2^n programs, however many steps it takes until
the whole schedule repeats.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

Acting = tuple[bool, ...]  # per distinct period over 1, ascending: do its parts act?


@dataclass(frozen=True, slots=True)
class Schedule:
    """The distinct periods over 1 of a learner's parts, in steps, ascending."""

    periods: tuple[int, ...]

    @classmethod
    def of(cls, periods: Iterable[int]) -> Schedule:
        """The schedule of parts with these periods; 1 is to act in every step."""
        return cls(tuple(sorted({period for period in periods if period > 1})))

    def acting(self, step: int) -> Acting:
        """Which periods' parts act in a step, counted from the trial's first, which is 0."""
        return tuple(step % period == 0 for period in self.periods)

    def acts(self, period: int, acting: Acting) -> bool:
        """Whether a part of this period does."""
        return period == 1 or acting[self.periods.index(period)]

    @property
    def quiet(self) -> Acting:
        """No part with a period acts: that of most steps, where all periods are long."""
        return (False,) * len(self.periods)

    def next_acting(self, step: int) -> int | float:
        """The first step, this one or later, in which a part with a period acts; infinity where there is none."""
        return min((-(-step // period) * period for period in self.periods), default=math.inf)

    def met(self) -> dict[Acting, int]:
        """Every combination that any step has, and such a step: all together comes first."""
        steps = {self.acting(0): 0}
        for size in range(len(self.periods)):
            for periods in itertools.combinations(self.periods, size):
                step = math.lcm(*periods)  # 1 where none is chosen
                steps.setdefault(self.acting(step), step)
        return steps
