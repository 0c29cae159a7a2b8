"""Steps replayed together on the lifted path: the same as one by one, and nothing in them asks the host.

The capture is a GPU's (see test_cuda); here the same function is called, and a stand-in says what a capture does to it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2] / "contracts"))

from packs import LARGE, LARGE_CLASSES, SHAPES, SMALL_CLASSES, TINY, Arm, Pack, Shape, data, distance, same_bits  # noqa: E402

from workloads.engine import build, lifted  # noqa: E402
from workloads.engine.compiling import Programs, numbers_placed, traced  # noqa: E402
from workloads.engine.layout import mapped  # noqa: E402
from workloads.engine.lifted import Lifted  # noqa: E402
from workloads.engine.replay import WARM_UPS, Replayed  # noqa: E402
from workloads.methods.config import METHODS, OPTIMIZERS  # noqa: E402
from workloads.methods.l2 import L2  # noqa: E402

OFTEN = {"replacement_rate": 0.5, "maturity_threshold": 3, "preset": "paper", "utility": "contribution"}
REPLACING = Arm("sgd", ("continual_backprop",))
SEVERAL = Arm("sgd", ("continual_backprop",), OFTEN)  # units of one layer in one step
BASE = [*(Arm(name) for name in OPTIMIZERS), *(Arm("sgd", (name,)) for name in METHODS), SEVERAL]


def replaying(arm: Arm, shape: Shape, members: int, steps: int, **options: Any) -> Pack:
    """A pack on the lifted path that replays `steps` steps together."""
    pack = Pack(arm, shape, range(members), path="looped")
    made = Lifted(pack.learner, pack.engine.hyper, pack.engine.seeds, replayed=steps, **{"compiled": False, **options})
    made.load(pack.state())
    pack.engine = made
    return pack


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many steps were taken one by one, call by call."""
    counts: list[int] = []
    original = Lifted.step_by_step

    def noted(self: Lifted, block: Any, x: Tensor, y: Tensor, at: int) -> None:
        counts.append(len(x))
        original(self, block, x, y, at)

    monkeypatch.setattr(Lifted, "step_by_step", noted)
    return counts


@pytest.mark.parametrize("shape", [TINY, pytest.param(LARGE, marks=pytest.mark.slow)], ids=str)
@pytest.mark.parametrize("arm", BASE, ids=str)
def test_replayed_steps_are_looped_ones(arm: Arm, shape: Shape) -> None:
    x, y = data(shape, 30, streams=2, dtype=torch.float64)
    looped = Pack(arm, shape, range(9), path="looped").train(x, y)
    assert distance(looped.state(), replaying(arm, shape, 9, 8).train(x, y).state()) < 1e-10


@pytest.mark.parametrize("shape", [TINY, *(pytest.param(s, marks=pytest.mark.slow) for s in SHAPES[1:])], ids=str)
@pytest.mark.parametrize("arm", [Arm("adamo", ("continual_backprop",), {"every": 3}), SEVERAL], ids=str)
def test_how_steps_are_split_over_replays_and_calls_changes_no_bit(arm: Arm, shape: Shape) -> None:
    x, y = data(shape, 50, streams=2, dtype=torch.float64)
    whole, pieces, single = (replaying(arm, shape, 9, 8) for _ in range(3))
    for first, last in ((0, 1), (1, 18), (18, 35), (35, 50)):
        pieces.train(x[first:last], y[first:last])
        pieces.engine.load(pieces.state())
    for step in range(50):
        single.train(x[step : step + 1], y[step : step + 1])
    whole.train(x, y)
    assert same_bits(whole.state(), pieces.state())
    assert same_bits(whole.state(), single.state())
    assert same_bits(whole.state(), Pack(arm, shape, range(9)).train(x, y).state())


def test_one_event_per_place_is_carried_out_within_the_replay(one_by_one: list[int]) -> None:
    x, y = data(TINY, 64, streams=2, dtype=torch.float64)
    pack = replaying(REPLACING, TINY, 9, 16).train(x, y)
    assert one_by_one == []
    assert (pack.state()["state"]["continual_backprop"]["age"]["layers.0"] < 64).any()


def test_where_an_event_remains_all_steps_are_taken_again_one_by_one(one_by_one: list[int]) -> None:
    x, y = data(SMALL_CLASSES, 50, streams=2, dtype=torch.float64)
    pack = replaying(SEVERAL, SMALL_CLASSES, 9, 8).train(x, y)
    assert 8 in one_by_one and one_by_one[-1] == 2  # the last is what was left of 50
    looped = Pack(SEVERAL, SMALL_CLASSES, range(9), path="looped").train(x, y)
    assert distance(looped.state(), pack.state()) < 1e-10
    assert not pack.state()["state"]["continual_backprop"]["due"].any()


def test_few_members_of_a_large_network_are_repaired_unasked(one_by_one: list[int]) -> None:
    # Counters of equal members reach one together: more are due in a step than the replay sees to.
    x, y = data(LARGE, 48, streams=2, dtype=torch.float64)
    pack = replaying(REPLACING, LARGE, 17, 8).train(x, y)
    assert 8 in one_by_one
    looped = Pack(REPLACING, LARGE, range(17), path="looped").train(x, y)
    assert distance(looped.state(), pack.state()) < 1e-10


