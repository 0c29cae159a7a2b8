"""Spectral regularisation: by hand, autograd on the penalty through the SVD, and what the power iteration keeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from workloads.methods.base import Params, Seen, State
from workloads.methods.config import SpectralRegularisationConfig
from workloads.methods.spectral_regularisation import SpectralRegularisation, power_iteration
from workloads.networks.config import ConvNetConfig, MLPConfig, ResNet18Config
from workloads.networks.convnet import ConvNet
from workloads.networks.mlp import MLP
from workloads.networks.resnet import ResNet18
from workloads.random import Draw

DRAW = Draw(torch.tensor(0), torch.tensor(0), torch.float64)
NETWORK = MLP(MLPConfig(width=5, depth=2, normalisation="layer"), 7, 3)
CONVNET = ConvNet(ConvNetConfig(width=1, hidden=3), (1, 24, 24), 3)
RESNET = ResNet18(ResNet18Config(width=1), (1, 8, 8), 3)


def f64(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def method_of(network: Any, **settings: Any) -> SpectralRegularisation:
    return SpectralRegularisation(SpectralRegularisationConfig(**settings), network)


def pulls(method: SpectralRegularisation, params: Params, state: State, strength: float = 1.0) -> tuple[Params, State]:
    """What is added to a gradient of zeros."""
    seen = Seen(grads={name: torch.zeros_like(value) for name, value in params.items()}, activations={})
    return method.gradient(params, state, {"strength": f64(strength)}, seen, DRAW)


def converged(method: SpectralRegularisation, params: Params) -> Params:
    """The pulls once the power iteration has found the largest singular values."""
    state = method.init(params, per_element=False)
    for _ in range(500):
        found, state = pulls(method, params, state)
    return found


def grown(network: Any) -> Params:
    """Initial parameters, with biases and gains away from where they begin."""
    return {n: v + 0.1 * torch.sin(torch.arange(v.numel())).view_as(v).double() for n, v in network.init(0).items()}


def test_by_hand() -> None:
    """diag(2, 1): 4 x 2 x (4 - 1) = 24 along its first pair; a bias (3, 4): 4 x 25 b; a strength of a half halves."""
    network = MLP(MLPConfig(depth=0), 2, 2)
    params = {"layers.0.weight": f64([[2, 0], [0, 1]]), "layers.0.bias": f64([3, 4])}
    state = {"right": {"layers.0.weight": f64([1, 0])}}
    found, after = pulls(method_of(network), params, state, 0.5)
    assert found["layers.0.weight"].tolist() == [[12, 0], [0, 0]] and found["layers.0.bias"].tolist() == [150, 200]
    assert after["right"]["layers.0.weight"].tolist() == [1, 0]


def test_one_iteration_by_hand() -> None:
    """From v = (3, 4) / 5, diag(2, 1): u = (3, 2) / sqrt(13), back to (6, 2) / sqrt(13), of length sqrt(40 / 13)."""
    left, right, largest = power_iteration(f64([[2, 0], [0, 1]]), f64([0.6, 0.8]))
    torch.testing.assert_close(left, f64([3, 2]) / 13**0.5)
    torch.testing.assert_close(right, f64([3, 1]) / 10**0.5)
    torch.testing.assert_close(largest, f64((40 / 13) ** 0.5))


@pytest.mark.parametrize("settings", [{}, {"head": False}, {"biases": False}, {"target": "gain_squared"}], ids=str)
@pytest.mark.parametrize(
    "network",
    [NETWORK, CONVNET, RESNET],
    ids=["mlp", "convnet", "resnet18"],
)
def test_it_is_the_gradient_of_the_penalty(network: Any, settings: dict[str, Any]) -> None:
    """autograd through the largest singular value; gains are told from shifts and biases by where they begin."""
    params = {name: value.requires_grad_() for name, value in grown(network).items()}
    total = torch.zeros((), dtype=torch.float64)
    for name, value in params.items():
        if value.ndim > 1 and (settings.get("head", True) or name != network.head):
            target = network.gain(name) ** 2 if "target" in settings else 1
            total = total + (torch.linalg.matrix_norm(value.flatten(1), 2) ** 2 - target) ** 2
        elif value.ndim == 1 and settings.get("biases", True):
            gain = "norm.weight" in name
            total = total + (((value - 1) ** 2).sum() if gain else (value**2).sum() ** 2)
    expected = torch.autograd.grad(total, list(params.values()), allow_unused=True)
    found = converged(method_of(network, **settings), {name: value.detach() for name, value in params.items()})
    for (name, value), grad in zip(params.items(), expected, strict=True):
        torch.testing.assert_close(
            found[name], torch.zeros_like(value) if grad is None else grad, rtol=1e-5, atol=1e-8, msg=name
        )


def test_a_matrix_is_regularised_again_after_it_was_zero() -> None:
    network = MLP(MLPConfig(depth=0, biases=False), 3, 2)
    start = network.init(0)
    method = method_of(network)
    none, state = pulls(method, {network.head: torch.zeros(2, 3).double()}, method.init(start, per_element=False))
    assert not none[network.head].any() and state["right"][network.head].norm().item() == pytest.approx(1)
    again, _ = pulls(method, {network.head: 3 * start[network.head]}, state)
    assert again[network.head].any()


def test_the_largest_singular_value_comes_to_one_and_the_others_stay() -> None:
    """Without a task's gradient, by its published rule s <- s - 4 rate s (s^2 - 1) of the largest alone."""
    network = MLP(MLPConfig(depth=0, biases=False), 3, 3)
    params = {network.head: torch.diag(f64([2.0, 0.5, 0.3]))}
    method = method_of(network)
    state: State = {"right": {network.head: f64([1, 0, 0])}}
    largest = 2.0
    for _ in range(60):
        found, state = pulls(method, params, state, 0.02)
        params = {network.head: params[network.head] - found[network.head]}
        largest -= 4 * 0.02 * largest * (largest**2 - 1)
    torch.testing.assert_close(params[network.head].diagonal(), f64([largest, 0.5, 0.3]), rtol=1e-12, atol=0)
    assert abs(largest - 1) < 1e-3
