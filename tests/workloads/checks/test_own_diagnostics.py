"""A user's diagnostic is tried before it is used: what it reads, its shape, members apart; those that ship pass."""

from __future__ import annotations

import math

import configs
import pytest

from workloads.checks.diagnostics import check_diagnostic
from workloads.diagnostics import DIAGNOSTICS
from workloads.errors import InputError
from workloads.extensions import load_code
from workloads.training.pack import PackMember

pytestmark = pytest.mark.usefixtures("without_own_code")

SOURCE = """\
import numpy as np
import torch
from workloads.diagnostics.base import Diagnostic

class Kurtosis(Diagnostic):
    \"\"\"How heavy the tails of the weights are: E[w^4] / E[w^2]^2.\"\"\"

    needs = ("weights",)
    semantics = 1

    def measure(self, look):
        flat = torch.cat([weight.flatten(1) for weight in look.weights], 1).double()
        return (flat**4).mean(1) / (flat**2).mean(1) ** 2

DIAGNOSTICS = {"own": Kurtosis}
"""
RETURN = "return (flat**4).mean(1) / (flat**2).mean(1) ** 2"


def members(count: int, depth: int = 2) -> list[PackMember]:
    network = {"name": "mlp", "width": 4, "depth": depth, "killed": "flipped"}
    own = {"network": network, "methods": {"continual_backprop": {}}}  # units that were silenced, and that have ages
    return [PackMember(f"t{seed}", configs.small(seed, **own)) for seed in range(count)]


def check(source: str, count: int = 4) -> dict[str, float]:
    load_code({"own.py": source})
    return check_diagnostic("own", members(count), "own.py")


@pytest.mark.parametrize("count", [1, 4])
def test_what_is_right_passes_and_is_measured(count: int) -> None:
    found = check(SOURCE, count)
    assert found.keys() == {"own"} and 1 < found["own"] < 4  # of uniform weights 1.8, of matrices of two scales more
    assert DIAGNOSTICS["own"].meaning == "How heavy the tails of the weights are: E[w^4] / E[w^2]^2"


MANY = SOURCE.replace("semantics = 1", "semantics = 1\n    deciles = True").replace(
    RETURN, "return [w.flatten(1) for w in look.weights]"
)
LAYERED = SOURCE.replace("semantics = 1", "semantics = 1\n    per_layer = True")
WRONG = {
    "not named": (
        SOURCE.replace('weights",)', 'features",)'),
        r"own reads weights of .* which has \['features'\]$",
    ),
    "not read": (SOURCE.replace('weights",)', 'weights", "activity")'), "own needs activity and does not read it"),
    "no gradients": (
        SOURCE.replace(RETURN, "return look.gradients"),
        "own.py:13: ValueError: a look without",
    ),
    "one number": (SOURCE.replace(RETURN, "return flat.mean()"), r"of a value per member, \(4,\), not float64 \(\)$"),
    "whole numbers": (SOURCE.replace(RETURN, "return (flat > 0).sum(1)"), r"\(4,\), not int64 \(4,\)$"),
    "no list of many": (
        MANY.replace("[w.flatten(1) for w in look.weights]", "flat"),
        r"has deciles: a list of .*, is expected, not float64 \(4, 100\)",
    ),
    "a list of numbers": (
        MANY.replace("w.flatten(1)", "w.sum((1, 2))"),
        r"tensors \(4, K\), .*, not one of float32 \(4,\)",
    ),
    "a list": (SOURCE.replace(RETURN, "return [flat.mean(1)]"), "per hidden layer, with per_layer = True, not list"),
    "no list": (LAYERED, r"own is per_layer: a list of 2 tensors \(4,\) is expected, not float64 \(4,\)"),
    "all matrices": (
        LAYERED.replace(RETURN, "return [w.mean((1, 2)) for w in look.weights]"),
        "a list of 2 tensors .* not list",
    ),
    "over members": (
        SOURCE.replace(RETURN, "return flat.mean(1) - flat.mean()"),
        "another value alone than among",
    ),
    "spoilt by a neighbour": (
        SOURCE.replace(RETURN, "return flat.mean(1) * (1 if flat.isfinite().all() else 2)"),
        "gives members another value beside one whose numbers are not finite",
    ),
    "drawn": (SOURCE.replace(RETURN, "return flat.mean(1) + torch.rand(1)"), "another value when it is asked again"),
    "in place": (
        SOURCE.replace("flat = ", "look.weights[0].mul_(2); flat = "),
        "changes tensors of the look",
    ),
    "a mistake": (SOURCE.replace(RETURN, "return flat.men(1)"), "own.py:13: AttributeError: 'Tensor' object has no"),
}


def test_many_values_of_a_matrix_pass_and_are_measured_as_deciles() -> None:
    found = check(MANY)
    assert {"own", "own/1", "own/1/0", "own/3/10"} <= found.keys() and found["own/2/0"] < found["own/2/10"]


@pytest.mark.parametrize(("source", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said(source: str, said: str) -> None:
    assert source != SOURCE
    with pytest.raises(InputError, match=said) as raised:
        check(source)
    assert str(raised.value).startswith("own.py:")


@pytest.mark.parametrize("name", DIAGNOSTICS)
def test_every_diagnostic_that_ships_is_accepted(name: str) -> None:
    found = check_diagnostic(name, members(3), "shipped.py")
    assert all(math.isfinite(value) for value in found.values()) and name in found
