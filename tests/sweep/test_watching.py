"""Looking on: how a sweep stands while it trains, from what its packs have committed, and what that may cost."""

from __future__ import annotations

import json
import os
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commits import Snap, make_rows
from ports import free_ports
from tiny import Command

from dashboards.report import live
from dashboards.report.live import Pages
from sweep import watching
from sweep.cli import watch
from sweep.ledger import commits as ledger_commits
from sweep.ledger.failures import without_error
from sweep.ledger.ledger import Ledger
from sweep.ledger.so_far import SoFar
from sweep.ledger.sweeps import SweepRecord
from sweep.results import so_far
from sweep.tracking import pages as mlflow_pages
from sweep.watching import Watched

NOW = 1_790_000_000.0  # unix seconds


class Training:
    """The four trials of `tiny.yaml`, two tasks of 100 steps each, as one pack that commits when it is told."""

    def __init__(self, record: SweepRecord, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.record, self.ledger, self.patch = record, Ledger(folder), patch
        self.ledger.save_sweep(record)
        self.pack = SimpleNamespace(id="pack", members=record.trials, to_json=lambda: json.dumps({"id": "pack"}))
        self.attempt = self.ledger.open(self.pack)

    def commit(self, step: int, *, at: float, gone: int | None = None) -> None:
        """A commit at this step and time; `gone`: the member that diverged in the task before."""
        self.patch.setattr(ledger_commits.time, "time", lambda: at)
        tasks, ended = step // 100, step == 200
        statuses = ["done" if ended else "running"] * 4
        if gone is not None:
            statuses[gone] = "diverged"
        rows: Any = make_rows(self.pack, tasks - 1) if step % 100 == 0 else SimpleNamespace(value=[])
        self.attempt.commit(Snap(tasks, step, rows, statuses, [tasks] * 4, None if ended else b"state", {}))  # type: ignore[arg-type]


@pytest.fixture
def training(ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Training:
    return Training(Ledger(str(ran)).sweep("tiny", "full"), tmp_path / "watched", monkeypatch)


def test_a_pack_under_way_is_told_by_its_commits(training: Training) -> None:
    look = watching.look(training.record, training.ledger, NOW)
    assert (look.left, look.share, look.rate, look.seconds_left, look.updated) == (4, 0, 0, None, None)
    training.commit(50, at=NOW)
    training.commit(100, at=NOW + 10)
    look = watching.look(training.record, training.ledger, NOW + 12)
    [pack] = look.training
    assert (pack.members, pack.share) == (4, 0.5)
    assert look.rate == pytest.approx(4 * 50 / 10), "trial-steps between the first and the last commit"
    assert look.seconds_left == pytest.approx(4 * 100 / 20) and look.updated == NOW + 10
    assert not look.complete
    silent = watching.look(training.record, training.ledger, NOW + 10 + watching.SILENT + 1)
    assert silent.rate == 0 and silent.seconds_left is None, "nobody may be training it any more"
    training.commit(200, at=NOW + 20, gone=1)
    look = watching.look(training.record, training.ledger, NOW + 21)
    assert (look.done, look.diverged, look.left, look.share, look.training) == (3, 1, 0, 1, [])
    assert look.complete


def test_a_failed_pack_says_why(training: Training) -> None:
    training.commit(100, at=NOW)
    training.ledger.fail(without_error("Killed", "out of memory", pack="pack", attempt=training.attempt.name, step=100))
    look = watching.look(training.record, training.ledger, NOW)
    assert (look.failed, look.rate) == (4, 0)
    assert look.training[0].failed == "Killed: out of memory"
    assert look.reasons == ["1 pack: Killed: out of memory"]


def test_what_is_committed_is_seen_and_nothing_is_done_for_it(training: Training) -> None:
    training.commit(100, at=NOW)
    ledger, looking = training.ledger, SoFar(training.ledger.storage)
    ids = [trial.id for trial in training.record.trials]
    assert ledger.curves(ids).num_rows == 0 and ledger.ends() == {}
    assert looking.curves(ids).num_rows == 4 * 2, "two metrics after one task"
    assert {end.status for end in looking.ends().values()} == {"done"} and looking.done() == {}
    training.commit(200, at=NOW + 20, gone=1)
    assert looking.digest(ids) == ledger.digest(ids), "in the end both are the same"
    assert looking.ends() == ledger.ends() and looking.done() == ledger.done()


def test_results_are_fetched_once(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    training.commit(100, at=NOW)
    looking = SoFar(training.ledger.storage)
    ids = [trial.id for trial in training.record.trials]
    read: list[str] = []
    whole = looking.files.whole
    monkeypatch.setattr(looking.files, "whole", lambda pack, file: read.append(file.file) or whole(pack, file))
    looking.curves(ids)
    looking.curves(ids)
    training.commit(200, at=NOW + 20)
    looking.curves(ids)
    assert len(read) == len(set(read)) == 2, "a shard for each commit"


def test_arms_are_compared_after_the_task_that_all_have_completed() -> None:
    trials = pd.DataFrame(
        {
            "arm": ["a", "a", "b", "c", "d"],
            "status": ["done", "done", "done", "done", "pending"],
            "ended": [50, 30, 20, 100, np.nan],
            "tasks": [100, 100, 100, 100, 100],
        }
    )
    assert so_far.reach(trials) == 20, "a has got to 50, b to 20, c has ended and d has not begun"
    curves = pd.DataFrame({"task": [0, 19, 20, 99]})
    short, cut = so_far.shortened(trials, curves, 20)
    assert set(short["tasks"]) == {20} and list(cut["task"]) == [0, 19]
    assert "after 20 of 100 tasks" in so_far.told(trials)
    ended = trials.assign(ended=100)
    assert so_far.reach(ended) is None and so_far.told(ended) == ""
    assert so_far.shortened(ended, curves, None) == (ended, curves)


def test_looking_on_takes_a_hundredth_of_the_machine() -> None:
    cores = os.cpu_count() or 1
    assert watching.pause(0.0, 3.0) == 3.0
    assert watching.pause(2.0, 3.0) == pytest.approx(400 / cores), "for the arms, and as much is left for the packs"


def test_watching_ends_when_the_sweep_does(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three looks: one at each commit, and none while nothing is new."""
    asked: list[int] = []
    real = watch.arms_of
    monkeypatch.setattr(watch, "arms_of", lambda record, ledger: asked.append(1) or real(record, ledger))
    steps = iter([None, 100, None, 200])
    training.commit(50, at=NOW)
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if (step := next(steps)) is not None:
            training.commit(step, at=NOW + now[0])

    watched = Watched(training.record, training.ledger)
    views = list(watch.looks(watched, sleep, lambda: now[0], lambda: 0.0))
    assert [round(view.look.share, 2) for view in views] == [0.25, 0.5, 1.0]
    assert len(asked) == 3
    assert views[0].arms.without == "no trial of this sweep has finished yet"
    assert "after 1 of 2 tasks" in views[1].arms.heading
    assert "After" not in views[2].arms.heading and "so far" not in views[2].arms.heading.lower()


def test_dear_arms_are_rarer(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    spent = [0.0]

    def dear(record: SweepRecord, ledger: Ledger) -> watch.Arms:
        spent[0] += 5.0
        return watch.Arms([], f"{spent[0]}", "")

    monkeypatch.setattr(watch, "arms_of", dear)
    now = [0.0]
    steps: Iterator[int] = iter([60, 70, 80, 90, 200])

    def sleep(seconds: float) -> None:
        assert seconds == watch.EVERY, "what the arms took is not counted twice"
        now[0] += seconds
        training.commit(next(steps), at=NOW + now[0])

    training.commit(50, at=NOW)
    watched = Watched(training.record, training.ledger)
    views = list(watch.looks(watched, sleep, lambda: now[0], lambda: spent[0]))
    assert [view.arms.heading for view in views] == ["5.0"] * 5 + ["10.0"], "at first, and in the end"


def test_the_command_shows_a_sweep_under_way(command: Command, training: Training, tmp_path: Path) -> None:
    training.commit(50, at=NOW)
    training.commit(100, at=NOW + 10)
    training.patch.undo()
    said = command("watch", "--once", "--storage", tmp_path / "watched")
    assert said.code == 0, said.err
    assert said.out.startswith("tiny@full: Does a small sweep run?\n[##########----------]  50 % 0 of 4 trials")
    assert "nothing was committed for" in said.out and "silent" in said.out, "its commits are old"
    assert "online squared error" in said.out and "after 1 of 2 tasks" in said.out and "sgd 0.01" in said.out


def test_the_command_ends_with_the_results_of_a_complete_sweep(command: Command, ran: Path) -> None:
    said = command("watch", "tiny", "--storage", ran)
    assert said.code == 0, said.err
    head, first, rest = said.out.split("\n", 2)
    assert head == "tiny@full: Does a small sweep run?", "a file of many watches says which is which"
    assert first == "[####################] 100 % 4 of 4 trials" and "arm, at its best setting" in rest


def test_a_mistake_is_one_sentence(command: Command, ran: Path, tmp_path: Path) -> None:
    said = command("watch", "--once", "--storage", tmp_path / "nothing")
    assert said.code == 2 and "no sweep was run in" in said.err
    said = command("watch", "tiny", "--once", "--browser", "--storage", ran)
    assert said.code == 2 and "leave one of them out" in said.err


@pytest.mark.parametrize("window", [True, False])
def test_a_live_page_is_opened_where_there_is_a_browser(
    window: bool, command: Command, ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses: list[str] = []
    monkeypatch.setattr(live, "serve", lambda watched, listening, ready: ready("http://here"))
    monkeypatch.setattr(mlflow_pages, "has_browser", lambda: window)
    monkeypatch.setattr(webbrowser, "open", addresses.append)
    said = command("watch", "tiny", "--browser", "--port", *free_ports(1), "--storage", ran)
    assert (said.code, said.out) == (0, "http://here/\n(Ctrl-C stops it; the sweep goes on)\n"), said.err
    assert addresses == ["http://here/"] * window


def test_a_live_page_is_made_anew_when_there_is_more_to_show(training: Training) -> None:
    now = [0.0]
    training.commit(50, at=NOW)
    pages = Pages(Watched(training.record, training.ledger), lambda: now[0], lambda: 0.0)
    first = pages.page()
    assert "25 %" in first and "No answer yet" in first and "connect-src &#39;self&#39;" in first
    assert pages.progress()[1] is False, "there is nothing more"
    training.commit(100, at=NOW + 10)
    fragment, newer = pages.progress()
    assert "50 %" in fragment and not newer, "not before it is due"
    assert pages.page() is first
    now[0] = live.EVERY
    assert pages.progress() == (fragment, True)
    second = pages.page()
    assert "after 1 of 2 tasks" in second and "4 under way" in second
    assert pages.progress()[1] is False


def test_a_live_page_costs_no_more_however_many_ask(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds of a processor for a look and five for a page, of a machine with one."""
    now, spent, made = [0.0], [0.0], [0]

    def dear(seconds: float, real: Callable[..., Any]) -> Callable[..., Any]:
        def work(*arguments: Any) -> Any:
            spent[0], made[0] = spent[0] + seconds, made[0] + 1
            return real(*arguments)

        return work

    monkeypatch.setattr(live.watching.os, "cpu_count", lambda: 1)
    monkeypatch.setattr(live, "gather", dear(5.0, live.gather))
    watched = Watched(training.record, training.ledger)
    monkeypatch.setattr(watched, "changed", dear(2.0, lambda: True))
    pages = Pages(watched, lambda: now[0], lambda: spent[0])
    for now[0] in range(0, 10_000, 5):
        pages.progress()
        pages.page()
    assert made[0] > 20 and spent[0] <= 7 + watching.COST * 10_000
