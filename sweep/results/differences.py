"""Differences between arms, paired by seed: the same seed is the same stream and initial weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from sweep.errors import InputError
from sweep.results import intervals
from sweep.results.bands import MEAN, Summary, bands
from sweep.results.intervals import Estimate, Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One arm minus another, within each seed that both have a value of."""

    estimate: Estimate
    p: float  # two-sided, of no difference; NaN with fewer than two seeds
    adjusted: float  # of the comparisons that are made together (Holm); p where it is alone
    probability: float  # the share of seeds in which the first is better, where less or more is; equal ones count half
    deviation: float  # of the differences, between seeds; NaN with fewer than two
    seeds: int


def paired(
    ours: pd.DataFrame, theirs: pd.DataFrame, *, higher: bool | None, statistic: Statistic = "mean"
) -> Difference | None:
    """ours minus theirs, frames with seed and value, a row for each seed; None where no seed has both values."""
    within = within_seeds(ours, theirs)["value"].dropna().to_numpy()
    if not len(within):
        return None
    estimate, p = intervals.tested(within, statistic)
    better = within if higher is None or higher else -within
    return Difference(
        estimate=estimate,
        p=p,
        adjusted=p,
        probability=math.nan if higher is None else float(((better > 0) + 0.5 * (better == 0)).mean()),
        deviation=intervals.deviation(within),
        seeds=len(within),
    )


def within_seeds(
    ours: pd.DataFrame, theirs: pd.DataFrame, *, by: Sequence[str] = (), value: str = "value"
) -> pd.DataFrame:
    """ours minus theirs within each seed that both have: the columns of `by`, seed, value, and status where both do.

    The status is diverged where that of either is.
    """
    keys = [*by, "seed"]
    columns = [*keys, value, *(["status"] if "status" in ours and "status" in theirs else [])]
    pairs = ours[columns].merge(theirs[columns], on=keys, suffixes=("", "_theirs"))
    pairs[value] -= pairs[f"{value}_theirs"]
    if "status" in columns:
        pairs["status"] = pairs["status"].where(pairs["status_theirs"] != "diverged", "diverged")
    return pairs[columns]


def paired_difference(
    frame: pd.DataFrame,
    arm_a: str,
    arm_b: str,
    *,
    by: Sequence[str] = (),
    value: str = "value",
    summary: Summary = MEAN,
    seed: int = 0,
    draws: int = intervals.DRAWS,
) -> pd.DataFrame:
    """Mean over shared seeds of arm_a minus arm_b with its interval, as in `bands`; `by` may hold task and
    metric.

    Seeds share stream and initial weights, so the difference within a seed is what the arms differ in. Raises
    InputError where an arm is missing, the arms share no seed, or an arm has several values of one seed.
    """
    sides = []
    for arm in (arm_a, arm_b):
        side = frame[frame["arm"] == arm]
        if side.empty:
            arms = ", ".join(map(str, pd.unique(frame["arm"])))
            raise InputError(f"no arm {arm!r} to compare: there are {arms}")
        if side.duplicated([*by, "seed"]).any():
            raise InputError(f"arm {arm!r} has several values of one seed: pick one setting of it first")
        sides.append(side)
    pairs = within_seeds(*sides, by=by, value=value)
    if pairs.empty:
        raise InputError(f"arms {arm_a!r} and {arm_b!r} share no seed, so no difference is paired")
    return bands(pairs, by, value, summary, seed=seed, draws=draws)
