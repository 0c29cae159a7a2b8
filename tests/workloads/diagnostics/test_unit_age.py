"""Units' ages: by hand."""

from __future__ import annotations

import torch

from workloads.diagnostics.look import Look
from workloads.diagnostics.measure import measure
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP


def test_mean_and_deciles_of_two_layers_by_hand() -> None:
    """Ages 0 to 10 are their own deciles, of mean 5; beside them a layer all of whose units are as old as the trial."""
    network = MLP(MLPConfig(width=11, depth=2), 3, 1)
    params = {name: value[None] for name, value in network.init(0).items()}
    ages = {"layers.0": torch.arange(10, -1, -1.0)[None], "layers.1": torch.full((1, 11), 37.0)}
    found = measure(["unit_age"], Look(network, params, torch.zeros(1, 1, 3), ages=ages))
    assert found["unit_age"].tolist() == [21.0]
    assert [found[f"unit_age/{k}"].item() for k in (1, 2)] == [5.0, 37.0]
    assert [found[f"unit_age/1/{k}"].item() for k in range(11)] == list(range(11))
    assert measure(["unit_age"], Look(network, params, torch.zeros(1, 1, 3))) == {}
