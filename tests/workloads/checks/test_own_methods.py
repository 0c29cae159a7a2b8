"""A user's method is tried before it is used: what is wrong is said with its line, and what is right passes."""

from __future__ import annotations

from typing import Any

import configs
import pytest

from workloads.checks.learning import check_learning
from workloads.errors import InputError
from workloads.extensions import load_code
from workloads.methods.config import METHODS, OPTIMIZERS
from workloads.training.pack import PackMember

pytestmark = pytest.mark.usefixtures("without_own_code")

HEAD = """\
from dataclasses import dataclass
import random, time, datetime
import numpy as np
import torch
from workloads.methods.base import Method

count = 0

@dataclass(frozen=True, kw_only=True)
class Config:
    bound: float = 0.2
    word: str = "so"

class Own(Method):
    Config = Config
    varies = ("bound",)
    semantics = 1
    n = 0

    def __init__(self, config, network):
        super().__init__(config, network)
        self.rng = np.random.default_rng(0)
        self.seen = []

"""
AFTER = "    def after_step(self, params, state, hyper, seen, draw):\n        bound = hyper['bound']\n"
TABLE = "\nMETHODS = {'own': Own}\n"
LOSS = "    def loss(self, params, state, hyper):\n        return {}\n"
INIT = "    def init(self, params, *, per_element):\n        return {}\n"
AT_TASK = (
    "    def at_task(self, params, state, hyper, draw):\n        return {{k: {} for k, v in params.items()}}, state\n"
)
SCALED = "return {{k: v * ({}) for k, v in params.items()}}, state"


def trial(seed: int, **changes: Any) -> PackMember:
    own = {"methods": {"own": {"bound": 0.2 + 0.1 * seed}}, "code": ["own"]}
    return PackMember(f"t{seed}", configs.small(seed, **{**own, **changes}))


def check(body: str, *, table: str = TABLE, **changes: Any) -> None:
    """The method with these hooks, tried."""
    load_code({"own.py": HEAD + body + table})
    check_learning([trial(seed, **changes) for seed in range(3)])


def after(body: str) -> str:
    return AFTER + "".join(f"        {line}\n" for line in body.splitlines())


GOOD = {
    "clipping": after("return {k: v.clamp(-bound, bound) for k, v in params.items()}, state"),
    "noise of its own": after(SCALED.format("1 + 0.01 * draw.normal(k, v.numel()).view_as(v)")),
    "a schedule": "    period = 50\n" + after(SCALED.format("0.9 if seen.acts else 1")),
    "a count in the state": (
        INIT.format("{'n': torch.zeros(())}")
        + after("return {k: v / (1 + state['n']) for k, v in params.items()}, {'n': state['n'] + 1}")
    ),
    "every second step, by its config": (
        "    def __init__(self, config, network):\n        super().__init__(config, network)\n        self.period = 2\n"
        + after(SCALED.format("0.5 if seen.acts else 1"))
    ),
    "inputs by a statistic of its own": (
        INIT.format("{'top': params['layers.0.weight'].new_ones(20)}")
        + "    def observed(self, x, state, hyper):\n        return {'top': torch.maximum(state['top'], x.amax(0))}\n"
        + "    def inputs(self, x, state, hyper):\n        return x / state['top'] * hyper['bound']\n"
    ),
    "a gradient by its state": (
        INIT.format("{'first': {k: v.clone() for k, v in params.items()}}")
        + "    def gradient(self, params, state, hyper, seen, draw):\n"
        "        first = state['first']\n"
        "        return {k: g + hyper['bound'] * (params[k] - first[k]) for k, g in seen.grads.items()}, state\n"
    ),
    "a term of the loss": LOSS.format("hyper['bound'] * params['layers.0.weight'].abs().sum()"),
    "a rare event": (
        INIT.format("{'due': torch.zeros(1, dtype=torch.int32)}")
        + after("return params, {'due': state['due'] + 1}")
        + "    def repair(self, params, state, optimizer, hyper, place, draw):\n"
        "        fresh = {**params, 'layers.0.bias': draw.uniform('fresh', 4)}\n"
        "        return fresh, {'due': state['due'] - 1}, optimizer\n"
    ),
}


