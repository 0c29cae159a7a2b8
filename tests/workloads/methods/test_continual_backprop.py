"""Continual backprop: utilities by hand, counts and chances, one replacement from all sides, and a naive learner.

The naive learner is the oracle: numpy with a loop per unit, written from the published description alone; it
shares only the random draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from scipy import stats
from torch import Tensor
from watched import Watched

from workloads.engine.plain import Trained, train
from workloads.learner import Learner
from workloads.methods.base import Params, Read, Seen, State
from workloads.methods.config import AdamConfig, ContinualBackpropConfig, SGDConfig, Utility
from workloads.methods.continual_backprop import ContinualBackprop
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP
from workloads.random import Draw

Array = NDArray[np.float64]
SEED = 5
NAME = "continual_backprop"


def f64(value: Any) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def draw_at(step: int, seed: int = SEED) -> Draw:
    return Draw(torch.tensor(seed), torch.tensor(step), torch.float64)


def rates(config: ContinualBackpropConfig) -> dict[str, Tensor]:
    return {k: f64(float(getattr(config, k))) for k in ("replacement_rate", "maturity_threshold")}


# ------------------------------------------------------------------------------------------------ the oracle


@dataclass
class Naive:
    """A multilayer perceptron with squared error, SGD or Adam, and generate-and-test after every step."""

    config: ContinualBackpropConfig
    weights: list[Array]
    biases: list[Array]
    activation: str
    step_size: float
    adam: bool
    events: list[tuple[int, int, int]] = field(default_factory=list)  # step, layer, unit

    def __post_init__(self) -> None:
        sizes = [len(b) for b in self.biases[:-1]]
        self.age = [[0] * n for n in sizes]
        self.utility = [[0.0] * n for n in sizes]
        self.mean = [[0.0] * n for n in sizes]
        self.counter = [0.0] * len(sizes)
        self.moments = [{k: np.zeros_like(p) for k in ("mean", "square", "steps")} for p in self.weights + self.biases]

    def train(self, x: Array, y: Array) -> None:
        for step in range(len(x)):
            hidden, grads = self.gradients(x[step], y[step])
            self.effects = self.effects_of(x[step], hidden, y[step], step)
            self.update(grads)
            self.generate_and_test(hidden, step)

    def effects_of(self, x: Array, hidden: list[Array], y: Array, step: int) -> list[Array]:
        """|h ∂ℓ/∂h| of every unit and example, or |h vᵀ ∂f/∂h|, from the weights before the update."""
        output = hidden[-1] @ self.weights[-1].T + self.biases[-1]
        back = 2 * (output - y)  # of an example's own loss
        if self.config.utility == "taylor_output":
            v = draw_at(step).normal("output_effects", output.size).numpy().reshape(output.shape)
            back = v * math.sqrt(math.pi / (2 * output.shape[1]))
        effects: list[Array] = []
        for k in reversed(range(len(hidden))):
            by_hidden = back @ self.weights[k + 1]
            effects.insert(0, np.abs(hidden[k] * by_hidden))
            slope = (hidden[k] > 0) if self.activation == "relu" else 1 - hidden[k] ** 2
            back = by_hidden * slope
        return effects

    def gradients(self, x: Array, y: Array) -> tuple[list[Array], list[Array]]:
        """Hidden activations, and gradients of all weights, then of all biases."""
        signals = [x]
        for w, b in zip(self.weights[:-1], self.biases[:-1], strict=True):
            z = signals[-1] @ w.T + b
            signals.append(np.maximum(z, 0) if self.activation == "relu" else np.tanh(z))
        error = 2 * (signals[-1] @ self.weights[-1].T + self.biases[-1] - y) / len(x)
        of_weights, of_biases = [], []
        for k in reversed(range(len(self.weights))):
            of_weights.insert(0, error.T @ signals[k])
            of_biases.insert(0, error.sum(0))
            slope = (signals[k] > 0) if self.activation == "relu" else 1 - signals[k] ** 2
            error = (error @ self.weights[k]) * slope
        return signals[1:], of_weights + of_biases

    def update(self, grads: list[Array]) -> None:
        for p, g, s in zip(self.weights + self.biases, grads, self.moments, strict=True):
            if not self.adam:
                p -= self.step_size * g
                continue
            s["mean"][:] = 0.9 * s["mean"] + 0.1 * g
            s["square"][:] = 0.999 * s["square"] + 0.001 * g**2
            s["steps"] += 1
            m, v = s["mean"] / (1 - 0.9 ** s["steps"]), s["square"] / (1 - 0.999 ** s["steps"])
            p -= self.step_size * m / (np.sqrt(v) + 1e-8)

    def generate_and_test(self, hidden: list[Array], step: int) -> None:
        chosen = [self.chosen(layer, h, step) for layer, h in enumerate(hidden)]
        for layer, units in enumerate(chosen):
            for unit, contribution in units:
                self.replace(layer, unit, contribution, step)

    def chosen(self, layer: int, h: Array, step: int) -> list[tuple[int, float]]:
        """The units of a layer to replace, each with its bias-corrected mean activation."""
        eta, scores, centres = self.config.utility_decay, [], []
        for i in range(h.shape[1]):
            self.age[layer][i] += 1
            correction = 1 - eta ** self.age[layer][i]
            self.mean[layer][i] = eta * self.mean[layer][i] + (1 - eta) * h[:, i].mean()
            centre = self.mean[layer][i] / correction
            y = self.worth(layer, i, h[:, i], centre)
            self.utility[layer][i] = eta * self.utility[layer][i] + (1 - eta) * y
            scores.append(self.utility[layer][i] / correction)
            centres.append(centre)
        if self.config.utility == "random":
            scores = draw_at(step).uniform(f"random_utility/layers.{layer}", h.shape[1]).tolist()
        old = [i for i in range(h.shape[1]) if self.age[layer][i] > self.config.maturity_threshold]
        if not old:
            return []
        number = self.config.replacement_rate * len(old)
        if self.config.replacement == "accumulate":
            self.counter[layer] += number
            count = int(self.counter[layer])
            self.counter[layer] -= count
        elif number < 1:
            chance = draw_at(step).uniform("replace", len(self.counter))[layer].item()
            count = 1 if chance < number else 0
        else:
            count = int(number)
        least = sorted(old, key=lambda i: (scores[i], i))[:count]
        return [(i, centres[i]) for i in least]

    def worth(self, layer: int, i: int, h: Array, centre: float) -> float:
        out = sum(abs(w) for w in self.weights[layer + 1][:, i]) / len(self.weights[layer + 1])
        into = sum(abs(w) for w in self.weights[layer][i]) / len(self.weights[layer][i])
        size = sum(abs(a) for a in h) / len(h)
        spread = sum(abs(a - centre) for a in h) / len(h)
        worths = {
            "weight": lambda: out,
            "contribution": lambda: out * size,
            "adaptation": lambda: 1 / into,
            "zero_contribution": lambda: out * spread,
            "adaptable_contribution": lambda: out * spread / into,
            "feature_by_input": lambda: spread / into,
            "random": lambda: 0.0,
            "taylor_loss": lambda: self.effects[layer][:, i].mean(),
            "taylor_output": lambda: self.effects[layer][:, i].mean(),
        }
        return worths[self.config.utility]()

    def replace(self, layer: int, unit: int, centre: float, step: int) -> None:
        self.events.append((step, layer, unit))
        self.age[layer][unit], self.utility[layer][unit], self.mean[layer][unit] = 0, 0.0, 0.0
        if self.config.bias_transfer:
            for j in range(len(self.biases[layer + 1])):
                self.biases[layer + 1][j] += self.weights[layer + 1][j, unit] * centre
        fan_in = self.weights[layer].shape[1]
        bound = (math.sqrt(2) if self.activation == "relu" else 5 / 3) * math.sqrt(3 / fan_in)
        fresh = draw_at(step).uniform(f"reinit/layers.{layer}", fan_in, offset=unit).tolist()
        for j in range(fan_in):
            self.weights[layer][unit, j] = bound * (2 * fresh[j] - 1)
        self.biases[layer][unit] = 0
        self.weights[layer + 1][:, unit] = 0
        if self.config.reset_optimizer:
            for slot in ("mean", "square", "steps"):
                self.moments[layer][slot][unit] = 0
                self.moments[layer + 1][slot][:, unit] = 0
                self.moments[len(self.weights) + layer][slot][unit] = 0


def examples(steps: int, batch: int, inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(steps, batch, inputs, generator=generator, dtype=torch.float64)
    y = torch.randn(steps, batch, outputs, generator=generator, dtype=torch.float64)
    return x, y


def trained(
    network: MLP, optimizer: tuple[str, Any], methods: dict[str, Any], steps: int, batch: int = 1
) -> tuple[Trained, list[tuple[int, int, int]]]:
    learner = Watched(network, "squared_error", optimizer, methods)
    numbers = learner.hyper_of(optimizer[1], methods)
    hyper = {w: {k: f64(v) for k, v in own.items()} for w, own in numbers.items()}
    params = network.init(SEED)
    x, y = examples(steps, batch, network.sizes[0], network.sizes[-1])
    result = train(learner, params, learner.init(params), hyper, x, y, torch.tensor(SEED), 0)
    return result, learner.events


@dataclass(frozen=True)
class Case:
    """One way to run both learners. `most` is the largest number of units replaced in one layer at one step."""

    utility: str
    decay: float = 0.9
    replacement: str = "accumulate"
    bias_transfer: bool = True
    batch: int = 1
    activation: str = "relu"
    optimizer: str = "sgd"
    rate: float = 0.03
    maturity: int = 6
    reset: bool = True
    most: int = 1

    def __str__(self) -> str:
        return (
            f"{self.utility}-{self.decay:g}-{self.replacement}-{'moved' if self.bias_transfer else 'dropped'}"
            f"-batch{self.batch}-{self.optimizer}-{self.rate:g}{'' if self.reset else '-kept'}"
        )


RUNNING = [  # every utility, the other choices in turn
    Case(u, 0.9, ("accumulate", "stochastic")[i % 2], i % 4 < 2, (1, 4)[i % 3 == 1], ("relu", "tanh")[i % 5 == 0])
    for i, u in enumerate(get_args(Utility))
]
INSTANTANEOUS = [
    Case(u, 0.0, ("stochastic", "accumulate")[i % 2], i % 4 >= 2, (4, 1)[i % 3 == 1], ("tanh", "relu")[i % 5 == 0])
    for i, u in enumerate(get_args(Utility))
]
SPECIAL = [
    Case("contribution", rate=0.5, maturity=2, most=3),
    Case("adaptable_contribution", replacement="stochastic", rate=0.5, maturity=2, batch=4, most=3),
    Case("random", rate=0.4, maturity=0, most=3),
    Case("adaptable_contribution", optimizer="adam", replacement="stochastic", bias_transfer=False, batch=4),
    Case("contribution", optimizer="adam"),
    Case("adaptable_contribution", optimizer="adam", reset=False),
]


@pytest.mark.parametrize("case", [*RUNNING, *INSTANTANEOUS, *SPECIAL], ids=str)
def test_the_same_units_and_weights_as_the_naive_learner(case: Case) -> None:
    """4-6-6-2, 200 steps at high rates: the same unit at the same step, weights and states to 1e-10."""
    network = MLP(MLPConfig(width=6, depth=2, activation=case.activation), 4, 2)
    config = ContinualBackpropConfig(
        replacement_rate=case.rate,
        maturity_threshold=case.maturity,
        utility_decay=case.decay,
        utility=case.utility,
        replacement=case.replacement,
        bias_transfer=case.bias_transfer,
        reset_optimizer=case.reset,
    )
    optimizer = {"sgd": SGDConfig(step_size=0.01), "adam": AdamConfig(step_size=0.01)}[case.optimizer]
    result, events = trained(network, (case.optimizer, optimizer), {NAME: config}, 200, case.batch)
    start = network.init(SEED)
    naive = Naive(
        config,
        [start[f"layers.{k}.weight"].numpy().copy() for k in range(3)],
        [start[f"layers.{k}.bias"].numpy().copy() for k in range(3)],
        case.activation,
        0.01,
        case.optimizer == "adam",
    )
    naive.train(*(v.numpy() for v in examples(200, case.batch, 4, 2)))

    assert events == naive.events
    assert {layer for _, layer, _ in events} == {0, 1}
    per_step = [sum((s, k) == (step, layer) for s, k, _ in events) for step, layer, _ in events]
    assert max(per_step) == case.most
    for k in range(3):
        for kind, own in (("weight", naive.weights[k]), ("bias", naive.biases[k])):
            found = result.params[f"layers.{k}.{kind}"].numpy()
            assert np.abs(found - own).max() <= 1e-10 * max(1.0, np.abs(own).max())
    for layer in range(2):
        state = {key: result.state[NAME][key][f"layers.{layer}"].numpy() for key in ("age", "utility", "mean")}
        np.testing.assert_array_equal(state["age"], naive.age[layer])
        np.testing.assert_allclose(state["utility"], naive.utility[layer], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(state["mean"], naive.mean[layer], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(result.state[NAME]["counter"].numpy(), naive.counter, atol=1e-12)
    assert result.state[NAME]["due"].tolist() == [0, 0]


# ------------------------------------------------------------------------------------------------ utility by hand

HAND = MLP(MLPConfig(width=2, depth=1), 2, 1)
HAND_PARAMS = {
    "layers.0.weight": f64([[1.0, -3.0], [0.5, 0.5]]),  # mean |w_in| 2 and 0.5
    "layers.0.bias": f64([0.0, 0.0]),
    "layers.1.weight": f64([[5.0, -6.0]]),  # mean |w_out| 5 and 6
    "layers.1.bias": f64([0.0]),
}
HAND_SEEN = Seen(
    grads={},
    activations={"layers.0": f64([[1.0, 0.0], [3.0, 4.0]])},
    read=Read(
        loss_effects={"layers.0": f64([[2.0, 0.0], [-5.0, 4.0]])}, output_effects={"layers.0": f64([[1.0, 3.0]])}
    ),
)
# Mean |h| is 2 and 2, f̂ at age 1 is the batch's mean (2, 2), so mean |h − f̂| is 1 and 2.
HAND_UTILITIES = {
    "weight": [5, 6],
    "contribution": [10, 12],
    "adaptation": [0.5, 2],
    "zero_contribution": [5, 12],
    "adaptable_contribution": [2.5, 24],
    "feature_by_input": [0.5, 4],
    "random": [0, 0],
    "taylor_loss": [3.5, 2],  # sizes over the batch: examples that gain by a unit and that lose count alike
    "taylor_output": [1, 3],
}


@pytest.mark.parametrize("utility", get_args(Utility))
@pytest.mark.parametrize("decay", [0.5, 0.0])
def test_utilities_by_hand(utility: str, decay: float) -> None:
    """u after one step is (1 − η) y and after a second of the same batch (1 − η²) y: û is y both times."""
    config = ContinualBackpropConfig(utility=utility, utility_decay=decay)
    method = ContinualBackprop(config, HAND)
    state = method.init(HAND_PARAMS, per_element=True)
    for age in (1, 2):
        _, state = method.after_step(HAND_PARAMS, state, rates(config), HAND_SEEN, draw_at(age))
        share = 1 - decay**age
        assert state["age"]["layers.0"].tolist() == [age, age]
        assert state["mean"]["layers.0"].tolist() == pytest.approx([2 * share, 2 * share], rel=1e-15)
        expected = [share * y for y in HAND_UTILITIES[utility]]
        assert state["utility"]["layers.0"].tolist() == pytest.approx(expected, rel=1e-14)


def test_weights_after_the_update_and_activations_before_it() -> None:
    """One step of SGD by hand on 1-1-1: w = v = 1, x = 2, y = 0; h = 2, error 2, gradients dv = 8, dw = 8."""
    network = MLP(MLPConfig(width=1, depth=1), 1, 1)
    config = ContinualBackpropConfig(utility="contribution", utility_decay=0.0)
    learner = Learner(network, "squared_error", ("sgd", SGDConfig()), {NAME: config})
    params = {n: torch.full(s, float("weight" in n)).double() for n, s in network.parameter_shapes().items()}
    hyper = {"optimizer": {"step_size": f64(0.05), "weight_decay": f64(0.0)}, NAME: rates(config)}
    x, y = f64([[2.0]]), f64([[0.0]])
    after, state, _ = learner.step(params, learner.init(params), hyper, x, y, draw_at(0), acting=())
    assert after["layers.1.weight"].item() == pytest.approx(0.6)
    assert state[NAME]["utility"]["layers.0"].item() == pytest.approx(0.6 * 2)  # |v after| x |h before|


# ------------------------------------------------------------------------------------------------ how many, and when


def counting(config: ContinualBackpropConfig, units: int) -> ContinualBackprop:
    return ContinualBackprop(config, MLP(MLPConfig(width=units, depth=1), 2, 1))


def advanced(method: ContinualBackprop, state: State, step: int, seed: int = SEED) -> State:
    """One step of the counting alone, on a network at rest."""
    params = method.network.init(0)
    hidden = torch.ones(1, method.network.sites[0].units, dtype=torch.float64)
    seen = Seen(grads={}, activations={"layers.0": hidden})
    return method.after_step(params, state, rates(method.config), seen, draw_at(step, seed))[1]


def test_accumulation_by_hand() -> None:
    """3 eligible units at rate 1/4: 0.75, 1.5, 1.25, 1.0, 0.75, ... of a unit; at rate 3/4: 2.25, 2.5, 2.75, 3."""
    for rate, expected in ((0.25, [0, 1, 1, 1, 0, 1]), (0.75, [2, 2, 2, 3, 2, 2])):
        config = ContinualBackpropConfig(preset="paper", replacement_rate=rate, maturity_threshold=0)
        method = counting(config, 3)
        state = method.init(method.network.init(0), per_element=True)
        due = []
        for step in range(6):
            state = advanced(method, state, step)
            due.append(state["due"].item())
        assert due == expected


def test_nothing_is_due_before_a_unit_is_older_than_the_threshold() -> None:
    """Threshold 3, rate 1: nothing for three steps, not even a fraction, and all units at the fourth."""
    for preset in ("official", "paper"):
        config = ContinualBackpropConfig(preset=preset, replacement_rate=1.0, maturity_threshold=3)
        method = counting(config, 5)
        state = method.init(method.network.init(0), per_element=True)
        for step in range(4):
            state = advanced(method, state, step)
            assert state["due"].item() == (5 if step == 3 else 0)
            assert state["counter"].item() == 0


def test_a_fraction_of_a_unit_is_its_probability() -> None:
    """8 units at 0.05: one with probability 0.4, 5,000 seeds within 4 standard errors; 20 at 0.13: always 2."""
    config = ContinualBackpropConfig(replacement_rate=0.05, maturity_threshold=0)
    method = counting(config, 8)
    params = method.network.init(0)
    state = method.init(params, per_element=True)
    seen = Seen(grads={}, activations={"layers.0": torch.ones(1, 8, dtype=torch.float64)})

    def due(seed: Tensor) -> Tensor:
        draw = Draw(seed, torch.tensor(0), torch.float64)
        return method.after_step(params, state, rates(config), seen, draw)[1]["due"][0]

    drawn = torch.func.vmap(due)(torch.arange(5000))
    assert set(drawn.tolist()) == {0, 1}
    assert abs(drawn.double().mean().item() - 0.4) < 4 * math.sqrt(0.4 * 0.6 / 5000)

    many = counting(ContinualBackpropConfig(replacement_rate=0.13, maturity_threshold=0), 20)
    start = many.init(many.network.init(0), per_element=True)
    assert {advanced(many, start, step)["due"].item() for step in range(20)} == {2}


@pytest.mark.parametrize("replacement", ["accumulate", "stochastic"])
def test_replacements_are_rate_times_the_sum_of_eligible(replacement: str) -> None:
    """1,500 steps, 8 units: to the last fraction where fractions accumulate, else within 4 standard errors."""
    config = ContinualBackpropConfig(replacement=replacement, replacement_rate=0.03, maturity_threshold=10)
    method = counting(config, 8)
    params = method.network.init(0)
    state, hyper = method.init(params, per_element=True), rates(config)
    expected = variance = 0.0
    replaced = 0
    for step in range(1500):
        before = state["age"]["layers.0"]
        state = advanced(method, state, step)
        share = 0.03 * int((before + 1 > 10).sum())
        expected, variance = expected + share, variance + share * (1 - share)
        for _ in range(state["due"].item()):
            params, state, _ = method.repair(params, state, {}, hyper, 0, draw_at(step))
            replaced += 1
    assert expected > 200
    if replacement == "accumulate":
        assert replaced + state["counter"].item() == pytest.approx(expected, rel=1e-12)
        assert replaced == math.floor(expected)
    else:
        assert abs(replaced - expected) < 4 * math.sqrt(variance)


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("preset", ["official", "paper"])
def test_rate_zero_changes_no_bit(name: str, preset: str) -> None:
    """Weights, online loss and the optimizer's state, over 60 steps with every unit mature from the first."""
    network = MLP(MLPConfig(width=6, depth=2), 4, 2)
    optimizer = {
        "sgd": ("sgd", SGDConfig(step_size=0.01)),
        "momentum": ("sgd", SGDConfig(step_size=0.01, momentum=0.9)),
        "adam": ("adam", AdamConfig(step_size=0.01)),
    }[name]
    config = ContinualBackpropConfig(preset=preset, replacement_rate=0.0, maturity_threshold=0)
    plain, _ = trained(network, optimizer, {}, 60)
    with_method, events = trained(network, optimizer, {NAME: config}, 60)
    assert events == []
    assert with_method.loss == plain.loss
    for key, value in plain.params.items():
        assert torch.equal(with_method.params[key], value)
        for slot, held in plain.state["optimizer"].items():
            assert (with_method.state["optimizer"][slot][key] == held[key]).all()


