"""One step of learning: its order, what a user's hooks see, losses by hand, schedules and hyperparameters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import Tensor

from workloads.engine.layout import flattened, in_order
from workloads.engine.plain import train
from workloads.learner import Learner
from workloads.losses import LOSSES as LOSS_SPECS
from workloads.losses import LossName
from workloads.losses.implementations import IMPLEMENTATIONS as LOSSES
from workloads.methods.base import Hyper, Method, Params, Seen, State
from workloads.methods.config import (
    METHODS,
    OPTIMIZERS,
    AdamConfig,
    AdamOConfig,
    AdamWConfig,
    ContinualBackpropConfig,
    CoupledIsometryConfig,
    L2Config,
    MethodSpec,
    SGDConfig,
    ShrinkAndPerturbConfig,
)
from workloads.methods.implementations import IMPLEMENTATIONS
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP
from workloads.paths import Paths
from workloads.periods import Schedule
from workloads.random import Draw

LINEAR = MLP(MLPConfig(depth=0), 2, 1)


def f64(value: Any) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def linear_params() -> Params:
    return {"layers.0.weight": f64([[1.0, 2.0]]), "layers.0.bias": f64([0.5])}


def draw_at(step: int) -> Draw:
    return Draw(torch.tensor(0), torch.tensor(step), torch.float64)


def hyper_of(learner: Learner, optimizer: Any, methods: dict[str, Any]) -> dict[str, Hyper]:
    numbers = learner.hyper_of(optimizer, methods)
    return {who: {name: f64(v) for name, v in own.items()} for who, own in numbers.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class ToyConfig:
    """What the toy methods below may be told."""

    strength: float = 1.0


class Lasso(Method):
    """A user's method by the loss hook alone: strength x Σ|θ|."""

    acts = frozenset({"loss"})

    def loss(self, params: Params, state: State, hyper: Hyper) -> Tensor:
        return hyper["strength"] * sum((value.abs().sum() for value in params.values()), torch.zeros(()))


