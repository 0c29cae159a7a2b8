"""Singular values of layer and input-output Jacobians: worked by hand, and against autograd's Jacobian."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from workloads.diagnostics.look import Look
from workloads.diagnostics.measure import measure
from workloads.networks.base import Network
from workloads.networks.config import NETWORKS, MLPConfig
from workloads.networks.implementations import IMPLEMENTATIONS
from workloads.networks.mlp import MLP

STATISTICS = ("max", "min", "mean", "spread", "deviation")
LAYER = tuple(f"layer_jacobian_{statistic}" for statistic in STATISTICS)
WHOLE = tuple(f"input_output_jacobian_{statistic}" for statistic in STATISTICS)
F64 = torch.float64


def values(names: tuple[str, ...], look: Look) -> dict[str, list[float]]:
    """Metric -> a value per member."""
    return {name: value.tolist() for name, value in measure(names, look).items()}


def tiny(activation: Any, **params: list[Any]) -> tuple[MLP, dict[str, Tensor]]:
    """A network of two inputs, two hidden units and one output, one member, without biases."""
    network = MLP(MLPConfig(width=2, depth=1, activation=activation, biases=False), 2, 1)
    return network, {f"layers.{name[1]}.weight": torch.tensor([value], dtype=F64) for name, value in params.items()}


def test_the_jacobian_of_a_linear_layer_is_its_matrix() -> None:
    network, params = tiny("linear", w0=[[0.0, 3.0], [-4.0, 0.0]], w1=[[1.0, 2.0]])
    look = Look(network, params, torch.tensor([[[1.0, 1.0], [5.0, -7.0]]], dtype=F64))
    found = values((*LAYER, *WHOLE), look)
    # 4 and 3: from their mean they are half away, from 1 they are 3 and 2.
    assert [found[name][0] for name in LAYER] == pytest.approx([4, 3, 3.5, 0.5, math.sqrt(6.5)])
    # W_1 W_0 = (-8, 3), one singular value: its length
    length = math.sqrt(73)
    assert [found[name][0] for name in WHOLE] == pytest.approx([length, length, length, 0, length - 1])


def test_a_silent_unit_is_a_row_of_zeros() -> None:
    network, params = tiny("relu", w0=[[3.0, 0.0], [0.0, 4.0]], w1=[[1.0, 2.0]])
    # On the first example both units speak: 4 and 3, and d out / d x = (3, 8). On the second one does: 3 and 0, (3, 0).
    look = Look(network, params, torch.tensor([[[1.0, 1.0], [1.0, -1.0]]], dtype=F64))
    found = values((*LAYER, *WHOLE), look)
    of_layer = [4, 0, 10 / 4, math.sqrt((1.5**2 + 0.5**2 + 0.5**2 + 2.5**2) / 4), math.sqrt((9 + 4 + 4 + 1) / 4)]
    assert [found[name][0] for name in LAYER] == pytest.approx(of_layer)
    length = math.sqrt(73)
    of_whole = [length, 3, (length + 3) / 2, (length - 3) / 2, math.sqrt(((length - 1) ** 2 + 4) / 2)]
    assert [found[name][0] for name in WHOLE] == pytest.approx(of_whole)


def of_members(network: Network, count: int, seed: int = 0) -> Look:
    """Members of other seeds, each on six examples of its own."""
    inits = [network.init(seed + k) for k in range(count)]
    params = {name: torch.stack([init[name] for init in inits]) for name in inits[0]}
    inputs = network.inputs if hasattr(network, "inputs") else network.sizes[0]  # type: ignore[attr-defined]
    return Look(network, params, torch.randn(count, 6, inputs, generator=torch.Generator().manual_seed(1), dtype=F64))


def spectra(function: Any, x: Tensor) -> Tensor:
    """Singular values of autograd's Jacobian at each example (N, ...), (N, K)."""
    found = [torch.autograd.functional.jacobian(function, example) for example in x]
    return torch.stack([torch.linalg.svdvals(each.flatten(1)) for each in found])


def test_crelu_keeps_the_singular_values_of_its_matrix() -> None:
    """Its J^T J is W^T W whatever signs a layer's units have: D W and -(I - D) W above each other."""
    network = MLP(MLPConfig(width=4, depth=2, activation="crelu"), 3, 1)
    look = of_members(network, 2)
    for layer, weight in enumerate(look.weights[:-1]):
        own = torch.linalg.svdvals(weight)
        spectra = look.layer_jacobian_spectra[layer]
        torch.testing.assert_close(spectra[..., : own.shape[-1]], own[:, None].expand(-1, 6, -1), rtol=1e-9, atol=1e-7)
        assert (spectra[..., own.shape[-1] :] < 1e-6).all()  # a matrix of more columns than rows has no others


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("activation", ["groupsort_2", "groupsort_4", "groupsort_8", "absolute"])
def test_an_orthogonal_network_of_isometric_activations_is_an_isometry(activation: Any, biases: bool) -> None:
    """All singular values are 1, of its layers and from end to end, and a layer keeps the length of its input."""
    config = MLPConfig(width=16, depth=4, activation=activation, initialisation="orthogonal", biases=biases)
    look = of_members(MLP(config, 16, 3), 2)
    for spectra in (*look.layer_jacobian_spectra, look.input_output_jacobian_spectra):
        torch.testing.assert_close(spectra, torch.ones_like(spectra), rtol=0, atol=1e-5)
    for hidden in look.activations.values():
        torch.testing.assert_close(hidden.norm(dim=-1), look.x.norm(dim=-1))


