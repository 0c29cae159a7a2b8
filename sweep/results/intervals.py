"""Means over seeds and their intervals.

Intervals are 95 % percentile bootstraps of a mean over seeds (Efron and Tibshirani 1993, ch. 13); the resampled seeds
depend on `seed` and the number of seeds alone, so an interval does not change with its neighbours.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over `seeds` seeds and its 95 % interval; NaN where there is no seed, the interval below two."""

    mean: float
    low: float
    high: float
    seeds: int


NOTHING = Estimate(math.nan, math.nan, math.nan, 0)


@functools.lru_cache(maxsize=4)
def _draws(members: int, seed: int, draws: int) -> np.ndarray:
    """How often each seed is drawn, (draws, members), so that a resampled mean is one product of matrices."""
    chosen = np.random.default_rng(seed).multinomial(members, np.full(members, 1 / members), size=draws).astype(float)
    chosen.flags.writeable = False
    return chosen


def mean_and_interval(values: np.ndarray, seed: int, draws: int) -> tuple[np.ndarray, ...]:
    """values (seeds, points) with NaN where missing -> mean, low, high, count, each (points,)."""
    members = values.shape[0]
    there = np.isfinite(values)
    filled = np.where(there, values, 0.0)
    count = there.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(0) / count
        chosen = _draws(members, seed, draws)
        resampled = (chosen @ filled) / (chosen @ there.astype(float))  # (draws, points)
    low = np.full_like(mean, np.nan)
    high = np.full_like(mean, np.nan)
    whole = np.flatnonzero((count == members) & (count > 1))
    tails = 50 * (1 - LEVEL), 50 * (1 + LEVEL)
    if whole.size:
        low[whole], high[whole] = np.percentile(resampled[:, whole], tails, axis=0)
    for point in np.flatnonzero((count < members) & (count > 1)):
        drawn = resampled[:, point]
        # A draw that missed every seed with a value here has no mean.
        low[point], high[point] = np.percentile(drawn[np.isfinite(drawn)], tails)
    return mean, low, high, count
