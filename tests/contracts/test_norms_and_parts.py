"""Norms, dropout, scales and isometric activations on every path that takes them; units are replaced."""

from __future__ import annotations

import compilers
import pytest
import torch
from packs import Arm, Pack, Shape, data, making

from workloads import paths
from workloads.checks.contracts import disagreement
from workloads.engine.parts import parts_of
from workloads.errors import InputError
from workloads.learner import Learner

REPLACING = Arm("sgd", ("continual_backprop",), {"preset": "paper"})
RECYCLING = Arm("adam", ("redo",), {"reset_optimizer": "all"})


def shape(activation: str, normalisation: str) -> Shape:
    return Shape(3, 2, 4, 2, "cross_entropy", 1, activation, normalisation)


def sorting(size: int, normalisation: str = "none") -> Shape:
    return Shape(8, 2, 4, 2, "cross_entropy", 2, f"groupsort_{size}", normalisation)


CASES = [("crelu", "none"), ("relu", "layer_plain"), ("crelu", "layer")]
ALSO = [*CASES, ("fourier", "none"), ("absolute", "layer")]


@pytest.mark.parametrize(
    ("activation", "normalisation", "path"), [*((*case, "lifted") for case in CASES), (*CASES[-1], "lanes")]
)
def test_a_path_is_looped(activation: str, normalisation: str, path: str) -> None:
    own = shape(activation, normalisation)
    x, y = data(own, 40, streams=2, dtype=torch.float64)
    assert disagreement(making(REPLACING, own), x, y, path, range(3)) < 1e-9


@pytest.mark.parametrize(("activation", "normalisation"), CASES)
def test_recycling_on_a_path_is_looped(activation: str, normalisation: str) -> None:
    own = shape(activation, normalisation)
    x, y = data(own, 30, streams=2, dtype=torch.float64)
    make = making(RECYCLING, own)
    assert disagreement(make, x, y, "lifted", range(3)) < 1e-9
    assert make([0], "looped").train(x, y).state()["state"]["replaced"].item() > 0


@pytest.mark.slow
def test_the_compiled_program_is_looped() -> None:
    own = shape("crelu", "layer")
    x, y = data(own, 40, streams=2, dtype=torch.float64)
    assert disagreement(making(REPLACING, own, compiled=True), x, y, "lifted", range(3)) < 1e-9


@pytest.mark.parametrize(("activation", "normalisation"), CASES)
def test_online_is_looped(activation: str, normalisation: str) -> None:
    own = shape(activation, normalisation)
    x, y = data(own, 40, streams=2, dtype=torch.float64)
    for arm in (Arm("sgd", ("l2_init",)), REPLACING, Arm("adamo")):
        assert disagreement(making(arm, own), x, y, "online", range(3)) < 1e-9
    learner = Learner(own.network, "cross_entropy", *Arm("upgd").configs(0))  # type: ignore[arg-type]
    said = paths.refusal("online", parts_of(learner))
    assert said is not None and said.startswith("online does not take upgd together with mlp with ")


@pytest.mark.parametrize(
    ("size", "normalisation", "path"),
    [
        (2, "layer", "lifted"),
        (2, "layer", "lanes"),
        (8, "none", "online"),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in [(8, "none", "lanes"), (2, "layer", "online")]),
    ],
)
def test_a_path_is_looped_where_units_are_sorted(size: int, normalisation: str, path: str) -> None:
    own = sorting(size, normalisation)
    x, y = data(own, 40, streams=2, dtype=torch.float64)
    assert disagreement(making(Arm("sgd", ("l2_init",)), own), x, y, path, range(3)) < 1e-9


@pytest.mark.parametrize("path", ["lifted", pytest.param("lanes", marks=pytest.mark.slow), "online"])
def test_running_statistics_and_dropout_on_a_path_are_looped(path: str) -> None:
    """A batch of two; replaced units begin their statistics anew, and their mask is drawn like all others'."""
    own = Shape(3, 2, 4, 2, "cross_entropy", 2, normalisation="online", dropout=0.3)
    x, y = data(own, 40, streams=2, dtype=torch.float64)
    assert disagreement(making(REPLACING, own), x, y, path, range(3)) < 1e-9
    state = making(REPLACING, own)([0, 1], "looped").train(x, y).state()["state"]
    assert state["replaced"].min() > 0 and (state["buffers"]["layers.1.norm.mean"] != 0).any()


