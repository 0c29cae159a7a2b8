"""The stages in a row: what is planned, what is skipped, what is kept, and what happens when it is stopped."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interrupts import heed_interrupts
from tiny import PACED, TINY, Command, without_compiling

import sweep
from sweep import running, service
from sweep.cluster.worker import Progress
from sweep.errors import InputError, PliantError, StorageError, TrackingError
from sweep.ledger.commits import attempt_name
from sweep.ledger.failures import Failure, without_error
from sweep.ledger.ledger import Ledger
from sweep.planning import Plan
from sweep.spec import changes, studies
from sweep.tracking.behind import Tracker
from workloads.training.members import Members
from workloads.training.pack import Snapshot

CLIPPING = '''\
"""Bounded weights: every weight is kept within `bound` times its layer's initial range."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt

from workloads.methods.base import Method


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    bound: Annotated[float, Gt(0)] = 1.0  # of an initial weight's largest magnitude


class BoundedWeights(Method):
    Config = Config
    varies = ("bound",)
    semantics = 1
    acts = frozenset({"after_step"})

    def after_step(self, params, state, hyper, seen, draw):
        clipped = {}
        for name, value in params.items():
            limit = hyper["bound"] * (6 / value.shape[-1]) ** 0.5
            clipped[name] = value.clamp(-limit, limit) if value.ndim == 2 else value
        return clipped, state


