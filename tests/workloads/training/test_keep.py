"""Members leave a pack in training, having diverged or been stopped; the others go on to the same bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_pack import CBP, Config, Spoilt, config, content, pack, run, table
from torch import Tensor

from workloads.engine import compiling
from workloads.engine.lifted import Lifted
from workloads.engine.seated import Seated
from workloads.errors import InputError
from workloads.training import feed, loop
from workloads.training.assembled import stream_of
from workloads.training.loop import Training, run_pack
from workloads.training.pack import Pack, Snapshot

ADAM = {"name": "adam", "step_size": 0.01}
LAZY = {"shrink_and_perturb": {"perturb_scale": 0.01, "strength": 0.001}}
PATHS = ["looped", "lifted", "lanes", "online"]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports after every few steps, and nothing compiled by torch, which takes long."""
    monkeypatch.setattr(loop, "COMMIT_SECONDS", 0.0)
    monkeypatch.setattr(feed, "CHUNK_STEPS", 15)
    monkeypatch.setattr(compiling, "compiled_program", lambda function, arguments, small: function)


def spoilt(*seeds: int) -> Callable[[int], Any]:
    """The trials' streams, those of some seeds with a NaN in the second task."""

    def make(seed: int) -> Any:
        stream = stream_of(config(), seed)
        return Spoilt(stream) if seed in seeds else stream

    return make


def stopping(what: Pack, stops: dict[int, set[str]], **options: Any) -> list[Snapshot]:
    """All snapshots of a run whose report answers, at some steps, with the trials to stop."""
    seen: list[Snapshot] = []

    def report(snapshot: Snapshot) -> set[str] | None:
        seen.append(snapshot)
        return stops.get(snapshot.step)

    run_pack(what, report, **options)
    return seen


def of(rows: list[tuple[Any, ...]], members: set[int]) -> list[tuple[Any, ...]]:
    """The rows of some members."""
    return [row for row in rows if row[1] in members]


def trained(snapshots: list[Snapshot]) -> list[tuple[Any, ...]]:
    """The rows that training itself gives."""
    return [row for row in table(snapshots) if row[0] == "online_error"]


