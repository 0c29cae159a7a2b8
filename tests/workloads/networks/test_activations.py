"""Every activation the config allows exists, with its value, gain and a derivative that can be batched."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from workloads.networks.activations import ACTIVATIONS, GAINS
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
}


def test_the_tables_hold_exactly_what_the_config_allows() -> None:
    assert set(ACTIVATIONS) == set(GAINS) == set(get_args(MLPActivation)) == {*AT_MINUS_2, "crelu"}


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


def test_gains() -> None:
    rectifiers = ("relu", "leaky_relu", "elu", "swish", "crelu")
    assert {GAINS[name] for name in rectifiers} == {math.sqrt(2)}
    assert GAINS["tanh"] == 5 / 3
    assert GAINS["sigmoid"] == GAINS["linear"] == GAINS["selu"] == 1.0
