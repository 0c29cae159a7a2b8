"""The online loop made from the learner's own step, against the looped path; and what it finds of rows that sleep."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import compilers
import numpy as np
import pytest
import torch
from online_runs import THREE, Case, Run, data, distance, public
from torch import Tensor

from workloads.engine.layout import Tree, flattened, mapped
from workloads.engine.looped import Looped
from workloads.engine.online import Online
from workloads.engine.online_sleep import Mode
from workloads.engine.online_traced import TracedOnline, emit
from workloads.engine.parts import parts_of
from workloads.engine.trace import NotLowered
from workloads.methods.base import Hyper, Method, Params, Seen, State
from workloads.methods.config import METHODS, OPTIMIZERS, MethodSpec
from workloads.methods.implementations import IMPLEMENTATIONS
from workloads.paths import Paths, refusal, written
from workloads.random import Draw

L2 = {"strength": 0.02}
CBP = {"replacement_rate": 0.02, "maturity_threshold": 5}
UNEVEN = {"replacement_rate": 0.023}  # of 20 units no whole number after any few steps, which a rounding would decide


@dataclass(frozen=True, kw_only=True)
class Bound:
    """Settings of the methods below."""

    bound: float = 0.05


class Clipping(Method):
    """The README's: every weight stays within a bound."""

    def after_step(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        bound = hyper["bound"]
        return {name: value.clamp(-bound, bound) for name, value in params.items()}, state


class Sparing(Method):
    """L1, soft thresholds: not linear."""

    def after_step(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        rate = 0.01 * hyper["bound"]
        return {n: torch.sign(v) * (v.abs() - rate).clamp(min=0) for n, v in params.items()}, state


class Averages(Method):
    """Slow weights beside the fast ones, as in Hare & Tortoise, which pull them; and a count of units' silent steps."""

    def init(self, params: Params, *, per_element: bool) -> State:
        silent = {site.name: params[site.weight].new_zeros(site.units) for site in self.network.sites}
        return {"slow": {n: v.clone() for n, v in params.items()}, "silent": silent}

    def after_step(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        slow = {n: 0.99 * state["slow"][n] + 0.01 * v for n, v in params.items()}
        still = {n: h.abs().sum(0) == 0 for n, h in seen.activations.items()}
        silent = {n: torch.where(still[n], v + 1, 0) for n, v in state["silent"].items()}
        return {n: v + hyper["bound"] * (slow[n] - v) for n, v in params.items()}, {"slow": slow, "silent": silent}


class Renewing(Method):
    """Running scores per unit; every so often the incoming weights of low units are drawn anew."""

    period = 100

    def init(self, params: Params, *, per_element: bool) -> State:
        return {site.name: params[site.weight].new_zeros(site.units) for site in self.network.sites}

    def after_step(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        scores = {n: 0.9 * state[n] + 0.1 * h.abs().mean(0) for n, h in seen.activations.items()}
        if not seen.acts:
            return params, scores
        params = dict(params)
        for site in self.network.sites:
            low = scores[site.name] <= hyper["bound"] * scores[site.name].mean()
            weight = params[site.weight]
            fresh = draw.normal(f"renew/{site.name}", weight.numel()).view_as(weight)
            params[site.weight] = torch.where(low[:, None], 0.1 * fresh, weight)
            params[site.outgoing_weight] = torch.where(low, 0, params[site.outgoing_weight])
        return params, scores


class Restless(Renewing):
    """The same far too often."""

    period = 7


class Mending(Method):
    """Counts a rare event, by chance, whose repair halves a layer's biases."""

    def init(self, params: Params, *, per_element: bool) -> State:
        return {"due": torch.zeros(len(self.network.sites), dtype=torch.int32)}

    def after_step(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        due = (draw.uniform("mend", len(self.network.sites)) < hyper["bound"]).to(torch.int32)
        return params, {"due": state["due"] + due}

    def repair(
        self, params: Params, state: State, optimizer: State, hyper: Hyper, place: int, draw: Draw
    ) -> tuple[Params, State, State]:
        site = self.network.sites[place]
        weight = params[site.outgoing_weight]
        done = (torch.arange(len(self.network.sites)) == place).int()
        return {**params, site.outgoing_weight: 0.5 * weight}, {"due": state["due"] - done}, optimizer


class Ordering(Mending):
    """The same, with a repair that is more than a change of elements: no C++ is known for it."""

    def repair(
        self, params: Params, state: State, optimizer: State, hyper: Hyper, place: int, draw: Draw
    ) -> tuple[Params, State, State]:
        site = self.network.sites[place]
        params = {**params, site.outgoing_weight: params[site.outgoing_weight].sort(1).values}
        return super().repair(params, state, optimizer, hyper, place, draw)


class Counting(Method):
    """The squares of all weights, in every step."""

    def init(self, params: Params, *, per_element: bool) -> State:
        return {site.name: params[site.weight].new_zeros(site.units) for site in self.network.sites}

    def after_step(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        return params, {site.name: params[site.weight].square().sum(1) for site in self.network.sites}


class Normalised(Method):
    """A gradient of norm 1, over all weights."""

    def gradient(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        norm = sum(g.square().sum() for g in seen.grads.values()).sqrt()
        return {n: g / norm for n, g in seen.grads.items()}, state


class Averaged(Method):
    """A gradient less than its norm, beside a slow average of what it was: a number that multiplies not all of it."""

    def init(self, params: Params, *, per_element: bool) -> State:
        return {n: torch.zeros_like(params[n]) for n in self.network.weights}

    def gradient(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        norm = (1 + sum(seen.grads[n].square().sum() for n in self.network.weights)).sqrt()
        slow = {n: 0.9 * v + 0.1 * seen.grads[n] for n, v in state.items()}
        return {n: g / norm + (slow[n] if n in slow else 0) for n, g in seen.grads.items()}, slow


class Steadied(Averaged):
    """The same beside a slow average of its squares, each of which is used as it is."""

    def gradient(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        norm = (1 + sum(seen.grads[n].square().sum() for n in self.network.weights)).sqrt()
        slow = {n: 0.9 * v + 0.1 * seen.grads[n] ** 2 for n, v in state.items()}
        return {n: g / norm + (slow[n] if n in slow else 0) for n, g in seen.grads.items()}, slow


class Correlated(Method):
    """How units of a layer are active together, by the sum of their squares: a product of activations, no gradient."""

    def init(self, params: Params, *, per_element: bool) -> State:
        width = self.network.sites[0].units
        return {"together": params[self.network.sites[0].weight].new_zeros(width, width)}

    def after_step(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        h = seen.activations[self.network.sites[0].name]
        return params, {"together": 0.9 * state["together"] + (h.T @ h) / (1 + (h * h).sum())}


class Largest(Method):
    """A gradient beside its largest element: no weight's own affair, and no number that is made of small things."""

    def gradient(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        return {n: g / g.abs().amax() for n, g in seen.grads.items()}, state


class Summed(Method):
    """Sums along every unit's weights: no weight's own affair either."""

    def after_step(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        return {n: v.cumsum(1) if n in self.network.weights else v for n, v in params.items()}, state


class Cubed(Method):
    """A pull towards zero by products of matrices of weights that no loop knows."""

    def gradient(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        cubes = {n: params[n] @ params[n].T @ params[n] for n in self.network.weights}
        return {n: g + cubes[n] if n in cubes else g for n, g in seen.grads.items()}, state


class WrongSide(Method):
    """What is like a pull towards an isometry, but of a matrix by the Gram matrix of its other side."""

    def gradient(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        weight = params["layers.1.weight"]  # which is square
        wrong = (weight.T @ weight - torch.eye(len(weight), dtype=weight.dtype)) @ weight
        return {**seen.grads, "layers.1.weight": seen.grads["layers.1.weight"] + hyper["bound"] * wrong}, state


OWN = (
    *(Clipping, Sparing, Averages, Renewing, Restless, Mending, Ordering, Counting, Normalised, Averaged),
    *(Steadied, Correlated),
    *(Largest, Summed, Cubed, WrongSide),
)


@pytest.fixture(autouse=True)
def own_methods(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for kind in OWN:
        spec = MethodSpec(config=Bound, varies=("bound",), cost=1.0, copies=1, paths=Paths())
        monkeypatch.setitem(METHODS, kind.__name__, spec)
        monkeypatch.setitem(IMPLEMENTATIONS, kind.__name__, kind)
    yield


SETTLING = (Mode.OWED, Mode.STILL)
LAZY = [
    (Case(), {Mode.STILL}),
    (Case(methods={"l2": L2}), {Mode.OWED, Mode.STILL}),
    (Case(methods={"l2": {"strength": 60.0}}), {Mode.OWED, Mode.PACED, Mode.STILL}),
    (Case(methods={"l2": L2}, batch=6, width=300, depth=1), {Mode.OWED, Mode.STILL}),
    (Case(settings={"momentum": 0.9}), {Mode.PACED}),
    (Case(methods={"l2": L2, "l2_init": {"strength": 0.1}}, settings={"momentum": 0.5}), {Mode.PACED}),
    (Case(methods={"l2_init": {"strength": 0.1, "form": "decoupled"}}), {Mode.PACED}),
    (Case(methods={"Clipping": {"bound": 0.05}}), {Mode.ONCE}),
    (Case(methods={"l2": L2, "Clipping": {"bound": 0.05}}), {Mode.ONCE, Mode.PACED}),
    (Case(methods={"Sparing": {"bound": 0.05}}), {Mode.STEPPED}),
    (Case(methods={"Averages": {"bound": 0.02}}), {Mode.PACED}),
    (Case(methods={"Renewing": {"bound": 0.7}, "l2": L2}), {Mode.OWED, Mode.STILL}),
    (
        Case(methods={"redo": {"threshold": 0.5, "period": 100}}, normalisation="layer", activation="crelu"),
        {Mode.STILL},
    ),
    (Case("adam", {"redo": {"threshold": 0.5, "period": 100, "score": "batch"}}), {Mode.STEPPED}),
    (Case(methods={"input_normaliser": {}, "l2": L2}), {Mode.OWED, Mode.STILL}),
    (Case(methods={"Mending": {"bound": 0.1}}), {Mode.STILL}),
    (Case("adam", {"l2_init": {"strength": 0.1}}), {Mode.STEPPED}),
    (Case(methods={"Ordering": {"bound": 0.1}}), {Mode.STILL}),
    (Case(methods={"continual_backprop": CBP, "l2": L2}, normalisation="layer"), {Mode.OWED, Mode.STILL}),
    (Case(methods={"continual_backprop": CBP, "l2_init": {"strength": 0.1}}, activation="crelu"), {Mode.STEPPED}),
    (Case(methods={"continual_backprop": {**CBP, "preset": "paper"}}, batch=3, biases=False), {Mode.STILL}),
    (Case(methods={"continual_backprop": CBP, "l2": {"strength": 60.0}}), {Mode.OWED, Mode.PACED, Mode.STILL}),
    (
        Case("adam", {"continual_backprop": {**CBP, "preset": "official_resnet", "utility": "weight", **UNEVEN}}),
        {Mode.STEPPED},
    ),
    (Case(methods={"gradient_clipping": {"norm": 0.1}}), {Mode.STILL}),
    (Case(methods={"gradient_clipping": {"norm": 0.1}, "l2": L2}, batch=3, activation="tanh"), {Mode.OWED, Mode.STILL}),
    (Case(methods={"Normalised": {}}, settings={"momentum": 0.9}, normalisation="layer"), {Mode.PACED}),
    (Case(methods={"Averaged": {}}), {Mode.STEPPED}),
    (Case(methods={"Steadied": {}}), {Mode.STEPPED}),
    (Case(methods={"coupled_isometry": {"strength": 0.1}}), {Mode.STEPPED}),
    (Case(methods={"spectral_regularisation": {"strength": 0.1}}), {Mode.STEPPED}),
    (Case(methods={"normalise_and_project": {}}), {Mode.STILL}),
    (Case(methods={"normalise_and_project": {}, "l2": L2, "continual_backprop": {**CBP, **UNEVEN}}), set(SETTLING)),
]
DECAYS, CLAMPS, SPARES, RENEWS, RECYCLES, MENDS = (LAZY[k][0] for k in (5, 8, 9, 11, 12, 15))
OWES = LAZY[1][0]
REPLACES = LAZY[18][0]
CLIPPED = LAZY[24][0]
SPECTRAL = {"spectral_regularisation": {"strength": 0.1}}
PULLED = {"coupled_isometry": {"strength": 0.1, "target": "gain_squared"}}
TOGETHER = [DECAYS, OWES, CLAMPS, RECYCLES, CLIPPED, Case(methods=PULLED)]


def from_looped(case: Case, steps: int, dtype: torch.dtype) -> float:
    x, y = data(case, steps)
    traced, looped = (Run(case, THREE, kind, dtype).train(x, y) for kind in (TracedOnline, Looped))
    return distance(looped.state, traced.state)


def same_bits(left: Tree, right: Tree) -> bool:
    one, other = flattened(left)[0], flattened(right)[0]
    return all(a.numpy().tobytes() == b.numpy().tobytes() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("case", "modes"),
    [
        pytest.param(*one, marks=pytest.mark.slow if k in (6, 7, 11, 13, 20, 21, 22) else ())
        for k, one in enumerate(LAZY)
    ],
    ids=str,
)
def test_the_traced_loop_is_looped_and_finds_how_rows_sleep(case: Case, modes: set[Mode]) -> None:
    x, y = data(case, 120)
    traced, looped = (Run(case, THREE, kind).train(x, y) for kind in (TracedOnline, Looped))
    assert distance(looped.state, traced.state) < 1e-10
    assert {Mode(int(mode)) for paces in traced.engine.paces for mode in paces[:, 0]} == modes


@pytest.mark.parametrize("case", TOGETHER, ids=str)
def test_float32_stays_close_for_a_hundred_steps(case: Case) -> None:
    assert from_looped(case, 100, torch.float32) < 1e-5


@pytest.mark.parametrize(
    "case",
    [
        Case("adam", {"redo": {"threshold": 0.5, "period": 100}}, batch=3, width=17, outputs=2),
        Case(methods={"l2_init": {}}, activation="tanh", loss="squared_error", normalisation="layer_plain"),
        Case(methods={"l2_init": {}}, activation="leaky_relu", biases=False, batch=3),
        Case(methods={"l2_init": {}}, depth=0),
        Case(methods={"l2_init": {}}, width=300, inputs=40, depth=1),
        Case(methods={"continual_backprop": CBP, "l2": L2}, dropout=0.4),
        Case("adam", activation="crelu", dropout=0.2, batch=3),
        Case(methods={"continual_backprop": CBP, "l2": L2}, normalisation="online"),
        Case(methods={**PULLED, "gradient_clipping": {"norm": 0.1}, "continual_backprop": {**CBP, **UNEVEN}}, batch=3),
        Case("adam", {**PULLED, "gradient_clipping": {"norm": 0.1}}, inputs=20),
        Case("adamo", {"l2_init": {}, "gradient_clipping": {"norm": 0.1}}, {"isometry_strength": 0.1, "head": False}),
        Case(methods={**PULLED, "l2": L2}, width=300, depth=1),
        Case(methods={"parseval": {}}, inputs=9, width=40),
        Case("adam", {"normalise_and_project": {}, **SPECTRAL}, batch=2),
        Case(methods=SPECTRAL, width=150, inputs=9, depth=1),
        *(
            Case(methods={name: values}, width=1, outputs=1, loss="squared_error")
            for name, values in {**SPECTRAL, "normalise_and_project": {}, "gradient_clipping": {"norm": 0.1}}.items()
        ),
        Case(methods={"Correlated": {}}, batch=3),
        Case(methods={"gradient_clipping": {"norm": 0.1}, "continual_backprop": CBP, "l2": L2}),
    ],
    ids=str,
)
def test_other_networks_and_batches_are_looped(case: Case) -> None:
    assert from_looped(case, 110, torch.float64) < 1e-10


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_length_of_a_gradient_whose_examples_cancel_is_no_less_than_nothing(dtype: torch.dtype) -> None:
    """Two examples of one input and two targets pull in opposite directions, by as much once their mean is learned."""
    case = Case(
        methods={"gradient_clipping": {"norm": 0.1}}, batch=2, loss="squared_error", settings={"step_size": 0.1}
    )
    x, y = (v[:1].expand(2000, -1, -1, -1).clone() for v in data(case, 1))
    x[:, :, 1] = x[:, :, 0]
    traced, looped = (Run(case, {0: {}}, kind, dtype).train(x, y) for kind in (TracedOnline, Looped))
    assert distance(looped.state, traced.state) < (1e-3 if dtype == torch.float32 else 1e-9)


def test_two_programs_in_one_process_have_tables_of_their_own() -> None:
    """A name that two libraries share is the first one's, unless it is the library's own."""
    twice = Case(methods={**PULLED, "parseval": {"strength": 0.01}})
    once = Case("adamo", {"parseval": {"strength": 0.01}}, {"isometry_strength": 0.1, "target": "one"})
    assert max(from_looped(case, 3, torch.float64) for case in (twice, once)) < 1e-10


@pytest.mark.parametrize(("case", "lowered"), [(MENDS, True), (REPLACES, True), (LAZY[17][0], False)], ids=str)
def test_events_are_compiled_where_they_change_elements(case: Case, lowered: bool) -> None:
    assert Run(case, {0: {}}, TracedOnline).train(*data(case, 1)).engine.plan.lowered == lowered


def test_sums_of_what_still_owes_are_counted_after_events_that_torch_does(monkeypatch: pytest.MonkeyPatch) -> None:
    compilers.lightly(monkeypatch)
    case = Case(methods={"continual_backprop": CBP, "l2": L2, "Ordering": {"bound": 0.1}}, depth=1)
    traced, looped = (Run(case, {0: {}}, kind).train(*data(case, 40)) for kind in (TracedOnline, Looped))
    assert traced.engine.paces[0][0, 0] == Mode.OWED and not traced.engine.plan.lowered
    assert distance(looped.state, traced.state) < 1e-10


@pytest.mark.parametrize("methods", [{}, {"l2": L2}], ids=str)
@pytest.mark.parametrize("broken", [False, True])
def test_events_change_the_sums_of_weights_by_what_they_change(
    methods: dict[str, Any], broken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a weight was infinite, of which no difference can be taken."""
    compilers.lightly(monkeypatch)
    case = Case(methods={"continual_backprop": CBP, **methods})
    run = Run(case, {0: {}}, TracedOnline)
    engine = run.engine
    if broken:
        state = run.state
        state["params"]["layers.0.bias"][0, 7] = -100  # a unit that never speaks, so that nothing sees its weights
        state["params"]["layers.1.weight"][0, 3, 7] = torch.inf
        engine.load(state)
    run.train(*data(case, 60))
    assert int(run.state["state"]["replaced"]) > 10 and engine.plan.lowered
    kept = [sums.clone() for sums in (*engine.columns, *engine.across)]
    engine._count(0, run.step)
    for own, anew in zip(kept, (*engine.columns, *engine.across), strict=True):
        assert own.isfinite().all()
        torch.testing.assert_close(own, anew, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_running_sums_replace_the_units_that_looped_replaces_for_ten_thousand_steps() -> None:
    settings = {"replacement_rate": 0.001, "maturity_threshold": 50}
    case = Case(methods={"continual_backprop": settings, "l2": {"strength": 1e-3}}, inputs=40, width=25)
    traced, looped = (Run(case, {0: {"step_size": 0.003}}, kind) for kind in (TracedOnline, Looped))
    for part in range(20):
        x, y = data(case, 500, seed=part)
        ages = [run.train(x, y).state["state"]["continual_backprop"]["age"] for run in (traced, looped)]
        assert all(torch.equal(ages[0][name], age) for name, age in ages[1].items())
    assert int(looped.state["state"]["replaced"]) > 100
    assert distance(looped.state, traced.state) < 1e-6


def test_a_long_sleep_is_its_closed_form() -> None:
    case = Case(methods={"l2_init": {"strength": 0.03}}, settings={"step_size": 0.02})
    run = Run(case, {0: {}}, TracedOnline)
    run.train(*data(case, 1))
    before = run.state["params"]["layers.0.weight"][..., 0] + 1.0  # input 0 is dark for good
    state = run.state
    state["params"]["layers.0.weight"][..., 0] = before
    run.engine.load(state)
    x, y = data(case, 1700)
    run.train(x, y)
    initial = state["state"]["l2_init"]["initial"]["layers.0.weight"][..., 0]
    wanted = initial + (before - initial) * (1 - 0.02 * 0.03) ** 1700
    torch.testing.assert_close(run.state["params"]["layers.0.weight"][..., 0], wanted, rtol=0, atol=1e-12)


def test_a_weak_decay_of_biases_in_float32_has_the_effect_of_float64() -> None:
    # A step takes 9e-9 of 0.3, whose neighbours are 3e-8 away: rounded step by step it would stay where it is.
    case = Case(methods={"l2": {"strength": 1e-5}}, settings={"step_size": 0.003}, depth=1)
    run = Run(case, {0: {}}, TracedOnline, torch.float32)
    state = run.state
    names = ("layers.0.bias", "layers.1.bias")
    for name in names:
        state["params"][name].fill_(0.3)
    run.engine.load(state)
    x, y = data(case, 2000)
    for _ in range(10):
        run.train(x, torch.full_like(y, -1))  # a class that does not exist: no loss, no gradient
        run.again()
    lost = 1 - (1 - 0.003 * 1e-5) ** 20_000
    for name in names:
        torch.testing.assert_close(
            1 - run.state["params"][name] / 0.3, torch.full_like(state["params"][name], lost), rtol=1e-3, atol=0
        )


@pytest.mark.parametrize("case", [*TOGETHER, SPARES, MENDS, REPLACES], ids=str)
def test_how_steps_are_split_changes_no_bit_also_with_checkpoints(case: Case) -> None:
    dtype = torch.float32
    x, y = data(case, 210)
    whole = Run(case, THREE, TracedOnline, dtype).train(x, y)
    parts = Run(case, THREE, TracedOnline, dtype)
    for first, last in ((0, 1), (1, 37), (37, 101), (101, 110), (110, 210)):
        parts.train(x[first:last], y[first:last])
        parts.again()
    assert same_bits(public(whole.state), public(parts.state))


@pytest.mark.parametrize("case", [DECAYS, RENEWS, MENDS], ids=str)
def test_a_member_is_the_same_alone_and_beside_one_that_diverges(case: Case) -> None:
    x, y = data(case, 110)
    three = {**THREE, 1: {"step_size": 1e300}}
    pack = Run(case, three, TracedOnline).train(x, y)
    alone = Run(case, {2: THREE[2]}, TracedOnline).train(x, y)
    assert same_bits(public(pack.member(2)), public(alone.member(2)))
    assert not bool(pack.member(1)["params"]["layers.0.weight"].isfinite().all())


def test_weights_changed_by_somebody_are_taken_as_they_are() -> None:
    case = DECAYS
    x, y = data(case, 60)
    runs = [Run(case, THREE, kind).train(x, y) for kind in (TracedOnline, Looped)]
    for run in runs:
        state = run.state
        state["params"]["layers.0.weight"][1] *= 0.5
        run.engine.load(state)
        run.train(x, y)
    assert distance(runs[1].state, runs[0].state) < 1e-10


def test_a_state_that_an_older_version_kept_goes_on_from_its_weights() -> None:
    """Before biases that descend were of it, a pace was two numbers shorter, and nothing rested."""
    x, y = data(DECAYS, 60)
    runs = [Run(DECAYS, THREE, kind).train(x, y) for kind in (TracedOnline, Looped)]
    state = runs[0].state
    owing = [own for name, own in state["path"].items() if name != "sums"]
    for own in owing:
        own["pace"] = own["pace"][:, :-2]
        del own["rest"]
    runs[0].engine.load(state)
    assert owing and distance(runs[1].train(x, y).state, runs[0].train(x, y).state) < 1e-10


def test_the_written_loop_goes_on_from_the_traced_ones_state_and_back() -> None:
    case = Case("adam", {"l2": L2})
    x, y = data(case, 90)
    kinds = (TracedOnline, Online, TracedOnline)
    run = Run(case, THREE, kinds[0])
    for kind, first in zip(kinds, (0, 30, 60), strict=True):
        run.kind = kind
        run.again()
        run.train(x[first : first + 30], y[first : first + 30])
    assert distance(Run(case, THREE, Looped).train(x, y).state, run.state) < 1e-10


@pytest.mark.parametrize("batch", [1, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", [DECAYS, RECYCLES], ids=str)
def test_pictures_have_the_bits_of_their_numbers(case: Case, batch: int) -> None:
    case = replace(case, batch=batch)
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (50, case.inputs), generator=generator, dtype=torch.uint8)
    images *= torch.rand(images.shape, generator=generator) < 0.3
    labels = torch.randint(0, case.outputs, (50,), generator=generator)
    shown = torch.randint(0, 50, (2, 210, batch), generator=generator, dtype=torch.int32)
    pixels = torch.stack([torch.randperm(case.inputs, generator=generator) for _ in range(2)]).int()
    shades = np.divide(np.arange(256), 255.0, dtype=np.float32)
    x = torch.stack([torch.from_numpy(shades[images[shown[s].long()]])[..., pixels[s].long()] for s in range(2)], 1)
    y = torch.stack([labels[shown[s].long()] for s in range(2)], 1)
    numbers = Run(case, THREE, TracedOnline, torch.float32).train(x, y)
    pictures = Run(case, THREE, TracedOnline, torch.float32)
    which = torch.tensor([i % 2 for i in THREE])
    read = images.numpy().copy(), labels.numpy().copy()
    for array in read:
        array.setflags(write=False)  # as those of a file are
    with torch.no_grad():
        pictures.engine.advance_pictures(*read, shades, shown, pixels, which, 0)
    assert same_bits(public(numbers.state), public(pictures.state))


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        ({"Largest": {}}, "of whole matrices of weights"),
        ({"Summed": {}}, "of whole matrices of weights"),
        ({"Restless": {}}, "a schedule that acts every 7 steps"),
        ({"shrink_and_perturb": {}}, "drawn"),
        ({"Cubed": {}}, "used twice"),
        ({"WrongSide": {"bound": 0.1}}, "used twice"),
        ({"Counting": {}}, "of all weights"),
    ],
)
def test_what_cannot_be_cut_says_why(methods: dict[str, Any], said: str) -> None:
    case = Case(methods=methods)
    with pytest.raises(NotLowered, match=said):
        Run(case, THREE, TracedOnline).train(*data(case, 1))


def taken(case: Case) -> bool:
    run = Run(case, {0: {}}, Looped)
    state, x, y = run.state, *data(case, 1)
    hyper = mapped(lambda v: v[0], run.engine.hyper)

    def one(value: Tensor) -> Tensor:
        return value[0].clone()

    try:
        emit(case.learner, mapped(one, public(state)), hyper, x[0, 0], y[0, 0])
    except NotLowered:
        return False
    return True


@pytest.mark.parametrize(
    ("optimizer", "method"), [*((name, None) for name in OPTIMIZERS), *(("sgd", name) for name in METHODS)]
)
def test_what_entries_declare_of_a_traced_loop_is_what_can_be_made(optimizer: str, method: str | None) -> None:
    case = Case(optimizer, {method: {}} if method else {}, inputs=9, width=6)
    registry, name = (METHODS, method) if method else (OPTIMIZERS, optimizer)
    takes = registry[name].paths.online
    config = registry[name].config()
    declared = takes if isinstance(takes, bool) else all(
        value is True or getattr(config, field) in value for field, value in (takes or {}).items()
    )  # fmt: skip
    assert taken(case) == declared


PAIRS = [
    *(({}, pair) for pair in itertools.combinations(METHODS, 2)),
    *((o, (m,)) for o in OPTIMIZERS for m in METHODS),
]


@pytest.mark.slow
def test_any_two_that_a_traced_loop_takes_it_takes_together() -> None:
    """By declaration a pack is planned for it, and would train lifted after all."""
    wrong = []
    for optimizer, names in PAIRS:
        case = Case(optimizer or "sgd", {name: {} for name in names}, inputs=9, width=6, normalisation="layer")
        parts = parts_of(case.learner)
        if refusal("online", parts) is None and not written(parts) and not taken(case):
            wrong.append(str(case))
    assert not wrong