def widths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many members train on after each time that some leave."""
    seen: list[int] = []
    keep = Seated.keep

    def counted(self: Seated, mask: Tensor, hyper: Any, seeds: Tensor) -> None:
        keep(self, mask, hyper, seeds)
        seen.append(len(seeds))

    monkeypatch.setattr(Seated, "keep", counted)
    return seen


ARMS: dict[str, tuple[str, Config]] = {  # path, and what it trains
    "looped": ("looped", {"optimizer": ADAM, "methods": CBP}),
    "lanes": ("lanes", {"optimizer": ADAM, "methods": CBP}),
    "online": ("online", {"optimizer": ADAM, "methods": CBP}),
    "online, which owes": ("online", {"methods": {**LAZY, **CBP}}),
    "lifted": ("lifted", {"network": {"name": "mlp", "width": 70, "depth": 2}, "optimizer": ADAM}),
}


@pytest.mark.parametrize(("path", "arm"), ARMS.values(), ids=ARMS)
def test_who_diverged_leaves_and_the_others_go_on_to_the_same_bits(
    path: str, arm: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = ["effective_rank", "gradient_norm", "online_error"]
    trials = [config(seed, **{"metrics": metrics, "keep": "final", **arm}) for seed in range(4)]
    with monkeypatch.context() as patch:
        patch.setattr(Training, "keep", lambda self, mask: None)
        among_all = run(pack(trials, path), stream=spoilt(1))
    seen = widths(monkeypatch)
    whole = run(pack(trials, path), stream=spoilt(1))
    assert seen == [3]
    assert whole[-1].weights == among_all[-1].weights
    assert trained(whole) == trained(among_all)
    for (*what, value), (*same, other) in zip(table(whole), table(among_all), strict=True):
        # A sum over a member's gradients depends, in its last bits, on how they lie in memory among the others'.
        assert what == same and value == pytest.approx(other, rel=1e-9)
    assert whole[-1].statuses == ["done", "diverged", "done", "done"] and whole[-1].ended == [3, 1, 3, 3]
    for position in (4, 6):  # within the task in which it diverges, and after it
        again = run(pack(trials, path), whole[position].checkpoint, stream=spoilt(1))
        assert sorted(table(whole[: position + 1]) + table(again)) == table(whole)
        assert again[-1].weights == whole[-1].weights and again[-1].statuses == whole[-1].statuses


@pytest.mark.parametrize(("width", "left"), [(70, 6), (6, 1)], ids=["in front", "last"])
def test_a_lifted_pack_gets_narrower_and_changes_no_bit(width: int, left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network = {"name": "mlp", "width": width, "depth": 2, "activation": "tanh"}
    trials = [config(seed, network=network, optimizer=ADAM, keep="final") for seed in range(40)]
    gone = spoilt(*range(left, 40))
    places: list[int] = []
    seat = Lifted.seat

    def counted(self: Lifted, hyper: Any, seeds: Tensor) -> None:
        seat(self, hyper, seeds)
        places.append(self.width)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "keep", lambda self, mask: None)
        among_all = run(pack(trials, "lifted"), stream=gone)
    monkeypatch.setattr(Lifted, "seat", counted)
    whole = run(pack(trials, "lifted"), stream=gone)
    assert places[-1] == 16 < 40 <= places[0]
    assert table(whole) == table(among_all) and whole[-1].weights == among_all[-1].weights
    again = run(pack(trials, "lifted"), whole[-2].checkpoint, stream=gone)
    assert again[-1].weights == whole[-1].weights


@pytest.mark.parametrize("path", PATHS)
def test_whom_the_report_stops_is_censored_and_the_others_go_on_to_the_same_bits(path: str) -> None:
    metrics = ["online_error", "plasticity_gap"]
    trials = [config(seed, metrics=metrics, fresh_every=1, methods=CBP, keep="final") for seed in range(4)]
    whole = run(pack(trials, path))
    # Within the first task, where newborn copies learn beside, and within the next.
    stopped = stopping(pack(trials, path), {15: {"t2"}, 55: {"t0"}})
    steps = [snapshot.step for snapshot in stopped]
    assert stopped[-1].statuses == ["censored", "done", "censored", "done"] and stopped[-1].ended == [1, 3, 0, 3]
    assert stopped[steps.index(15) + 1].statuses == ["running", "running", "censored", "running"]
    assert of(table(stopped), {1, 3}) == of(table(whole), {1, 3})
    assert {task for _, _, task, _, _ in of(table(stopped), {0})} == {0} and not of(
        table(stopped[steps.index(15) + 1 :]), {2}
    )
    assert set(stopped[-1].weights) == {"t1-final.pt", "t3-final.pt"}
    assert all(stopped[-1].weights[name] == whole[-1].weights[name] for name in stopped[-1].weights)
    position = steps.index(55) + 1
    again = run(pack(trials, path), stopped[position].checkpoint)
    assert sorted(table(stopped[: position + 1]) + table(again)) == table(stopped)
    assert (again[-1].statuses, again[-1].ended) == (stopped[-1].statuses, stopped[-1].ended)
    assert again[-1].weights == stopped[-1].weights and content(again[-2]) == content(stopped[-2])


@pytest.mark.parametrize("path", PATHS)
def test_a_pack_of_which_nobody_is_left_is_over(path: str) -> None:
    trials = [config(seed) for seed in range(2)]
    stopped = stopping(pack(trials, path), {15: {"t0"}, 55: {"t1"}})
    assert stopped[-1].step == 55 and stopped[-1].checkpoint is None
    assert stopped[-1].statuses == ["censored", "censored"] and stopped[-1].ended == [0, 1]
    diverged = run(pack(trials, path), stream=spoilt(0, 1))
    assert diverged[-1].checkpoint is None and diverged[-1].statuses == ["diverged", "diverged"]
    assert diverged[-1].step == stream_of(trials[0], 0).task_start(2)  # the last task is nobody's


def test_where_nobody_leaves_nothing_is_copied() -> None:
    training = Training(pack([config(0), config(1)]))
    training.begin()
    held, before_bin, members = training.held, training.before_bin, training.engine.members  # type: ignore[attr-defined]
    training.keep(torch.tensor([True, True]))
    assert training.before_bin is before_bin and training.held is held
    assert training.engine.members is members  # type: ignore[attr-defined]


def test_a_trial_that_is_not_in_the_pack_cannot_be_stopped() -> None:
    with pytest.raises(InputError, match="trial t7 is to stop, and is none of pack p"):
        stopping(pack([config(0)]), {15: {"t7"}})
