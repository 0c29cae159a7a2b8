"""What a sync writes to MLflow, and that it may be repeated, killed, doubled and undone by hand."""

from __future__ import annotations

import csv
import io
import json
import shlex
import shutil
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tracked import (
    ATTEMPT,
    CURVE,
    STARTED,
    STUDENT,
    FakeLedger,
    at_end,
    at_once,
    curve,
    make_record,
    make_trial,
    rows,
    runs,
    small_sweep,
    sync,
    use_the_api,
)

from sweep.errors import TrackingError
from sweep.ledger.failures import Failure
from sweep.ledger.sweeps import SweepRecord
from sweep.tracking import beside
from sweep.tracking.drafts import PARENT
from sweep.tracking.runs import Runs
from sweep.tracking.state import LAYOUT, State
from sweep.tracking.sync import Sync, SyncReport
from sweep.tracking.writers import ApiWriter, TableWriter, writer_for


def test_a_run_for_the_sweep_each_arm_each_group_and_each_trial(uri: str) -> None:
    record, ledger = small_sweep()
    assert sync(record, ledger, uri) == SyncReport(created=10, updated=0, unchanged=0)
    groups, trials = runs(uri, "group"), runs(uri, "trial")
    assert set(groups) == {"backprop-0.1", "backprop-0.01"}
    assert set(trials) == {trial.id for trial in record.trials}
    # MLflow folds what has a parent: groups would not be drawn.
    assert not any("mlflow.parentRunId" in run.data.tags for run in groups.values())
    trial = trials["backprop-0.01-1"]
    assert "sweep trial backprop-0.01-1 --run" in trial.data.tags.pop("mlflow.note.content")
    assert trial.data.tags == {
        "mlflow.parentRunId": groups["backprop-0.01"].info.run_id,
        "mlflow.runName": "backprop 0.01, seed 1",
        "pliant.arm": "backprop",
        "pliant.group": "backprop-0.01",
        "pliant.kind": "trial",
        "pliant.layout": str(LAYOUT),
        "pliant.status": "done",
        "pliant.sweep": "regression@smoke",
        "pliant.trial": "backprop-0.01-1",
    }
    # What is the same for all trials is in the manifest.
    assert trial.data.params == {"optimizer.step_size": "0.01", "seed": "1"}
    assert groups["backprop-0.1"].data.params == {"optimizer.step_size": "0.1"}
    assert trial.info.status == "FINISHED"
    assert (trial.info.start_time, trial.info.end_time) == (1_699_999_990_000, 1_700_000_001_250)
    assert curve(uri, trial, "online_error") == [(task, 3 * value) for task, value in CURVE]
    assert curve(uri, trial, "stable_rank") == [(0, 3.0), (3, 24.0), (6, 192.0)]
    assert trial.data.metrics == {"online_error": 192.0, "stable_rank": 192.0, "final/online_error": 192.0}


def test_group_curves_are_mean_and_interval_over_seeds(uri: str) -> None:
    record, ledger = small_sweep()
    sync(record, ledger, uri)
    group = runs(uri, "group")["backprop-0.1"]
    assert curve(uri, group, "online_error/mean") == [(task, 2 * value) for task, value in CURVE]
    assert curve(uri, group, "online_error/ci_low") == at_end(-1)
    assert curve(uri, group, "online_error/ci_high") == at_end(1)
    assert curve(uri, group, "stable_rank/mean") == [(0, 2.0), (3, 16.0), (6, 128.0)]
    late = {name: value for name, value in group.data.metrics.items() if name.startswith("final/")}
    ends = {f"final/online_error{part}": 64 * (2 + sign * STUDENT) for part, sign in (("/ci_low", -1), ("/ci_high", 1))}
    assert late == pytest.approx({"final/online_error": 128} | ends)
    assert group.info.status == "FINISHED"
    assert group.info.end_time == 1_700_000_001_250


