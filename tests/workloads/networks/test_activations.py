"""Every activation the config allows exists, with its value, gain and a derivative that can be batched."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from dashboards import theme
from workloads.networks.activations import ACTIVATIONS, GAINS, exchanges
from workloads.networks.config import MLPActivation

AT_MINUS_2 = {
    "relu": 0.0,
    "leaky_relu": -0.02,
    "tanh": -0.9640275800758169,
    "sigmoid": 0.11920292202211755,
    "elu": math.exp(-2) - 1,
    "swish": -2 * 0.11920292202211755,
    "selu": 1.0507009873554805 * 1.6732632423543772 * (math.exp(-2) - 1),
    "linear": -2.0,
    "absolute": 2.0,
}
DOUBLING = ("crelu", "fourier")
SORTING = {"groupsort_2": 2, "groupsort_4": 4, "groupsort_8": 8}
F64 = torch.float64


def test_the_tables_hold_exactly_what_the_config_allows() -> None:
    assert set(ACTIVATIONS) == set(GAINS) == set(get_args(MLPActivation)) == {*AT_MINUS_2, *DOUBLING, *SORTING}
    assert set(theme.ACTIVATIONS) == set(ACTIVATIONS), "figures list what they do not know in no order"


@pytest.mark.parametrize("name", AT_MINUS_2)
def test_values_worked_out_by_hand(name: str) -> None:
    value = ACTIVATIONS[name](torch.tensor(-2.0, dtype=torch.float64))
    assert value.item() == pytest.approx(AT_MINUS_2[name], rel=1e-6)


@pytest.mark.parametrize("name", AT_MINUS_2)
def test_derivative_can_be_batched(name: str) -> None:
    x = torch.tensor([-1.5, 0.5, 2.0], dtype=torch.float64)
    slope = torch.func.vmap(torch.func.grad(ACTIVATIONS[name]))(x)
    difference = (ACTIVATIONS[name](x + 1e-6) - ACTIVATIONS[name](x - 1e-6)) / 2e-6
    torch.testing.assert_close(slope, difference, rtol=1e-6, atol=1e-8)


def test_crelu_shows_both_halves_of_every_unit() -> None:
    x = torch.tensor([[-2.0, 3.0], [0.0, 1.0]])
    assert ACTIVATIONS["crelu"](x).tolist() == [[0, 3, 2, 0], [0, 1, 0, 0]]
    slope = torch.func.grad(lambda x: (ACTIVATIONS["crelu"](x) * torch.arange(1.0, 5.0)).sum())(x)
    assert slope.tolist() == [[-3, 2], [0, 2]]


def test_fourier_shows_sine_and_cosine_of_every_unit() -> None:
    x = torch.tensor([[0.0, math.pi / 2]], dtype=F64)
    assert ACTIVATIONS["fourier"](x)[0].tolist() == pytest.approx([0, 1, 1, 0], abs=1e-15)


def test_groups_are_sorted_by_hand() -> None:
    x = torch.tensor([3.0, 1.0, -2.0, 0.0, 7.0, 6.0, 5.0, -4.0])
    assert ACTIVATIONS["groupsort_2"](x).tolist() == [1, 3, -2, 0, 6, 7, -4, 5]
    assert ACTIVATIONS["groupsort_4"](x).tolist() == [-2, 0, 1, 3, -4, 5, 6, 7]
    assert ACTIVATIONS["groupsort_8"](x).tolist() == [-4, -2, 0, 1, 3, 5, 6, 7]


@pytest.mark.parametrize(
    ("name", "size", "pairs"), [("groupsort_2", 2, 1), ("groupsort_4", 4, 5), ("groupsort_8", 8, 19)]
)
def test_exchanges_sort_whatever_the_order(name: str, size: int, pairs: int) -> None:
    """All sequences of zeros and ones, which is all there is to show (Knuth's principle), and numbers with ties."""
    ones = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * size)
    ties = torch.randint(-3, 4, (200, size), generator=torch.Generator().manual_seed(0)).double()
    for x in (ones.double(), ties):
        assert torch.equal(ACTIVATIONS[name](x), x.sort(-1).values)
    assert len(list(exchanges(size))) == pairs


@pytest.mark.parametrize("name", ["absolute", *DOUBLING, *SORTING])
@pytest.mark.parametrize("where", ["anywhere", "all alike"])
def test_isometric_activations(name: str, where: str) -> None:
    """AᵀA = I for the Jacobian A of eight units; where all units are 0 too, but for crelu, which is silent there."""
    x = (where == "anywhere") * torch.randn(8, generator=torch.Generator().manual_seed(1), dtype=F64)
    jacobian = torch.func.jacrev(ACTIVATIONS[name])(x)
    if name in SORTING:
        assert (jacobian == 1).sum() == 8 and (jacobian != 0).sum() == 8
        torch.testing.assert_close(jacobian @ x, ACTIVATIONS[name](x))
    if where == "anywhere" or name != "crelu":
        torch.testing.assert_close(jacobian.T @ jacobian, torch.eye(8, dtype=F64))


@pytest.mark.parametrize("name", ["relu", "absolute", *DOUBLING, *SORTING])
def test_gains_keep_the_scale_of_a_signal(name: str) -> None:
    """Weights of variance g² / fan_in make of activations of normal units units of variance 1 again."""
    hidden = ACTIVATIONS[name](torch.randn(4000, 64, generator=torch.Generator().manual_seed(0), dtype=F64))
    assert GAINS[name] ** 2 * hidden.square().mean().item() == pytest.approx(1, abs=0.02)


def test_gains() -> None:
    rectifiers = ("relu", "leaky_relu", "elu", "swish", *DOUBLING)
    assert {GAINS[name] for name in rectifiers} == {math.sqrt(2)}
    assert GAINS["tanh"] == 5 / 3
    assert {GAINS[name] for name in ("sigmoid", "linear", "selu", "absolute", *SORTING)} == {1.0}
