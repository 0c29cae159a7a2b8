"""A user's network is tried before it is used: names, counts, shapes, and that vmap can batch it."""

from __future__ import annotations

from typing import Any

import configs
import pytest

from workloads.checks.learning import check_learning
from workloads.errors import InputError
from workloads.extensions import load_code
from workloads.networks.config import NETWORKS
from workloads.training.pack import PackMember

pytestmark = pytest.mark.usefixtures("without_own_code")

SOURCE = """\
from dataclasses import dataclass, replace
import torch
from workloads.networks.base import Norm
from workloads.networks.mlp import MLP, MLPConfig

class Own(MLP):
    Config, semantics = MLPConfig, 1

    def __init__(self, config, inputs, outputs):
        super().__init__(config, inputs, outputs)
        pass

    def apply(self, params, x):
        output, activations = super().apply(params, x)
        return output, activations

NETWORKS = {"own": Own}
"""
RETURN = "return output, activations"


def trial(seed: int, network: dict[str, Any], workload: dict[str, Any] | None = None) -> PackMember:
    data = {"workload": workload} if workload else {}
    return PackMember(f"t{seed}", configs.small(seed, network=network, code=["own"], **data))


def check(old: str = "", new: str = "") -> None:
    assert old in SOURCE
    load_code({"own.py": SOURCE.replace(old, new)})
    check_learning([trial(seed, {"name": "own", "width": 4, "depth": 2}) for seed in range(2)])


def test_what_is_right_passes() -> None:
    check()
    assert not NETWORKS["own"].layered  # its `apply` is another than the one that MLP's `layer` goes with


WRONG = {
    "a narrow output": (
        RETURN,
        "return output[:, 0], activations",
        r"an output float64 \(1,\), expected \(B, outputs\)",
    ),
    "one value": (RETURN, "return output", r"apply must return \(output, activations\), and returned float64"),
    "activations as a dict": (
        RETURN,
        "return output, dict(activations)",
        r"dict, expected a list of \(layer, tensor\)",
    ),
    "a layer not shown": (
        RETURN,
        "return output, activations[1:]",
        "site layers.0 has 4 units, and apply gives activat",
    ),
    "a head of no name": ("pass", "self.head = 'head'", "head names head, and parameter_shapes"),
    "weights as a word": ("pass", "self.weights = 'layers.0.weight'", "own.py: own: IndexError"),
    "a site of no weight": (
        "pass",
        "self.sites = tuple(replace(site, weight='w') for site in self.sites)",
        "site layers.0 names w, and parameter_shapes",
    ),
    "another number of units": (
        "pass",
        "self.sites = tuple(replace(site, units=5) for site in self.sites)",
        r"site layers.0 has 5 units, and its weight layers.0.weight is \(4, 20\)",
    ),
    "two parts of a unit that shows one": (
        "pass",
        "self.sites = tuple(replace(site, parts=2) for site in self.sites)",
        r"site layers.0 has 4 units of 2 parts, and its outgoing_weight layers.1.weight is \(4, 4\)",
    ),
    "a norm by its prefix": (
        "pass",
        "self.sites = tuple(replace(site, norm='layers.0') for site in self.sites)",
        "site layers.0: norm is 'layers.0', expected a Norm",
    ),
    "a norm of no parameter": (
        "pass",
        "self.sites = tuple(replace(site, norm=Norm('layer', 'gain')) for site in self.sites)",
        "site layers.0: norm names gain, and parameter_shapes",
    ),
    "another number of weights": (
        "semantics = MLPConfig, 1",
        "semantics = MLPConfig, 1\n    def parameter_shapes(self):\n"
        "        return {**super().parameter_shapes(), 'x': (3,)}",
        "Config.parameters says 109 weights, and parameter_shapes.. adds up to 112",
    ),
    "weights of a generator": (
        "semantics = MLPConfig, 1",
        "semantics = MLPConfig, 1\n    def init(self, seed, at=0):\n"
        "        return {n: torch.rand(s, dtype=torch.float64) for n, s in self.parameter_shapes().items()}",
        "gives another layers.0.weight when it is asked again",
    ),
    "a layer of its own that is not the network's": (
        RETURN,
        "return output, [(n, (1 + k) * a) for k, (n, a) in enumerate(activations)]\n\n    layer = MLP.layer",
        r"layer\(1\) gives float64 \(1, 4\), other than the activations of layers.1 in apply",
    ),
    "it raises": (RETURN, "raise ValueError('no')", "own.py:15: ValueError: no"),
    "a branch": (RETURN, "return (output if output.sum() > 0 else -output), activations", "own.py:15: .*control flow"),
}


@pytest.mark.parametrize(("old", "new", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said(old: str, new: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check(old, new)


def test_one_that_cannot_be_batched_runs_one_after_the_other() -> None:
    """`liftable = False`: then members are never together, and a branch is its own affair."""
    branching = SOURCE.replace(RETURN, "return (output if output.sum() > 0 else -output), activations")
    load_code(
        {
            "own.py": branching.replace(
                "Config, semantics = MLPConfig, 1", "Config, semantics, liftable = MLPConfig, 1, False"
            )
        }
    )
    check_learning([trial(seed, {"name": "own", "width": 4, "depth": 2}) for seed in range(2)])


GLYPHS = {"name": "continual_imagenet", "dataset": "glyphs", "classes": 4, "tasks": 2, "epochs": 2, "batch": 4}
SMALL = {"mlp": {"width": 4}, "convnet": {"width": 2, "hidden": 4}, "resnet18": {"width": 2}}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_that_ships_is_accepted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workloads.checks.learning.owner", lambda kind, entry: "x.py" if kind == "NETWORKS" else None)
    workload = {**GLYPHS, "train_per_class": 8} if NETWORKS[name].pictures else None
    check_learning([trial(seed, {"name": name, **SMALL[name]}, workload) for seed in range(2)])
