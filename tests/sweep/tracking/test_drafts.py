"""Curves as they are tracked: thinned, and an arm's averaged over bins."""

from __future__ import annotations

import numpy as np
import pytest

from sweep.tracking.drafts import bin_width, thinned


@pytest.mark.parametrize(
    ("count", "limit", "kept"),
    [(3, 50, [0, 1, 2]), (1, 50, [0]), (7, 3, [0, 3, 6]), (7, 4, [0, 2, 4, 6]), (9, 2, [0, 8]), (9, 1, [8])],
)
def test_thinning_keeps_first_and_last(count: int, limit: int, kept: list[int]) -> None:
    assert thinned(count, limit).tolist() == kept


def test_thinning_is_even_and_repeats_nothing() -> None:
    gaps = np.diff(thinned(800, 50))
    assert len(gaps) == 49 and set(gaps) == {16, 17}


def test_a_long_curve_of_an_arm_is_averaged_over_bins() -> None:
    assert [bin_width(tasks) for tasks in (1, 3, 20, 50, 800, 2000)] == [1, 1, 1, 5, 40, 100]
    assert bin_width(997) == 50  # no bin of the next widths fits a prime number
