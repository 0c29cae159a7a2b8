"""Bounds worked out by hand, moments of the draws, and matrices that are orthogonal."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest

from workloads.networks.config import Initialisation
from workloads.networks.initialisation import orthogonal_array, uniform_array, uniform_bound

# fan_in 12, fan_out 36, gain 2: sqrt(3 / 12) = 1/2; 2 sqrt(6 / 48) = 1/sqrt(2); sqrt(1 / 12); sqrt(3 / 36).
BY_HAND = {
    "kaiming": 1.0,
    "xavier": math.sqrt(0.5),
    "lecun": 0.5,
    "default": math.sqrt(1 / 12),
    "orthogonal": math.sqrt(1 / 12),
}


def test_bounds_worked_out_by_hand() -> None:
    assert set(BY_HAND) == set(get_args(Initialisation))
    assert {name: uniform_bound(name, 12, 36, 2.0) for name in BY_HAND} == pytest.approx(BY_HAND)


def test_uniform_draws_fill_their_interval() -> None:
    drawn = uniform_array(3, "layers.0.weight", (200, 100), 0.25)
    assert drawn.shape == (200, 100) and drawn.dtype == np.float64
    assert -0.25 <= drawn.min() < -0.2499 and 0.2499 < drawn.max() < 0.25
    assert abs(drawn.mean()) < 0.003
    assert drawn.var() == pytest.approx(0.25**2 / 3, rel=0.02)


@pytest.mark.parametrize("shape", [(7, 7), (12, 5), (5, 12), (1, 4), (4, 1)])
def test_orthogonal_matrices_have_orthonormal_columns_or_rows(shape: tuple[int, int]) -> None:
    matrix = orthogonal_array(0, "layers.0.weight", shape)
    assert matrix.shape == shape
    gram = matrix.T @ matrix if shape[0] >= shape[1] else matrix @ matrix.T
    np.testing.assert_allclose(gram, np.eye(min(shape)), atol=1e-14)


def test_orthogonal_matrices_are_not_all_of_one_sign() -> None:
    """Without the sign fix, LAPACK gives the first column's first entry one sign for every seed."""
    corners = [orthogonal_array(seed, "w", (3, 3))[0, 0] for seed in range(60)]
    assert 15 < sum(corner > 0 for corner in corners) < 45


def test_orthogonal_bound_matches_the_variance_of_the_matrix() -> None:
    for shape in ((40, 10), (10, 40)):
        matrix = orthogonal_array(1, "w", shape)
        assert uniform_bound("orthogonal", shape[1], shape[0], 1.0) ** 2 / 3 == pytest.approx((matrix**2).mean())
