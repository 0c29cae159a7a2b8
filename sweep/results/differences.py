"""Differences between arms, paired by seed: the same seed is the same stream and initial weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sweep.errors import InputError
from sweep.results.bands import bands


def paired_difference(
    frame: pd.DataFrame,
    arm_a: str,
    arm_b: str,
    *,
    by: Sequence[str] = (),
    value: str = "value",
    seed: int = 0,
    draws: int = 2000,
) -> pd.DataFrame:
    """Mean over shared seeds of arm_a minus arm_b with its interval, as in `bands`; `by` may hold task and
    metric.

    Seeds share stream and initial weights, so the difference within a seed is what the arms differ in. Raises
    InputError where an arm is missing, the arms share no seed, or an arm has several values of one seed.
    """
    keys = [*by, "seed"]
    columns = [*keys, value, *(["status"] if "status" in frame else [])]
    sides = []
    for arm in (arm_a, arm_b):
        side = frame.loc[frame["arm"] == arm, columns]
        if side.empty:
            known = ", ".join(map(str, pd.unique(frame["arm"])))
            raise InputError(f"no arm {arm!r} to compare: there are {known}")
        if side.duplicated(keys).any():
            raise InputError(f"arm {arm!r} has several values of one seed: pick one setting of it first")
        sides.append(side)
    pairs = sides[0].merge(sides[1], on=keys, suffixes=("_a", "_b"))
    if pairs.empty:
        raise InputError(f"arms {arm_a!r} and {arm_b!r} share no seed, so no difference is paired")
    pairs[value] = pairs[f"{value}_a"] - pairs[f"{value}_b"]
    if "status" in frame:
        lost = (pairs["status_a"] == "diverged") | (pairs["status_b"] == "diverged")
        pairs["status"] = np.where(lost, "diverged", "done")
    return bands(pairs, by, value, seed=seed, draws=draws)