@pytest.mark.parametrize("activation", ["crelu", "fourier"])
def test_doubling_activations_are_isometric_layer_by_layer(activation: Any) -> None:
    """Their layers' singular values are 1 for every unit, but a layer forgets half of what the one before shows."""
    config = MLPConfig(width=16, depth=2, activation=activation, initialisation="orthogonal")
    look = of_members(MLP(config, 16, 3), 2)
    for spectra in look.layer_jacobian_spectra:
        torch.testing.assert_close(spectra[..., :16], torch.ones(2, 6, 16, dtype=F64), rtol=0, atol=1e-5)
    assert look.input_output_jacobian_spectra.min() < 0.9


@pytest.mark.parametrize(
    "settings",
    [
        {"activation": "tanh"},
        {"activation": "relu"},
        {"activation": "swish"},
        {"activation": "crelu", "normalisation": "layer"},
        {"activation": "fourier"},
        {"activation": "groupsort_4", "normalisation": "layer_plain"},
        {"activation": "tanh", "normalisation": "layer_plain"},
    ],
    ids=lambda settings: "-".join(settings.values()),
)
def test_autograds_jacobian_is_the_oracle(settings: Any) -> None:
    network = MLP(MLPConfig(width=4, depth=2, **settings), 5, 3)
    look = of_members(network, 3)
    found = values((*LAYER, *WHOLE), look)
    for place in range(3):
        for name, each in expected_of(network, look, place).items():
            reduced = reduce(each)[name[:-2].rpartition("_")[2]]
            # From a Gram matrix small values are known to 2e-14 of the square of the largest over their own.
            assert found[name.removesuffix("/0")][place] == pytest.approx(float(reduced), rel=1e-9, abs=1e-7), name
    for name in LAYER:
        first, second = (torch.tensor(found[f"{name}/{k}"]) for k in (1, 2))
        assert found[name] == pytest.approx(((first + second) / 2).tolist())


def reduce(values: Tensor) -> dict[str, Tensor]:
    """Statistic -> that of all values, by torch's own functions."""
    away = torch.nn.functional.mse_loss(values, torch.ones_like(values)).sqrt()
    spread = values.std(correction=0)
    return {"max": values.max(), "min": values.min(), "mean": values.mean(), "spread": spread, "deviation": away}


def expected_of(network: MLP, look: Look, place: int) -> dict[str, Tensor]:
    """Metric (a whole network's with /0) -> all singular values of one member, by autograd."""
    params = {name: value[place] for name, value in look.params.items()}
    x = look.x[place]
    first = network.apply(params, x)[1][0][1]
    layers = [spectra(lambda h, k=k: network.layer(params, k, h), given) for k, given in enumerate((x, first))]
    whole = spectra(lambda x: network.apply(params, x)[0], x)
    expected = {f"{name}/{k + 1}": layers[k] for name in LAYER for k in (0, 1)}
    return expected | {f"{name}/0": whole for name in WHOLE}


def test_layers_one_by_one_are_the_network() -> None:
    network = MLP(MLPConfig(width=4, depth=3), 5, 3)
    params = network.init(3)
    x = hidden = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=F64)
    for place, (_, expected) in enumerate(network.apply(params, x)[1]):
        hidden = network.layer(params, place, hidden)
        assert torch.equal(hidden, expected)


def test_a_network_of_pictures_has_an_input_output_jacobian() -> None:
    spec = NETWORKS["convnet"]
    network = IMPLEMENTATIONS["convnet"](spec.config(width=1, hidden=3, activation="tanh"), (1, 24, 24), 2)
    params = {name: torch.stack([network.init(k)[name] for k in (1, 2)]) for name in network.init(1)}
    x = torch.randn(2, 3, 576, generator=torch.Generator().manual_seed(1), dtype=F64)
    found = values(WHOLE, Look(network, params, x))
    own = {name: value[1] for name, value in params.items()}
    expected = spectra(lambda x: network.apply(own, x[None])[0][0], x[1])
    assert [found[name][1] for name in WHOLE] == pytest.approx([float(v) for v in reduce(expected).values()])


@pytest.mark.parametrize("activation", ["relu", "tanh", "absolute", "crelu", "fourier", "groupsort_2"])
def test_the_lipschitz_bound_holds(activation: Any) -> None:
    """At no example the output changes by more of the input than the bound says; with linear layers it is reached."""
    look = of_members(MLP(MLPConfig(width=8, depth=2, activation=activation), 5, 3), 3)
    found = values(("lipschitz_bound", "input_output_jacobian_max"), look)
    for bound, measured in zip(found["lipschitz_bound"], found["input_output_jacobian_max"], strict=True):
        assert measured <= bound
    single = of_members(MLP(MLPConfig(depth=0), 5, 3), 3)
    found = values(("lipschitz_bound", "input_output_jacobian_max"), single)
    assert found["lipschitz_bound"] == pytest.approx(found["input_output_jacobian_max"])