# ------------------------------------------------------------------------------------------------ one replacement


def mature(
    config: ContinualBackpropConfig, network: MLP, optimizer: tuple[str, Any], steps: int = 12
) -> tuple[Watched, Params, State, dict[str, Any]]:
    """A learner trained without replacement until every unit may be replaced, and its hyperparameters."""
    learner = Watched(network, "squared_error", optimizer, {NAME: config})
    numbers = learner.hyper_of(optimizer[1], {NAME: config})
    hyper = {w: {k: f64(v) for k, v in own.items()} for w, own in numbers.items()}
    params = network.init(SEED)
    x, y = examples(steps, 2, network.sizes[0], network.sizes[-1])
    still = {**hyper, NAME: {**hyper[NAME], "replacement_rate": f64(0.0)}}
    result = train(learner, params, learner.init(params), still, x, y, torch.tensor(SEED), 0)
    return learner, result.params, result.state, hyper


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("bias_transfer", [False, True])
def test_only_the_removed_contribution_leaves_the_function(place: int, bias_transfer: bool) -> None:
    """What the next layer receives loses w_out h of the unit; with bias transfer it gains the mean, w_out f̂."""
    network = MLP(MLPConfig(width=6, depth=2, activation="tanh"), 4, 2)
    config = ContinualBackpropConfig(maturity_threshold=5, bias_transfer=bias_transfer)
    learner, params, state, hyper = mature(config, network, ("sgd", SGDConfig(step_size=0.05)))
    after, state_after = learner.repair(params, state, hyper, draw_at(12), method=NAME, place=place)
    ((_, _, unit),) = learner.events

    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    hidden = dict(network.apply(params, x)[1])[f"layers.{place}"]
    own = dict(network.apply(after, x)[1])[f"layers.{place}"]
    others = [i for i in range(6) if i != unit]
    assert torch.equal(own[:, others], hidden[:, others])

    def received(params: Params, hidden: Tensor) -> Tensor:
        return hidden @ params[f"layers.{place + 1}.weight"].T + params[f"layers.{place + 1}.bias"]

    outgoing = params[f"layers.{place + 1}.weight"][:, unit]
    # All units are 12 steps old: f̂ = f / (1 − 0.99¹²).
    centre = state[NAME]["mean"][f"layers.{place}"][unit] / (1 - 0.99**12)
    kept = centre if bias_transfer else 0.0
    expected = received(params, hidden) - outgoing * (hidden[:, unit : unit + 1] - kept)
    torch.testing.assert_close(received(after, own), expected, rtol=1e-12, atol=1e-13)
    assert centre.abs() > 1e-3 and outgoing.abs().min() > 1e-3  # there was something to move

    assert (after[f"layers.{place + 1}.weight"][:, unit] == 0).all()
    assert after[f"layers.{place}.bias"][unit] == 0
    for key in ("age", "utility", "mean"):
        assert state_after[NAME][key][f"layers.{place}"][unit] == 0
        assert (state_after[NAME][key][f"layers.{place}"][others] != 0).all()


