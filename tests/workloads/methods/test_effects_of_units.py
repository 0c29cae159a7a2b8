"""Global utilities: a step by hand, autograd by the weights that leave a unit, and the mean over random directions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from workloads.errors import InputError
from workloads.learner import Learner
from workloads.methods.config import ContinualBackpropConfig, InputNormaliserConfig, L2Config, SGDConfig
from workloads.networks.base import Activations, Network, by_activation
from workloads.networks.config import ConvNetConfig, MLPConfig, ResNet18Config
from workloads.networks.convnet import ConvNet
from workloads.networks.mlp import MLP
from workloads.networks.resnet import ResNet18
from workloads.random import Draw

NAME = "continual_backprop"


def f64(value: Any) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def draw_at(step: int, seed: int | Tensor = 3) -> Draw:
    return Draw(torch.as_tensor(seed), torch.tensor(step), torch.float64)


def learner_of(network: Network[Any], loss: str, utility: str, **methods: Any) -> tuple[Learner, dict[str, Any]]:
    """With instantaneous utilities and a step of 0, so that û is y of the weights that are given."""
    settings = {**methods, NAME: ContinualBackpropConfig(utility=utility, utility_decay=0.0)}
    learner = Learner(network, loss, ("sgd", SGDConfig(step_size=0.0)), settings)
    numbers = learner.hyper_of(SGDConfig(step_size=0.0), settings)
    return learner, {who: {k: f64(v) for k, v in own.items()} for who, own in numbers.items()}


def utilities(learner: Learner, hyper: Any, params: Any, x: Tensor, y: Tensor, draw: Draw) -> dict[str, Tensor]:
    state = learner.init(params)
    if learner.network.buffers:
        state["buffers"] = learner.network.initial_buffers(params[learner.network.head])
    found: dict[str, Tensor] = learner.step(params, state, hyper, x, y, draw, acting=())[1][NAME]["utility"]
    return found


@pytest.mark.parametrize(("utility", "expected"), [("taylor_loss", 8.0), ("taylor_output", 2.0)])
def test_a_step_by_hand(utility: str, expected: float) -> None:
    """1-1-1, w = v = 1, x = 2, y = 0: h = f = 2, ∂ℓ/∂h = 2 (f − y) v = 4 and ∂f/∂h = v = 1, before the update."""
    network = MLP(MLPConfig(width=1, depth=1), 1, 1)
    learner, hyper = learner_of(network, "squared_error", utility)
    hyper["optimizer"]["step_size"] = f64(0.05)  # after which v is 0.6
    params = {n: torch.full(s, float("weight" in n)).double() for n, s in network.parameter_shapes().items()}
    found = utilities(learner, hyper, params, f64([[2.0]]), f64([[0.0]]), draw_at(0))
    assert found["layers.0"].item() == pytest.approx(expected)


NETWORKS: dict[str, tuple[Network[Any], int]] = {
    "mlp": (MLP(MLPConfig(width=6, depth=2), 5, 3), 5),
    "two parts": (MLP(MLPConfig(width=6, depth=2, activation="crelu"), 5, 3), 5),
    "layer norm": (MLP(MLPConfig(width=6, depth=2, normalisation="layer"), 5, 3), 5),
    "pictures": (ConvNet(ConvNetConfig(width=2, hidden=4), (1, 38, 38), 3), 38 * 38),  # ends in 2 x 2 places
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("with_methods", [False, True])
def test_the_effect_on_the_loss_is_what_autograd_says_of_the_weights_that_leave_a_unit(
    name: str, with_methods: bool
) -> None:
    """Σ w ∂ℓ/∂w over all that leaves a unit is Σ h ∂ℓ/∂h over all it shows: of each example, sizes averaged.

    Also where another method adds to the loss, which is no effect of a unit, or changes the inputs.
    """
    network, inputs = NETWORKS[name]
    methods = {"l2": L2Config(strength=0.5), "input_normaliser": InputNormaliserConfig()} if with_methods else {}
    learner, hyper = learner_of(network, "cross_entropy", "taylor_loss", **methods)
    params = network.init(1)
    x = torch.randn(3, inputs, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.tensor([0, 2, 1])
    found = utilities(learner, hyper, params, x, y, draw_at(0))

    state = learner.observed(x, learner.init(params), hyper)
    shown = learner.shown(x, state, hyper)
    expected = {site.name: torch.zeros(site.units, dtype=torch.float64) for site in network.sites}
    for k in range(3):
        leaves = {n: v.clone().requires_grad_() for n, v in params.items()}
        torch.nn.functional.cross_entropy(network.apply(leaves, shown[k : k + 1])[0], y[k : k + 1]).backward()
        for site in network.sites:
            weight = leaves[site.outgoing_weight]
            assert weight.grad is not None
            whole = by_activation(weight.detach() * weight.grad, site).sum((0, 2))
            expected[site.name] += whole.view(site.parts, site.units).sum(0).abs() / 3
    for layer, value in expected.items():
        torch.testing.assert_close(found[layer], value, rtol=1e-10, atol=1e-14)
        assert (value > 1e-6).any()


def test_random_directions_average_to_the_root_mean_square_over_outputs() -> None:
    """3 outputs, 20,000 seeds, within five standard errors of |h| ‖∂f/∂h‖ / √3 by torch.func.jacrev."""
    network = MLP(MLPConfig(width=4, depth=2, activation="tanh"), 5, 3)
    learner, hyper = learner_of(network, "cross_entropy", "taylor_output")
    params, x = network.init(1), torch.linspace(-1, 1, 5, dtype=torch.float64)[None]

    def one(seed: Tensor) -> dict[str, Tensor]:
        return utilities(learner, hyper, params, x, torch.tensor([1]), draw_at(0, seed))

    drawn = torch.func.vmap(one)(torch.arange(20_000))
    hidden = dict(network.apply(params, x)[1])

    def outputs(first: Tensor) -> Tensor:
        second = network.layer(params, 1, first[None])
        return (second @ params["layers.2.weight"].T + params["layers.2.bias"])[0]

    slopes = {"layers.0": torch.func.jacrev(outputs)(hidden["layers.0"][0]), "layers.1": params["layers.2.weight"]}
    for layer, jacobian in slopes.items():
        expected = hidden[layer][0].abs() * jacobian.square().mean(0).sqrt()
        error = drawn[layer].std(0) / math.sqrt(20_000)
        assert ((drawn[layer].mean(0) - expected).abs() < 5 * error).all()


def test_batch_norm_couples_examples_and_skip_paths_count() -> None:
    """A block's channels reach on by the skip path too: their effect is of all that, by finite differences."""
    network = ResNet18(ResNet18Config(width=2), (1, 8, 8), 3)
    learner, hyper = learner_of(network, "cross_entropy", "taylor_loss")
    params = network.init(1)
    x = torch.randn(2, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.tensor([0, 2])
    found = utilities(learner, hyper, params, x, y, draw_at(0))
    buffers = network.initial_buffers(params[network.head])

    def loss(scale: float) -> Tensor:
        taps = learner.taps(params, 2)
        output, activations, _ = network.apply_training({**params, **buffers}, x)
        taps["tap/blocks.0.conv2"][0, 1] = scale * dict(activations)["blocks.0.conv2"][0, 1]
        output = network.apply_training({**params, **buffers, **taps}, x)[0]
        return torch.nn.functional.cross_entropy(output, y, reduction="sum")

    first = (loss(1e-5) - loss(-1e-5)) / 2e-5
    backward = learner.gradients(params, {"buffers": buffers, **learner.init(params)}, hyper, x, y, acting=())
    own = backward.effects["blocks.0.conv2"].sum((2, 3))
    torch.testing.assert_close(own[0, 1], first, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found["blocks.0.conv2"], own.abs().mean(0), rtol=1e-12, atol=0)


class Untapped(MLP):
    """As MLP, and offers no gradient by its activations."""

    def apply(self, params: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, Activations]:
        hidden = self.layer(params, 0, x)
        return torch.nn.functional.linear(hidden, params[self.head]), [("layers.0", hidden)]


def test_a_network_that_does_not_offer_what_is_read_is_refused() -> None:
    network = Untapped(MLPConfig(width=4, depth=1, biases=False), 3, 2)
    for utility in ("taylor_loss", "taylor_output"):
        with pytest.raises(
            InputError, match=r"with respect to the activations of layers\.0: Untapped\.apply must pass"
        ):
            learner_of(network, "cross_entropy", utility)
    learner_of(network, "cross_entropy", "contribution")
