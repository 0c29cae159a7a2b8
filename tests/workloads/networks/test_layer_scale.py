"""A learned scalar per hidden layer: by hand, where it acts, what sees it, and what methods do with it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from workloads.diagnostics.isometry import isometry_deviation
from workloads.diagnostics.look import Look
from workloads.diagnostics.measure import measure
from workloads.methods.config import (
    ContinualBackpropConfig,
    L2InitConfig,
    ResetConfig,
    SpectralRegularisationConfig,
    WeightClippingConfig,
)
from workloads.methods.continual_backprop import ContinualBackprop
from workloads.methods.generators import scaled_to
from workloads.methods.l2_init import L2Init
from workloads.methods.reset import Reset
from workloads.methods.spectral_regularisation import SpectralRegularisation
from workloads.methods.weight_clipping import WeightClipping
from workloads.networks.config import NETWORKS, MLPConfig
from workloads.networks.mlp import MLP
from workloads.settings import written

F64 = torch.float64
NAMES = ("layers.0.scale", "layers.1.scale")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def scaled(network: MLP, *scales: float) -> dict[str, Tensor]:
    """Initial parameters at these scales."""
    values = zip(network.scales, scales, strict=True)
    return network.init(1) | {name: torch.tensor([value], dtype=F64) for name, value in values}


def test_forward_by_hand() -> None:
    """(1, 2) -> W x = (-1, 3), times 2 plus the bias (-1.5, 5) -> (0, 5); the head is not scaled."""
    network = MLP(MLPConfig(width=2, depth=1, layer_scale=True), 2, 1)
    params = {
        "layers.0.weight": torch.tensor([[1.0, -1.0], [2.0, 0.5]]),
        "layers.0.bias": torch.tensor([0.5, -1.0]),
        "layers.0.scale": torch.tensor([2.0]),
        "layers.1.weight": torch.tensor([[3.0, -2.0]]),
        "layers.1.bias": torch.tensor([0.25]),
    }
    x = torch.tensor([[1.0, 2.0]])
    output, activations = network.apply(params, x)
    assert output.tolist() == [[-9.75]] and activations[0][1].tolist() == [[0.0, 5.0]]
    assert network.layer(params, 0, x).tolist() == [[0.0, 5.0]]


def test_every_hidden_layer_has_one_that_begins_at_1_and_the_head_none() -> None:
    network = MLP(MLPConfig(width=5, depth=2, layer_scale=True), 7, 3)
    plain = MLP(MLPConfig(width=5, depth=2), 7, 3)
    shapes = network.parameter_shapes()
    assert network.scales == NAMES and plain.scales == ()
    assert [shapes[name] for name in NAMES] == [(1,), (1,)]
    assert shapes.keys() - plain.parameter_shapes().keys() == set(NAMES)
    params, x = network.init(3), normal(4, 7)
    assert [params[name].tolist() for name in NAMES] == [[1.0], [1.0]]
    torch.testing.assert_close(network.apply(params, x)[0], plain.apply(plain.init(3), x)[0])
    assert [(site.scale, site.outgoing_scale) for site in network.sites] == [NAMES, ("layers.1.scale", None)]
    assert network.weights == plain.weights  # what methods of weight matrices act on


def test_it_is_counted_and_unsaid_where_it_is_off() -> None:
    for biases, depth, kind in itertools.product((True, False), (1, 3), ("none", "layer", "online")):
        settings: Any = {"width": 5, "depth": depth, "biases": biases, "normalisation": kind, "layer_scale": True}
        assert MLPConfig(**settings).parameters(7, 3) == MLP(MLPConfig(**settings), 7, 3).parameter_count()
    assert MLPConfig(depth=0, layer_scale=True) == MLPConfig(depth=0)  # no hidden layer
    assert "layer_scale" not in written(MLPConfig()) and written(MLPConfig(layer_scale=True))["layer_scale"] is True
    scaled = NETWORKS["mlp"].scaled
    assert scaled(MLPConfig(layer_scale=True)) and not scaled(MLPConfig()) and not scaled(MLPConfig(depth=0))


@pytest.mark.parametrize("activation", ["groupsort_2", "relu", "leaky_relu", "absolute", "crelu"])
def test_without_biases_it_is_the_same_before_and_after_a_homogeneous_activation(activation: Any) -> None:
    network = MLP(MLPConfig(width=4, depth=2, activation=activation, biases=False, layer_scale=True), 5, 3)
    x = normal(6, 5)
    output, activations = network.apply(scaled(network, 0.5, 3.0), x)
    plain, without = network.apply(scaled(network, 1.0, 1.0), x)
    torch.testing.assert_close(output, 1.5 * plain)
    torch.testing.assert_close(activations[0][1], 0.5 * without[0][1])
    torch.testing.assert_close(activations[1][1], 1.5 * without[1][1])


def test_a_norm_takes_it_back() -> None:
    """It stands before the norm, as the weights whose map it scales."""
    network = MLP(MLPConfig(width=6, depth=1, biases=False, normalisation="layer_plain", layer_scale=True), 5, 3)
    x = normal(4, 5)
    found, plain = (network.apply(scaled(network, scale), x)[0] for scale in (20.0, 1.0))
    torch.testing.assert_close(found, plain, rtol=1e-3, atol=1e-3)  # but for what is added to variances


@pytest.mark.parametrize("biases", [True, False])
def test_what_is_of_the_function_sees_it_and_what_is_of_matrices_does_not(biases: bool) -> None:
    """As of a network whose weights are the products, but for its tangent kernel, by the parameters there are."""
    network = MLP(MLPConfig(width=6, depth=2, activation="tanh", biases=biases, layer_scale=True), 5, 3)
    plain = MLP(MLPConfig(width=6, depth=2, activation="tanh", biases=biases), 5, 3)
    params = scaled(network, -0.5, 3.0)
    whole = {name: value for name, value in params.items() if name not in NAMES}
    products = whole | {f"layers.{k}.weight": params[NAMES[k]] * params[f"layers.{k}.weight"] for k in range(2)}
    x = normal(4, 5)
    looks = [
        Look(net, {name: value[None] for name, value in own.items()}, x[None])
        for net, own in ((network, params), (plain, products), (plain, whole))
    ]
    function = ("lipschitz_bound", "layer_jacobian_max", "input_output_jacobian_min", "effective_rank")
    matrices = ("isometry_deviation", "singular_value_max", "singular_value_min", "weight_magnitude")
    for names, same in ((function, looks[1]), (matrices, looks[2])):
        found, expected = measure(names, looks[0]), measure(names, same)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-12)
    assert isometry_deviation(looks[1].weights) != isometry_deviation(looks[2].weights)

    def outputs(*values: Tensor) -> Tensor:
        return network.apply(dict(zip(params, values, strict=True)), x)[0].flatten()

    jacobian = torch.autograd.functional.jacobian(outputs, tuple(params.values()))
    dense = torch.cat([part.flatten(1) for part in jacobian], 1)
    expected = torch.linalg.svdvals(dense) ** 2
    torch.testing.assert_close(looks[0].tangent_kernel_spectrum[0], expected, rtol=1e-9, atol=1e-11)


def test_methods_that_leave_a_norms_gain_alone_leave_it_alone() -> None:
    network = MLP(MLPConfig(width=5, depth=2, layer_scale=True), 7, 3)
    assert not set(NAMES) & set(L2Init(L2InitConfig(), network).names)
    assert not set(NAMES) & set(WeightClipping(WeightClippingConfig(), network).units)
    assert set(NAMES) < set(Reset(ResetConfig(what="all"), network).names)
    assert not set(NAMES) & set(Reset(ResetConfig(what="head"), network).names)


def test_spectral_regularisation_pulls_it_to_1_as_a_gain() -> None:
    network = MLP(MLPConfig(width=5, depth=2, layer_scale=True), 7, 3)
    method = SpectralRegularisation(SpectralRegularisationConfig(), network)
    assert method.vector_pull(NAMES[0], torch.tensor([3.0])).tolist() == [4.0]


def test_a_replaced_unit_leaves_it_and_its_mean_passes_through_the_next_layers() -> None:
    """Unit 0 of the first layer, f̂ = 2, w_out = (3, -1), next layer's scale 0.5: its bias moves by (3, -1)."""
    network = MLP(MLPConfig(width=2, depth=2, layer_scale=True), 2, 1)
    method = ContinualBackprop(ContinualBackpropConfig(preset="paper", utility_decay=0.5), network)
    params = scaled(network, 4.0, 0.5) | {"layers.1.weight": torch.tensor([[3.0, 7.0], [-1.0, 7.0]], dtype=F64)}
    state = {"age": {"layers.0": torch.ones(2)}, "mean": {"layers.0": torch.tensor([1.0, 9.0])}}  # f̂ = f / (1 - 0.5)
    moved = method.with_moved_bias(params, state, network.sites[0], torch.tensor([True, False]))
    assert moved["layers.1.bias"].tolist() == pytest.approx([3, -1])
    assert all(moved[name] is params[name] for name in NAMES)


@pytest.mark.parametrize("biases", [True, False])
def test_a_fresh_unit_that_is_scaled_by_data_has_the_second_moment_of_the_scaled_layer(biases: bool) -> None:
    """All 32 settings of five bits, by a plain loop; as `test_generators` without a scale."""
    x = torch.tensor(list(itertools.product([0.0, 1.0], repeat=5)), dtype=F64)
    weight, bias, factor = normal(4, 5), normal(4, seed=1) if biases else None, torch.tensor([-2.5], dtype=F64)
    row, shift = scaled_to(normal(5, seed=2), weight, bias, x.mean(0), x.square().mean(0), factor)
    moments = [(factor * (x @ w) + (0 if bias is None else bias[k])).square().mean() for k, w in enumerate(weight)]
    z = factor * (x @ row) + (shift if biases else 0)
    assert z.square().mean().item() == pytest.approx(sum(moments).item() / 4)
    assert not biases or z.mean().item() == pytest.approx(0, abs=1e-12)
