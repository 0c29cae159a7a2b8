"""How far a copy fits random changes of its outputs: torch.optim.Adam in a plain loop is the oracle."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from workloads.diagnostics.fitting import STEP_SIZE, STEPS, random_change
from workloads.diagnostics.look import Look
from workloads.diagnostics.measure import measure
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP

F64 = torch.float64


def look_at(scale: float = 1.0, **settings: Any) -> Look:
    """Two members on 16 examples each, their weights multiplied by `scale`."""
    network = MLP(MLPConfig(width=20, depth=2, **settings), 5, 3)
    params = {name: scale * torch.stack([network.init(k)[name] for k in range(2)]) for name in network.init(0)}
    return Look(network, params, torch.randn(2, 16, 5, generator=torch.Generator().manual_seed(0), dtype=F64))


def loop(look: Look, place: int) -> float:
    """The same as anybody would write it."""
    params = {name: value[place].clone().requires_grad_() for name, value in look.params.items()}
    optimizer = torch.optim.Adam(params.values(), lr=STEP_SIZE)

    def outputs() -> Tensor:
        return look.network.apply(params, look.x[place])[0]

    targets = outputs().detach() + random_change(16, 3)
    first = torch.nn.functional.mse_loss(outputs(), targets).item()
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(outputs(), targets).backward()
        optimizer.step()
    return torch.nn.functional.mse_loss(outputs(), targets).item() / first


@pytest.mark.parametrize("settings", [{}, {"activation": "tanh", "normalisation": "layer"}], ids=str)
def test_a_plain_loop_comes_to_the_same(settings: Any) -> None:
    look = look_at(**settings)
    before = {name: value.clone() for name, value in look.params.items()}
    found = measure(["random_target_fit"], look)["random_target_fit"]
    assert found.tolist() == pytest.approx([loop(look, 0), loop(look, 1)], rel=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in look.params.items()), "what learns is a copy"


def test_a_network_of_dead_units_learns_less() -> None:
    """All that can still move is the bias of the head."""
    alive = measure(["random_target_fit"], look_at())["random_target_fit"]
    dead = look_at()
    dead.params["layers.0.bias"].fill_(-100)
    found = measure(["random_target_fit"], dead)["random_target_fit"]
    assert (alive < 0.9).all() and (found > 0.95).all() and (found <= 1).all()
