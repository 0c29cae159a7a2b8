"""The online path against the looped one, and its own affairs: rows that sleep, noise owed, running sums."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import make_dataclass, replace
from typing import Any

import compilers
import numpy as np
import pytest
import torch
from online_runs import THREE, Case, Run, data, distance, online, public
from torch import Tensor

from workloads.engine import online_source
from workloads.engine.computing import computing
from workloads.engine.lanes import Lanes
from workloads.engine.layout import Tree, flattened, mapped
from workloads.engine.looped import Looped
from workloads.engine.online import Online, refusal
from workloads.engine.online_traced import TracedOnline
from workloads.errors import InputError
from workloads.learner import Learner
from workloads.methods.config import AdamConfig, ContinualBackpropConfig, L2Config, SGDConfig
from workloads.methods.sgd import SGD
from workloads.native import NoCompiler, compiled
from workloads.networks.config import MLPConfig

CBP = {"replacement_rate": 0.02, "maturity_threshold": 5}
PERTURB = {"strength": 0.01, "perturb_scale": 0.003}
L2 = {"strength": 0.02}


def same_bits(left: Tree, right: Tree) -> bool:
    one, other = flattened(left), flattened(right)
    return one[1] == other[1] and all(
        a.numpy().tobytes() == b.numpy().tobytes() for a, b in zip(one[0], other[0], strict=True)
    )


def from_looped(
    case: Case,
    steps: int,
    *,
    dtype: torch.dtype = torch.float64,
    members: Mapping[int, Mapping[str, Any]] = THREE,
) -> float:
    """The distance between the online and the looped path after some steps."""
    x, y = data(case, steps)
    sparse, looped = (Run(case, members, kind, dtype).train(x, y) for kind in (online, Looped))
    return distance(looped.state, sparse.state)


ARMS = [
    Case(),
    Case(loss="squared_error"),
    Case(methods={"l2": L2}),
    Case(methods={"continual_backprop": CBP}),
    Case(methods={"l2": L2, "continual_backprop": {**CBP, "preset": "paper"}}),
    Case(methods={"shrink_and_perturb": {**PERTURB, "noise": "dense"}}),
    Case(methods={"shrink_and_perturb": PERTURB, "continual_backprop": CBP}),
    Case("adam", {"l2": L2}),
    Case("adamw"),
    Case("adam", {"shrink_and_perturb": PERTURB, "continual_backprop": CBP}),
    Case("adamo", {"continual_backprop": CBP}, {"isometry_strength": 0.1, "every": 3}, inputs=7),
    Case("upgd", {"continual_backprop": {**CBP, "reset_optimizer": True}}, {"utility_decay": 0.9}),
    Case("adamo", {}, {"isometry_strength": 0.1, "order": "sequential", "penalty": "half", "scale_by_gram": True}),
    Case("adamo", {}, {"projection": 2, "every": 3, "target": "gain_squared", "head": False}, batch=3),
]


@pytest.mark.parametrize("case", ARMS, ids=str)
def test_online_is_looped(case: Case) -> None:
    assert from_looped(case, 40) < 1e-10


FLOAT32 = [pytest.param(case, marks=[] if i in (0, 2, 4, 9, 10) else pytest.mark.slow) for i, case in enumerate(ARMS)]


@pytest.mark.parametrize("case", FLOAT32, ids=str)
def test_float32_stays_close_for_a_hundred_steps(case: Case) -> None:
    gentle = {0: {}, 1: {"step_size": 0.001}}
    fields = {"continual_backprop": {"replacement_rate": 0.005, "maturity_threshold": 20}}
    case = Case(
        **{**case.__dict__, "methods": {name: {**v, **fields.get(name, {})} for name, v in case.methods.items()}}
    )
    assert from_looped(case, 100, dtype=torch.float32, members=gentle) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("case", ARMS, ids=str)
def test_online_is_looped_after_a_thousand_steps(case: Case) -> None:
    assert from_looped(case, 1000, members={0: {}, 1: {"step_size": 0.001}}) < 1e-10


WIDE = {"width": 250, "depth": 2, "inputs": 12}  # rows longer than the registers


@pytest.mark.parametrize(
    "case",
    [
        Case(methods={"l2": L2, "continual_backprop": CBP}, batch=4),
        Case(methods={"l2": L2}, batch=7, loss="squared_error"),
        Case("adam", {"continual_backprop": CBP}, batch=3),
        Case(methods={"l2": L2, "continual_backprop": CBP}, **WIDE),  # type: ignore[arg-type]
        Case(**WIDE),  # type: ignore[arg-type]
        Case(methods={"l2": L2}, depth=0),
        Case(methods={"continual_backprop": CBP}, depth=0, loss="squared_error", batch=2),
        Case(methods={"l2": L2, "continual_backprop": {**CBP, "preset": "paper"}}, biases=False),
        Case(width=1, depth=3, methods={"l2": L2}),
        *(Case(widths="40-17-5", methods=method) for method in ({"l2": L2}, {"continual_backprop": CBP})),
        Case("adam", {"continual_backprop": CBP}, widths="40-17-5"),
        Case("adamo", {}, {"isometry_strength": 0.1}, widths="5-40", inputs=7, batch=3),
        Case("adamo", {"continual_backprop": CBP}, {"projection": 1, "first": False}, widths="40-17-5"),
        Case(methods={"shrink_and_perturb": {**PERTURB, "noise": "dense"}}, widths="17-40", activation="tanh", batch=2),
        Case("adamw", widths="17-40", activation="tanh"),
        Case("upgd", {"l2": L2, "shrink_and_perturb": PERTURB}, {"maximum": "uncorrected"}, widths="17-40"),
    ],
    ids=str,
)
def test_other_shapes_are_looped(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    compilers.lightly(monkeypatch)
    assert from_looped(case, 40) < 1e-10


@pytest.mark.parametrize("methods", [{}, {"l2": L2}, {"continual_backprop": CBP}], ids=str)
def test_rows_that_are_no_whole_number_of_strides_are_looped_in_float32(methods: Any) -> None:
    # Fifteen vectors: too long for the registers, and not divisible by what is summed side by side.
    case = Case(methods=methods, width=240, inputs=12)
    assert from_looped(case, 40, dtype=torch.float32, members={0: {}, 1: {"step_size": 0.001}}) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("batch", [2, 32])
@pytest.mark.parametrize("case", ARMS, ids=str)
def test_batches_are_looped(case: Case, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    compilers.lightly(monkeypatch)
    assert from_looped(Case(**{**case.__dict__, "batch": batch}), 40) < 1e-10


ACTIVATIONS = ["relu", "leaky_relu", "tanh", "sigmoid", "elu", "swish", "selu", "linear"]


@pytest.mark.parametrize("activation", ["leaky_relu", "tanh", "swish", "selu"])
def test_activations_are_looped(activation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compilers.lightly(monkeypatch)
    # Biases start at zero and some inputs are dark altogether: every unit then stands at the kink.
    assert from_looped(Case(methods={"l2": L2}, activation=activation), 40) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("biases", [True, False])
def test_every_activation_is_looped_with_and_without_biases(
    activation: str, biases: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    compilers.lightly(monkeypatch)
    for optimizer, batch in (("sgd", 1), ("sgd", 3), ("adam", 1), ("adam", 3)):
        case = Case(optimizer, {"continual_backprop": CBP}, batch=batch, activation=activation, biases=biases)
        assert from_looped(case, 40) < 1e-10


def test_steps_beyond_the_table_of_bias_corrections_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(online_source, "LONGEST_TABLE", 8)
    assert from_looped(ARMS[9], 40) < 1e-10


UTILITIES = [
    *("weight", "contribution", "adaptation", "zero_contribution"),
    *("adaptable_contribution", "feature_by_input", "random"),
]


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["official", "paper"])
@pytest.mark.parametrize("utility", UTILITIES)
def test_every_utility_replaces_the_units_that_looped_replaces(
    utility: str, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compilers.lightly(monkeypatch)
    for optimizer, decay in (("sgd", 0.99), ("sgd", 0.0), ("adam", 0.9)):
        settings = {**CBP, "preset": preset, "utility": utility, "utility_decay": decay}
        case = Case(optimizer, {"l2": L2, "continual_backprop": {**settings, "reset_optimizer": decay != 0.9}})
        assert from_looped(case, 200) < 1e-10


@pytest.mark.slow
def test_running_sums_replace_the_units_that_looped_replaces_for_twenty_thousand_steps() -> None:
    # Rates far above the paper's: hundreds of replacements, decided by sums that were updated, not taken.
    settings = {"replacement_rate": 0.001, "maturity_threshold": 50}
    case = Case(methods={"l2": {"strength": 1e-3}, "continual_backprop": settings}, inputs=40, width=25)
    sparse, looped = (Run(case, {0: {"step_size": 0.003}}, kind) for kind in (online, Looped))
    replaced = 0
    for part in range(40):
        x, y = data(case, 500, seed=part)
        before = looped.state["state"]["continual_backprop"]["age"]
        ages = [run.train(x, y).state["state"]["continual_backprop"]["age"] for run in (sparse, looped)]
        for name, age in ages[1].items():
            assert torch.equal(ages[0][name], age)
            replaced += int((age < before[name] + 500).sum())
    assert replaced > 200
    assert distance(looped.state, sparse.state) < 1e-6


# ---- rows that sleep through Adam ----

SLEEPERS = [
    Case("adam"),
    Case("adamw", settings={"weight_decay": 0.3}),
    Case("adam", settings={"beta1": 0.0}),
    Case("adam", settings={"beta2": 0.9965}),  # the fastest decay through which rows sleep
    Case("adamo", {}, {"isometry_strength": 0.1, "every": 16}),
    Case("adamo", {}, {"isometry_strength": 0.1, "every": 16, "order": "sequential"}, batch=3),
]


def grown(case: Case, kind: type, dtype: torch.dtype, steps: float) -> Run:
    """Members that have taken so many steps of Adam already, and whose first layer has moments of all sizes."""
    run = Run(case, {0: {}, 1: {"step_size": 0.001}}, kind, dtype)
    state = run.state
    optimizer = {**state["state"]["optimizer"]}
    optimizer["steps"] = mapped(lambda v: torch.full_like(v, steps), optimizer["steps"])
    for slot, power in (("mean", 1), ("square", 2)):
        spread = torch.logspace(-12, 0, case.inputs, dtype=dtype) ** power
        first = torch.ones_like(optimizer[slot]["layers.0.weight"]) * spread
        optimizer[slot] = {**optimizer[slot], "layers.0.weight": first}
    run.engine.load({**public(state), "state": {**state["state"], "optimizer": optimizer}})
    return run


@pytest.mark.parametrize("steps", [990.0, 1500.0, 40_000.0])  # about to sleep, corrections that change, and none
@pytest.mark.parametrize("case", SLEEPERS, ids=str)
def test_rows_that_slept_are_where_adam_would_have_brought_them(case: Case, steps: float) -> None:
    x, y = data(case, 300)
    x[40:280, ..., -5:] = 0  # seen, then dark for longer than one piece
    sparse, looped = (grown(case, kind, torch.float64, steps).train(x, y) for kind in (online, Looped))
    assert distance(looped.state, sparse.state) < 1e-10
    assert isinstance(sparse.engine, Online)
    assert int((sparse.step - sparse.engine.buffers["awake"][0]).max()) > 0  # some sleep


@pytest.mark.parametrize("steps", [1500.0, 40_000.0])
def test_rows_that_slept_are_there_in_float32(steps: float) -> None:
    x, y = data(Case(), 200)
    sparse, looped = (grown(Case("adam"), kind, torch.float32, steps).train(x, y) for kind in (online, Looped))
    assert distance(looped.state, sparse.state) < 1e-5


def test_a_row_whose_moments_are_gone_stays_where_it_is() -> None:
    x, y = data(Case(), 20_000)
    x[10:, ..., 3:5] = 0
    run = grown(Case("adam"), online, torch.float32, 40_000.0)
    with computing():
        states = [run.train(x[first : first + 10_000], y[first : first + 10_000]).state for first in (0, 10_000)]
    moved = [s["state"]["optimizer"]["mean"]["layers.0.weight"][..., 3:5] for s in states]
    assert not moved[0].any() and not moved[1].any()
    weights = [s["params"]["layers.0.weight"] for s in states]
    assert torch.equal(weights[0][..., 3:5], weights[1][..., 3:5])
    assert not torch.equal(weights[0][..., 6:], weights[1][..., 6:])


@pytest.mark.parametrize("case", [Case(methods={"l2": L2}), Case("adam")], ids=str)
def test_what_was_owed_at_another_step_size_is_paid_at_that_one(case: Case) -> None:
    x, y = data(case, 60)
    run = grown(case, online, torch.float32, 40_000.0) if case.optimizer == "adam" else Run(case, THREE)
    run.train(x[:30], y[:30])
    run.engine.hyper["optimizer"]["step_size"].mul_(0.1)
    bare = Run(case, run.members, dtype=run.dtype, step=30)
    bare.engine.hyper["optimizer"]["step_size"].copy_(run.engine.hyper["optimizer"]["step_size"])
    state = run.state
    bare.engine.load(public(state))
    run.engine.load(state)
    both = [pack.train(x[30:], y[30:]).state for pack in (run, bare)]
    assert same_bits(public(both[0]), public(both[1]))


# ---- splitting, checkpoints, members ----

INTERNAL = [
    Case(methods={"l2": L2, "continual_backprop": CBP}),
    Case(methods={"shrink_and_perturb": PERTURB}),
    Case("adamo", {"continual_backprop": CBP}, {"isometry_strength": 0.1, "every": 3}, inputs=7),
    Case(methods={"l2": L2}, batch=3, activation="tanh"),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("case", INTERNAL, ids=str)
def test_how_steps_are_split_changes_no_bit_also_with_checkpoints(case: Case, dtype: torch.dtype) -> None:
    x, y = data(case, 80)
    # Step 1000 lies inside: the sums are refreshed there.
    whole = Run(case, THREE, dtype=dtype, step=960).train(x, y)
    looked, restarted = Run(case, THREE, dtype=dtype, step=960), Run(case, THREE, dtype=dtype, step=960)
    for first, last in ((0, 1), (1, 18), (18, 43), (43, 44), (44, 80)):
        for run in (looked, restarted):
            run.train(x[first:last], y[first:last])
        assert same_bits(looked.state, looked.state)
        looked.engine.load(looked.state)
        restarted.again()
    assert same_bits(whole.state, looked.state)
    assert same_bits(whole.state, restarted.state)


@pytest.mark.parametrize("case", INTERNAL, ids=str)
def test_a_member_is_the_same_alone_and_beside_one_that_diverges(case: Case) -> None:
    x, y = data(case, 60)
    alone = Run(case, {3: {}}, dtype=torch.float32).train(x, y)
    wild: dict[int, Mapping[str, Any]] = {0: {"strength": 0.0}, 5: {"step_size": 1e30}, 3: {}}
    together = Run(case, wild, dtype=torch.float32).train(x, y)
    lost = together.member(5)
    assert not all(torch.isfinite(v).all() for v in [lost["loss"], *lost["params"].values()])
    assert torch.isfinite(together.member(0)["loss"])
    assert same_bits(alone.member(3), together.member(3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("case", [Case(), INTERNAL[0], Case("adam"), Case(batch=3)], ids=str)
def test_a_pixel_that_is_not_a_number_is_seen(case: Case, dtype: torch.dtype) -> None:
    x, y = data(case, 10)
    x[5, 1, 0, 9] = math.nan
    state = Run(case, {0: {}, 1: {}}, dtype=dtype).train(x, y).state
    assert torch.isfinite(state["loss"]).tolist() == [True, False]
    assert not torch.isfinite(state["params"]["layers.2.weight"][1]).all()


def test_weights_changed_by_somebody_are_taken_as_they_are_member_by_member() -> None:
    case = Case(methods={"l2": L2, "continual_backprop": CBP})
    x, y = data(case, 60)
    run = Run(case, THREE, dtype=torch.float32).train(x[:30], y[:30])
    state = run.state
    weight = state["params"]["layers.0.weight"].clone()
    weight[1, 0, 0] += 1
    changed = {**state, "params": {**state["params"], "layers.0.weight": weight}}
    unchanged = Run(case, THREE, dtype=torch.float32).train(x[:30], y[:30]).train(x[30:], y[30:])
    run.engine.load(changed)
    with_path = run.train(x[30:], y[30:])
    bare = Run(case, THREE, dtype=torch.float32, step=30)
    bare.engine.load(public(changed))
    bare.train(x[30:], y[30:])
    assert same_bits(public(with_path.member(1)), public(bare.member(1)))
    for index in (0, 2):
        assert same_bits(with_path.member(index), unchanged.member(index))


@pytest.mark.parametrize(
    "case",
    [
        Case("adam", {"continual_backprop": CBP}),
        Case("adamw"),
        Case(methods={"continual_backprop": {**CBP, "preset": "paper"}}),
    ],
    ids=str,
)
def test_either_path_goes_on_from_the_others_state(case: Case) -> None:
    x, y = data(case, 60)
    straight = Run(case, THREE, Looped).train(x, y)
    for first, then in ((Looped, online), (online, Looped)):
        begun, ended = Run(case, THREE, first).train(x[:30], y[:30]), Run(case, THREE, then, step=30)
        ended.engine.load(public(begun.state))
        ended.train(x[30:], y[30:])
        assert distance(straight.state, ended.state) < 1e-10


def test_steps_of_adam_that_no_replacement_explains_are_refused() -> None:
    run = Run(Case("adam", {"continual_backprop": CBP}), THREE)
    state = run.state
    state["state"]["optimizer"]["steps"]["layers.0.weight"] = torch.eye(20, 23, dtype=torch.float64).expand(3, -1, -1)
    with pytest.raises(InputError, match="steps of layers.0.weight"):
        run.engine.load(state)


def test_only_what_sleeps_or_is_summed_has_a_path() -> None:
    debts, layers = {"step", "scalars", "weights", "rests", "awake", "quiet"}, {"0", "1", "2"}
    for case, expected in (
        (Case(), set()),
        (Case("adam", {"continual_backprop": CBP}), set()),
        (Case("adam", {"shrink_and_perturb": PERTURB}), set()),
        (Case("adam", settings={"weight_decay": 0.1}), set()),
        (Case("adam"), debts | {"first", "second"}),
        (Case("adam", {"l2": L2}), debts | {"first", "second"}),  # one of the three has strength 0
        (Case(methods={"shrink_and_perturb": PERTURB}), debts),
        (Case(methods={"continual_backprop": CBP}), {"sums"}),
        (Case(methods={"l2": L2}), layers),
        (Case(methods={"l2": L2, "continual_backprop": CBP}), {"sums", *layers}),
    ):
        run = Run(case, THREE).train(*data(case, 1))
        assert set(run.state.get("path", {})) == expected


UNLEARNABLE = -1  # a class that does not exist: the loss is 0 and so is its gradient


# ---- decay that is weak ----

GRIDS = [  # step size and strength of the shipped studies
    *((0.003, strength) for strength in (1e-3, 1e-4, 1e-5)),
    *((0.01, strength) for strength in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)),
    (0.03, 3e-6),
]


def decayed(case: Case, kind: type, changes: list[dict[str, float]], steps: int) -> Tensor:
    """What is left of all weights and biases without a gradient, (members,): 1 where nothing decayed; in float32.

    Half of the inputs is always dark, and the others are shown in every step.
    """
    case = replace(case, depth=1)
    run = Run(case, dict(enumerate(changes)), kind, torch.float32)
    state = run.state
    one = torch.Generator().manual_seed(3)
    params = {
        name: (0.1 + 0.4 * torch.rand(value.shape[1:], generator=one)).expand_as(value).contiguous()
        for name, value in state["params"].items()
    }
    run.engine.load({"params": params, **{key: state[key] for key in ("state", "loss", "correct")}})
    x = torch.zeros(1000, 1, 1, case.inputs)
    x[..., ::2] = 1
    y = torch.full((1000, 1, 1), UNLEARNABLE)
    for _ in range(steps // 1000):
        run.train(x, y)
    after = run.state["params"]
    return torch.cat([(after[name] / value).flatten(1).double() for name, value in params.items()], 1).mean(1)


def test_weak_decay_in_float32_has_the_effect_of_float64() -> None:
    changes = [{"step_size": step_size, "strength": strength} for step_size, strength in GRIDS]
    left = decayed(Case(methods={"l2": L2}), online, changes, 100_000)
    for (step_size, strength), kept in zip(GRIDS, left.tolist(), strict=True):
        exact = (1 - step_size * strength) ** 100_000
        assert 1 - kept == pytest.approx(1 - exact, rel=2e-3), (step_size, strength)


@pytest.mark.parametrize("noise", ["lazy", "dense"])
def test_weak_shrinking_beside_noise_has_the_effect_of_float64(noise: str) -> None:
    changes = [{"step_size": 0.003, "strength": s, "perturb_scale": 1e-7} for s in (1e-5, 1e-4)]
    case = Case(methods={"shrink_and_perturb": {**PERTURB, "noise": noise}})
    for change, kept in zip(changes, decayed(case, online, changes, 100_000).tolist(), strict=True):
        assert 1 - kept == pytest.approx(1 - (1 - 0.003 * change["strength"]) ** 100_000, rel=0.02)


@pytest.mark.parametrize("kind", [online, Lanes])
def test_adamws_weak_decay_in_float32_is_that_of_float64_to_a_rounding(kind: type) -> None:
    changes = [{"step_size": step_size, "weight_decay": 1e-2} for step_size in (1e-3, 1e-4, 1e-5)]
    for change, kept in zip(changes, decayed(Case("adamw"), kind, changes, 20_000).tolist(), strict=True):
        assert 1 - kept == pytest.approx(1 - (1 - change["step_size"] * 1e-2) ** 20_000, rel=0.15)


@pytest.mark.parametrize("rate", [0.4, 0.6, 1.0, 1.7, 2.05])
@pytest.mark.parametrize("batch", [1, 3])
def test_decay_of_most_of_a_weight_at_once_is_looped(rate: float, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    compilers.lightly(monkeypatch)
    methods: dict[str, Any] = {"l2": {"strength": rate / 0.01}}
    if rate != 1:  # where nothing is left, every unit is as useless as the next
        methods["continual_backprop"] = CBP
    case = Case(methods=methods, settings={"step_size": 0.01}, batch=batch)
    assert from_looped(case, 30, members={0: {}, 1: {"strength": 0.01}}) < 1e-10


# ---- noise that is owed ----


def moments(values: Iterable[float] | Tensor) -> list[float]:
    """Mean, variance and fourth moment."""
    z = torch.as_tensor(values, dtype=torch.float64).flatten()
    return [z.mean().item(), (z**2).mean().item(), (z**4).mean().item()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("strength", [0.0, 20.0])
def test_lazy_noise_has_the_distribution_of_noise_at_every_step(strength: float, dtype: torch.dtype) -> None:
    # Without a gradient a weight is k^n w + noise of variance s^2 (1 + k^2 + ... ), whenever its row was awake.
    scale, steps, step_size = 0.01, 37, 0.01
    settings = {"strength": strength, "perturb_scale": scale}
    case = Case(methods={"shrink_and_perturb": settings}, inputs=300, width=100)
    x, y = data(case, steps)
    run = Run(case, {0: {"step_size": step_size}}, dtype=dtype)
    start = run.state["params"]
    for first, last in ((0, 11), (11, 12), (12, steps)):
        run.train(x[first:last], torch.full_like(y[first:last], UNLEARNABLE))
        run.again()
    keep = 1 - step_size * strength
    deviation = scale * math.sqrt(sum(keep ** (2 * i) for i in range(steps)))
    for name, value in run.state["params"].items():
        z = (value - keep**steps * start[name]) / deviation
        assert moments(z) == pytest.approx([0, 1, 3], abs=4 * math.sqrt(96 / z.numel()))
        if z.numel() > 5000:
            rows = z[0] @ z[0].T / z.shape[-1]  # between units
            assert (rows - torch.eye(len(rows))).abs().max() < 6 / math.sqrt(z.shape[-1])
    dark = (run.state["params"]["layers.0.weight"] - keep**steps * start["layers.0.weight"])[..., :37] / deviation
    assert moments(dark) == pytest.approx([0, 1, 3], abs=0.5)  # never awake


def test_lazy_noise_of_different_moments_is_independent() -> None:
    case = Case(methods={"shrink_and_perturb": {"strength": 0.0, "perturb_scale": 0.1}}, inputs=100, width=100)
    x, y = data(case, 20)
    y = torch.full_like(y, UNLEARNABLE)
    run = Run(case, {0: {}, 1: {}})
    seen = [run.state["params"]["layers.1.weight"]]
    for first in range(0, 20, 10):
        seen.append(run.train(x[first : first + 10], y[first : first + 10]).state["params"]["layers.1.weight"])
    moves = [(b - a).flatten(1) for a, b in zip(seen, seen[1:], strict=False)]
    together = torch.corrcoef(torch.cat(moves))
    assert (together - torch.eye(4)).abs().max() < 0.15
    assert same_bits(run.state, run.state)


def test_without_noise_lazy_is_looped() -> None:
    assert from_looped(Case(methods={"shrink_and_perturb": {"strength": 0.02, "perturb_scale": 0.0}}), 40) < 1e-10


# ---- pictures ----


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("arm", [{}, {"continual_backprop": CBP}, {"l2": L2}], ids=str)
def test_pictures_have_the_bits_of_their_numbers(arm: Any, batch: int, dtype: torch.dtype) -> None:
    case = Case(methods=arm, batch=batch)  # of 23 bytes: two whole words of eight, and a rest
    generator = np.random.default_rng(0)
    images = generator.integers(1, 17, (9, case.inputs), np.uint8) * (generator.random((9, case.inputs)) < 0.4)
    images[3] = 0
    images[4, :16] = 0
    labels = generator.integers(0, case.outputs, 9)
    steps, streams = 40, 2
    dark = 0 if batch == 1 else -1  # what a pixel of 0 is as an input
    shades = np.divide(np.arange(256), 16, dtype=np.float32) + np.float32(dark)
    shown = generator.integers(0, 9, (streams, steps, batch), np.int32)
    pixels = np.stack([generator.permutation(case.inputs) for _ in range(streams)]).astype(np.int32)
    x = np.stack([shades[images[at][:, :, order]] for at, order in zip(shown, pixels, strict=True)], 1)
    y = torch.from_numpy(labels[shown.swapaxes(0, 1)])
    numbers, pictures = Run(case, THREE, dtype=dtype), Run(case, THREE, dtype=dtype)
    numbers.train(torch.from_numpy(x), y)
    which = torch.tensor([i % streams for i in THREE])
    for first, last in ((0, 1), (1, 18), (18, steps)):
        part = torch.from_numpy(shown[:, first:last])
        pictures.engine.advance_pictures(images, labels, shades, part, torch.from_numpy(pixels), which, first)
    assert same_bits(numbers.state, pictures.state)


# ---- what it refuses ----


class OwnSGD(SGD):
    """A user's optimizer, which may mean anything."""


