"""Bounds worked out by hand, moments of the draws, and matrices that are orthogonal."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
import torch

from workloads.networks.config import Initialisation, MLPConfig
from workloads.networks.initialisation import orthogonal_array, redrawn_tensor, uniform_array, uniform_bound
from workloads.networks.mlp import MLP
from workloads.random import Draw

# fan_in 12, fan_out 36, gain 2: sqrt(3 / 12) = 1/2; 2 sqrt(6 / 48) = 1/sqrt(2); sqrt(1 / 12); sqrt(3 / 36).
BY_HAND = {
    "kaiming": 1.0,
    "xavier": math.sqrt(0.5),
    "lecun": 0.5,
    "default": math.sqrt(1 / 12),
    "orthogonal": math.sqrt(1 / 12),
    "orthogonal_gain": math.sqrt(1 / 3),
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


def test_a_gain_stretches_hidden_matrices_alone() -> None:
    """Of singular values √2 under relu, 1 where no activation follows; fresh ones as those of the beginning."""
    network = MLP(MLPConfig(width=6, depth=2, initialisation="orthogonal_gain"), 4, 3)
    draw = Draw(torch.tensor(3), torch.tensor(0), torch.float64)
    shapes = network.parameter_shapes()
    for params in (network.init(0), {n: redrawn_tensor(draw, n, shapes[n], network.distribution(n)) for n in shapes}):
        values = [torch.linalg.svdvals(params[name]) for name in network.weights]
        for found, gain in zip(values, (math.sqrt(2), math.sqrt(2), 1.0), strict=True):
            torch.testing.assert_close(found, torch.full_like(found, gain))
    plain = MLP(MLPConfig(width=6, depth=2, initialisation="orthogonal"), 4, 3).init(0)
    torch.testing.assert_close(network.init(0)["layers.1.weight"], math.sqrt(2) * plain["layers.1.weight"])