@pytest.mark.parametrize("shape", [TINY, pytest.param(LARGE, marks=pytest.mark.slow)], ids=str)
def test_compiled_replays_are_looped(shape: Shape) -> None:
    x, y = data(shape, 20, streams=2, dtype=torch.float64)
    pack = replaying(REPLACING, shape, 5, 8, compiled=True).train(x, y)
    looped = Pack(REPLACING, shape, range(5), path="looped").train(x, y)
    assert distance(looped.state(), pack.state()) < 1e-10


def test_a_replay_is_kept_per_kind_of_step_and_its_length_fits_the_schedule() -> None:
    pack = replaying(Arm("adamo", (), {"every": 3}), TINY, 5, 8)
    x, y = data(TINY, 48, streams=2, dtype=torch.float64)
    pack.train(x, y)
    assert pack.engine.replayed == 6
    assert len(pack.engine.blocks[0].replays) == 1
    pack.train(x[:1], y[:1]).train(x, y)  # now the first step of a replay is another of the schedule
    assert len(pack.engine.blocks[0].replays) == 2
    rarely = replaying(Arm("adamo", (), {"every": 100}), TINY, 5, 8).train(
        *data(TINY, 400, streams=2, dtype=torch.float64)
    )
    assert rarely.engine.replayed == 8
    assert len(rarely.engine.blocks[0].replays) == 3  # no pull in eight steps, or in the first, or in the fifth