def test_files_of_the_sweep(uri: str, tmp_path: Path) -> None:
    record, ledger = small_sweep()
    record.trials.append(make_trial(0.1, 0, arm="l2"))
    figure = tmp_path / "arms.svg"
    figure.write_text("<svg/>")
    sync(record, ledger, uri, figures=[figure])
    [run] = runs(uri, "sweep").values()
    folder = tmp_path / "artifacts" / run.info.run_id / "artifacts"
    assert json.loads((folder / "manifest.json").read_text()) == record.manifest
    assert (folder / "figures" / "arms.svg").read_text() == "<svg/>"
    assert (folder / "regression.yaml").read_text() == record.file_text
    table = {row["trial"]: row for row in csv.DictReader(io.StringIO((folder / "trials.csv").read_text()))}
    assert len(table) == 5
    assert table["backprop-0.01-1"]["status"] == "done"
    assert table["backprop-0.01-1"]["optimizer.step_size"] == "0.01"
    assert table["backprop-0.01-1"]["l2.strength"] == ""
    assert table["l2-0.1-0"]["status"] == "pending"
    assert table["l2-0.1-0"]["l2.strength"] == "0.5"
    assert run.info.status == "RUNNING"
    assert (run.data.tags["pliant.trials"], run.data.tags["pliant.ended"]) == ("5", "4")

    assert sync(record, ledger, uri, figures=[figure]).updated == 0
    assert sync(record, ledger, uri).updated == 0
    figure.write_text("<svg></svg>")
    assert sync(record, ledger, uri, figures=[figure]) == SyncReport(0, 1, 9)
    assert (folder / "figures" / "arms.svg").read_text() == "<svg></svg>"


def test_curves_of_trials_are_thinned_and_their_metrics_few(uri: str) -> None:
    _, ledger = small_sweep()
    trial = make_trial(0.1, 0)
    names = ("dormant_fraction", "dormant_fraction/1", "online_error", "stable_rank")
    ledger.add(trial, {name: CURVE for name in names})
    sync(make_record([trial], points=3, metrics=3), ledger, uri)
    run = runs(uri, "trial")[trial.id]
    assert set(run.data.metrics) == {"online_error", "dormant_fraction", "stable_rank", "final/online_error"}
    assert curve(uri, run, "online_error") == [(0, 1.0), (3, 8.0), (6, 64.0)]
    group = runs(uri, "group")[trial.group]
    assert curve(uri, group, "online_error/mean") == CURVE  # one seed: a mean, and no interval
    means = {f"{name}/mean" for name in ("online_error", "dormant_fraction", "stable_rank")}
    assert set(group.data.metrics) == {*means, "final/online_error"}


def test_a_diverged_trial_is_a_finished_run_with_a_tag(uri: str) -> None:
    record, ledger = small_sweep()
    broken = [(0, 5.0), (1, float("inf")), (2, float("nan"))]
    ledger.add(record.trials[1], {"online_error": broken}, status="diverged")
    sync(record, ledger, uri)
    run = runs(uri, "trial")["backprop-0.1-1"]
    assert (run.info.status, run.data.tags["pliant.status"]) == ("FINISHED", "diverged")
    assert curve(uri, run, "online_error") == [(0, 5.0)]
    group = runs(uri, "group")["backprop-0.1"]
    assert group.data.tags["pliant.diverged"] == "1"
    assert curve(uri, group, "online_error/mean") == [(0, 3.0), *CURVE[1:]]
    assert runs(uri, "group")["backprop-0.01"].data.tags["pliant.diverged"] == "0"
    assert runs(uri, "sweep")["regression@smoke"].data.tags["pliant.diverged"] == "1"


