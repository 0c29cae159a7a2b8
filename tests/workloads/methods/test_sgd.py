"""SGD by hand; against torch.optim.SGD in `test_torch_optim`."""

from __future__ import annotations

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from workloads.methods.base import Seen
from workloads.methods.config import SGDConfig
from workloads.methods.sgd import SGD
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP
from workloads.random import Draw

DRAW = Draw(torch.tensor(0), torch.tensor(0), torch.float64)

NETWORK = MLP(MLPConfig(depth=0), 2, 1)


def moved(config: SGDConfig, grads: list[float], start: float = 1.0) -> list[float]:
    """One weight's values after each of `grads`."""
    method = SGD(config, NETWORK)
    params = {"w": torch.tensor([start], dtype=torch.float64)}
    state = method.init(params, per_element=False)
    hyper = {k: torch.tensor(getattr(config, k), dtype=torch.float64) for k in ("step_size", "weight_decay")}
    path = []
    for grad in grads:
        seen = Seen(grads={"w": torch.tensor([grad], dtype=torch.float64)}, activations={})
        params, state = method.optimizer(params, state, hyper, seen, DRAW)
        path.append(params["w"].item())
    return path


def test_plain_steps_by_hand() -> None:
    assert moved(SGDConfig(step_size=0.1), [2.0, -1.0]) == pytest.approx([0.8, 0.9], rel=1e-15)


def test_momentum_by_hand() -> None:
    """Buffers 1, 1.5, 1.75: no dampening, and the first buffer is the gradient itself."""
    path = moved(SGDConfig(step_size=1.0, momentum=0.5), [1.0, 1.0, 1.0], start=0.0)
    assert path == [-1.0, -2.5, -4.25]


def test_weight_decay_joins_the_gradient_before_the_momentum() -> None:
    """g + w θ: 1, then buffer 0.5 x 1 + 0.5 x 0 from θ = 0."""
    assert moved(SGDConfig(step_size=1.0, momentum=0.5, weight_decay=1.0), [0.0, 0.0]) == [0.0, -0.5]


def test_state_is_held_only_for_momentum() -> None:
    params = {"w": torch.ones(2, 3)}
    assert SGD(SGDConfig(), NETWORK).init(params, per_element=True) == {}
    state = SGD(SGDConfig(momentum=0.9), NETWORK).init(params, per_element=False)
    assert torch.equal(state["momentum"]["w"], torch.zeros(2, 3))


def test_step_size_zero_moves_nothing() -> None:
    assert moved(SGDConfig(step_size=0.0), [5.0, 7.0]) == [1.0, 1.0]


@pytest.mark.parametrize("field", [{"step_size": -0.1}, {"momentum": 1.0}, {"weight_decay": -1e-9}])
def test_values_out_of_range_are_refused(field: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(field))):
        TypeAdapter(SGDConfig).validate_python(field)
