"""Which of several arms do better, told by ranks on common problems, and how far ranks must be apart to differ.

On every problem, here a seed (and panel), the arms are ranked from 1, the best; what is compared are mean ranks, so
that a problem with large values counts no more than others. Friedman's test asks whether they differ at all, Nemenyi's
critical difference how far two of them must be apart: Demšar 2006, Statistical comparisons of classifiers over multiple
data sets, JMLR 7:1, section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sweep.results.intervals import LEVEL


def ranked(values: np.ndarray, *, higher: bool) -> np.ndarray:
    """values (problems, arms) -> ranks, 1 for the best, equal ones share theirs; what is not finite is worst."""
    from scipy.stats import rankdata

    scores = np.where(np.isfinite(values), -values if higher else values, np.inf)
    ranks: np.ndarray = rankdata(scores, axis=1)
    return ranks


def friedman(ranks: np.ndarray) -> float:
    """p of the arms' mean ranks being equal (Iman and Davenport's F); NaN for one problem. ranks (problems, arms)."""
    from scipy.stats import f

    problems, arms = ranks.shape
    if problems < 2 or arms < 2:
        return math.nan
    between = problems * ((ranks.mean(0) - (arms + 1) / 2) ** 2).sum()
    within = ((ranks - (arms + 1) / 2) ** 2).sum() - between
    if within <= 0:
        return 0.0 if between > 0 else 1.0
    statistic = between / (arms - 1) / (within / ((arms - 1) * (problems - 1)))
    return float(f.sf(statistic, arms - 1, (arms - 1) * (problems - 1)))


def critical_difference(arms: int, problems: int, *, level: float = LEVEL) -> float:
    """How far two mean ranks must be apart to differ at this level, of all pairs together (Nemenyi)."""
    from scipy.stats import studentized_range

    q = studentized_range.ppf(level, arms, math.inf) / math.sqrt(2)
    return float(q * math.sqrt(arms * (arms + 1) / (6 * problems)))


def alike(means: Sequence[float], difference: float) -> list[tuple[int, int]]:
    """The largest runs of arms that cannot be told apart: (first, last) places of means, which are sorted."""
    runs: list[tuple[int, int]] = []
    for first, low in enumerate(means):
        last = max(place for place, mean in enumerate(means) if mean - low < difference)
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((first, last))
    return runs