@pytest.mark.parametrize("initialisation", ["kaiming", "xavier", "lecun", "default", "orthogonal", "orthogonal_gain"])
def test_fresh_weights_are_uniform_within_the_layers_own_bound(initialisation: str) -> None:
    """20 inputs into 10 relu units; 1,000 seeds' rows by Kolmogorov-Smirnov."""
    network = MLP(MLPConfig(width=10, depth=1, initialisation=initialisation), 20, 1)
    bound = {
        "kaiming": math.sqrt(2) * math.sqrt(3 / 20),
        "xavier": math.sqrt(2) * math.sqrt(6 / 30),
        "lecun": math.sqrt(3 / 20),
        "default": math.sqrt(1 / 20),
        "orthogonal": math.sqrt(3 / 20),
        "orthogonal_gain": math.sqrt(2) * math.sqrt(3 / 20),
    }[initialisation]
    config = ContinualBackpropConfig(maturity_threshold=0, utility="weight")
    method = ContinualBackprop(config, network)
    params = network.init(0)
    state = advanced(method, method.init(params, per_element=True), 0)
    unit = int(params["layers.1.weight"].abs().argmin())

    def row(seed: Tensor) -> Tensor:
        draw = Draw(seed, torch.tensor(0), torch.float64)
        return method.repair(params, state, {}, rates(config), 0, draw)[0]["layers.0.weight"][unit]

    rows = torch.func.vmap(row)(torch.arange(1000)).flatten().numpy()
    assert np.abs(rows).max() <= bound
    assert stats.kstest(rows / bound, "uniform", args=(-1, 2)).pvalue > 0.01


