"""What optimizers and methods declare of products of matrices is what an update computes, by torch's count."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from packs import Arm, Pack, Shape
from torch.utils.flop_counter import FlopCounterMode

from workloads.methods.config import METHODS, OPTIMIZERS
from workloads.random import Draw

SHAPE = Shape(width=24, depth=3, inputs=40, outputs=3, loss="cross_entropy", batch=2)
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("adamo", {"projection": 4}),
    ("muon", {"iterations": 2}),
    ("muon", {"isometry_strength": 1.0}),
]


def products(arm: Arm) -> float:
    """Of every weight matrix with one of its smaller side, as the update after a first gradient computes them."""
    learner = Pack(arm, SHAPE, [0], path="plain", streams=1).learner
    network, (optimizer, methods) = SHAPE.network, arm.configs(0)
    params = network.init(0)
    hyper = {
        who: {name: torch.tensor(value, dtype=torch.float64) for name, value in own.items()}
        for who, own in learner.hyper_of(optimizer[1], methods).items()
    }
    hidden = dict(network.apply(params, torch.ones(SHAPE.batch, SHAPE.inputs, dtype=torch.float64))[1])
    draw = Draw(torch.tensor(0), torch.tensor(0), torch.float64)
    with FlopCounterMode(display=False) as counted:
        learner.update(params, learner.init(params), hyper, params, hidden, draw, acting=learner.acting(0))
    return counted.get_total_flops() / 2 / SHAPE.width / network.parameter_count()


@pytest.mark.parametrize(
    ("name", "options"), [*((name, {}) for name in (*OPTIMIZERS, *METHODS)), *OPTIONS], ids=lambda part: str(part)
)
def test_products_of_matrices_are_declared(name: str, options: dict[str, Any]) -> None:
    """In a step in which it acts, within a half: the head is smaller than what planning takes for all matrices."""
    entry = {**OPTIMIZERS, **METHODS}[name]
    arm = Arm(name, (), options) if name in OPTIMIZERS else Arm("sgd", (name,), options)
    config = arm.configs(0)[0][1] if name in OPTIMIZERS else arm.configs(0)[1][name]
    declared = entry.multiplied(config)
    assert declared / 2 <= products(arm) <= declared * 1.5


def test_seldom_pulls_are_seldom_products() -> None:
    spec = OPTIMIZERS["adamo"]
    assert spec.multiplied(spec.config(every=16)) == spec.multiplied(spec.config()) / 16
