"""The lifted path on a GPU: what a CPU gives, the same bits however steps are split, and no wait for the host."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2] / "contracts"))

from packs import LARGE, LARGE_CLASSES, SMALL_CLASSES, TINY, Arm, Pack, Shape, data, distance, same_bits  # noqa: E402

from workloads.engine import build  # noqa: E402
from workloads.engine.layout import Tree, mapped  # noqa: E402
from workloads.engine.lifted import settle_products  # noqa: E402
from workloads.streams.continual_imagenet import ContinualImageNet, ContinualImageNetConfig  # noqa: E402
from workloads.streams.on_device import OnDevice, resident  # noqa: E402
from workloads.streams.permuted_mnist import PermutedMNIST, PermutedMNISTConfig  # noqa: E402
from workloads.streams.relabelled import Relabelled, RelabelledConfig  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]

GENTLE = {"step_size": 0.003, "replacement_rate": 0.01}
ARMS = [Arm("sgd", (), GENTLE), Arm("adam", (), GENTLE), Arm("adamo", (), GENTLE), Arm("sgd", ("continual_backprop",))]
SEVERAL = Arm("sgd", ("continual_backprop",), {"replacement_rate": 0.5, "maturity_threshold": 3})
SHAPES = [TINY, SMALL_CLASSES, LARGE, LARGE_CLASSES]
STEPS = 100  # of which replays of 32 leave 4, and of 8 leave 4


def on_gpu(arm: Arm, shape: Shape, x: Tensor, y: Tensor, *, compiled: bool = True, members: int = 5) -> Pack:
    """A pack on the GPU that has trained on x, y."""
    pack = Pack(arm, shape, range(members), dtype=x.dtype, device="cuda", compiled=compiled)
    assert pack.engine.replayed > 1
    return pack.train(x.cuda(), y.cuda())


def here(pack: Pack) -> Tree:
    """A pack's state on the CPU."""
    return mapped(lambda v: v.cpu(), pack.state())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("arm", ARMS, ids=str)
def test_a_gpu_gives_what_the_cpu_gives(arm: Arm, shape: Shape, dtype: torch.dtype, tolerance: float) -> None:
    arm = Arm(arm.optimizer, arm.methods, GENTLE)
    x, y = data(shape, STEPS, streams=2, dtype=dtype)
    cpu = Pack(arm, shape, range(5), dtype=dtype).train(x, y)
    assert distance(cpu.state(), here(on_gpu(arm, shape, x, y))) < tolerance


@pytest.mark.parametrize("shape", [TINY, LARGE], ids=str)
def test_uncompiled_kernels_are_captured_too(shape: Shape) -> None:
    x, y = data(shape, STEPS, streams=2, dtype=torch.float64)
    cpu = Pack(ARMS[-1], shape, range(5)).train(x, y)
    assert distance(cpu.state(), here(on_gpu(ARMS[-1], shape, x, y, compiled=False))) < 1e-10


@pytest.mark.parametrize("shape", [SMALL_CLASSES, LARGE], ids=str)
def test_where_an_event_remains_after_a_replay_the_steps_are_taken_again(shape: Shape) -> None:
    x, y = data(shape, 60, streams=2, dtype=torch.float64)
    cpu = Pack(SEVERAL, shape, range(9)).train(x, y)
    assert distance(cpu.state(), here(on_gpu(SEVERAL, shape, x, y, members=9))) < 1e-10


@pytest.mark.parametrize("arm", [ARMS[2], SEVERAL], ids=str)
@pytest.mark.parametrize("shape", [TINY, LARGE], ids=str)
def test_how_steps_are_split_over_calls_changes_no_bit(arm: Arm, shape: Shape) -> None:
    x, y = data(shape, STEPS, streams=2, dtype=torch.float32)
    whole = on_gpu(arm, shape, x, y)
    pieces = on_gpu(arm, shape, x[:1], y[:1])
    for first, last in ((1, 40), (40, 77), (77, STEPS)):
        pieces.train(x[first:last].cuda(), y[first:last].cuda())
        pieces.engine.load(pieces.state())
    assert same_bits(here(whole), here(pieces))


@pytest.fixture
def no_waiting() -> Iterator[Any]:
    """Switches on that waiting for the GPU raises."""
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("shape", [TINY, LARGE], ids=str)
@pytest.mark.parametrize("arm", ARMS, ids=str)
def test_the_host_waits_for_nothing_within_a_replay(arm: Arm, shape: Shape, no_waiting: Any) -> None:
    x, y = (v.cuda() for v in data(shape, STEPS, streams=2, dtype=torch.float32))
    pack = on_gpu(arm, shape, x, y)  # warms up, compiles and captures
    block = pack.engine.blocks[0]
    (replayed,) = block.replays.values()
    assert replayed.graph is not None
    with torch.no_grad():
        no_waiting()
        pack.engine.stage(block, *pack.engine.gather(x[:32], y[:32], block.which))
        replayed()
        pack.engine.steps(block, [pack.learner.acting(k) for k in range(pack.engine.replayed)])  # started one by one
        if not pack.learner.rare:  # else it asks once per replay whether an event remained
            pack.engine.advance(x, y, pack.which, 0)