def test_units_of_one_step_get_different_weights() -> None:
    network = MLP(MLPConfig(width=4, depth=1), 6, 1)
    config = ContinualBackpropConfig(maturity_threshold=5)
    learner, params, state, hyper = mature(config, network, ("sgd", SGDConfig()))
    for _ in range(4):
        params, state = learner.repair(params, state, hyper, draw_at(12), method=NAME, place=0)
    assert len(set(params["layers.0.weight"].flatten().tolist())) == 24


@pytest.mark.parametrize("utility", ["contribution", "random"])
def test_a_unit_just_replaced_is_not_chosen_again(utility: str) -> None:
    """Threshold 0: four events of one step take all four units; a newborn, of utility 0 and age 0, is never least."""
    network = MLP(MLPConfig(width=4, depth=1, activation="tanh"), 3, 1)
    config = ContinualBackpropConfig(maturity_threshold=0, utility=utility)
    learner, params, state, hyper = mature(config, network, ("sgd", SGDConfig()))
    state = {**state, NAME: {**state[NAME], "due": torch.tensor([4], dtype=torch.int32)}}
    for left in (3, 2, 1, 0):
        params, state = learner.repair(params, state, hyper, draw_at(12), method=NAME, place=0)
        assert state[NAME]["due"].tolist() == [left]
    assert sorted(unit for _, _, unit in learner.events) == [0, 1, 2, 3]