@pytest.mark.parametrize("path", ["lifted", pytest.param("lanes", marks=pytest.mark.slow), "online"])
def test_layer_scales_on_a_path_are_looped(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Units are replaced, and their means pass through the next layer's scale."""
    compilers.lightly(monkeypatch)
    own = Shape(3, 2, 4, 2, "cross_entropy", 2, layer_scale=True)
    x, y = data(own, 40, streams=2, dtype=torch.float64)
    assert disagreement(making(REPLACING, own), x, y, path, range(3)) < 1e-9
    state = making(REPLACING, own)([0, 1], "looped").train(x, y).state()
    assert state["state"]["replaced"].min() > 0 and (state["params"]["layers.1.scale"] != 1).all()


@pytest.mark.parametrize("activation", [pytest.param("absolute", marks=pytest.mark.slow), "fourier"])
def test_units_of_isometric_activations_are_replaced_online(activation: str) -> None:
    own = shape(activation, "none")
    x, y = data(own, 40, streams=2, dtype=torch.float64)
    assert disagreement(making(REPLACING, own), x, y, "online", range(3)) < 1e-9


@pytest.mark.parametrize("arm", [REPLACING, RECYCLING], ids=str)
def test_units_that_are_sorted_are_not_renewed(arm: Arm) -> None:
    """To be replaced one by one they would have to show something of their own, and a fresh one would move others'."""
    said = f"{arm.methods[0]} renews units one by one, and where groups of 4 are sorted no activation is one unit's own"
    with pytest.raises(InputError, match=said):
        Learner(sorting(4).network, "cross_entropy", *arm.configs(0))  # type: ignore[arg-type]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_recycling_online_is_looped(optimizer: str) -> None:
    """As seldom as online takes it; twice within these steps, so also from sums that began at 0."""
    own, arm = shape(*CASES[-1]), Arm(optimizer, ("redo",), {"period": 100})
    x, y = data(own, 250, streams=2, dtype=torch.float64)
    assert disagreement(making(arm, own), x, y, "online", range(3)) < 1e-8
    assert making(arm, own)([0], "looped").train(x, y).state()["state"]["replaced"].item() > 0


def test_projecting_rarely_online_is_looped() -> None:
    """As seldom as online takes it; in the first step, and twice later."""
    own, arm = shape("relu", "layer_plain"), Arm("sgd", ("normalise_and_project",), {"every": 100})
    x, y = data(own, 210, streams=2, dtype=torch.float64)
    assert disagreement(making(arm, own), x, y, "online", range(3)) < 1e-9


@pytest.mark.parametrize(("activation", "normalisation"), ALSO)
def test_replaced_units_begin_anew(activation: str, normalisation: str) -> None:
    """After the last repair of a step both columns of a newborn are 0, and its gain and shift are 1 and 0."""
    own = shape(activation, normalisation)
    x, y = data(own, 60, streams=1, dtype=torch.float64)
    replaced = 0
    pack = Pack(REPLACING, own, [1], path="looped", streams=1)
    for step in range(60):
        pack.train(x[step : step + 1], y[step : step + 1])
        state = pack.state()
        ages = state["state"]["continual_backprop"]["age"]
        for site in own.network.sites:
            born = ages[site.name][0] == 0
            replaced += int(born.sum())
            outgoing = state["params"][site.outgoing_weight][0].reshape(-1, site.parts, site.units)
            following = next((s.name for s in own.network.sites if s.weight == site.outgoing_weight), None)
            # What a newborn of the next layer reads was drawn anew after it was cut here.
            older = ages[following][0] > 0 if following else slice(None)
            assert outgoing[older][:, :, born].abs().sum() == 0
            assert (state["params"][site.bias][0][born] == 0).all()
            for name, value in (site.norm.fresh if site.norm else {}).items():
                assert (state["params"][name][0][born] == value).all()
    assert replaced > 5
