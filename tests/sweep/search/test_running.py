"""Searches and evaluations as they are run: stopped in any round they continue it; their records say what was asked."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from sweep import running, service
from sweep.cli import status
from sweep.cluster.worker import Listener, Progress
from sweep.ledger.failures import Failure
from sweep.ledger.ledger import Ledger
from sweep.results.windows import Window
from sweep.search.judging import score, scores
from sweep.trials import Trial

LAST = Window("last", 25)
TEXT = """
workload: {name: slowly_changing_regression, tasks: 4, period: 50}
network: {width: 3}
seeds: {select: 2, evaluate: 3}
search: {trials: 4, round: 2}
arms:
  sgd: {optimizer: sgd, step_size: {log: [1e-3, 1e-1]}}
  plain: {optimizer: sgd, step_size: 0.01}
metrics: [online_error]
"""
ROUNDS = [2 * 2 + 2, 2 * 2, 2 * 3]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "searched.yaml"
    path.write_text(TEXT)
    return path


def run(file: Path, storage: Path, stopped_in: int | None = None) -> service.Outcome:
    """`stopped_in`: the round, from 0, in which the run is told to stop as its first pack reports."""
    rounds = [0]

    def heard(progress: Progress) -> None:
        if rounds[0] == stopped_in:
            signal.raise_signal(signal.SIGTERM)

    def began(planned: service.Plan) -> None:
        rounds[0] += 1

    planned = service.plan(file, storage=str(storage))
    return service.execute(planned, listener=heard, on_round=began, inline=True)


def trials(storage: Path, name: str = "searched") -> list[Trial]:
    return Ledger(storage).sweep(name, "full").trials


def test_a_search_goes_round_after_round_to_its_evaluation(
    alone: None, uncompiled: None, file: Path, tmp_path: Path
) -> None:
    planned = service.plan(file, storage=str(tmp_path / "st"))
    assert (planned.missing, planned.later, planned.round) == (ROUNDS[0], sum(ROUNDS[1:]), "round 1 of 3")
    outcome = run(file, tmp_path / "st")
    assert (outcome.computed, outcome.already_done) == (sum(ROUNDS), 0) and not outcome.failures
    assert outcome.record.manifest["rounds"]["later"] == 0
    assert [trial.id for trial in trials(tmp_path / "st")] == [trial.id for trial in outcome.record.trials]
    assert {trial.config["seed"] for trial in outcome.record.trials[-3:]} == {2, 3, 4}
    arms = status.facts(outcome.record, Ledger(tmp_path / "st"))["arms"]
    assert list(arms) == ["sgd", "plain"], "the order of the file, though the grid's trials come first"
    again = run(file, tmp_path / "st")
    assert (again.computed, again.already_done) == (0, sum(ROUNDS))


@pytest.mark.parametrize("stopped_in", [0, 1, 2])
def test_stopped_in_any_round_it_continues_with_the_same_trials(
    alone: None, uncompiled: None, file: Path, tmp_path: Path, stopped_in: int
) -> None:
    whole = run(file, tmp_path / "whole")
    stopped = run(file, tmp_path / "st", stopped_in)
    assert stopped.interrupted
    assert len(trials(tmp_path / "st")) == sum(ROUNDS[: stopped_in + 1]), "a round is recorded before it is trained"
    outcome = run(file, tmp_path / "st")
    assert [trial.id for trial in outcome.record.trials] == [trial.id for trial in whole.record.trials]
    ids = [trial.id for trial in whole.record.trials]
    assert Ledger(tmp_path / "st").digest(ids) == Ledger(tmp_path / "whole").digest(ids)


def test_a_round_of_which_all_is_known_starts_nothing(
    alone: None, uncompiled: None, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(TEXT.replace("seeds: {select: 2, evaluate: 3}\nsearch: {trials: 4, round: 2}", "seeds: [2, 3]"))
    file.write_text(file.read_text().replace("{log: [1e-3, 1e-1]}", "0.02"))
    run(file, tmp_path / "st")
    file.with_name("staged.yaml").write_text(file.read_text().replace("[2, 3]", "{select: [0], evaluate: [2, 3]}"))
    asked: list[int] = []
    inline = running.run_inline

    def counted(storage: str, ids: Sequence[str], heard: Listener) -> dict[str, Failure]:
        asked.append(len(ids))
        return inline(storage, ids, heard)

    monkeypatch.setattr(running, "run_inline", counted)
    outcome = run(file.with_name("staged.yaml"), tmp_path / "st")
    assert (outcome.computed, len(outcome.record.trials)) == (2, 6) and asked and all(asked)


def test_what_is_known_of_one_search_serves_another(alone: None, uncompiled: None, file: Path, tmp_path: Path) -> None:
    run(file, tmp_path / "st")
    other = tmp_path / "other.yaml"
    other.write_text(TEXT)
    outcome = run(other, tmp_path / "st")
    assert (outcome.computed, outcome.already_done) == (0, sum(ROUNDS))
    assert len(outcome.record.manifest["reused_from"]) == sum(ROUNDS) == len(trials(tmp_path / "st", "other"))


def test_a_score_is_the_mean_of_the_last_quarter_over_seeds(
    alone: None, uncompiled: None, file: Path, tmp_path: Path
) -> None:
    record = run(file, tmp_path / "st").record
    ledger = Ledger(tmp_path / "st")
    plain = [trial for trial in record.trials if trial.arms == ("plain",) and trial.config["seed"] < 2]
    last = {row["trial"]: row["value"] for row in ledger.curves([t.id for t in plain]).to_pylist() if row["task"] == 3}
    [found] = scores(ledger, plain, "online_error", LAST).values()
    assert found.diverged == 0 and found.mean == pytest.approx(sum(last.values()) / 2, rel=1e-15)


def test_a_seed_without_a_finite_value_counts_as_diverged() -> None:
    assert score([1.0, float("nan"), 3.0]).diverged == 1 and score([1.0, float("nan"), 3.0]).mean == 2.0
    assert score([1.0, 3.0]).value == 2.0 and score([1.0, float("inf")]).value is None
    tasks, values = np.array([0, 10]), np.array([5.0, 7.0])
    assert LAST.mean(tasks, values, 20) == 7.0, "the last one, where none was measured so late"
    assert LAST.mean(np.arange(8), np.arange(8.0), 8) == 6.5
