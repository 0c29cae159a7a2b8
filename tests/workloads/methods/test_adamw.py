"""AdamW by hand and beside Adam; against torch.optim.AdamW in `test_torch_optim`."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workloads.methods.adam import Adam
from workloads.methods.adamw import AdamW
from workloads.methods.base import Method, Params, Seen
from workloads.methods.config import AdamConfig, AdamWConfig
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP
from workloads.random import Draw

DRAW = Draw(torch.tensor(0), torch.tensor(0), torch.float64)

NETWORK = MLP(MLPConfig(depth=0), 2, 1)


def stepped(method: Method, params: Params, grads: list[Tensor]) -> tuple[Params, dict]:
    state = method.init(params, per_element=False)
    hyper = {k: torch.tensor(getattr(method.config, k), dtype=torch.float64) for k in ("step_size", "weight_decay")}
    for grad in grads:
        params, state = method.optimizer(params, state, hyper, Seen(grads={"w": grad}, activations={}), DRAW)
    return params, state


def test_without_gradient_weights_shrink_by_one_minus_step_size_times_decay() -> None:
    params = {"w": torch.tensor([2.0, -3.0], dtype=torch.float64)}
    config = AdamWConfig(step_size=0.1, weight_decay=0.5)
    after, state = stepped(AdamW(config, NETWORK), params, [torch.zeros(2).double()] * 2)
    assert after["w"].tolist() == pytest.approx([2 * 0.95**2, -3 * 0.95**2], rel=1e-15)
    assert state["mean"]["w"].tolist() == [0, 0]  # the decay bypasses the moments


def test_decay_zero_is_adam() -> None:
    generator = torch.Generator().manual_seed(0)
    grads = list(torch.randn(20, 2, generator=generator, dtype=torch.float64))
    params = {"w": torch.tensor([2.0, -3.0], dtype=torch.float64)}
    adam, _ = stepped(Adam(AdamConfig(step_size=0.1), NETWORK), params, grads)
    adamw, _ = stepped(AdamW(AdamWConfig(step_size=0.1, weight_decay=0.0), NETWORK), params, grads)
    assert torch.equal(adam["w"], adamw["w"])
