"""How the processor is set while a pack computes: subnormal numbers are zero on every path, and only there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import configs
import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2] / "contracts"))

from packs import TINY, Arm, Pack, data, leaves  # noqa: E402

from workloads.engine import computing as module  # noqa: E402
from workloads.engine.computing import computing, flushes  # noqa: E402
from workloads.engine.layout import Tree, mapped  # noqa: E402
from workloads.training.assembled import stream_of  # noqa: E402
from workloads.training.loop import run_pack  # noqa: E402
from workloads.training.pack import Pack as Trials  # noqa: E402
from workloads.training.pack import PackMember  # noqa: E402

WAYS = ["plain", "looped", "lifted", "lanes", "online", pytest.param("compiled", marks=pytest.mark.slow)]
DTYPES = [torch.float32, torch.float64]


def subnormal(values: Tensor) -> Tensor:
    """Mask of the numbers below the normal range, by their bits: arithmetic could not tell them from zero."""
    if not values.is_floating_point():
        return torch.zeros_like(values, dtype=torch.bool)
    whole, mantissa = (torch.int32, 23) if values.dtype == torch.float32 else (torch.int64, 52)
    bits = values.contiguous().view(whole) & torch.iinfo(whole).max
    return (bits > 0) & (bits < 1 << mantissa)


def pack(way: str, dtype: torch.dtype, arm: Arm, **options: Any) -> Pack:
    """A few members on a path; `compiled` is lifted by torch's compiler."""
    path = "lifted" if way == "compiled" else way
    members = range(1 if way == "plain" else 3)
    return Pack(arm, TINY, members, dtype=dtype, path=path, compiled=way == "compiled", **options)


def aged(way: str, dtype: torch.dtype) -> Tree:
    """A state whose hidden units have been silent for so long that Adam's moments are about to leave the range."""
    packed = pack(way, dtype, Arm("adam", (), {"weight_decay": 0.0}))
    tree, tiny = packed.state(), torch.finfo(dtype).tiny
    silent = {**tree["params"], "layers.0.bias": torch.full_like(tree["params"]["layers.0.bias"], -1e3)}
    optimizer = tree["state"]["optimizer"]
    moments = {name: mapped(lambda v: torch.full_like(v, 1.01 * tiny), optimizer[name]) for name in ("mean", "square")}
    packed.engine.load({**tree, "params": silent, "state": {**tree["state"], "optimizer": {**optimizer, **moments}}})
    return packed.train(*data(TINY, 30, streams=2, dtype=dtype)).state()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_no_path_leaves_a_subnormal_number(way: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any(subnormal(leaf).any() for leaf in leaves(aged(way, dtype)))
    monkeypatch.setattr(module, "FLUSHED", False)
    assert any(subnormal(leaf).any() for leaf in leaves(aged(way, dtype))), "or else this test can not fail"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_every_path_reads_a_subnormal_number_as_zero(
    way: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    def standing(index: int, hyper: Tree) -> Tree:
        return {**hyper, "optimizer": mapped(lambda _: 0.0, hyper["optimizer"])}

    def loss(weight: float) -> Tensor:
        packed = pack(way, dtype, Arm("sgd"), change=standing)
        tree = packed.state()
        first = torch.full_like(tree["params"]["layers.0.weight"], weight)
        packed.engine.load({**tree, "params": {**tree["params"], "layers.0.weight": first}})
        x, y = data(TINY, 3, streams=2, dtype=dtype)
        found: Tensor = packed.train(x / torch.finfo(dtype).tiny, y).state()["loss"]  # so large that it would show
        return found

    half = torch.finfo(dtype).tiny / 2
    assert torch.equal(loss(half), loss(0.0))
    monkeypatch.setattr(module, "FLUSHED", False)
    assert not torch.equal(loss(half), loss(0.0))


def test_the_setting_is_put_back_whatever_happens() -> None:
    assert not flushes()
    with pytest.raises(ZeroDivisionError), computing():
        assert flushes() and not torch.is_grad_enabled()
        with computing():
            assert flushes()
        assert flushes()
        raise ZeroDivisionError
    assert not flushes() and torch.is_grad_enabled()


def test_no_helper_thread_computes_otherwise() -> None:
    small = torch.full((1 << 18,), torch.finfo(torch.float32).tiny / 2)
    torch.set_num_threads(2)
    assert bool(subnormal(small * 1).all())  # now there is one, which does not flush
    with computing():
        assert not subnormal(small * 1).any()
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("path", ["looped", "lanes"])
def test_a_pack_computes_so_and_reports_as_it_was_called(path: str) -> None:
    config = configs.small(metrics=["online_error", "stable_rank"])
    seen: dict[str, set[bool]] = {}

    def noting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any) -> Any:
            seen.setdefault(name, set()).add(flushes())
            return function(*arguments)

        return noted

    def stream(seed: int) -> Any:
        made = stream_of(config, seed)
        for name in ("batches", "probe"):
            setattr(made, name, noting(name, getattr(made, name)))
        return made

    members = [PackMember("t", config)]
    run_pack(Trials(id="p", members=members, path=path), noting("report", print), stream=stream, commit_seconds=0)
    assert seen == {"batches": {True}, "probe": {True}, "report": {False}}
    assert not flushes()
