"""The empirical neural tangent kernel: worked by hand, and against autograd's dense Jacobian in float64."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from workloads.diagnostics import kernel
from workloads.diagnostics.look import Look
from workloads.diagnostics.measure import measure
from workloads.diagnostics.tangent_kernel import CONDITION, condition_of_eigenvalues, entropy_of_eigenvalues
from workloads.networks.base import Network
from workloads.networks.config import NETWORKS, MLPConfig
from workloads.networks.implementations import IMPLEMENTATIONS
from workloads.networks.mlp import MLP

NAMES = ("ntk_max", "ntk_min", "ntk_trace", "ntk_condition", "ntk_effective_rank", "ntk_entropy")
F64 = torch.float64


def dense(network: Network[Any], params: dict[str, Tensor], x: Tensor) -> Tensor:
    """Eigenvalues of the kernel, descending, from autograd's whole Jacobian."""
    fixed = {name: params[name] for name in network.buffers}
    learned = {name: value for name, value in params.items() if name not in fixed}

    def outputs(*values: Tensor) -> Tensor:
        return network.apply({**dict(zip(learned, values, strict=True)), **fixed}, x)[0].flatten()

    parts = torch.autograd.functional.jacobian(outputs, tuple(learned.values()))
    whole = torch.cat([part.flatten(1) for part in parts], 1)
    return torch.linalg.svdvals(whole) ** 2


def test_the_kernel_of_a_linear_model_is_by_hand() -> None:
    """d f(x) / d (w, b) = (x, 1): on x = (2, 0) and (0, 1) the kernel is [[5, 1], [1, 2]], (7 +- sqrt 13) / 2."""
    network = MLP(MLPConfig(width=None, depth=0, activation=None), 2, 1)
    params = {"layers.0.weight": torch.tensor([[[3.0, -1.0]]]), "layers.0.bias": torch.tensor([[0.5]])}
    found = measure(NAMES, Look(network, params, torch.tensor([[[2.0, 0.0], [0.0, 1.0]]])))
    largest, smallest = (7 + math.sqrt(13)) / 2, (7 - math.sqrt(13)) / 2
    assert found["ntk_max"].item() == pytest.approx(largest) and found["ntk_min"].item() == pytest.approx(smallest)
    assert found["ntk_trace"].item() == pytest.approx(7)
    assert found["ntk_condition"].item() == pytest.approx(largest / smallest)
    entropy = -sum(value / 7 * math.log(value / 7) for value in (largest, smallest))
    assert found["ntk_effective_rank"].item() == pytest.approx(math.exp(entropy))
    assert found["ntk_entropy"].item() == pytest.approx(entropy / math.log(2))


@pytest.mark.parametrize("tangents", [1, 2**22], ids=["row by row", "all rows at once"])
@pytest.mark.parametrize(
    "settings",
    [
        {"activation": "relu"},
        {"activation": "crelu", "normalisation": "layer"},
        {"activation": "tanh", "biases": False},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_the_dense_jacobian_is_the_oracle(settings: Any, tangents: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "TANGENTS", tangents)
    network = MLP(MLPConfig(width=6, depth=2, **settings), 5, 3)
    params = {name: torch.stack([network.init(k)[name] for k in range(2)]) for name in network.init(0)}
    x = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0), dtype=F64)
    found = Look(network, params, x).tangent_kernel_spectrum
    for place in range(2):
        expected = dense(network, {name: value[place] for name, value in params.items()}, x[place])
        torch.testing.assert_close(found[place], expected, rtol=1e-9, atol=1e-11)


def test_running_statistics_of_a_network_of_pictures_are_no_parameters() -> None:
    spec = NETWORKS["resnet18"]
    network = IMPLEMENTATIONS["resnet18"](spec.config(width=1), (3, 8, 8), 2)
    params = {name: value[None].double() for name, value in network.init(1).items()}
    params |= {n: v[None] for n, v in network.initial_buffers(next(iter(params.values()))[0]).items()}
    x = torch.randn(1, 2, 192, generator=torch.Generator().manual_seed(1), dtype=F64)
    expected = dense(network, {name: value[0] for name, value in params.items()}, x[0])
    torch.testing.assert_close(Look(network, params, x).tangent_kernel_spectrum[0], expected, rtol=1e-8, atol=1e-10)


def test_numbers_of_eigenvalues_at_their_ends() -> None:
    equal, one, none = torch.ones(4), torch.tensor([3.0, 0, 0, 0]), torch.zeros(4)
    values = torch.stack([equal, one, none, torch.full((4,), math.nan)]).double()
    assert condition_of_eigenvalues(values)[:3].tolist() == [1, CONDITION, CONDITION]
    assert entropy_of_eigenvalues(values)[:3].tolist() == pytest.approx([1, 0, 0])
    assert entropy_of_eigenvalues(torch.tensor([[2.0], [math.nan]]))[0] == 1
    assert condition_of_eigenvalues(values)[3].isnan() and entropy_of_eigenvalues(values)[3].isnan()


class Odd(MLP):
    """One whose parameters act in ways that no formula for linear maps knows of."""

    def apply(self, params: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, list[tuple[str, Tensor]]]:
        first, second, head = (params[name] for name in self.weights)
        hidden = torch.nn.functional.linear(x, first, params["layers.0.bias"]).tanh()
        hidden = torch.nn.functional.linear(hidden, second, params["layers.0.bias"]).tanh()  # a bias that acts twice
        hidden = torch.nn.functional.linear(hidden, second).tanh()  # and so does a matrix
        scaled = torch.nn.functional.linear(hidden, head * params["layers.2.bias"][:, None])
        return scaled + (hidden * params["layers.1.bias"]).sum(-1, keepdim=True), []


@pytest.mark.parametrize("tangents", [1, 300, 2**22], ids=["by products", "some at a time", "example by example"])
def test_parameters_that_act_in_other_ways_are_multiplied_out(tangents: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "TANGENTS", tangents)
    network = Odd(MLPConfig(width=6, depth=2), 6, 3)
    params = {name: value[None] for name, value in network.init(0).items()}
    x = torch.randn(1, 4, 6, generator=torch.Generator().manual_seed(0), dtype=F64)
    expected = dense(network, {name: value[0] for name, value in params.items()}, x[0])
    torch.testing.assert_close(Look(network, params, x).tangent_kernel_spectrum[0], expected, rtol=1e-9, atol=1e-11)


def test_a_multilayer_perceptrons_jacobian_is_never_multiplied_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its matrices and biases are known by one pass back; what is left of it are the gains of its norms."""
    left: list[list[str]] = []
    rest = kernel._of_rest

    def counted(function: Any, params: Any, names: Any, *others: Any) -> Tensor:
        left.append(list(names))
        return rest(function, params, names, *others)

    monkeypatch.setattr(kernel, "_of_rest", counted)
    for normalisation in ("none", "layer"):
        network = MLP(MLPConfig(width=6, depth=2, normalisation=normalisation), 5, 3)
        params = {name: torch.stack([network.init(k)[name] for k in range(2)]) for name in network.init(0)}
        measure(["ntk_max"], Look(network, params, torch.ones(2, 4, 5)))
    assert left == [[f"layers.{k}.norm.{kind}" for k in (0, 1) for kind in ("bias", "weight")]]
