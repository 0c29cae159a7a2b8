"""What entries declare of the paths is what the paths do with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import compilers
import pytest
import torch
from fingerprints import cases
from packs import LARGE, SMALL_CLASSES, TINY, Arm, Pack, PictureShape, Shape, data, distance, leaves, takes
from torch import Tensor

from workloads.engine.lanes import Program
from workloads.engine.layout import in_order, mapped
from workloads.engine.trace import NotLowered
from workloads.errors import InputError
from workloads.losses import LOSSES
from workloads.methods.config import METHODS, OPTIMIZERS
from workloads.networks.config import NETWORKS

F64 = torch.float64
ENTRIES: dict[str, Any] = {**OPTIMIZERS, **METHODS, **NETWORKS}
CASES = {name: case for name, case in cases().items() if not name.startswith("engine")}
OPTIONS = [name for name in CASES if len(name.split()) > 3 or "resnet18" in name]  # which takes as long as all others


def slowly(name: str) -> Any:
    """The case of that name, marked slow where it is an option's."""
    return pytest.param(name, marks=[pytest.mark.slow] * (name in OPTIONS))


def lowered(arm: Arm, shape: Shape | PictureShape, x: Tensor, y: Tensor) -> bool:
    """Whether the step has C++ for lanes; not compiled. x, y: a step of one stream."""
    pack = Pack(arm, shape, [0], path="plain", streams=1)
    tree, hyper = pack.engine.state(), pack.hyper
    one = {name: mapped(lambda v: v[0], tree[name]) for name in ("params", "state", "loss", "correct")}
    try:
        Program(pack.learner, one, mapped(lambda v: v[0], hyper), x[0, 0], y[0, 0]).source()
    except NotLowered:
        return False
    return True


@pytest.mark.parametrize("name", ENTRIES)
def test_what_ships_declares_every_path(name: str) -> None:
    entry = ENTRIES[name]
    assert isinstance(entry.paths.lanes, bool), "only a user's class may leave it to tracing"
    assert entry.paths.online is not None, "only a user's class may leave it to tracing"
    fields = {field.name for field in dataclasses.fields(entry.config)}
    for path in ("lifted", "lanes", "online", "written"):
        takes = entry.paths.of(path)
        if isinstance(takes, Mapping):
            assert set(takes) == fields, f"{path} says nothing of some setting, so {name} would never take it"
            assert all(takes[varying] is True for varying in getattr(entry, "varies", ()))


@pytest.mark.parametrize("name", [slowly(name) for name in CASES])
def test_lanes_lower_what_declares_them_and_nothing_else(name: str) -> None:
    case = CASES[name]
    x, y = data(case.shape, 1, streams=1, dtype=F64)
    assert lowered(case.arm, case.shape, x, y) == takes("lanes", case.arm, case.shape)


@pytest.mark.parametrize("name", [slowly(name) for name, case in CASES.items() if isinstance(case.shape, Shape)])
def test_online_is_plain_wherever_it_declares_to_take_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    if name in OPTIONS:
        compilers.lightly(monkeypatch)
    if not takes("online", case.arm, case.shape):
        with pytest.raises(InputError, match="online does not take"):
            case.trained("online")
    elif "=0.5" not in name:  # a number changes no program
        assert distance(case.trained(), case.trained("online")) < 1e-10


@pytest.mark.parametrize("loss", LOSSES)
def test_lanes_lower_the_losses_that_declare_them(loss: str) -> None:
    shape = replace(SMALL_CLASSES, loss=loss)
    x, y = data(replace(shape, loss="cross_entropy") if LOSSES[loss].classes else shape, 1, streams=1, dtype=F64)
    if LOSSES[loss].counted:
        y = torch.stack([y, torch.full_like(y, shape.outputs)], -1)
    assert lowered(Arm("sgd"), shape, x, y) == LOSSES[loss].paths.lanes


@pytest.mark.parametrize("name", {**OPTIMIZERS, **METHODS})
def test_what_is_held_is_declared(name: str) -> None:
    entry = ENTRIES[name]
    arm = Arm(name) if name in OPTIMIZERS else Arm("sgd", (name,))
    learner = Pack(arm, LARGE, [0], path="plain", streams=1).learner
    held = learner.init(LARGE.network.init(0))["optimizer" if name in OPTIMIZERS else name]
    weights = sum(value.numel() for value in LARGE.network.init(0).values())
    declared = entry.held((learner.optimizer if name in OPTIMIZERS else learner.methods[name]).config)
    kept = round(sum(value.numel() for value in leaves(held)) / weights)
    assert kept <= declared <= kept + 3, "what an update is worked out in counts beside it, no more than that"


# Rows orthogonal to those there are make sums that are 0 but for rounding, at which relu has its kink and paths part.
SMOOTH = replace(SMALL_CLASSES, activation="tanh")


@pytest.mark.parametrize(
    ("path", "shape", "utility", "generator"),
    [
        ("lanes", TINY, "taylor_loss", "scaled"),
        pytest.param("lanes", SMOOTH, "taylor_output", "orthogonal", marks=pytest.mark.slow),
        ("online", LARGE, "taylor_loss", "scaled"),
        pytest.param("online", LARGE, "taylor_loss", "orthogonal", marks=pytest.mark.slow),
        ("lifted", LARGE, "taylor_output", "orthogonal"),
    ],
)
def test_effects_of_units_and_their_generators_are_those_of_plain(
    path: str, shape: Shape, utility: str, generator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compilers.lightly(monkeypatch)
    arm = Arm("adam", ("continual_backprop",), {"utility": utility, "feature_generator": generator})
    x, y = data(shape, 25, streams=1, dtype=F64)
    plain, other = (Pack(arm, shape, [0], path=own, streams=1).train(x, y).state() for own in ("plain", path))
    assert int(plain["state"]["replaced"]) > 5
    shared = in_order({name: other[name] for name in plain}, plain)
    assert distance(plain, shared) < 1e-9
