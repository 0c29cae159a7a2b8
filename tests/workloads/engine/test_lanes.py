"""Members as SIMD lanes: every lane its own stream, padding, schedules, a user's method, and who is refused."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import configs
import numpy as np
import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2] / "contracts"))

from packs import SMALL_CLASSES, TINY, Arm, Pack, data, distance, same_bits  # noqa: E402

from sweep.packing import path_of  # noqa: E402
from workloads import native  # noqa: E402
from workloads.engine.lanes import ALIGNMENT, Lanes  # noqa: E402
from workloads.extensions import load_code  # noqa: E402
from workloads.methods.l2 import L2  # noqa: E402
from workloads.streams.base import rows_of  # noqa: E402
from workloads.streams.permuted_mnist import PermutedMNIST, PermutedMNISTConfig  # noqa: E402
from workloads.streams.slowly_changing_regression import (  # noqa: E402
    SlowlyChangingRegression,
    SlowlyChangingRegressionConfig,
)
from workloads.training.loop import Training, run_pack  # noqa: E402
from workloads.training.lowerable import not_lowered  # noqa: E402
from workloads.training.pack import Pack as Trials  # noqa: E402
from workloads.training.pack import PackMember  # noqa: E402

HEAD = """
from dataclasses import dataclass
import torch
from workloads.methods.base import Method

@dataclass(frozen=True, kw_only=True)
class Config:
    bound: float = 1.0

class Own(Method):
    Config = Config
    varies = ("bound",)
    semantics = 1
    acts = frozenset({"after_step"})

"""
CODE = """
    def after_step(self, params, state, hyper, seen, draw):
        bound = hyper["bound"]
        return {{name: {expression} for name, value in params.items()}}, state

METHODS = {{"own": Own}}
"""


def trial(seed: int = 0, **changes: Any) -> dict[str, Any]:
    """A small trial of the user's method."""
    own = {"optimizer": {"name": "sgd", "step_size": 0.05}, "methods": {"own": {"bound": 0.2}}, "code": "own"}
    return configs.small(seed, **{"dtype": "float64", **own, **changes})


def states(*paths: str, members: int, train: Callable[[Training], None]) -> list[Any]:
    """What trials of the user's method come to on each path."""
    found = []
    for path in paths:
        pack = Trials(id="p", members=[PackMember(f"t{seed}", trial(seed)) for seed in range(members)], path=path)
        training = Training(pack)
        with torch.no_grad():
            training.begin()
            train(training)
        found.append(training.engine.state())
    return found


@pytest.fixture
def own(without_own_code: None) -> Any:
    """Loads a user's method with this expression, and returns its code; it is taken out again."""

    def load(expression: str) -> dict[str, str]:
        code = {"own.py": HEAD + CODE.format(expression=expression)}
        load_code(code)
        return code

    return load


@pytest.mark.parametrize("members", [1, 15, 16, 17, 33])
def test_the_state_goes_in_and_comes_out_as_it_was(members: int) -> None:
    arm = Arm("adam", ("continual_backprop",))
    x, y = data(TINY, 5, streams=2, dtype=torch.float32)
    pack = Pack(arm, TINY, range(members), dtype=torch.float32, path="lanes").train(x, y)
    assert isinstance(pack.engine, Lanes) and pack.engine.base % ALIGNMENT == 0
    before = pack.state()
    pack.engine.load(before)
    assert same_bits(before, pack.state())
    for leaf in (before["loss"], *before["params"].values()):
        leaf.zero_()  # a copy: nothing of the pack's own
    assert pack.state()["loss"].abs().sum() > 0