def test_what_has_no_lowering_is_refused() -> None:
    assert refusal(Case("adam", {"l2": L2, "continual_backprop": CBP}).learner) is None
    assert refusal(Case(methods={"shrink_and_perturb": PERTURB, "continual_backprop": CBP}).learner) is None
    assert "momentum" in str(refusal(Case(settings={"momentum": 0.9}).learner))
    assert "coupled_isometry" in str(refusal(Case(methods={"coupled_isometry": {}}).learner))
    order = {"continual_backprop": ContinualBackpropConfig(), "l2": L2Config()}
    assert refusal(Learner(Case().network, "cross_entropy", ("adam", AdamConfig()), order)) is None
    own = Case().learner
    own.optimizer = OwnSGD(SGDConfig(), own.network)  # a subclass may mean anything
    assert "OwnSGD" in str(refusal(own))
    hyper = {"optimizer": {"step_size": torch.zeros(1), "weight_decay": torch.zeros(1)}}
    with pytest.raises(InputError, match="OwnSGD"):
        Online(own, hyper, torch.zeros(1, dtype=torch.int64))


@pytest.mark.parametrize(
    "methods",
    [{}, {"l2": L2}, {"continual_backprop": CBP}, {"shrink_and_perturb": {"strength": 0.1, "when": "task"}}],
    ids=str,
)
def test_rows_that_only_descend_have_no_loop_by_hand(methods: Any) -> None:
    assert "only descend" in str(refusal(Case(methods=methods).learner))
    assert isinstance(Run(Case(methods=methods), {0: {}}).engine, TracedOnline)


def test_a_setting_or_a_value_that_nobody_declared_is_refused() -> None:
    normed = make_dataclass("Normed", [("norm", str, "layer")], bases=(MLPConfig,), frozen=True, kw_only=True)
    network = Case().network
    network.config = normed(width=20, depth=2)
    assert "norm layer" in str(refusal(Learner(network, "cross_entropy", ("sgd", SGDConfig()), {})))
    network.config = MLPConfig(width=20, depth=2, activation="unheard_of")  # type: ignore[arg-type]
    assert "activation unheard_of" in str(refusal(Learner(network, "cross_entropy", ("sgd", SGDConfig()), {})))


@pytest.mark.parametrize("chain", ["ACTIVATION", "UTILITY"])
def test_the_kernel_itself_compiles_no_choice_beyond_its_own(chain: str) -> None:
    source = online_source.Plan(Case("adam", {"continual_backprop": CBP}).learner, torch.float32).source(1)
    source, changed = re.subn(rf"constexpr int {chain} = \d+;", f"constexpr int {chain} = 99;", source)
    assert changed == 1
    with pytest.raises(NoCompiler, match="that this kernel does not know"):
        compiled(source)
