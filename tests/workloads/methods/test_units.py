"""Fresh units by hand: rows, columns (neighbours and not), a norm's tensors, and an optimizer's slots."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from workloads.methods.units import columns_zeroed, forgotten, fresh_biases, fresh_weights, with_fresh_incoming
from workloads.networks.base import Norm, Site
from workloads.networks.config import ConvNetConfig, MLPConfig
from workloads.networks.convnet import ConvNet
from workloads.networks.mlp import MLP
from workloads.random import Draw


def site(units: int, *, parts: int = 1, norm: Norm | None = None) -> Site:
    return Site(
        name="a",
        units=units,
        weight="a.weight",
        bias="a.bias",
        outgoing_weight="b.weight",
        outgoing_bias=None,
        fan_in=1,
        fan_out=1,
        norm=norm,
        parts=parts,
    )


def mask(*units: int, of: int) -> Tensor:
    return torch.tensor([k in units for k in range(of)])


def draw(seed: int = 3, step: int = 5) -> Draw:
    return Draw(torch.tensor(seed), torch.tensor(step), torch.float64)


def test_the_columns_of_several_units_of_a_matrix() -> None:
    matrix = torch.arange(1.0, 7.0).reshape(2, 3)
    assert columns_zeroed(matrix, site(3), mask(0, 2, of=3)).tolist() == [[0, 2, 0], [0, 5, 0]]
    assert torch.equal(columns_zeroed(matrix, site(3), mask(of=3)), matrix)


def test_neighbouring_columns_behind_a_flattened_picture() -> None:
    flat = torch.arange(1.0, 13.0).reshape(2, 6)  # two places: unit 1 owns columns 2 and 3
    assert columns_zeroed(flat, site(3), mask(1, of=3)).tolist() == [[1, 2, 0, 0, 5, 6], [7, 8, 0, 0, 11, 12]]


def test_columns_far_apart_where_a_unit_shows_two_activations() -> None:
    matrix = torch.arange(1.0, 13.0).reshape(2, 6)  # three units of two parts: unit 1 owns columns 1 and 4
    found = columns_zeroed(matrix, site(3, parts=2), mask(1, of=3))
    assert found.tolist() == [[1, 0, 3, 4, 0, 6], [7, 0, 9, 10, 0, 12]]
    places = torch.arange(1.0, 9.0).reshape(1, 8)  # two units of two parts at two places: 0 owns 0, 1 and 4, 5
    assert columns_zeroed(places, site(2, parts=2), mask(0, of=2)).tolist() == [[0, 0, 3, 4, 0, 0, 7, 8]]


def test_the_kernels_that_read_a_channel() -> None:
    kernel = torch.arange(1.0, 17.0).reshape(2, 2, 2, 2)
    found = columns_zeroed(kernel, site(2), mask(1, of=2))
    assert found[:, 1].abs().max() == 0 and torch.equal(found[:, 0], kernel[:, 0])


def test_a_fresh_unit_has_new_rows_and_the_norms_beginnings() -> None:
    norm = Norm("batch", "n.weight", "n.bias", "n.mean", "n.var")
    old = {name: torch.full((2,), 7.0) for name in ("a.bias", "n.weight", "n.bias", "n.mean", "n.var")}
    old["a.weight"] = torch.zeros(2, 3)
    new = with_fresh_incoming(old, site(2, norm=norm), mask(1, of=2), torch.ones(2, 3), torch.tensor(0.5))
    assert new["a.weight"].tolist() == [[0, 0, 0], [1, 1, 1]] and new["a.bias"].tolist() == [7, 0.5]
    assert [new[f"n.{kind}"].tolist() for kind in ("weight", "bias", "mean", "var")] == [[7, 1], [7, 0], [7, 0], [7, 1]]


def test_an_optimizer_forgets_what_is_renewed_and_keeps_counts_of_whole_parameters() -> None:
    shapes = {"a.weight": (2, 3), "a.bias": (2,), "n.weight": (2,), "b.weight": (1, 4)}
    params = {name: torch.zeros(shape) for name, shape in shapes.items()}
    crelu = site(2, parts=2, norm=Norm("layer", "n.weight"))
    slot = forgotten({n: torch.ones_like(v) for n, v in params.items()}, params, crelu, mask(0, of=2))
    assert slot["a.weight"].tolist() == [[0, 0, 0], [1, 1, 1]] and slot["a.bias"].tolist() == [0, 1]
    assert slot["n.weight"].tolist() == [0, 1] and slot["b.weight"].tolist() == [[0, 1, 0, 1]]
    steps = {name: torch.tensor(9.0) for name in params}
    assert forgotten(steps, params, crelu, mask(0, of=2)) == steps


@pytest.mark.parametrize("initialisation", ["kaiming", "default", "orthogonal"])
def test_fresh_weights_are_distributed_as_at_the_beginning(initialisation: str) -> None:
    network = MLP(MLPConfig(width=200, depth=1, initialisation=initialisation), 300, 1)  # type: ignore[arg-type]
    fresh = fresh_weights(network, network.sites[0], draw(), "test")
    first = network.init(0)["layers.0.weight"]
    assert fresh.shape == first.shape and not torch.equal(fresh, first)
    assert fresh.square().mean().item() == pytest.approx(first.square().mean().item(), rel=0.02)
    assert torch.equal(fresh, fresh_weights(network, network.sites[0], draw(), "test"))
    assert not torch.equal(fresh, fresh_weights(network, network.sites[0], draw(step=6), "test"))


def test_fresh_kernels_and_biases_of_torchs_default() -> None:
    network = ConvNet(ConvNetConfig(width=4, hidden=8), (3, 32, 32), 2)
    site = network.sites[1]
    bound = math.sqrt(1 / site.fan_in)
    weights, biases = fresh_weights(network, site, draw(), "test"), fresh_biases(network, site, draw(), "test")
    assert weights.shape == (8, 4, 3, 3) and 0.9 * bound < weights.abs().max() <= bound
    assert biases.shape == (8,) and 0.5 * bound < biases.abs().max() <= bound