METHODS = {"bounded_weights": BoundedWeights}
'''
STREAM = """\
from workloads.streams.slowly_changing_regression import SlowlyChangingRegression

class Mine(SlowlyChangingRegression):
    name = "mine"

STREAMS = {"mine": Mine}
"""


def ignore(progress: Progress) -> None:
    pass


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def run(file: Path, storage: Path) -> service.Outcome:
    return service.execute(service.plan(file, storage=str(storage)), listener=ignore, inline=True)


# Growing, sharing, repeating


def test_a_further_step_size_runs_the_new_trials_alone(
    alone: None, uncompiled: None, storage: Path, file: Path
) -> None:
    before = Ledger(storage).done()
    file.write_text(TINY.replace("[0.01, 0.003]", "[0.01, 0.03, 0.003]"))
    planned = service.plan(file, storage=str(storage))
    assert (len(planned.trials), len(planned.done), planned.missing) == (6, 4, 2)
    assert {trial.config["optimizer"]["step_size"] for pack in planned.packs for trial in pack.trials} == {0.03}
    outcome = service.execute(planned, listener=ignore, inline=True)
    assert (outcome.computed, outcome.already_done, outcome.interrupted) == (2, 4, False)
    after = Ledger(storage).done()
    assert len(after) == 6 and {trial: after[trial] for trial in before} == before


def test_another_sweep_takes_over_what_is_done(alone: None, uncompiled: None, storage: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(TINY.replace("arms:\n  sgd:", "arms:\n  mine:").replace("seeds: 2", "seeds: 3"))
    outcome = run(other, storage)
    assert (outcome.computed, outcome.already_done) == (2, 4)
    record = Ledger(storage).sweep("other", "full")
    first = {trial.id for trial in Ledger(storage).sweep("tiny", "full").trials}
    assert record.manifest["reused_from"] == dict.fromkeys(first, "tiny@full")
    # It stays so: the second time they are done in this sweep too.
    assert run(other, storage).record.manifest["reused_from"] == record.manifest["reused_from"]


def test_nothing_to_do_leaves_the_record_as_it_was(alone: None, storage: Path, file: Path) -> None:
    run(file, storage)  # the storage was filled from another folder, and the record says from where
    record = storage / "sweeps" / "tiny@full" / "trials.parquet"
    before = record.stat().st_mtime_ns
    outcome = run(file, storage)
    assert (outcome.computed, outcome.already_done, outcome.diverged, outcome.failures) == (0, 4, 0, {})
    assert record.stat().st_mtime_ns == before
    file.write_text("# Another question?\n" + TINY)
    assert run(file, storage).record.manifest["question"] == "Another question?"
    assert Ledger(storage).sweep("tiny", "full").manifest["question"] == "Another question?"


def test_a_repeated_run_imports_neither_ray_nor_torch(ran: Path, storage: Path, tmp_path: Path) -> None:
    # By the file it was run from: from another one the record is written anew, with the commit that is checked out by
    # now, and where that has moved since, be it by an edit, the figures are another code's and drawn again.
    file = ran.parent / "tiny.yaml"
    code = (
        "import sys; sys.argv[0:1] = ['sweep', 'run']\nfrom sweep.cli.commands import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print({'ray', 'torch', 'mlflow', 'matplotlib'} & set(sys.modules))"  # pandas: it says what was found
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file), "--storage", str(storage), "--no-track"],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert "0 trials computed, 4 done before" in done.stdout
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.slow
def test_a_repeated_run_with_everything_imports_neither_ray_nor_torch(ran: Path, storage: Path) -> None:
    file = ran.parent / "tiny.yaml"
    code = (
        "import sys; sys.argv[0:1] = ['sweep', 'run']\nfrom sweep.cli.commands import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print({'ray', 'torch'} & set(sys.modules))"
    )
    command = [sys.executable, "-P", "-c", code, str(file), "--storage", str(storage)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PLIANT_"))}
    subprocess.run(command, env=environment, check=True, capture_output=True)  # MLflow's database is made
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert "0 trials computed, 4 done before" in done.stdout
    assert done.stdout.splitlines()[-1] == "set()"


def test_another_sweeps_damaged_record_is_no_obstacle(alone: None, storage: Path, tmp_path: Path) -> None:
    (storage / "sweeps" / "tiny@full" / "trials.parquet").write_bytes(b"PAR1")
    other = tmp_path / "other.yaml"
    other.write_text(TINY)
    assert run(other, storage).computed == 0


# Stopping and failing


def stopped_midway(planned: Plan) -> tuple[list[Progress], running.Outcome]:
    """What is heard of a sweep that is stopped once it has committed something, and what comes of it."""
    heard: list[Progress] = []

    def interrupt(progress: Progress) -> None:
        heard.append(progress)
        if len(heard) == 3:  # that it begins, that it has trained, that it has committed
            signal.raise_signal(signal.SIGTERM)

    return heard, service.execute(planned, listener=interrupt, inline=True)


def test_ctrl_c_in_the_middle_continues_to_the_same_results(
    alone: None, uncompiled: None, ran: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLIANT_COMMIT_SECONDS", "0.0001")
    storage = tmp_path / "new"
    planned = service.plan(file, storage=str(storage))
    heard, outcome = stopped_midway(planned)
    assert outcome.interrupted and outcome.computed == 0
    assert [progress.trained for progress in heard] == [0, 400, 400]
    assert not heard[2].finished and 0 < heard[2].step < heard[2].steps == 200
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "the handler is put back"

    again = service.plan(file, storage=str(storage))
    [pack] = again.packs
    assert pack.resumes and pack.id == planned.packs[0].id
    assert pack.reason == f"as it began; continues from step {heard[2].step}" and not again.again()
    on_gpu = service.plan(file, storage=str(storage), device="cuda")
    assert [pack.resumes for pack in on_gpu.packs] == [False]
    assert on_gpu.again() == ["computed anew on cuda: 4 trials begun on cpu, which --device cpu goes on with"]
    heard.clear()
    outcome = service.execute(again, listener=heard.append, inline=True)
    assert outcome.computed == 4 and not outcome.interrupted
    assert heard[-1].trained == (200 - pack_step(pack.reason)) * 4, "what was committed is not trained again"
    ids = [trial.id for trial in again.trials]
    assert Ledger(storage).digest(ids) == Ledger(ran).digest(ids)


def test_a_checkpoint_of_another_version_is_set_aside_and_its_pack_trained_anew(
    alone: None, uncompiled: None, ran: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLIANT_COMMIT_SECONDS", "0.0001")
    storage = tmp_path / "new"
    planned = service.plan(file, storage=str(storage))

    def older(members: Members[Any, Any]) -> bytes:  # a version that did not count what is right
        held = torch.load(io.BytesIO(save(members)), weights_only=True)
        del held["engine"]["correct"]
        buffer = io.BytesIO()
        torch.save(held, buffer)
        return buffer.getvalue()

    save = Members.save
    with monkeypatch.context() as changed:
        changed.setattr(Members, "save", older)
        assert stopped_midway(planned)[1].interrupted
    assert service.plan(file, storage=str(storage)).packs[0].resumes

    heard: list[Progress] = []
    outcome = service.execute(service.plan(file, storage=str(storage)), listener=heard.append, inline=True)
    assert outcome.computed == 4 and not outcome.failures
    assert heard[-1].trained == 200 * 4
    assert [path.name[:18] for path in storage.rglob(".aside-*")] == [".aside-checkpoint-"]
    ids = [trial.id for trial in planned.trials]
    assert Ledger(storage).digest(ids) == Ledger(ran).digest(ids)


def pack_step(reason: str) -> int:
    return int(reason.rpartition(" ")[2])


def test_from_python_a_stop_is_a_keyboard_interrupt(
    alone: None, uncompiled: None, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweep.cluster import worker

    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(worker, "train", stop)
    with pytest.raises(KeyboardInterrupt):
        sweep.run(file, storage=str(tmp_path / "st"), inline=True, track=False)


def test_packs_that_fail_end_in_an_error(
    command: Command, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    def fails(packs: list[str], listener: object) -> dict[str, Failure]:
        return {p: without_error("WorkerDied", "killed", pack=p, attempt=attempt_name(), step=0) for p in packs}

    failing = SimpleNamespace(on_ray=lambda *_, **__: nullcontext(fails))
    monkeypatch.setitem(sys.modules, "sweep.cluster.execute", failing)
    said = command("run", file, "--storage", tmp_path / "st", "--no-track", "--ray")
    assert said.code == 1
    assert "error: 1 of 1 packs failed (4 trials); what they committed is kept.\n" in said.err
    assert "  1 pack: WorkerDied: killed\nThe same command tries them again." in said.err
    with pytest.raises(PliantError, match="1 of 1 packs failed"):
        sweep.run(file, storage=str(tmp_path / "st"), track=False, inline=False)


def test_what_ends_early_without_an_error_is_a_failure(
    command: Command, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    monkeypatch.setitem(
        sys.modules, "sweep.cluster.execute", SimpleNamespace(on_ray=lambda *_, **__: nullcontext(lambda *_: {}))
    )
    said = command("run", file, "--storage", tmp_path / "st", "--no-track", "--ray")
    assert said.code == 1 and "the ledger lacks 4 of its trials" in said.err


def test_a_storage_that_fails_under_way_is_one_sentence(
    command: Command, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweep.ledger.commits import Attempt

    def full(self: Attempt, snapshot: Snapshot) -> None:
        raise StorageError("cannot write x: No space left on device")

    monkeypatch.setattr(Attempt, "commit", full)
    said = command("run", file, "--storage", tmp_path / "st", "--inline", "--no-track")
    assert said.code == 2 and said.err.endswith("error: cannot write x: No space left on device\n")


# Tracking


def test_a_run_tracks_its_trials_groups_and_sweep(command: Command, storage: Path, file: Path) -> None:
    import sqlite3

    run = ("run", file, "--storage", storage, "--inline", "--no-figures")
    said = command(*run)
    assert said.code == 0 and f"MLflow    sweep ui --storage {storage}" in said.out, said
    with sqlite3.connect(storage / "mlflow.db") as database:
        kinds = dict(database.execute("select value, count(*) from tags where key = 'pliant.kind' group by value"))
    database.close()
    assert kinds == {"sweep": 1, "arm": 1, "value": 2, "group": 2, "trial": 4}


def test_a_failed_tracker_leaves_the_results_and_exit_code_1(
    command: Command, storage: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Tracker, figures: object = (), page: object = None) -> dict[str, int]:
        raise TrackingError("MLflow at http://x failed: gone")

    monkeypatch.setattr(Tracker, "finish", fail)
    said = command("run", file, "--storage", storage, "--inline")
    assert (
        said.code == 1
        and said.err == "writing the report\nwriting MLflow's runs\nerror: MLflow at http://x failed: gone\n"
    )
    assert f"results   {storage}" in said.out and "MLflow" not in said.out


# From Python, with a method of one's own


def test_a_mapping_is_run_like_a_file(alone: None, uncompiled: None, tmp_path: Path) -> None:
    asked = {
        "workload": {"name": "slowly_changing_regression", "tasks": 2, "period": 50},
        "network": {"width": 3},
        "arms": {"sgd": {"optimizer": "sgd", "step_size": [0.01, 0.003]}},
    }
    storage = str(tmp_path / "storage")
    assert sweep.run(asked, name="quick", storage=storage, inline=True, track=False).computed == 2
    assert set(sweep.configs("quick@full", storage=storage)["optimizer.step_size"]) == {0.01, 0.003}
    assert sweep.run(asked | {"name": "quick"}, storage=storage, inline=True, track=False).computed == 0
    with pytest.raises(InputError, match="name= is for a sweep given as a mapping"):
        sweep.run("demo", name="quick", storage=storage)


def test_what_is_changed_in_python_is_what_set_changes(alone: None, uncompiled: None, tmp_path: Path) -> None:
    file, storage = tmp_path / "tiny.yaml", str(tmp_path / "storage")
    file.write_text(TINY)
    changed = {"workload.tasks": np.int64(2), "arms.sgd.step_size": (0.01, 0.003)}
    outcome = sweep.run(file, changed=changed, storage=storage, inline=True, track=False)
    words = changes.read(["workload.tasks=2", "arms.sgd.step_size=[0.01, 0.003]"])
    assert outcome.record.identity == f"tiny@{studies.load(file, None, words).scale}"
    assert outcome.record.manifest["set"] == words
    with pytest.raises(InputError, match=r"^changed: workload.taks: unknown key; did you mean 'tasks'\?"):
        sweep.run(file, changed={"workload.taks": 2}, storage=storage)
    with pytest.raises(InputError, match=r"tiny.yaml:2: .* \(with changed={'workload.name': 'permuted_mnist'}\)"):
        sweep.run(file, changed={"workload.name": "permuted_mnist"}, storage=storage)
    with pytest.raises(InputError, match="changed: 3 is no key"):
        sweep.run(file, changed={3: 2}, storage=storage)  # type: ignore[dict-item]
    with pytest.raises(InputError, match="changed: seeds = <object"):
        sweep.run(file, changed={"seeds": object()}, storage=storage)


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")  # inside torch itself
@pytest.mark.parametrize(
    "compiled", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["uncompiled", "compiled"]
)
def test_a_users_method_end_to_end(
    alone: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: bool
) -> None:
    if not compiled:
        without_compiling(monkeypatch)
    (tmp_path / "clipping.py").write_text(CLIPPING)
    file = tmp_path / "clipped.yaml"
    file.write_text(
        "# Does clipping keep weights small?\n"
        "workload: {name: slowly_changing_regression, tasks: 2, period: 150}\n"
        "network: {width: 4}\nseeds: 2\ncode: [clipping.py]\nkeep: final\n"
        "arms:\n"
        "  sgd: {optimizer: sgd, step_size: 0.05}\n"
        "  clipped: {optimizer: sgd, step_size: 0.05, bounded_weights: {bound: [0.5, 1e6]}}\n"
        "metrics: [online_error]\n"
    )
    storage = str(tmp_path / "storage")
    outcome = sweep.run(file, storage=storage, inline=True, track=False)
    assert (outcome.computed, outcome.diverged) == (6, 0)
    assert repr(outcome) == f"<clipped@full: 6 trials computed, 0 done before, in {outcome.seconds:.0f} s>"

    configs = sweep.configs("clipped", storage=storage)
    assert set(configs["status"]) == {"done"} and len(configs) == 6
    bound = configs["bounded_weights.bound"]
    frame = sweep.curves("clipped", storage=storage, metrics=["online_error"])
    assert list(frame.columns) == [
        "sweep", "trial", "arm", "workload", "seed", "task", "step", "metric", "value", "bounded_weights.bound"
    ]  # fmt: skip
    assert len(frame) == 6 * 2 and frame["value"].between(0, 100).all()

    plain = configs.index[(configs["arm"] == "sgd") & (configs["seed"] == 0)][0]
    loose, tight = (configs.index[(bound == value) & (configs["seed"] == 0)][0] for value in (1e6, 0.5))
    networks = {name: sweep.load(trial, storage=storage) for name, trial in [("p", plain), ("l", loose), ("t", tight)]}
    for name, value in networks["t"].params.items():
        if value.ndim == 2:
            assert value.abs().max() <= 0.5 * (6 / value.shape[1]) ** 0.5 + 1e-6
            # A bound that is never met changes nothing (two programs: up to rounding).
            torch.testing.assert_close(networks["l"].params[name], networks["p"].params[name], rtol=1e-4, atol=1e-4)
    assert networks["p"].params["layers.0.weight"].abs().max() > 0.5 * (6 / 20) ** 0.5
    assert networks["t"](torch.zeros(3, 20)).shape == (3, 1)


def test_a_users_stream_is_known_to_workers_and_to_load(alone: None, uncompiled: None, tmp_path: Path) -> None:
    from sweep.cluster import worker
    from workloads.extensions import load_code

    (tmp_path / "mine.py").write_text(STREAM)
    file = tmp_path / "own.yaml"
    file.write_text(
        "workload: {name: mine, tasks: 1, period: 20}\nnetwork: {width: 2}\ncode: [mine.py]\nkeep: final\n"
        "arms: {a: {optimizer: sgd}}\nmetrics: [online_error]\n"
    )
    planned = service.plan(file, storage=str(tmp_path / "st"))
    planned.ledger.save_sweep(service.record_of(planned, {}, None))
    running.describe(planned)
    load_code({})  # as in a worker, which starts with the built-in entries
    heard: list[Progress] = []
    worker.train(planned.packs[0].id, planned.storage, heard.append)
    assert heard[-1].finished and heard[-1].steps == 20
    load_code({})
    assert sweep.load(planned.trials[0].id, storage=planned.storage).config["workload"]["name"] == "mine"


def test_code_that_fails_is_named_by_line(command: Command, tmp_path: Path) -> None:
    (tmp_path / "clipping.py").write_text(CLIPPING.replace("METHODS = {", "METHODS = {1 / 0: 0, "))
    file = tmp_path / "clipped.yaml"
    file.write_text(TINY + "code: [clipping.py]\n")
    said = command("run", file, "--storage", tmp_path / "st", "--inline", "--no-track")
    assert said.code == 2 and "clipping.py:30: ZeroDivisionError: division by zero" in said.err
    assert not (tmp_path / "st").exists()


# In processes of their own


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminate"])
def test_a_stopped_inline_run_continues_to_the_same_digest(tmp_path: Path, number: signal.Signals) -> None:
    file = tmp_path / "long.yaml"
    workload = "workload: {name: paced, tasks: 40, period: 2000}\ncode: [paced.py]\n"
    rest = TINY[TINY.index("network:") :].replace("seeds: 2", "seeds: 8")
    file.write_text(workload + rest)
    (tmp_path / "paced.py").write_text(PACED.format(seconds=0.01))
    environment = {**os.environ, "PLIANT_COMMIT_SECONDS": "0.3", "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def command(what: str, storage: str) -> list[str]:
        name, *options = what.split()
        return [
            sys.executable,
            "-P",
            "-m",
            "sweep.cli.commands",
            name,
            str(file),
            "--storage",
            str(tmp_path / storage),
            *options,
        ]

    def output(what: str, storage: str) -> str:
        return subprocess.run(
            command(what, storage), env=environment, check=True, capture_output=True, text=True
        ).stdout

    quiet = "run --inline --no-track --no-figures"
    output(quiet, "undisturbed")
    running = subprocess.Popen(
        command(quiet, "stopped"),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    patience = time.monotonic() + 60
    while not any((tmp_path / "stopped").glob("ledger/packs/*/*/manifest-*.json")):
        assert running.poll() is None and time.monotonic() < patience
        time.sleep(0.02)
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert out.splitlines()[-1] == "stopped; what is committed is kept, and the same command continues from there"
    assert "Traceback" not in err
    left = json.loads(output("status --json", "stopped"))
    assert left["left"] == 16 and 0 < left["packs"][0]["step"] < 80_000

    assert "16 trials computed" in output(quiet, "stopped")
    assert output("status --digest", "stopped") == output("status --digest", "undisturbed")