def test_trials_that_another_sweep_computed_say_so(uri: str) -> None:
    record, ledger = small_sweep()
    first, second, third, fourth = (trial.id for trial in record.trials)
    origins = {first: "elsewhere@paper", second: "regression@smoke", third: None}
    sync(record, ledger, uri, reused_from=origins)
    tags = {name: run.data.tags.get("pliant.reused_from") for name, run in runs(uri, "trial").items()}
    assert tags == {first: "elsewhere@paper", second: None, third: None, fourth: None}


def test_groups_only(uri: str) -> None:
    record, ledger = small_sweep()
    record.manifest["track"]["trials"] = False
    assert sync(record, ledger, uri) == SyncReport(created=6, updated=0, unchanged=0)
    assert runs(uri, "trial") == {}
    assert curve(uri, runs(uri, "group")["backprop-0.1"], "stable_rank/mean") == [
        (0, 2.0),
        (3, 16.0),
        (6, 128.0),
    ]


def test_progress_counts_trials(uri: str) -> None:
    record, ledger = small_sweep()
    told: list[tuple[int, int]] = []
    sync(record, ledger, uri, progress=lambda written, total: told.append((written, total)))
    assert told == [(2, 4), (4, 4)]


def test_a_second_sync_changes_nothing(uri: str, either_writer: str) -> None:
    record, ledger = small_sweep()
    sync(record, ledger, uri)
    before = rows(uri)
    assert sync(record, ledger, uri) == SyncReport(created=0, updated=0, unchanged=10)
    assert rows(uri) == before


def test_a_group_waits_for_its_last_seed(uri: str, either_writer: str) -> None:
    record, ledger = small_sweep()
    last = record.trials[-1]
    values = ledger.values[last.id]
    del ledger.statuses[last.id]
    assert sync(record, ledger, uri).created == 9
    group = runs(uri, "group")[last.group]
    assert (group.info.status, group.data.metrics) == ("RUNNING", {})
    ledger.add(last, values)
    assert (
        sync(record, ledger, uri).unchanged == 5
    )  # all but the trial, its group, that of its value, the arm and the sweep
    group = runs(uri, "group")[last.group]
    assert (group.info.status, group.data.metrics["online_error/mean"]) == ("FINISHED", 128.0)
    assert runs(uri, "sweep")["regression@smoke"].info.status == "FINISHED"


def test_a_sweep_that_grows_by_a_seed_gets_new_group_curves(uri: str, either_writer: str) -> None:
    record, ledger = small_sweep()
    sync(record, ledger, uri)
    before = {name: run.info.run_id for name, run in runs(uri, "trial").items()}
    third = make_trial(0.1, 2)
    ledger.add(third, {"online_error": [(task, 5 * value) for task, value in CURVE]})
    record.trials.append(third)
    # The arm's best setting, which is the other group, its value and trials; a database's group is written in place.
    assert sync(record, ledger, uri).unchanged == (7 if either_writer == "database" else 5)
    groups, trials = runs(uri, "group"), runs(uri, "trial")
    assert curve(uri, groups["backprop-0.1"], "online_error/mean") == [(task, 3 * value) for task, value in CURVE]
    assert {name: run.info.run_id for name, run in trials.items() if name != third.id} == before
    parents = {run.data.tags["mlflow.parentRunId"] for run in trials.values()}
    assert parents == {run.info.run_id for run in groups.values()}
    assert sync(record, ledger, uri) == SyncReport(created=0, updated=0, unchanged=11)


