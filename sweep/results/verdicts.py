"""What of a difference can be told from chance, what would matter, and how many seeds would decide.

A difference is told where its p, corrected for all comparisons that are made beside it, is below 5 %.
"""

from __future__ import annotations

import math
from typing import Literal

from sweep.results import intervals
from sweep.results.differences import Difference
from sweep.results.intervals import FEWEST_SEEDS
from workloads import metrics

# Of an arm beside the first one. higher, lower: told, of a metric of which neither is better.
Verdict = Literal[
    "first", "better", "worse", "higher", "lower", "no difference told", "too few seeds", "nothing to compare"
]
TOLD: tuple[Verdict, ...] = ("better", "worse", "higher", "lower")
MATTERS = 0.05  # of what it is beside: smaller effects matter to nobody, where nothing else is said
MATTERS_OF_A_SHARE = 0.01  # of metrics that are a share, such as accuracy: one in a hundred


def verdict(difference: Difference | None, *, higher: bool | None) -> Verdict:
    """What a difference to the first arm says."""
    if difference is None:
        return "nothing to compare"
    if difference.seeds < FEWEST_SEEDS:
        return "too few seeds"
    if not difference.adjusted < 1 - intervals.LEVEL:
        return "no difference told"
    more = difference.estimate.mean > 0
    if higher is None:
        return "higher" if more else "lower"
    return "better" if more == higher else "worse"


def smallest_effect(metric: str, beside: float) -> float:
    """The smallest difference that matters, of a metric whose value it is beside; a claim may know better."""
    spec = metrics.of(metric)
    return MATTERS_OF_A_SHARE if spec is not None and spec.unit == "share" else MATTERS * abs(beside)


def seeds_needed(difference: Difference | None, smallest: float) -> int | None:
    """How many seeds would tell what was seen, or the smallest effect that matters where less was seen, from nothing.

    With the power of `intervals.POWER`. None where the spread between seeds is not known, or beyond `MOST_SEEDS`.
    """
    if difference is None or math.isnan(difference.deviation):
        return None
    return intervals.seeds_needed(difference.deviation, max(abs(difference.estimate.mean), smallest))


def too_small(difference: Difference, smallest: float) -> bool:
    """Whether the whole interval is nearer to 0 than the smallest effect that matters."""
    return -smallest < difference.estimate.low and difference.estimate.high < smallest
