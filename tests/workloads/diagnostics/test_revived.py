"""Silenced units that speak again, counted by hand."""

from __future__ import annotations

import math

import torch

from workloads.diagnostics.look import Look, activity
from workloads.diagnostics.measure import measure
from workloads.diagnostics.revived import revived_of_activity
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP


def test_of_the_first_units_those_count_that_speak_once() -> None:
    features = torch.tensor([[0.0, 1e-30, 0.0, 3.0], [0.0, 0.0, 2.0, 0.0]], dtype=torch.float64)
    assert revived_of_activity(activity(features), 2).item() == 0.5
    assert revived_of_activity(activity(features), 3).item() == 2 / 3
    features[0, 3] = math.nan
    assert revived_of_activity(activity(features), 2).isnan()


def test_a_network_begins_with_none_and_one_that_silenced_none_has_no_value() -> None:
    x = torch.rand(1, 32, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    network = MLP(MLPConfig(width=6, depth=2, killed="step", killed_fraction=0.3), 5, 1)
    params = {name: value[None] for name, value in network.init(0).items()}
    names = {"revived_fraction", "revived_fraction/1", "revived_fraction/2"}
    assert measure(["revived_fraction"], Look(network, params, x)) == dict.fromkeys(names, torch.zeros(1))
    params["layers.1.bias"][0, 1] += 100  # the second of two in the second layer
    measured = measure(["revived_fraction"], Look(network, params, x))
    assert {name: value.item() for name, value in measured.items()} == {
        "revived_fraction": 0.25,
        "revived_fraction/1": 0.0,
        "revived_fraction/2": 0.5,
    }
    whole = MLP(MLPConfig(width=6, depth=2), 5, 1)
    assert measure(["revived_fraction"], Look(whole, params, x)) == {}
