"""Distance from isometry and extreme singular values of all weight matrices."""

from __future__ import annotations

import math

import pytest
import torch

from workloads.diagnostics.isometry import (
    isometry_deviation,
    lipschitz_bound,
    singular_value_max,
    singular_value_min,
    spread_of_spectra,
)


def test_isometries_deviate_by_nothing() -> None:
    angle = torch.tensor(0.3, dtype=torch.float64)
    rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).reshape(2, 2)
    tall = torch.eye(5, 2, dtype=torch.float64)
    weights = [rotation, tall, tall.mT]
    assert isometry_deviation(weights).item() == pytest.approx(0, abs=1e-30)
    assert singular_value_max(weights).item() == pytest.approx(1)
    assert singular_value_min(weights).item() == pytest.approx(1)


def test_by_hand() -> None:
    # Gram diag(9, 0.25): 64 + 0.5625; Gram of the row (1, 1): (2 - 1)^2, on the smaller side.
    weights = [torch.tensor([[3.0, 0.0], [0.0, 0.5]]), torch.tensor([[1.0, 1.0]])]
    assert isometry_deviation(weights).item() == 65.5625
    assert singular_value_max(weights).item() == pytest.approx(3)
    assert lipschitz_bound(weights).item() == pytest.approx(3 * math.sqrt(2))
    assert singular_value_min(weights).item() == pytest.approx(0.5)


def test_spread_is_within_matrices() -> None:
    # 3 and 1 are 1 from their mean, the single value is nowhere; per member, of which the second is an isometry.
    spectra = [torch.tensor([[3.0, 1.0], [1.0, 1.0]]), torch.tensor([[7.0], [1.0]])]
    assert spread_of_spectra(spectra).tolist() == [0.5, 0.0]


def test_deviation_is_the_sum_over_singular_values() -> None:
    weight = torch.randn(4, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(weight)
    torch.testing.assert_close(isometry_deviation([weight]), ((values**2 - 1) ** 2).sum(-1))
    torch.testing.assert_close(isometry_deviation([weight.mT]), isometry_deviation([weight]))


def test_members_apart() -> None:
    weights = [torch.eye(3).repeat(3, 1, 1), 2 * torch.eye(3)[:1].repeat(3, 1, 1)]
    weights[1][1, 0, 0] = math.nan
    for found, value in (
        (isometry_deviation(weights), 9.0),
        (singular_value_max(weights), 2.0),
        (lipschitz_bound(weights), 2.0),
        (singular_value_min(weights), 1.0),
    ):
        assert found[1].isnan()
        assert found[[0, 2]].tolist() == [value, value]