@pytest.mark.parametrize("body", GOOD.values(), ids=GOOD)
def test_what_is_right_passes(body: str) -> None:
    check(body)


WRONG = {
    "numpy": (after(SCALED.format("float(v.numpy().mean())")), r"own.py:27: own.after_step takes a number or an array"),
    "detached numpy": (after(SCALED.format("torch.as_tensor(v.detach().numpy().mean())")), "stay in torch"),
    "asarray": (after(SCALED.format("float(np.asarray(v).mean())")), "stay in torch"),
    "item": (after(SCALED.format("v.mean().item()")), r"own.py:27: own.after_step takes a number"),
    "a counter of its own": (
        after("self.n += 1\n" + SCALED.format("self.n")),
        "own.after_step changes self.n, which a",
    ),
    "a counter of the class": (after("type(self).n += 1\n" + SCALED.format("self.n")), "changes Own.n, which a"),
    "a global": (after("global count\ncount += 1\n" + SCALED.format("count")), "changes the global count, which"),
    "a list": (after("self.seen.append(1)\n" + SCALED.format("len(self.seen)")), "changes self.seen, which"),
    "random": (after(SCALED.format("random.random()")), r"changes Python's generator .* draws come from `draw`"),
    "numpy's random": (after(SCALED.format("np.random.rand()")), "changes numpy's generator"),
    "a generator of its own": (after(SCALED.format("self.rng.random()")), "changes self.rng"),
    "an unseeded generator": (after(SCALED.format("np.random.default_rng().random()")), "the same steps taken twice"),
    "torch's random": (after(SCALED.format("torch.rand(())")), "changes torch's generator"),
    "the time": (after(SCALED.format("time.time()")), r"own.py:27: reads a clock \(time.time\)"),
    "the time as text": (after(SCALED.format("time.monotonic_ns() % 7")), r"reads a clock \(time.monotonic_ns\)"),
    "the date": (after(SCALED.format("datetime.datetime.now().year")), r"reads a clock \(datetime.now\)"),
    "a branch": (
        after("if params['layers.0.weight'].mean() > 0:\n    return params, state\nreturn params, state"),
        r"own.py:27: own.after_step branches on a tensor, .* torch.where\(condition, a, b\)",
    ),
    "another shape": (
        after("return {k: v.mean() for k, v in params.items()}, state"),
        r"own.py:25: .* params\['layers.0.weight'\] is float32 \(\), expected float32 \(4, 20\)",
    ),
    "another type": (after("return {k: v.half() for k, v in params.items()}, state"), r"is float16 \(4, 20\)"),
    "a wider type": (
        after(SCALED.format("torch.ones(v.shape, dtype=torch.float64)")),
        r"params\['layers.0.weight'\] is float64 \(4, 20\), expected float32 \(4, 20\)",
    ),
    "one value": (after("return {k: v for k, v in params.items()}"), "and returned one dict"),
    "nothing": (after("pass"), r"own.py:25: own.after_step must return \(params, state\), and returned None"),
    "fewer weights": (
        after("return {'layers.0.weight': params['layers.0.weight']}, state"),
        "params lacks 'layers.0.bias'",
    ),
    "a new state": (after("return params, {'n': torch.zeros(())}"), "state has 'n', .* begin with it in init"),
    "it raises": (after("raise ValueError('no such thing')"), "own.py:27: own.after_step raised ValueError: no such"),
    "it ends": (after("raise SystemExit"), r"own.py:27: own.after_step ends the program"),
    "another scalar": (
        after(SCALED.format("hyper['bund']")),
        "KeyError: 'bund'; hyper holds what `varies` names: bound",
    ),
    "the first member's setting": (
        after(SCALED.format("self.config.bound")),
        r"what `varies` names .bound. arrives in",
    ),
    "drawn as it is made": (
        "    def __init__(self, config, network):\n        super().__init__(config, network)\n"
        "        self.factor = random.random()\n" + after(SCALED.format("self.factor")),
        "own: made anew it comes out .* what __init__ sets may depend on its config and network alone",
    ),
    "a phase": (
        "    period = 50\n" + after(SCALED.format("1 if seen.phase else 0.9")),
        "own.py:28: own.after_step reads seen.phase: say `period` in the class, and ask `seen.acts`",
    ),
    "a period of nothing": ("    period = 0\n" + after(SCALED.format("1")), "own: period is 0, and must be a whole"),
    "a period between steps": ("    period = 2.5\n" + after(SCALED.format("1")), "own: period is 2.5, and must be"),
    "inputs of another shape": (
        "    def inputs(self, x, state, hyper):\n        return x[:, :3]\n",
        r"own.inputs returned another shape than it was given: x is float32 \(1, 3\), expected float32 \(1, 20\)",
    ),
    "a statistic that grows": (
        INIT.format("{'top': torch.ones(20)}")
        + "    def observed(self, x, state, hyper):\n        return {'top': torch.cat([state['top'], x[0]])}\n"
        + "    def inputs(self, x, state, hyper):\n        return x\n",
        r"own.observed returned other shapes than it was given: state\['top'\]",
    ),
    "the hooks of before": (
        "    def gradient(self, params, grads, hyper):\n        return grads\n",
        r"gradient\(params, grads, hyper\) must take \(params, state, hyper, seen, draw\)",
    ),
    "a state of numbers": (
        INIT.format("{'n': 0}") + after("return params, state"),
        r"own.py:25: own.init returned .*: state\['n'\] is int 0, expected a tensor, such as",
    ),
    "a loss per weight": (
        LOSS.format("params['layers.0.bias'].abs()"),
        r"own.loss must return one number, a tensor \(\), and returned float32 \(4,\)",
    ),
    "a gradient of some": (
        "    def gradient(self, params, state, hyper, seen, draw):\n        return {}, state\n",
        "grads lacks 'layers.0.weight'",
    ),
    "tasks that are hidden": (AT_TASK.format("v"), "set workload.task_boundaries to shown"),
    "events that stay": (GOOD["a rare event"].replace("state['due'] - 1", "state['due']"), "must lower state"),
    "events of no place": (
        GOOD["a rare event"].replace("zeros(1, ", "zeros(2, "),
        r"int32 \(1,\), one per hidden layer",
    ),
}