OPTIMIZERS = {
    "momentum": ("sgd", SGDConfig(step_size=0.01, momentum=0.9)),
    "adam": ("adam", AdamConfig(step_size=0.01)),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("place", [0, 1])
def test_the_optimizers_state_of_a_replaced_unit_is_zero_and_no_other(optimizer: str, place: int) -> None:
    network = MLP(MLPConfig(width=6, depth=2, activation="tanh"), 4, 2)
    config = ContinualBackpropConfig(maturity_threshold=5, reset_optimizer=True)
    learner, params, state, hyper = mature(config, network, OPTIMIZERS[optimizer])
    _, after = learner.repair(params, state, hyper, draw_at(12), method=NAME, place=place)
    ((_, _, unit),) = learner.events
    slots = {"momentum": {"momentum"}, "adam": {"mean", "square", "steps"}}[optimizer]
    assert set(after["optimizer"]) == slots
    for slot in slots:
        for name, held in after["optimizer"][slot].items():
            touched = torch.zeros_like(held, dtype=torch.bool)
            if name in (f"layers.{place}.weight", f"layers.{place}.bias"):
                touched[unit] = True
            if name == f"layers.{place + 1}.weight":
                touched[:, unit] = True
            assert (held[touched] == 0).all()
            assert torch.equal(held[~touched], state["optimizer"][slot][name][~touched])
            assert (held[~touched] != 0).all()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_optimizers_state_stays_where_it_is_not_to_be_reset(optimizer: str) -> None:
    network = MLP(MLPConfig(width=6, depth=2, activation="tanh"), 4, 2)
    config = ContinualBackpropConfig(maturity_threshold=5, reset_optimizer=False)
    learner, params, state, hyper = mature(config, network, OPTIMIZERS[optimizer])
    _, after = learner.repair(params, state, hyper, draw_at(12), method=NAME, place=0)
    for slot, values in state["optimizer"].items():
        assert all(torch.equal(after["optimizer"][slot][name], value) for name, value in values.items())


def test_a_network_without_biases_has_none_to_move_a_mean_into() -> None:
    network = MLP(MLPConfig(width=6, depth=2, biases=False), 4, 2)
    config = ContinualBackpropConfig(preset="paper", replacement_rate=0.05, maturity_threshold=5)
    result, events = trained(network, ("adam", AdamConfig(step_size=0.01)), {NAME: config}, 40)
    assert events
    assert set(result.params) == set(network.weights)
    assert all(torch.isfinite(value).all() for value in result.params.values())


def test_a_linear_model_has_no_unit_to_replace() -> None:
    network = MLP(MLPConfig(depth=0), 4, 2)
    config = ContinualBackpropConfig(replacement_rate=1.0, maturity_threshold=0)
    adam = ("adam", AdamConfig(step_size=0.01))
    (with_method, events), (plain, _) = (trained(network, adam, m, 20) for m in ({NAME: config}, {}))
    assert events == []
    assert all(torch.equal(with_method.params[name], value) for name, value in plain.params.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_and_dtypes_of_the_state(dtype: torch.dtype) -> None:
    network = MLP(MLPConfig(width=6, depth=2), 4, 2)
    params = {name: value.to(dtype) for name, value in network.init(0).items()}
    state = ContinualBackprop(ContinualBackpropConfig(), network).init(params, per_element=True)
    for key in ("utility", "mean", "age"):
        assert {name: (v.shape, v.dtype) for name, v in state[key].items()} == {
            "layers.0": ((6,), dtype),
            "layers.1": ((6,), dtype),
        }
    # A rate of 1e-6 on a nearly full counter would be lost in float32.
    assert (state["counter"].shape, state["counter"].dtype) == ((2,), torch.float64)
    assert (state["due"].shape, state["due"].dtype) == ((2,), torch.int32)


# ------------------------------------------------------------------------------------------------ what it is told


def test_presets_and_what_overrides_them() -> None:
    official, paper = ContinualBackpropConfig(), ContinualBackpropConfig(preset="paper")
    assert (official.preset, official.replacement, official.bias_transfer) == ("official", "stochastic", False)
    assert (paper.replacement, paper.bias_transfer) == ("accumulate", True)
    for config in (official, paper):
        assert (config.utility, config.utility_decay, config.maturity_threshold) == (
            "adaptable_contribution",
            0.99,
            100,
        )
        assert config.replacement_rate == 1e-4 and config.reset_optimizer
    mixed = ContinualBackpropConfig(preset="paper", replacement="stochastic", bias_transfer=False)
    assert (mixed.replacement, mixed.bias_transfer) == ("stochastic", False)
    # A preset only fills in: spelt out, the two are the same way of learning.
    assert ContinualBackpropConfig(bias_transfer=True).replacement == "stochastic"


@pytest.mark.parametrize(
    "choice",
    [
        {"replacement_rate": 1.5},
        {"replacement_rate": -1e-4},
        {"maturity_threshold": -1},
        {"utility_decay": 1.0},
        {"utility": "importance"},
        {"preset": "nature"},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(choice: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(choice))):
        TypeAdapter(ContinualBackpropConfig).validate_python(choice)


def test_a_linear_model_has_nothing_to_replace_and_no_state() -> None:
    network = MLP(MLPConfig(depth=0), 4, 2)
    method = ContinualBackprop(ContinualBackpropConfig(), network)
    assert not method.acts and method.init(network.init(0), per_element=False) == {}
