"""Parseval regularisation: autograd on the published penalty, and that it is coupled isometry at its settings."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workloads.methods.base import Params, Seen
from workloads.methods.config import CoupledIsometryConfig, ParsevalConfig
from workloads.methods.coupled_isometry import CoupledIsometry
from workloads.methods.parseval import Parseval
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP
from workloads.random import Draw

DRAW = Draw(torch.tensor(0), torch.tensor(0), torch.float64)
STRENGTH = {"strength": torch.tensor(0.1, dtype=torch.float64)}
WIDENING = MLP(MLPConfig(width=8, depth=2), 3, 2)
NARROWING = MLP(MLPConfig(width=4, depth=2), 9, 2)


def changed(method: Parseval | CoupledIsometry, params: Params) -> Params:
    grads = {name: torch.cos(value) for name, value in params.items()}
    return method.gradient(params, {}, STRENGTH, Seen(grads=grads, activations={}), DRAW)[0]


def rows_from_isometry(weight: Tensor, target: float) -> Tensor:
    """The published penalty: on the rows, whichever side is the longer."""
    return ((weight @ weight.T - target * torch.eye(len(weight)).double()) ** 2).sum()


@pytest.mark.parametrize("network", [WIDENING, NARROWING], ids=["widening", "narrowing"])
def test_it_is_the_gradient_of_the_published_penalty(network: MLP) -> None:
    """Scaled by (64 / width)^2, towards 2, the head and biases left alone."""
    params = network.init(0)
    width = network.config.width or 0

    def penalty(params: Params) -> Tensor:
        hidden = [rows_from_isometry(params[name], 2.0) for name in network.weights[:-1]]
        return 0.1 * (64 / width) ** 2 * torch.stack(hidden).sum()

    expected = torch.func.grad(penalty)(params)
    found = changed(Parseval(ParsevalConfig(), network), params)
    for name, value in params.items():
        torch.testing.assert_close(found[name] - torch.cos(value), expected[name], rtol=1e-11, atol=1e-11)
    assert not expected[network.head].any()


def test_by_hand() -> None:
    """One row (2, 1), s = 2: 4 (5 - 2) (2, 1), at strength 0.1; at one unit the published factor would be 64^2."""
    network = MLP(MLPConfig(width=1, depth=1, biases=False), 2, 1)
    params = {"layers.0.weight": torch.tensor([[2.0, 1.0]]).double(), "layers.1.weight": torch.ones(1, 1).double()}
    for scale_by_width, factor in ((False, 1), (True, 4096)):
        method = Parseval(ParsevalConfig(scale_by_width=scale_by_width), network)
        grads = {name: torch.zeros_like(value) for name, value in params.items()}
        found, _ = method.gradient(params, {}, STRENGTH, Seen(grads=grads, activations={}), DRAW)
        assert found["layers.0.weight"].flatten().tolist() == pytest.approx([2.4 * factor, 1.2 * factor], rel=1e-15)
        assert not found["layers.1.weight"].any()


@pytest.mark.parametrize("network", [WIDENING, NARROWING], ids=["widening", "narrowing"])
def test_unscaled_it_is_coupled_isometry_to_the_bit(network: MLP) -> None:
    coupled = CoupledIsometry(CoupledIsometryConfig(head=False, target="gain_squared"), network)
    target = network.gain(network.weights[0]) ** 2  # relu's 2, but for the last bit of a root
    parseval = Parseval(ParsevalConfig(scale_by_width=False, target=target), network)
    params = network.init(1)
    one, other = changed(coupled, params), changed(parseval, params)
    assert target == pytest.approx(2) and all(torch.equal(one[name], other[name]) for name in params)
