"""L2 by hand, and as the optimizers' own weight decay; against torch's weight_decay in `test_torch_optim`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from workloads.engine.plain import Trained, train
from workloads.learner import Learner
from workloads.methods.base import Seen
from workloads.methods.config import AdamConfig, L2Config, SGDConfig
from workloads.methods.l2 import L2
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP
from workloads.random import Draw

DRAW = Draw(torch.tensor(0), torch.tensor(0), torch.float64)

NETWORK = MLP(MLPConfig(width=4, depth=1, activation="tanh", initialisation="default"), 3, 1)


def trained(optimizer: tuple[str, Any], methods: dict[str, Any]) -> Trained:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(30, 1, 3, generator=generator, dtype=torch.float64)
    y = torch.randn(30, 1, 1, generator=generator, dtype=torch.float64)
    learner = Learner(NETWORK, "squared_error", optimizer, methods)
    numbers = learner.hyper_of(optimizer[1], methods)
    hyper = {w: {k: torch.tensor(v, dtype=torch.float64) for k, v in h.items()} for w, h in numbers.items()}
    params = NETWORK.init(0)
    return train(learner, params, learner.init(params), hyper, x, y, torch.tensor(0), 0)


def test_weights_and_biases_by_hand() -> None:
    params = {"layers.0.weight": torch.tensor([[2.0, -1.0]]), "layers.0.bias": torch.tensor([4.0])}
    grads = {"layers.0.weight": torch.tensor([[1.0, 1.0]]), "layers.0.bias": torch.tensor([0.0])}
    seen = Seen(grads=grads, activations={})
    changed, _ = L2(L2Config(), NETWORK).gradient(params, {}, {"strength": torch.tensor(0.5)}, seen, DRAW)
    assert changed["layers.0.weight"].tolist() == [[2.0, 0.5]]
    assert changed["layers.0.bias"].tolist() == [2.0]


@pytest.mark.parametrize(
    ("name", "config"),
    [("sgd", SGDConfig), ("adam", AdamConfig)],
)
def test_is_the_optimizers_own_weight_decay_to_the_bit(name: str, config: type) -> None:
    own = trained((name, config(step_size=0.01, weight_decay=0.1)), {})
    method = trained((name, config(step_size=0.01)), {"l2": L2Config(strength=0.1)})
    without = trained((name, config(step_size=0.01)), {})
    zero = trained((name, config(step_size=0.01)), {"l2": L2Config(strength=0.0)})
    for key, value in own.params.items():
        assert torch.equal(method.params[key], value)
        assert not torch.equal(without.params[key], value)
        assert torch.equal(zero.params[key], without.params[key])


def test_a_negative_strength_is_refused() -> None:
    with pytest.raises(ValidationError, match="strength"):
        TypeAdapter(L2Config).validate_python({"strength": -1e-4})