@pytest.mark.parametrize(("body", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said(body: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check(body)


def test_at_task_is_tried_where_tasks_are_shown() -> None:
    shown = {"name": "slowly_changing_regression", "tasks": 2, "period": 30, "task_boundaries": "shown"}
    check(AT_TASK.format("v * hyper['bound']"), workload=shown)
    with pytest.raises(InputError, match="own.at_task takes a number"):
        check(AT_TASK.format("v * v.mean().item()"), workload=shown)


def test_only_numbers_vary() -> None:
    load_code({"own.py": HEAD.replace('("bound",)', '("word",)') + after("return params, state") + TABLE})
    with pytest.raises(InputError, match="own: varies names word, which is 'so': only numbers may vary"):
        check_learning([trial(0, methods={"own": {"word": "so"}})])


def test_an_optimizer_of_ones_own() -> None:
    body = (
        "    def optimizer(self, params, state, hyper, seen, draw):\n"
        "        return {{k: v - {} * seen.grads[k] for k, v in params.items()}}, state\n"
    )
    table = "\nOPTIMIZERS = {'own': Own}\n"
    changes = {"methods": {}, "optimizer": {"name": "own", "bound": 0.1}}
    check(body.format("hyper['bound']"), table=table, **changes)
    with pytest.raises(InputError, match="own.optimizer takes a number"):
        check(body.format("float(hyper['bound'])"), table=table, **changes)


def owned_by(patch: pytest.MonkeyPatch, table: str) -> None:
    """What ships in a table is taken for a user's own."""
    patch.setattr("workloads.checks.learning.owner", lambda kind, name: f"{name}.py" if kind == table else None)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_that_ships_is_accepted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "workloads.checks.learning.owner", lambda table, entry: f"{entry}.py" if table == "METHODS" else None
    )
    shown = {"name": "slowly_changing_regression", "tasks": 2, "period": 30, "task_boundaries": "shown"}
    check_learning([trial(seed, methods={name: {}}, workload=shown) for seed in range(2)])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_that_ships_is_accepted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "workloads.checks.learning.owner", lambda table, entry: f"{entry}.py" if table == "OPTIMIZERS" else None
    )
    check_learning([trial(seed, methods={}, optimizer={"name": name}) for seed in range(2)])