@pytest.mark.parametrize("kill", ["TableWriter.create", "TableWriter.fill", "ApiWriter._fill_one", "Runs.tag"])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_sync_that_is_killed_is_completed_by_the_next(
    uri: str, kill: str, call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, ledger = small_sweep()
    shutil.copy(tmp_path / "mlflow.db", tmp_path / "undisturbed.db")
    undisturbed = f"sqlite:///{tmp_path / 'undisturbed.db'}"
    sync(record, ledger, undisturbed)

    class Killed(BaseException):
        pass

    owner, name = kill.split(".")
    owner_type = {"TableWriter": TableWriter, "ApiWriter": ApiWriter, "Runs": Runs}[owner]
    real: Callable[..., Any] = getattr(owner_type, name)
    calls = 0

    def dies(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise Killed
        return real(*arguments)

    with monkeypatch.context() as patched:
        if owner == "ApiWriter":
            use_the_api(patched)
        patched.setattr(owner_type, name, dies)
        with pytest.raises(Killed):
            sync(record, ledger, uri)
    sync(record, ledger, uri)
    assert rows(uri) == rows(undisturbed)


def test_two_syncs_at_once_leave_no_duplicates(uri: str) -> None:
    record, ledger = small_sweep()
    at_once(lambda: sync(record, ledger, uri))
    assert [len(runs(uri, kind)) for kind in ("sweep", "group", "trial")] == [1, 2, 4]
    assert len(runs(uri, "arm")) == 1
    assert len(rows(uri)["metrics"]) == 143 + 2 * (21 + 9 + 3 + 1), (
        "those of values: curves with ends, late performance, their place"
    )


def test_without_a_common_lock_one_run_of_a_pair_is_kept(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine writes all runs anew, after this one has looked and before it looks again."""
    record, ledger = small_sweep()
    use_the_api(monkeypatch)
    finish = Sync._sync_groups
    passes = 0

    def meets_another(tracker: Sync, *arguments: Any) -> set[str]:
        nonlocal passes
        passes += 1
        touched = finish(tracker, *arguments)
        if passes == 1:
            with monkeypatch.context() as blind:
                blind.setattr(Runs, "find", lambda *_: {})
                runs = Runs(tracker.runs.writer, tracker.runs.experiment, record.identity, None)
                finish(Sync(State(record, ledger, None), runs), *arguments)  # type: ignore[arg-type]
        return touched

    monkeypatch.setattr(Sync, "_sync_groups", meets_another)
    sync(record, ledger, uri)
    assert passes == 2
    groups, trials = runs(uri, "group"), runs(uri, "trial")
    assert (len(groups), len(trials)) == (2, 4)
    for run in trials.values():
        assert run.data.tags[PARENT] == groups[run.data.tags["pliant.group"]].info.run_id


def test_a_deleted_experiment_is_explained(uri: str) -> None:
    record, ledger = small_sweep()
    sync(record, ledger, uri)
    client = writer_for(uri).client
    client.delete_experiment(client.get_experiment_by_name("regression@smoke").experiment_id)
    with pytest.raises(TrackingError, match="was deleted in MLflow") as caught:
        sync(record, ledger, uri)
    [_, told] = str(caught.value).splitlines()
    setting, program, *rest = shlex.split(told.removeprefix("Bring it back: "))
    assert (setting, program) == (f"MLFLOW_TRACKING_URI={uri}", sys.executable)  # as it stands, from any folder
    assert rest == ["-m", "mlflow", "experiments", "restore", "--experiment-id", "1"]


def test_a_run_that_was_deleted_by_hand_comes_back(uri: str, either_writer: str) -> None:
    record, ledger = small_sweep()
    sync(record, ledger, uri)
    before = rows(uri)
    client = writer_for(uri).client
    deleted = [runs(uri, "trial")["backprop-0.1-1"], *runs(uri, "arm").values(), *runs(uri, "sweep").values()]
    for run in deleted:
        client.delete_run(run.info.run_id)
    assert rows(uri) != before
    assert sync(record, ledger, uri) == SyncReport(created=0, updated=3, unchanged=7)
    assert rows(uri) == before
    assert sync(record, ledger, uri) == SyncReport(created=0, updated=0, unchanged=10)


def test_what_a_sync_has_deleted_stays_away(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    record, ledger = small_sweep()
    use_the_api(monkeypatch)
    sync(record, ledger, uri)
    third = make_trial(0.1, 2)
    ledger.add(third, {"online_error": CURVE})
    record.trials.append(third)
    sync(record, ledger, uri)  # the group's run is replaced, as MLflow takes no curve back
    assert sync(record, ledger, uri) == SyncReport(created=0, updated=0, unchanged=11)
    assert len(runs(uri, "group")) == 2


def failure_of(attempt: str, message: str = "the switch is on") -> Failure:
    return Failure(
        pack="pack",
        attempt=attempt,
        type="ArithmeticError",
        message=message,
        place="faulty.py:8",
        traceback="Traceback: ...",
        step=400,
        host="here",
        time=STARTED,
        deterministic=True,
    )


def test_a_failed_trial_says_why_until_it_is_done(uri: str, either_writer: str) -> None:
    record, ledger = small_sweep()
    last = record.trials[-1]
    del ledger.statuses[last.id]
    ledger.fallen[last.id] = failure_of(ATTEMPT)
    assert sync(record, ledger, uri).created == 10
    run = runs(uri, "trial")[last.id]
    assert (run.info.status, run.data.tags["pliant.status"]) == ("FAILED", "failed")
    assert run.data.tags["pliant.reason"] == "ArithmeticError: the switch is on (faulty.py:8)"
    assert "Traceback: ..." in run.data.tags["mlflow.note.content"]
    assert run.info.end_time - run.info.start_time == 10_250
    assert runs(uri, "group")[last.group].data.tags["pliant.failed"] == "1"
    assert "**1 failed**" in runs(uri, "sweep")["regression@smoke"].data.tags["mlflow.note.content"]
    assert sync(record, ledger, uri) == SyncReport(created=0, updated=0, unchanged=10)

    ledger.fallen[last.id] = failure_of(ATTEMPT.replace("2213", "2214"), "still on")
    sync(record, ledger, uri)
    assert "still on" in runs(uri, "trial")[last.id].data.tags["pliant.reason"]

    ledger.statuses[last.id] = "done"
    sync(record, ledger, uri)
    run = runs(uri, "trial")[last.id]
    assert (run.info.status, run.data.tags["pliant.status"]) == ("FINISHED", "done")
    assert "pliant.reason" not in run.data.tags and curve(uri, run, "stable_rank")
    assert runs(uri, "group")[last.group].info.status == "FINISHED"


def test_an_arm_is_its_best_setting(uri: str, either_writer: str) -> None:
    record, ledger = small_sweep()
    for trial in record.trials[2:]:  # step size 0.01 learns half as well
        doubled = [(task, 2 * value) for task, value in ledger.values[trial.id]["online_error"]]
        ledger.add(trial, {"online_error": doubled})
    sync(record, ledger, uri)
    [arm] = runs(uri, "arm").values()
    assert arm.info.run_name == "backprop 0.1"
    assert arm.data.params == {"optimizer.step_size": "0.1"}
    assert arm.data.metrics["final/online_error"] == 128
    assert curve(uri, arm, "online_error/mean") == [(task, 2 * value) for task, value in CURVE]
    assert "the best of its 2 settings" in arm.data.tags["mlflow.note.content"]
    for trial in record.trials[:2]:
        ledger.add(trial, {"online_error": [(task, 9 * value) for task, value in CURVE]})
    record.manifest["commit"] = "def"  # another run of the file
    sync(record, ledger, uri)
    [arm] = runs(uri, "arm").values()
    assert arm.info.run_name == "backprop 0.01"


def test_a_database_of_an_earlier_version_is_brought_up_to_date(uri: str, tmp_path: Path) -> None:
    """Absolute places of files, groups below the sweep, all of a config as params, times that are all one."""
    record, ledger = small_sweep()
    sync(record, ledger, uri)
    expected = rows(uri)
    old = "file:///moved/away/artifacts"
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        [sweep_run] = [name for (name,) in database.execute("select run_uuid from tags where value = 'sweep'")]
        database.execute("update experiments set artifact_location = ?", (old,))
        database.execute("update runs set artifact_uri = replace(artifact_uri, 'mlflow-artifacts:', ?)", (old,))
        database.execute("update runs set start_time = end_time, name = 'old' where run_uuid != ?", (sweep_run,))
        database.execute("delete from tags where key in ('pliant.layout', 'pliant.content', 'mlflow.note.content')")
        database.execute("update tags set value = 'old' where key = 'pliant.members'")
        database.execute("insert into tags select ?, ?, run_uuid from tags where value = 'group'", (PARENT, sweep_run))
        database.execute("insert into params select 'code', 'null', run_uuid from runs")
        arms = "select run_uuid from tags where value = 'arm'"
        database.execute(f"delete from runs where run_uuid in ({arms})")
        database.execute("delete from tags where run_uuid not in (select run_uuid from runs)")
    database.close()
    assert sync(record, ledger, uri).created == 1
    found = rows(uri)
    for table in ("tags", "metrics", "latest_metrics"):
        assert set(found[table]) == set(expected[table])
    assert [row for row in found["params"] if "pliant.kind=sweep" not in row[-1]] == expected["params"]
    assert sync(record, ledger, uri) == SyncReport(created=0, updated=0, unchanged=10)


def test_verdicts_and_differences_can_be_sorted_by(uri: str, either_writer: str) -> None:
    record, ledger = compared()
    sync(record, ledger, uri)
    arms = {run.data.tags["pliant.arm"]: run for run in found(uri, "regression@smoke", "arm")}
    assert {arm: run.data.tags["pliant.verdict"] for arm, run in arms.items()} == {"backprop": "first", "l2": "better"}
    metrics = arms["l2"].data.metrics
    # Late values are (seed + 1) * 64 of the one and half of it of the other: -32 * (1 + ... + 8) / 8.
    assert metrics["difference/online_error"] == pytest.approx(-144)
    assert metrics["difference/online_error/ci_low"] < -144 < metrics["difference/online_error/ci_high"] < 0
    assert "difference/online_error" not in arms["backprop"].data.metrics


def test_sensitivity_is_a_curve_for_each_value_at_the_best_of_all_else(uri: str, either_writer: str) -> None:
    ledger = FakeLedger()
    trials = []
    for step_size, decay, factor in ((0.1, 0.0, 4), (0.1, 0.5, 2), (0.01, 0.0, 3), (0.01, 0.5, 8)):
        for seed in range(2):
            trial = make_trial(step_size, seed)
            trial.config["optimizer"]["momentum"] = decay
            trial = replace(trial, id=f"{step_size}-{decay}-{seed}", group=f"{step_size}-{decay}")
            ledger.add(trial, {"online_error": [(task, factor * value) for task, value in CURVE]})
            trials.append(trial)
    record = make_record(trials)
    sync(record, ledger, uri)
    values = {run.data.tags["pliant.place"]: run for run in found(uri, "regression@smoke", "value")}
    late = {place: run.data.metrics["final/online_error"] / 64 for place, run in values.items()}
    assert late == {  # the smaller of what the other axis has
        "optimizer.step_size/step size 0.01/backprop": 3,
        "optimizer.step_size/step size 0.1/backprop": 2,
        "optimizer.momentum/momentum 0/backprop": 3,
        "optimizer.momentum/momentum 0.5/backprop": 2,
    }
    smallest = values["optimizer.step_size/step size 0.01/backprop"]
    assert smallest.info.run_name == "0.01: backprop, momentum 0" and smallest.data.metrics["value"] == 0
    assert curve(uri, smallest, "online_error/mean") == [(task, 3 * value) for task, value in CURVE]
    tags = writer_for(uri).client.get_experiment_by_name("regression@smoke").tags
    names = {json.loads(value)["name"] for key, value in tags.items() if key.startswith("mlflow.sharedViewState.")}
    assert {"Sensitivity: backprop to step size", "Sensitivity: backprop to momentum"} < names


def test_the_description_begins_with_the_answer_and_leads_to_the_report(uri: str, tmp_path: Path) -> None:
    record, ledger = compared()
    report = tmp_path / "any name.html"
    report.write_text("<p>first</p>")
    sync(record, ledger, uri, report=report)
    client = writer_for(uri).client
    experiment = client.get_experiment_by_name("regression@smoke")
    [own] = found(uri, "regression@smoke", "sweep")
    kept = tmp_path / "artifacts" / own.info.run_id / "artifacts" / "report.html"
    assert kept.read_text() == "<p>first</p>"
    note = experiment.tags["mlflow.note.content"]
    assert note.startswith("### ") and "l2" in note.splitlines()[0] and "better" in note
    assert (
        f"[the report](#/experiments/{experiment.experiment_id}/runs/{own.info.run_id}/artifacts/report.html)" in note
    )
    assert sync(record, ledger, uri).updated == 0, "the report that was kept stays"
    report.write_text("<p>second</p>")
    sync(record, ledger, uri, report=report)
    assert kept.read_text() == "<p>second</p>"


def test_several_sweeps_side_by_side(uri: str, either_writer: str) -> None:
    record, ledger = compared()
    other = replace(record, scale="smoke+workload.flip=one", trials=[t for t in record.trials if t.arms == ("l2",)])
    sync(record, ledger, uri)
    with pytest.raises(TrackingError, match=r"regression@smoke\+workload.flip=one is not tracked there"):
        beside.sync([record, other], ledger, uri)  # type: ignore[arg-type]
    sync(other, ledger, uri)
    name = beside.sync([record, other], ledger, uri)  # type: ignore[arg-type]
    assert name == "regression@smoke beside regression@smoke+workload.flip=one"
    arms = {run.info.run_name: run for run in found(uri, name, "arm")}
    assert set(arms) == {"regression@smoke: backprop", "regression@smoke: l2", "flip=one: l2"}
    assert len({run.data.tags["mlflow.runColor"] for run in arms.values()}) == 3
    late = {name: run.data.metrics["final/online_error"] for name, run in arms.items()}
    assert late["flip=one: l2"] == late["regression@smoke: l2"] == pytest.approx(144)
    tags = writer_for(uri).client.get_experiment_by_name(name).tags
    assert "mlflow.sharedViewState.arms" in tags and "is the same stream only where" in tags["mlflow.note.content"]
    ids = {run.info.run_id for run in arms.values()}
    beside.sync([record, other], ledger, uri)  # type: ignore[arg-type]
    assert {run.info.run_id for run in found(uri, name, "arm")} == ids, "nothing new, nothing written"


def test_sweeps_are_told_apart_by_what_differs() -> None:
    assert beside.labels(["demo@smoke", "demo@smoke+workload.flip=one"]) == ["demo@smoke", "flip=one"]
    assert beside.labels(["demo@laptop", "mine@full"]) == ["demo laptop", "mine full"]
    assert beside.labels(["a@full+x.s=1", "a@full+y.s=1"]) == ["a@full+x.s=1", "a@full+y.s=1"]


def compared() -> tuple[SweepRecord, FakeLedger]:
    """Two arms of one setting and eight seeds: the values of the second are half of the first's."""
    ledger = FakeLedger()
    trials = [make_trial(0.1, seed, arm) for arm in ("backprop", "l2") for seed in range(8)]
    for trial in trials:
        factor = (trial.config["seed"] + 1) / (2 if "l2" in trial.arms else 1)
        ledger.add(trial, {"online_error": [(task, factor * value) for task, value in CURVE]})
    return make_record(trials), ledger


def found(uri: str, experiment: str, kind: str) -> list[Any]:
    """The live runs of a kind."""
    client = writer_for(uri).client
    own = client.get_experiment_by_name(experiment).experiment_id
    return list(client.search_runs([own], f"tags.`pliant.kind` = '{kind}'"))
