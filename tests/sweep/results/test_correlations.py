"""Rank correlations over settings, with intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from sweep.results import correlations
from sweep.results.correlations import rank_correlation
from sweep.results.intervals import NOTHING

ARMS = np.repeat(np.arange(6), 3)


def related(seed: int, slope: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Two numbers of 18 settings on 5 seeds."""
    rng = np.random.default_rng(seed)
    one = rng.normal(size=(18, 1)) + 0.1 * rng.normal(size=(18, 5))
    return one, slope * one + rng.normal(size=(18, 5))


def test_it_is_scipys_of_the_means() -> None:
    one, other = related(0)
    one[3, 2] = math.nan  # a diverged trial is in neither mean
    other[4] = np.inf  # a setting of which all diverged is no case
    left = np.arange(18) != 4
    means = [np.nanmean(np.where(np.isfinite(one), part, np.nan), 1)[left] for part in (one, other)]
    assert rank_correlation(one, other, ARMS).mean == pytest.approx(spearmanr(*means)[0])


def test_equal_values_share_their_rank() -> None:
    one = np.array([[1.0], [1.0], [2.0], [2.0], [3.0], [4.0]])
    other = np.array([[1.0], [2.0], [2.0], [5.0], [5.0], [5.0]])
    assert rank_correlation(one, other, np.arange(6)).mean == pytest.approx(spearmanr(one[:, 0], other[:, 0])[0])


def test_a_case_drawn_twice_is_two_cases() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(2, 1, 7)).round(0)
    times = np.array([[2.0, 0, 1, 3, 1, 0, 2]])
    repeated = [np.repeat(part[0], times[0].astype(int)) for part in (one, other)]
    assert correlations._spearman(one, other, times)[0] == pytest.approx(spearmanr(*repeated)[0])


def test_settings_of_one_arm_are_not_independent_cases() -> None:
    """The same numbers, as those of 30 ways of learning and of 10 with three settings that are alike."""
    rng = np.random.default_rng(2)
    one = rng.normal(size=(10, 5))
    other = 0.5 * one + rng.normal(size=(10, 5))
    one, other = (np.repeat(part, 3, axis=0) for part in (one, other))
    apart = rank_correlation(one, other, np.arange(30))
    together = rank_correlation(one, other, np.repeat(np.arange(10), 3))
    assert apart.mean == together.mean
    assert together.high - together.low > 1.3 * (apart.high - apart.low)
    assert -1 < together.low < together.mean < together.high < 1


def test_an_interval_holds_zero_where_nothing_is_related() -> None:
    holds = [
        found.low <= 0 <= found.high
        for seed in range(100)
        for found in [rank_correlation(*related(seed, slope=0.0), ARMS)]
    ]
    assert 93 <= sum(holds) <= 100


def test_too_little_says_nothing() -> None:
    one, other = related(3)
    assert rank_correlation(one[:2], other[:2], ARMS[:2]) == NOTHING
    few = rank_correlation(one[:12], other[:12], ARMS[:12])  # four ways of learning
    assert math.isfinite(few.mean) and math.isnan(few.low) and math.isnan(few.high)
    assert math.isnan(rank_correlation(np.ones((18, 5)), other, ARMS).mean)
