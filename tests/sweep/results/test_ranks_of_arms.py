"""Ranks, Friedman's test and critical differences, against numbers in print and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sweep.results import ranks


def test_ranks_by_hand() -> None:
    values = np.array([[0.9, 0.8, 0.8], [0.5, np.nan, 0.7]])
    np.testing.assert_array_equal(ranks.ranked(values, higher=True), [[1, 2.5, 2.5], [2, 3, 1]])
    np.testing.assert_array_equal(ranks.ranked(values, higher=False), [[3, 1.5, 1.5], [1, 3, 2]])


def test_the_critical_difference_is_that_in_print() -> None:
    # Demšar 2006, section 3.2.2: four classifiers on 14 data sets, q at 5 % is 2.569
    assert ranks.critical_difference(4, 14) == pytest.approx(2.569 * math.sqrt(4 * 5 / (6 * 14)), abs=1e-3)
    assert ranks.critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)


def test_friedman_is_the_f_of_iman_and_davenport() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(12, 4)) + [0, 0.4, 0.8, 1.2]
    chi, _ = stats.friedmanchisquare(*values.T)
    statistic = 11 * chi / (12 * 3 - chi)  # Demšar 2006, section 3.2.2
    expected = stats.f.sf(statistic, 3, 33)
    assert ranks.friedman(ranks.ranked(values, higher=True)) == pytest.approx(expected, rel=1e-9)
    assert math.isnan(ranks.friedman(np.array([[1.0, 2.0]])))
    assert ranks.friedman(np.tile([1.0, 2.0, 3.0], (5, 1))) == 0.0


def test_friedman_is_wrong_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    found = [ranks.friedman(ranks.ranked(rng.normal(size=(20, 5)), higher=True)) for _ in range(400)]
    assert 0.025 <= np.mean(np.array(found) < 0.05) <= 0.08


def test_groups_that_cannot_be_told_apart() -> None:
    assert ranks.alike([1.0, 1.5, 2.8, 4.0], 1.4) == [(0, 1), (1, 2), (2, 3)]
    assert ranks.alike([1.0, 1.5, 1.9], 1.4) == [(0, 2)]
    assert ranks.alike([1.0, 3.0], 1.4) == []