def spread(streams: int, steps: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    """Tables x (S, K, inputs), y (S, K, 1) of five rows that tell streams apart, and index (S, steps, 1)."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(streams, 5, TINY.inputs, generator=generator)
    y = torch.randn(streams, 5, 1, generator=generator)
    index = torch.randint(0, 5, (streams, steps, 1), generator=generator, dtype=torch.int32)
    return x, y, index


@pytest.mark.parametrize("streams", [1, 2, 3, 7, 16, 20])
def test_every_lane_sees_its_own_stream_and_rows_are_batches(streams: int) -> None:
    x, y, index = spread(streams)

    def pack(path: str) -> Pack:
        return Pack(Arm("sgd"), TINY, range(20), dtype=torch.float32, path=path, streams=streams)

    which = torch.arange(streams)[:, None, None]
    dense_x, dense_y = (table[which, index.long()].movedim(1, 0).contiguous() for table in (x, y))
    by_rows, by_batches = pack("lanes"), pack("lanes").train(dense_x, dense_y)
    assert isinstance(by_rows.engine, Lanes)
    by_rows.engine.advance_rows(x, y, index, by_rows.which, 0)
    assert same_bits(by_rows.state(), by_batches.state())
    assert distance(pack("looped").train(dense_x, dense_y).state(), by_rows.state()) < 1e-5


def test_batches_of_several_examples_come_by_rows_too() -> None:
    x, y = data(SMALL_CLASSES, 6, streams=2, dtype=torch.float32)
    whole = Pack(Arm("sgd"), SMALL_CLASSES, range(3), dtype=torch.float32, path="lanes").train(x, y)
    by_rows = Pack(Arm("sgd"), SMALL_CLASSES, range(3), dtype=torch.float32, path="lanes")
    assert isinstance(by_rows.engine, Lanes)
    table_x, table_y = (v.movedim(1, 0).flatten(1, 2) for v in (x, y))
    index = torch.arange(6 * SMALL_CLASSES.batch, dtype=torch.int32).view(1, 6, -1).expand(2, -1, -1)
    by_rows.engine.advance_rows(table_x, table_y, index, by_rows.which, 0)
    assert same_bits(whole.state(), by_rows.state())


def test_what_no_step_changes_is_never_written() -> None:
    """Initial weights: read by every step's C++, stored by none."""
    pack = Pack(Arm("sgd", ("l2_init", "continual_backprop")), TINY, range(2), path="lanes")
    pack.train(*data(TINY, 2, streams=2, dtype=torch.float64))
    program = pack.engine.program
    names = [f"p{program.leaf(('state', 'l2_init', 'initial', name))}" for name in TINY.network.parameter_shapes()]
    source = program.source()
    for name in names:
        assert re.search(rf"\b{name}\[[^\]]*\](?!\s*=[^=])", source), f"{name} is not read"
        assert not re.search(rf"\b{name}\[[^\]]*\]\s*=[^=]", source), f"{name} is written"


def test_long_schedules_that_seldom_meet_make_four_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every 1000 and every 7, and two large primes, which are together once in 10^12 steps."""
    for periods in ((1000, 7), (1_000_003, 999_983)):
        monkeypatch.setattr(L2, "period", periods[1])
        x, y = data(TINY, 4, streams=2, dtype=torch.float64)
        packs = [
            Pack(Arm("adamo", ("l2",), {"every": periods[0]}), TINY, range(2), path=p) for p in ("lanes", "looped")
        ]
        for start in (0, *(period - 1 for period in periods)):
            for pack in packs:
                pack.step = start
                pack.train(x, y)
        assert distance(packs[1].state(), packs[0].state()) < 1e-10
        source = packs[0].engine.program.source()
        assert source.count("static void step") == 4


@pytest.mark.parametrize("start", [1, 2])
def test_a_schedule_goes_on_at_its_phase(start: int) -> None:
    arm = Arm("adamo", (), {"every": 3, "isometry_strength": 5.0})
    x, y = data(TINY, 8, streams=2, dtype=torch.float64)
    packs = [Pack(arm, TINY, range(2), path=path) for path in ("lanes", "looped")]
    for pack in packs:
        pack.step = start
        pack.train(x, y)
    assert distance(packs[1].state(), packs[0].state()) < 1e-10


def test_a_users_method_becomes_lanes_and_learns_as_on_the_plain_path(own: Any) -> None:
    code = own("value.clamp(-bound, bound)")
    assert not_lowered(trial(), "lanes") is None
    assert path_of(trial(), "cpu")[0] == "lanes"
    values = []
    for path in ("lanes", "looped"):
        seen: list[Any] = []
        members = [PackMember(f"t{seed}", trial(seed)) for seed in range(2)]
        run_pack(Trials(id="p", members=members, path=path, code=code), seen.append)
        values.append(np.concatenate([snapshot.rows.value for snapshot in seen]))
    np.testing.assert_allclose(values[0], values[1], rtol=1e-10)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("value.flatten().sort().values.view_as(value) * bound", "its step has aten.sort"),
        ("value if value.sum() > 0 else value * bound", "tracing its step failed"),
        ("value + torch.rand_like(value) * bound", "use draw"),
    ],
)
def test_what_has_no_lanes_runs_lifted_and_the_plan_says_why(own: Any, expression: str, reason: str) -> None:
    own(expression)
    path, why = path_of(trial(), "cpu")
    assert path == "lifted" and reason in why


def test_why_a_trace_failed_is_told_even_where_the_code_says_nothing(own: Any) -> None:
    own("(_ for _ in ()).throw(AssertionError())")
    assert not_lowered(trial(), "lanes") == "tracing its step failed (AssertionError: )"


def test_a_sweep_is_planned_without_a_compiler(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own("value.clamp(-bound, bound)")
    monkeypatch.setenv("PATH", "")
    native._loaded.cache_clear()
    assert path_of(trial(), "cpu")[0] == "lanes"


REMEMBERING = """
    def init(self, params, *, per_element):
        never = {name: torch.zeros_like(value, dtype=torch.bool) for name, value in params.items()}
        return {"far": never, "last": dict(params), "before": dict(params), "steps": torch.zeros((), dtype=torch.int32)}

    def after_step(self, params, state, hyper, seen, draw):
        far = {name: state["far"][name] | (value.abs() > hyper["bound"]) for name, value in params.items()}
        noise = draw.normal("noise", 1, offset=state["steps"] + 2)[0]
        moved = {
            name: torch.where(far[name], (value + state["before"][name]) / 2, value + 0.01 * noise)
            for name, value in params.items()
        }
        return moved, {"far": far, "last": params, "before": state["last"], "steps": state["steps"] + 1}

METHODS = {"own": Own}
"""


@pytest.mark.usefixtures("without_own_code")
def test_a_state_of_truth_of_counts_and_of_earlier_weights() -> None:
    """Booleans take four bytes in a lane, and what was the last is the one before it in the next step."""
    load_code({"own.py": HEAD + REMEMBERING})

    def paused(training: Training) -> None:
        training.train(13)
        training.engine.load(training.engine.state())
        training.train(20)

    trees = states("lanes", "looped", members=17, train=paused)
    assert distance(trees[1], trees[0]) < 1e-10
    far = torch.cat([value.flatten() for value in trees[0]["state"]["own"]["far"].values()])
    assert far.dtype == torch.bool and far.any() and not far.all()


RARE = """
    def init(self, params, *, per_element):
        return {{"due": torch.zeros(1, dtype={dtype}), "steps": torch.zeros(1, dtype={dtype})}}

    def after_step(self, params, state, hyper, seen, draw):
        steps = state["steps"] + 1
        return params, {{"steps": steps, "due": state["due"] + 2 * (steps == 4).to(steps.dtype)}}

    def repair(self, params, state, optimizer, hyper, place, draw):
        fresh = draw.uniform("fresh", 4)
        return {{**params, "layers.0.bias": fresh}}, {{**state, "due": state["due"] - 1}}, optimizer

METHODS = {{"own": Own}}
"""


@pytest.mark.usefixtures("without_own_code")
def test_what_a_repair_draws_goes_into_its_members_weights_alone() -> None:
    """A draw may not be written into one member's elements as it comes, and a state may come in any order of names."""
    load_code({"own.py": HEAD + RARE.format(dtype="torch.int32")})
    assert not_lowered(trial(), "lanes") is None
    trees = states("lanes", "lifted", "looped", members=18, train=lambda training: training.train(9))
    assert distance(trees[2], trees[0]) < 1e-10 and distance(trees[2], trees[1]) < 1e-10


@pytest.mark.usefixtures("without_own_code")
def test_events_that_the_kernel_cannot_count_are_refused() -> None:
    load_code({"own.py": HEAD + RARE.format(dtype="torch.int64")})
    assert not_lowered(trial(), "lanes") == "its step has counts of own's events as torch.int64, not torch.int32"


def test_a_state_before_the_first_step_is_a_copy() -> None:
    pack = Pack(Arm("sgd"), TINY, range(2), path="lanes")
    pack.state()["loss"].fill_(7)
    assert (pack.state()["loss"] == 0).all()


def regression(**changes: Any) -> SlowlyChangingRegression:
    return SlowlyChangingRegression(SlowlyChangingRegressionConfig(tasks=3, period=40, **changes), 5)


@pytest.mark.parametrize("flip", ["one", "all"])
@pytest.mark.parametrize("batch", [1, 3])
def test_rows_are_the_batches_of_one_task(flip: str, batch: int) -> None:
    stream = regression(flip=flip, batch=batch)
    for start, count in ((0, 40), (7, 20), (45, 35), (119, 1)):
        rows = rows_of(stream, start, count)
        assert rows is not None
        x, y = stream.batches(start, count)
        assert np.array_equal(rows.x[rows.index], x) and np.array_equal(rows.y[rows.index], y)
    for start, count in ((30, 20), (100, 21), (-1, 2), (0, 0)):
        assert rows_of(stream, start, count) is None


def test_rows_are_not_asked_of_who_makes_examples_of_its_own() -> None:
    class Noisy(SlowlyChangingRegression):
        def batches(self, start: int, count: int) -> Any:
            x, y = super().batches(start, count)
            return x, y + 1

    class Inverted(SlowlyChangingRegression):
        def examples(self, task: int, first: int, count: int) -> Any:
            x, y = super().examples(task, first, count)
            return 1 - x, y

    settings = SlowlyChangingRegressionConfig(tasks=3, period=40)
    assert rows_of(Noisy(settings, 0), 0, 10) is None
    assert rows_of(Inverted(settings, 0), 0, 10) is None
    assert rows_of(PermutedMNIST(PermutedMNISTConfig(), 0), 0, 10) is None


NORMED = '''
from torch.nn import functional
from workloads.networks.mlp import MLP, MLPConfig

class Normed(MLP):
    """A hidden layer under torch's own layer norm, with gain and shift, and a softmax over units after it."""
    Config, semantics = MLPConfig, 1

    def apply(self, params, x):
        for site in self.sites:
            x = functional.linear(x, params[site.weight], params[site.bias])
            x = functional.layer_norm(x, (site.units,), 1 + 0.1 * params[site.bias], params[site.bias])
            x = functional.hardtanh(x) + functional.softmax(x, -1)
        shown = [(site.name, x) for site in self.sites]
        return functional.linear(x, params[self.head], params["layers.1.bias"]), shown

NETWORKS = {"normed": Normed}
'''


@pytest.mark.usefixtures("without_own_code")
def test_a_users_network_with_torchs_layer_norm_stays_in_lanes() -> None:
    code = {"normed.py": NORMED}
    load_code(code)
    config = trial(network={"name": "normed", "width": 4, "depth": 1}, methods={}, code="normed")
    assert path_of(config, "cpu")[0] == "lanes"
    values = []
    for path in ("lanes", "looped"):
        seen: list[Any] = []
        members = [PackMember(f"t{seed}", {**config, "seed": seed}) for seed in range(2)]
        run_pack(Trials(id="p", members=members, path=path, code=code), seen.append)
        values.append(np.concatenate([snapshot.rows.value for snapshot in seen]))
    np.testing.assert_allclose(values[0], values[1], rtol=1e-10)
