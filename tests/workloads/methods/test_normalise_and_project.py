"""Normalise and project: by hand, what is projected and when, and what it is for where layers are normalised."""

from __future__ import annotations

from typing import Any

import configs
import pytest
import torch
from torch import Tensor

from workloads.methods.base import Params, Seen, State
from workloads.methods.config import NormaliseAndProjectConfig
from workloads.methods.normalise_and_project import NormaliseAndProject
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP
from workloads.random import Draw
from workloads.training.loop import Training
from workloads.training.pack import Pack, PackMember

DRAW = Draw(torch.tensor(0), torch.tensor(0), torch.float64)


def f64(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def projected(method: NormaliseAndProject, params: Params, state: State, acts: bool = True) -> Params:
    return method.after_step(params, state, {}, Seen(grads={}, activations={}, acts=acts), DRAW)[0]


def test_by_hand() -> None:
    """A first layer of norm 5 that has come to (6, 8) goes back to (3, 4); the head and biases stay as they are."""
    network = MLP(MLPConfig(width=1, depth=1), 2, 1)
    method = NormaliseAndProject(NormaliseAndProjectConfig(), network)
    start = {"layers.0.weight": f64([[4.0, -3.0]]), "layers.0.bias": f64([0.0])}
    start |= {"layers.1.weight": f64([[1.0]]), "layers.1.bias": f64([0.0])}
    state = method.init(start, per_element=False)
    assert state["norm"] == {"layers.0.weight": 5.0}
    now = {name: 7 + value for name, value in start.items()} | {"layers.0.weight": f64([[6.0, 8.0]])}
    after = projected(method, now, state)
    assert after["layers.0.weight"].tolist() == [[3.0, 4.0]]
    assert all(after[name] is now[name] for name in now if name != "layers.0.weight")
    assert projected(method, now, state, acts=False) is now
    none = projected(method, now | {"layers.0.weight": f64([[0.0, 0.0]])}, state)
    assert none["layers.0.weight"].tolist() == [[0.0, 0.0]]


def test_in_a_normalised_network_it_changes_nothing_that_is_computed() -> None:
    """Whatever the size of its hidden matrices: but for layer norm's 1e-5 beside the variance."""
    network = MLP(MLPConfig(width=6, depth=2, normalisation="layer_plain", biases=False), 5, 2)
    method = NormaliseAndProject(NormaliseAndProjectConfig(), network)
    params = network.init(0)
    state = method.init(params, per_element=False)
    grown = {name: 3 * value if name in method.hidden else value for name, value in params.items()}
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    output = network.apply(grown, x)[0]
    torch.testing.assert_close(network.apply(projected(method, grown, state), x)[0], output, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("every", [1, 4])
def test_norms_are_those_of_the_beginning_after_every_projection(every: int) -> None:
    """Of 9 steps with k = 4 those from 0, 4 and 8 project: after the ninth all is as after the first."""
    network = {"name": "mlp", "width": 4, "depth": 2, "activation": "tanh"}
    trial = configs.small(network=network, methods={"normalise_and_project": {"every": every}}, dtype="float64")
    training = Training(Pack(id="", members=[PackMember("t", trial)], path="lifted"))
    training.begin()
    norms = [{n: v.norm().item() for n, v in training.engine.state()["params"].items()}]
    for step in range(1, 10):
        training.train(step)
        norms.append({n: v.norm().item() for n, v in training.engine.state()["params"].items()})
    for name in ("layers.0.weight", "layers.1.weight"):
        held = [norm[name] == pytest.approx(norms[0][name], rel=1e-12) for norm in norms]
        assert held == [step == 0 or (step - 1) % every == 0 for step in range(10)]
    assert norms[9]["layers.2.weight"] != pytest.approx(norms[0]["layers.2.weight"], rel=1e-6)