def test_a_long_schedule_keeps_few_replays_and_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every 3 and every 10: a replay of six steps has the ten at one of six places, or nowhere; three are kept."""
    monkeypatch.setattr(L2, "period", 10)
    monkeypatch.setattr(lifted, "MOST_REPLAYS", 3)
    arm = Arm("adamo", ("l2",), {"every": 3})
    x, y = data(TINY, 120, streams=2, dtype=torch.float64)
    pack = replaying(arm, TINY, 3, 8).train(x, y)
    assert pack.engine.replayed == 6 and len(pack.engine.blocks[0].replays) == 3
    assert same_bits(pack.state(), replaying(arm, TINY, 3, 0).train(x, y).state())


def test_blocks_replay_each_on_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = data(TINY, 40, streams=2, dtype=torch.float64)
    whole = replaying(SEVERAL, TINY, 40, 8).train(x, y)
    monkeypatch.setattr(lifted, "BLOCK", 16)
    cut = replaying(SEVERAL, TINY, 40, 8).train(x, y)
    assert len(cut.engine.blocks) == 3
    assert same_bits(whole.state(), cut.state())


def test_examples_laid_ready_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = data(TINY, 40, streams=2, dtype=torch.float64)
    whole = replaying(REPLACING, TINY, 5, 8).train(x, y)
    monkeypatch.setattr(lifted, "STAGED_BYTES", 3 * 16 * 8 * 8)  # of 16 members, 7 inputs and a target in float64
    bounded = replaying(REPLACING, TINY, 5, 8).train(x, y)
    assert bounded.engine.replayed == 3
    assert same_bits(whole.state(), bounded.state())


def test_loading_fills_the_same_memory_and_looks_at_the_hyperparameters_anew() -> None:
    x, y = data(TINY, 32, streams=2, dtype=torch.float64)
    pack, fresh = (replaying(Arm("adam"), TINY, 5, 8) for _ in range(2))
    pack.train(x, y)
    places = [v.data_ptr() for v in pack.engine.blocks[0].leaves]
    for made in (pack, fresh):
        made.engine.hyper["optimizer"]["step_size"].mul_(0.5)
    state = pack.state()
    pack.engine.load(dict(reversed(state.items())))
    fresh.engine.load(state)
    fresh.step = pack.step
    assert [v.data_ptr() for v in pack.engine.blocks[0].leaves] == places
    assert same_bits(pack.train(x, y).state(), fresh.train(x, y).state())
    slow = pack.engine.blocks[0].hyper["optimizer"]["step_size"]
    assert slow[:5].equal(pack.engine.hyper["optimizer"]["step_size"])


@pytest.mark.parametrize("shape", [TINY, SMALL_CLASSES, LARGE_CLASSES], ids=str)
@pytest.mark.parametrize("steps", [0, 8])
def test_rows_of_tables_are_the_batches_they_stand_for(shape: Shape, steps: int) -> None:
    table_x, table_y = (v.movedim(0, 1)[:, :, 0].contiguous() for v in data(shape, 6, streams=2, dtype=torch.float64))
    index = torch.randint(0, 6, (2, 20, shape.batch), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    x, y = (torch.stack([v[s][index[s].long()] for s in range(2)], 1) for v in (table_x, table_y))
    by_batches, by_rows = (replaying(REPLACING, shape, 5, steps) for _ in range(2))
    by_batches.train(x, y)
    with torch.no_grad():
        by_rows.engine.advance_rows(table_x, table_y, index, by_rows.which, 0)
    assert same_bits(by_batches.state(), by_rows.state())


def test_on_a_cpu_there_is_no_tf32_to_settle_and_steps_go_one_by_one() -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    pack = Pack(Arm("sgd"), TINY, range(3), path="looped")
    made = build("lifted", pack.learner, pack.engine.hyper, pack.engine.seeds, tf32=True)
    assert isinstance(made, Lifted) and made.tf32 and made.replayed == 0
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


# ---- nothing is asked of the host, or sent by it ----


def on_meta(arm: Arm, shape: Shape) -> Lifted:
    """A loaded engine of tensors without values: reading one, or branching on it, raises."""
    pack = Pack(arm, shape, range(17), path="looped")
    nowhere = [mapped(lambda v: v.to("meta"), tree) for tree in (pack.engine.hyper, pack.state())]
    made = Lifted(pack.learner, nowhere[0], pack.engine.seeds.to("meta"), compiled=False, replayed=2)
    made.load(nowhere[1])
    x, y = (v.to("meta") for v in data(shape, 2, streams=2, dtype=torch.float64))
    made.stage(made.blocks[0], *made.gather(x, y, pack.which.to("meta")[made.parts[0].to("meta")]))
    return made


@pytest.mark.parametrize("shape", [TINY, LARGE_CLASSES], ids=str)
@pytest.mark.parametrize("arm", BASE, ids=str)
def test_a_replay_reads_no_number_back_and_sends_none(arm: Arm, shape: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: list[torch.fx.GraphModule] = []

    def noted(self: Programs, key: Any, function: Any, arguments: list[Tensor]) -> None:
        graphs.append(traced(function, arguments, small=self.small))
        function(*arguments)

    monkeypatch.setattr(Programs, "run", noted)
    made = on_meta(arm, shape)
    with torch.no_grad():
        made.steps(made.blocks[0], [made.learner.acting(k) for k in range(2)])
    assert len(graphs) == (4 if made.learner.rare else 2)
    for graph in graphs:
        for node in graph.graph.nodes:
            assert node.op != "get_attr", f"{node} is a constant of the host"
            value = node.meta.get("val")
            assert not isinstance(value, Tensor) or value.device.type == "meta"


def test_numbers_traced_as_tensors_of_the_host_become_tensors_of_the_device() -> None:
    def function(x: Tensor) -> Tensor:
        return torch.func.vmap(lambda v: v + 1)(x)

    x = torch.zeros(3, dtype=torch.float64)
    graph = traced(function, [x], small=True)
    found = [n for n in graph.graph.nodes if n.target is torch.ops.aten._to_copy.default]
    assert found  # else torch no longer does this, and `numbers_placed` may go
    numbers_placed(graph, torch.device("cpu"))
    assert not [n for n in graph.graph.nodes if n.target is torch.ops.aten._to_copy.default]
    assert graph(x).equal(torch.ones(3, dtype=torch.float64))


# ---- what a capture does, by a stand-in ----


class FakeGraph:
    """Holds what was 'captured'; a replay does it."""

    replays = 0
    broken = False

    def replay(self) -> None:
        FakeGraph.replays += 1
        self.work()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Streams and graphs that do nothing of their own; calls inside a capture must not take effect."""

    class Stream:
        device = torch.device("cpu")

        def wait_stream(self, other: Any) -> None:
            pass

    @contextlib.contextmanager
    def capture(graph: Any, **_: Any) -> Iterator[None]:
        yield
        if FakeGraph.broken:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")

    class Shared:
        stream = Stream()
        memory = (0, 0)

    monkeypatch.setattr(FakeGraph, "replays", 0)
    monkeypatch.setattr(FakeGraph, "broken", False)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: Stream())
    monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: None)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    return Shared()


def counting(total: Tensor) -> tuple[Any, list[int]]:
    """A function that adds one, but not while it is captured (the call after the warm-ups), and its calls."""
    calls = [0]

    def add() -> None:
        calls[0] += 1
        if calls[0] != WARM_UPS + 1:
            total.add_(1)

    return add, calls


def test_without_a_gpu_the_function_is_called() -> None:
    total = torch.zeros(())
    replayed = Replayed(lambda: total.add_(1) and None, [total], None)
    replayed()
    replayed()
    assert total == 2


def test_warm_ups_and_the_capture_leave_no_trace(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    total = torch.zeros(())
    add, calls = counting(total)
    monkeypatch.setattr(FakeGraph, "work", lambda self: add(), raising=False)
    replayed = Replayed(add, [total], gpu)
    for expected in (1, 2, 3):
        replayed()
        assert total == expected
    assert calls == [WARM_UPS + 1 + 3] and FakeGraph.replays == 3


def test_where_nothing_can_be_captured_the_function_is_called_and_it_says_so(
    gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeGraph, "broken", True)
    total = torch.zeros(())
    add, _ = counting(total)
    replayed = Replayed(add, [total], gpu)
    with pytest.warns(UserWarning, match="no CUDA graph.*operation not permitted when stream is capturing$"):
        replayed()
    replayed()
    assert total == 2 and FakeGraph.replays == 0
