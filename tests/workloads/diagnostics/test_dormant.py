"""Dormant and dead units, counted by hand."""

from __future__ import annotations

import math

import pytest
import torch

from workloads.diagnostics.dormant import dead_fraction, dormant_fraction, rarely_active_fraction
from workloads.diagnostics.look import Look
from workloads.diagnostics.measure import measure
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP


def test_dormant_fraction_by_hand() -> None:
    # Mean |h| per unit: 1, 2, 0.02, 0.98; layer mean 1, so scores are the same numbers.
    features = torch.tensor([[1.0, -4.0, 0.04, 0.0], [-1.0, 0.0, 0.0, 1.96]], dtype=torch.float64)
    assert dormant_fraction(features).item() == 0.25
    assert dormant_fraction(features, tau=0.019).item() == 0.0
    assert dormant_fraction(features, tau=0.99).item() == 0.5
    assert dormant_fraction(1e-9 * features).item() == 0.25


def test_dormancy_is_measured_at_all_thresholds_in_use() -> None:
    """Scores 3.92, 1, 0.06, 0.02 and 0 of a layer's mean of 1: three are under 0.1, two under 0.025, one under 0.01."""
    network = MLP(MLPConfig(width=5, depth=1), 1, 1)
    params = {name: value[None] for name, value in network.init(0).items()}
    hidden = {"layers.0": torch.tensor([[[3.92, 1.0, 0.06, 0.02, 0.0]]])}
    names = ["dormant_fraction_1", "dormant_fraction", "dormant_fraction_10"]
    found = measure(names, Look(network, params, torch.zeros(1, 1, 1), activations=hidden))
    assert [round(found[name].item(), 6) for name in names] == [0.2, 0.4, 0.6]


def test_dead_fraction_counts_exact_zeros_on_every_example() -> None:
    features = torch.tensor([[0.0, 0.0, 1e-30, 3.0], [0.0, 2.0, 0.0, 3.0]])
    assert dead_fraction(features).item() == 0.25
    assert dormant_fraction(features).item() == 0.5


def test_a_unit_that_speaks_on_one_example_in_a_hundred_is_not_rarely_active() -> None:
    """Of 200 examples one, two and none: 0.5 %, 1 % and 0; how loudly does not matter."""
    features = torch.zeros(200, 4)
    features[0, 0] = 1e6
    features[:2, 1] = -1e-30
    features[:, 3] = 1
    assert rarely_active_fraction(features).item() == 0.5
    assert dead_fraction(features).item() == 0.25
    assert rarely_active_fraction(torch.zeros(5, 3)).item() == 1.0


def test_positive_and_negative_values_do_not_cancel() -> None:
    features = torch.tensor([[1.0, 1.0], [-1.0, 1.0]])
    assert dormant_fraction(features).item() == dead_fraction(features).item() == 0.0


def test_a_silent_layer_is_all_dormant_and_all_dead() -> None:
    silent = torch.zeros(5, 3)
    assert dormant_fraction(silent).item() == dead_fraction(silent).item() == 1.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_not_finite_is_nan_and_stays_in_its_member(bad: float) -> None:
    features = torch.ones(3, 4, 2)
    features[:, :, 1] = 0
    features[1, 0, 0] = bad
    for fraction in (dormant_fraction(features), dead_fraction(features), rarely_active_fraction(features)):
        assert fraction[1].isnan()
        assert fraction[[0, 2]].tolist() == [0.5, 0.5]


def test_shape_and_dtype() -> None:
    for fraction in (dormant_fraction(torch.ones(2, 3, 4, 5)), dead_fraction(torch.ones(2, 3, 4, 5))):
        assert fraction.shape == (2, 3) and fraction.dtype == torch.float64