def test_a_graph_is_replayed_and_not_captured_anew() -> None:
    x, y = data(TINY, STEPS, streams=2, dtype=torch.float32)
    pack = on_gpu(ARMS[0], TINY, x, y)
    graphs = [replayed.graph for replayed in pack.engine.blocks[0].replays.values()]
    pack.engine.load(pack.state())
    pack.train(x.cuda(), y.cuda())
    assert [replayed.graph for replayed in pack.engine.blocks[0].replays.values()] == graphs


@pytest.mark.parametrize("shape", [TINY, LARGE], ids=str)
def test_rows_of_tables_are_the_batches_they_stand_for(shape: Shape) -> None:
    table_x, table_y = (v.movedim(0, 1)[:, :, 0].contiguous() for v in data(shape, 6, streams=2, dtype=torch.float32))
    index = torch.randint(0, 6, (2, STEPS, 1), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    x, y = (torch.stack([v[s][index[s].long()] for s in range(2)], 1) for v in (table_x, table_y))
    by_batches = on_gpu(ARMS[1], shape, x, y)
    by_rows = Pack(ARMS[1], shape, range(5), dtype=torch.float32, device="cuda", compiled=True)
    with torch.no_grad():
        by_rows.engine.advance_rows(table_x.cuda(), table_y.cuda(), index.cuda(), by_rows.which, 0)
    assert same_bits(here(by_batches), here(by_rows))


def test_two_engines_in_one_process_do_not_disturb_each_other() -> None:
    x, y = data(TINY, STEPS, streams=2, dtype=torch.float32)
    alone = on_gpu(ARMS[0], TINY, x, y)
    first, second = (Pack(arm, TINY, range(5), dtype=torch.float32, device="cuda", compiled=True) for arm in ARMS[:2])
    for start in range(0, STEPS, 50):
        for pack in (first, second):
            pack.train(x[start : start + 50].cuda(), y[start : start + 50].cuda())
    assert same_bits(here(alone), here(first))


def test_products_are_of_whole_factors_unless_tf32_is_asked_for() -> None:
    pack = Pack(Arm("sgd"), LARGE_CLASSES, range(5), dtype=torch.float32, path="looped", device="cuda")
    a, b = torch.randn(2, 512, 512, generator=torch.Generator().manual_seed(0)).cuda()
    exact = (a.double() @ b.double()).float()
    errors = []
    for path, asked in (("lifted", False), ("lifted", True), ("looped", False)):  # an engine settles what they are
        build(path, pack.learner, pack.engine.hyper, pack.engine.seeds, tf32=asked)
        errors.append((a @ b - exact).abs().max().item())
    assert errors[0] == errors[2] < 1e-3
    if torch.cuda.get_device_capability() >= (8, 0):
        assert errors[1] > 5 * errors[0]


def test_tf32_stays_near_float32() -> None:
    x, y = data(LARGE_CLASSES, STEPS, streams=2, dtype=torch.float32)
    cpu = Pack(ARMS[0], LARGE_CLASSES, range(5), dtype=torch.float32).train(x, y)
    pack = Pack(ARMS[0], LARGE_CLASSES, range(5), dtype=torch.float32, device="cuda", compiled=True)
    pack.engine.tf32 = True
    pack.train(x.cuda(), y.cuda())
    settle_products(pack.engine.device, tf32=False)
    assert distance(cpu.state(), here(pack)) < 0.05


@pytest.mark.parametrize(
    ("stream", "config"),
    [
        (PermutedMNIST, PermutedMNISTConfig(dataset="digits", tasks=3, examples_per_task=400)),
        (PermutedMNIST, PermutedMNISTConfig(dataset="digits", tasks=3, examples_per_task=400, batch=4)),
        (Relabelled, RelabelledConfig(dataset="digits", examples=100, tasks=3, epochs=3, batch=4)),
        (Relabelled, RelabelledConfig(dataset="digits", examples=100, epochs=3, batch=4, change="permuted_pixels")),
        (ContinualImageNet, ContinualImageNetConfig(dataset="digits", train_per_class=100, tasks=3, epochs=3, batch=4)),
    ],
    ids=str,
)
def test_pictures_made_on_the_device_are_the_streams_batches(
    stream: Any, config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLIANT_DATA", str(tmp_path))
    streams = [stream(config, seed) for seed in (3, 8)]
    start = streams[0].task_start(1) + 5
    made = OnDevice(torch.device("cuda")).batches(streams, start, 50)
    assert made is not None
    for i, stream in enumerate(streams):
        for found, wanted in zip(made, stream.batches(start, 50), strict=True):
            assert found.is_cuda and found[:, i].cpu().equal(torch.from_numpy(wanted))
    assert all(v.is_cuda for v in resident("digits", torch.device("cuda")))