class Doubled(Method):
    """Doubles the gradient, and the weights after the step; keeps what it saw."""

    acts = frozenset({"gradient", "after_step", "at_task"})
    period = 6

    def init(self, params: Params, *, per_element: bool) -> State:
        return {"acted": torch.tensor(0), "steps": torch.tensor(0), "tasks": torch.tensor(0)}

    def gradient(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        return {name: 2 * grad for name, grad in seen.grads.items()}, {**state, "steps": state["steps"] + 1}

    def after_step(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        held = {**state, "acted": state["acted"] + int(seen.acts), "grads": seen.grads}
        return {name: 2 * value for name, value in params.items()}, {**held, "hidden": seen.activations}

    def at_task(self, params: Params, state: State, hyper: Hyper, draw: Draw) -> tuple[Params, State]:
        return {name: value + 100 for name, value in params.items()}, {**state, "tasks": state["tasks"] + 1}


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy methods in the registries, for the time of one test."""
    for name, kind in (("lasso", Lasso), ("doubled", Doubled)):
        monkeypatch.setitem(IMPLEMENTATIONS, name, kind)
        monkeypatch.setitem(
            METHODS, name, MethodSpec(config=ToyConfig, varies=("strength",), paths=Paths(), cost=0.0, copies=0)
        )


def stepped(
    methods: dict[str, Any], optimizer: Any = None, steps: int = 1, y: float = 10.0
) -> tuple[Params, State, list[float]]:
    """A linear model on x = (3, 4): parameters and state after `steps`, and every online loss."""
    optimizer = optimizer or SGDConfig(step_size=0.01)
    name = {SGDConfig: "sgd", AdamConfig: "adam"}[type(optimizer)]
    learner = Learner(LINEAR, "squared_error", (name, optimizer), methods)
    params, hyper = linear_params(), hyper_of(learner, optimizer, methods)
    state = learner.init(params)
    losses = []
    for step in range(steps):
        params, state, online = learner.step(
            params, state, hyper, f64([[3.0, 4.0]]), f64([[y]]), draw_at(step), acting=learner.acting(step)
        )
        losses.append(online.loss.item())
    return params, state, losses


# ------------------------------------------------------------------------------------------------ one step by hand


def test_a_step_by_hand_reports_the_loss_before_the_update() -> None:
    """Output 3 + 8 + 0.5 = 11.5, error 1.5, loss 2.25, gradient 3 x (3, 4, 1); then error 1.5 (1 − 0.02 x 26)."""
    params, _, losses = stepped({}, steps=2)
    assert losses == pytest.approx([2.25, (1.5 * 0.48) ** 2], rel=1e-13)
    params, _, _ = stepped({})
    assert params["layers.0.weight"].flatten().tolist() == pytest.approx([1 - 0.09, 2 - 0.12], rel=1e-14)
    assert params["layers.0.bias"].item() == pytest.approx(0.5 - 0.03, rel=1e-14)


def test_losses_are_summed_over_outputs_and_averaged_over_the_batch() -> None:
    """Errors (1, 2) and (3, 0): squared 5 and 9, mean 7; the gradient of the bias is the mean of 2 x error."""
    network = MLP(MLPConfig(depth=0), 1, 2)
    output, target = f64([[1.0, 2.0], [3.0, 0.0]]), f64([[0.0, 0.0], [0.0, 0.0]])
    assert LOSSES["squared_error"].example_losses(output, target).tolist() == [5, 9]
    learner = Learner(network, "squared_error", ("sgd", SGDConfig()), {})
    params = {"layers.0.weight": f64([[0.0], [0.0]]), "layers.0.bias": f64([0.0, 0.0])}
    x, y = f64([[0.0], [0.0]]), f64([[-1.0, -2.0], [-3.0, 0.0]])
    found = learner.gradients(params, learner.init(params), hyper_of(learner, SGDConfig(), {}), x, y, acting=())
    assert found.loss.item() == 7
    assert found.grads["layers.0.bias"].tolist() == [4, 2]
    assert found.output.tolist() == [[0, 0], [0, 0]] and found.activations == {}


def test_cross_entropy_by_hand_and_beside_scipy() -> None:
    """Logits (0, ln 3): the classes have probability 1/4 and 3/4; huge logits do not overflow."""
    logits = f64([[0.0, math.log(3.0)], [0.0, math.log(3.0)], [1000.0, 0.0]])
    losses = LOSSES["cross_entropy"].example_losses(logits, torch.tensor([0, 1, 1]))
    assert losses.tolist() == pytest.approx([math.log(4), math.log(4 / 3), 1000])
    generator = torch.Generator().manual_seed(0)
    many = torch.randn(50, 7, generator=generator, dtype=torch.float64)
    target = torch.randint(0, 7, (50,), generator=generator)
    expected = -log_softmax(many.numpy(), axis=-1)[np.arange(50), target.numpy()]
    np.testing.assert_allclose(LOSSES["cross_entropy"].example_losses(many, target).numpy(), expected, rtol=1e-12)
    assert LOSSES["cross_entropy"].example_losses(many.float(), target).dtype == torch.float32


def test_accuracy_is_that_before_the_update_and_zero_for_regression() -> None:
    """A step so large that every prediction turns right: the online accuracy is still the old 1/4."""
    network = MLP(MLPConfig(depth=0, biases=False), 4, 2)
    learner = Learner(network, "cross_entropy", ("sgd", SGDConfig(step_size=100.0)), {})
    params = {network.head: f64([[-1.0, -1, -1, -1], [1, 1, 1, 1]])}
    x, y = torch.eye(4, dtype=torch.float64), torch.tensor([0, 0, 0, 1])
    hyper = hyper_of(learner, SGDConfig(step_size=100.0), {})
    params, state, online = learner.step(params, learner.init(params), hyper, x, y, draw_at(0), acting=())
    assert online.correct.item() == 0.25
    _, _, online = learner.step(params, state, hyper, x, y, draw_at(1), acting=())
    assert online.correct.item() == 1
    regression = Learner(LINEAR, "squared_error", ("sgd", SGDConfig()), {})
    _, _, online = regression.step(
        linear_params(),
        {"optimizer": {}},
        hyper_of(regression, SGDConfig(), {}),
        f64([[3.0, 4.0]]),
        f64([[11.5]]),
        draw_at(0),
        acting=(),
    )
    assert (online.loss.item(), online.correct.item()) == (0, 0)


# ------------------------------------------------------------------------------------------------ hooks, in their order


def test_a_users_loss_term_is_differentiated_and_not_reported() -> None:
    """Gradient 3 x (3, 4, 1) plus 2 x the sign of every parameter, all positive."""
    params, _, losses = stepped({"lasso": ToyConfig(strength=2.0)})
    assert losses == [2.25]
    found = [*params["layers.0.weight"].flatten().tolist(), params["layers.0.bias"].item()]
    assert found == pytest.approx([1 - 0.11, 2 - 0.14, 0.5 - 0.05], rel=1e-14)


def test_gradient_methods_act_before_the_optimizer_and_after_step_methods_after_it() -> None:
    """Gradient (9, 12, 3) doubled, stepped by 0.01, then the weights doubled; the moments hold the doubled gradient."""
    params, state, _ = stepped({"doubled": ToyConfig()})
    assert params["layers.0.weight"].flatten().tolist() == pytest.approx([2 * 0.82, 2 * 1.76], rel=1e-14)
    assert state["doubled"]["grads"]["layers.0.bias"].item() == pytest.approx(6)
    _, state, _ = stepped({"doubled": ToyConfig()}, AdamConfig())
    assert state["optimizer"]["mean"]["layers.0.weight"].flatten().tolist() == pytest.approx([1.8, 2.4])


def test_methods_act_in_the_order_they_are_given() -> None:
    """Doubling then L2 is 2g + θ; L2 then doubling is 2 (g + θ)."""
    l2, doubled = {"l2": L2Config(strength=1.0)}, {"doubled": ToyConfig()}
    _, state, _ = stepped({**doubled, **l2})
    assert state["doubled"]["grads"]["layers.0.bias"].item() == pytest.approx(2 * 3 + 0.5)
    _, state, _ = stepped({**l2, **doubled})
    assert state["doubled"]["grads"]["layers.0.bias"].item() == pytest.approx(2 * (3 + 0.5))


def test_after_step_methods_see_the_activations_before_the_update() -> None:
    network = MLP(MLPConfig(width=3, depth=2, activation="tanh"), 2, 1)
    learner = Learner(network, "squared_error", ("sgd", SGDConfig(step_size=0.5)), {"doubled": ToyConfig()})
    params, x = network.init(0), f64([[3.0, 4.0], [-1.0, 0.5]])
    hyper = hyper_of(learner, SGDConfig(step_size=0.5), {"doubled": ToyConfig()})
    _, state, _ = learner.step(params, learner.init(params), hyper, x, f64([[1.0], [2.0]]), draw_at(0), acting=(True,))
    seen = state["doubled"]["hidden"]
    assert list(seen) == ["layers.0", "layers.1"]
    for name, value in network.apply(params, x)[1]:
        torch.testing.assert_close(seen[name], value, rtol=1e-13, atol=1e-15)


def test_nothing_that_is_handed_in_changes() -> None:
    """Steps are pure: parameters and state of before can be stepped again to the same bits."""
    network = MLP(MLPConfig(width=4, depth=1), 2, 1)
    methods = {
        "shrink_and_perturb": ShrinkAndPerturbConfig(perturb_scale=0.1),
        "continual_backprop": ContinualBackpropConfig(replacement_rate=1.0, maturity_threshold=0),
    }
    learner = Learner(network, "squared_error", ("adam", AdamConfig()), methods)
    params, hyper = network.init(0), hyper_of(learner, AdamConfig(), methods)
    state = learner.init(params)
    x, y = f64([[3.0, 4.0]]), f64([[1.0]])
    first = learner.step(params, state, hyper, x, y, draw_at(0), acting=())
    learner.repair(first[0], first[1], hyper, draw_at(0), method="continual_backprop", place=0)
    again = learner.step(params, state, hyper, x, y, draw_at(0), acting=())
    assert all(torch.equal(first[0][name], again[0][name]) for name in params)
    assert all(torch.equal(value, network.init(0)[name]) for name, value in params.items())
    assert state["continual_backprop"]["due"].tolist() == [0]
    assert first[1]["continual_backprop"]["due"].tolist() == [4]


def test_what_happens_at_tasks_is_up_to_the_methods_that_act_there() -> None:
    methods = {"lasso": ToyConfig(), "doubled": ToyConfig()}
    learner = Learner(LINEAR, "squared_error", ("sgd", SGDConfig()), methods)
    assert learner.acts_at_tasks
    assert not Learner(LINEAR, "squared_error", ("sgd", SGDConfig()), {"lasso": ToyConfig()}).acts_at_tasks
    params = linear_params()
    state = learner.init(params)
    after, state_after = learner.at_task(params, state, hyper_of(learner, SGDConfig(), methods), draw_at(0))
    assert after["layers.0.weight"].tolist() == [[101, 102]]
    assert (state["doubled"]["tasks"].item(), state_after["doubled"]["tasks"].item()) == (0, 1)


# ------------------------------------------------------------------------------------------------ schedules and numbers


def test_programs_are_as_many_as_combinations_of_parts_that_act() -> None:
    """Periods 4 and 6: together every 12 steps. 1000 and 7 would be together once in 7,000, and make four programs."""

    def learner(every: int, methods: dict[str, Any]) -> Learner:
        return Learner(LINEAR, "squared_error", ("adamo", AdamOConfig(every=every)), methods)

    both = learner(4, {"doubled": ToyConfig()})
    assert [both.acting(step) for step in (0, 1, 4, 6, 8, 12)] == [
        (True, True),
        (False, False),
        (True, False),
        (False, True),
        (True, False),
        (True, True),
    ]
    assert learner(6, {"doubled": ToyConfig()}).acting(6) == (True,)  # parts of one period always act together
    assert learner(1, {"l2": L2Config()}).acting(0) == ()
    assert Schedule.of([1000, 7, 1]).met() == {
        (True, True): 0,
        (False, False): 1,
        (True, False): 7,
        (False, True): 1000,
    }
    assert Schedule.of([2, 4]).met() == {(True, True): 0, (False, False): 1, (True, False): 2}  # 4 never alone


def test_the_plain_path_counts_steps_from_the_trials_first() -> None:
    """Two stretches, 0-6 and 7-12, of a part that acts every sixth step: 0 and 6, then 12; losses add up."""
    methods = {"doubled": ToyConfig()}
    learner = Learner(LINEAR, "squared_error", ("sgd", SGDConfig(step_size=0.0)), methods)
    hyper = hyper_of(learner, SGDConfig(step_size=0.0), methods)
    x, y = torch.zeros(13, 1, 2, dtype=torch.float64), torch.ones(13, 1, 1, dtype=torch.float64)
    params = {"layers.0.weight": f64([[0.0, 0.0]]), "layers.0.bias": f64([0.0])}
    seed = torch.tensor(0)
    first = train(learner, params, learner.init(params), hyper, x[:7], y[:7], seed, 0)
    assert first.state["doubled"]["acted"].item() == 2
    assert (first.loss, first.correct) == (7.0, 0.0)
    second = train(learner, first.params, first.state, hyper, x[7:], y[7:], seed, 7)
    assert (second.state["doubled"]["acted"].item(), second.state["doubled"]["steps"].item()) == (3, 13)


def test_a_term_of_the_loss_is_differentiated_in_the_steps_in_which_its_method_acts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lasso of strength 2 every second step, from targets that are met, so that only the signs move the weights."""
    monkeypatch.setattr(Lasso, "period", 2)
    params, _, _ = stepped({"lasso": ToyConfig(strength=2.0)}, steps=1, y=11.5)
    assert params["layers.0.bias"].item() == pytest.approx(0.5 - 0.02, rel=1e-14)
    learner = Learner(LINEAR, "squared_error", ("sgd", SGDConfig(step_size=0.01)), {"lasso": ToyConfig(strength=2.0)})
    hyper = hyper_of(learner, SGDConfig(step_size=0.01), {"lasso": ToyConfig(strength=2.0)})
    start = linear_params()
    after, _, _ = learner.step(
        start, learner.init(start), hyper, f64([[3.0, 4.0]]), f64([[11.5]]), draw_at(1), acting=learner.acting(1)
    )
    assert after["layers.0.bias"].item() == 0.5


def test_an_update_takes_a_gradient_from_anywhere() -> None:
    """Of a loss of one's own, here minus the output: the same optimizer and methods, terms of the loss included."""
    learner = Learner(LINEAR, "squared_error", ("sgd", SGDConfig(step_size=0.01)), {"lasso": ToyConfig(strength=2.0)})
    params, hyper = linear_params(), hyper_of(learner, SGDConfig(step_size=0.01), {"lasso": ToyConfig(strength=2.0)})
    state = learner.init(params)

    def loss(params: Params) -> Tensor:
        output, _ = LINEAR.apply(params, f64([[3.0, 4.0]]))
        return learner.penalized(-output.sum(), params, state, hyper, acting=())

    after, _ = learner.update(params, state, hyper, torch.func.grad(loss)(params), {}, draw_at(0), acting=())
    assert after["layers.0.bias"].item() == pytest.approx(0.5 + 0.01 * (1 - 2), rel=1e-14)


def test_the_plain_path_cut_anywhere_comes_to_the_same_bits() -> None:
    network = MLP(MLPConfig(width=6, depth=2), 3, 1)
    methods = {
        "shrink_and_perturb": ShrinkAndPerturbConfig(perturb_scale=0.01),
        "continual_backprop": ContinualBackpropConfig(replacement_rate=0.1, maturity_threshold=3),
    }
    optimizer = AdamOConfig(every=4, isometry_strength=0.1)
    learner = Learner(network, "squared_error", ("adamo", optimizer), methods)
    hyper, params, seed = hyper_of(learner, optimizer, methods), network.init(0), torch.tensor(9)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 1, 3, generator=generator, dtype=torch.float64)
    y = torch.randn(40, 1, 1, generator=generator, dtype=torch.float64)
    whole = train(learner, params, learner.init(params), hyper, x, y, seed, 0)
    half = train(learner, params, learner.init(params), hyper, x[:17], y[:17], seed, 0)
    rest = train(learner, half.params, half.state, hyper, x[17:], y[17:], seed, 17)
    assert all(torch.equal(rest.params[name], value) for name, value in whole.params.items())
    assert half.loss + rest.loss == pytest.approx(whole.loss, rel=1e-13)


def test_hyper_are_the_varying_scalars_and_null_follows_the_step_size() -> None:
    methods = {
        "l2": L2Config(strength=0.25),
        "continual_backprop": ContinualBackpropConfig(replacement_rate=0.5, maturity_threshold=7),
    }
    optimizer = AdamOConfig(step_size=0.125, isometry_strength=2.0)
    learner = Learner(LINEAR, "squared_error", ("adamo", optimizer), methods)
    assert learner.hyper_of(optimizer, methods) == {
        "optimizer": {"step_size": 0.125, "isometry_strength": 2.0, "isometry_step_size": 0.125},
        "l2": {"strength": 0.25},
        "continual_backprop": {"replacement_rate": 0.5, "maturity_threshold": 7.0},
    }
    zero = AdamOConfig(step_size=0.125, isometry_step_size=0.0)  # 0 is a number, not null
    assert learner.hyper_of(zero, methods)["optimizer"]["isometry_step_size"] == 0.0


def test_only_what_replaces_units_asks_for_counts_per_weight() -> None:
    def steps_shape(methods: dict[str, Any]) -> torch.Size:
        network = MLP(MLPConfig(width=3, depth=1), 2, 1)
        learner = Learner(network, "squared_error", ("adam", AdamConfig()), methods)
        return learner.init(network.init(0))["optimizer"]["steps"]["layers.0.weight"].shape

    assert steps_shape({"l2": L2Config()}) == ()
    assert steps_shape({"l2": L2Config(), "continual_backprop": ContinualBackpropConfig()}) == (3, 2)


@pytest.mark.parametrize(
    ("name", "config"),
    [("sgd", SGDConfig()), ("adam", AdamConfig()), ("adamw", AdamWConfig()), ("adamo", AdamOConfig())],
)
def test_float32_stays_float32(name: str, config: Any) -> None:
    """Every method at once: no parameter or moment is widened on the way, where packs rely on it."""
    network = MLP(MLPConfig(width=3, depth=1), 2, 1)
    methods = {
        "l2": L2Config(),
        "shrink_and_perturb": ShrinkAndPerturbConfig(),
        "coupled_isometry": CoupledIsometryConfig(),
        "continual_backprop": ContinualBackpropConfig(preset="paper", replacement_rate=1.0, maturity_threshold=0),
    }
    learner = Learner(network, "squared_error", (name, config), methods)
    params = {key: value.float() for key, value in network.init(0).items()}
    hyper = {
        who: {key: torch.tensor(v, dtype=torch.float32) for key, v in own.items()}
        for who, own in learner.hyper_of(config, methods).items()
    }
    before = learner.init(params)
    x, y = torch.ones(5, 1, 2), torch.ones(5, 1, 1)
    trained = train(learner, params, before, hyper, x, y, torch.tensor(0), 0)
    assert {value.dtype for value in trained.params.values()} == {torch.float32}
    kept = flattened(in_order(trained.state, before))[0]
    assert [value.dtype for value in kept] == [value.dtype for value in flattened(before)[0]]


def test_every_config_has_an_implementation_and_its_varying_scalars() -> None:
    assert set(IMPLEMENTATIONS) == set(OPTIMIZERS) | set(METHODS)
    for name, spec in {**OPTIMIZERS, **METHODS}.items():
        assert all(hasattr(spec.config(), scalar) for scalar in spec.varies), name


def test_every_loss_has_both_halves_and_takes_the_targets_it_says() -> None:
    assert list(LOSSES) == list(LOSS_SPECS) == list(get_args(LossName))
    output = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for name, spec in LOSS_SPECS.items():
        target = torch.tensor([0, 1, 2, 0, 1]) if spec.classes else torch.zeros(5, 3).double()
        target = torch.stack([target, torch.full((5,), 3)], -1) if spec.counted else target
        assert LOSSES[name].name == name
        assert LOSSES[name].example_losses(output, target).shape == (5,)
        hits = LOSSES[name].example_hits(output, target)
        assert hits.shape == (5,) and bool(hits.any()) == spec.classes
