"""Kill -9 of workers and of the driver: the same command again ends with an undisturbed run's results."""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from interrupts import heed_interrupts
from tiny import PACED

from sweep.ledger.commits import Manifest
from sweep.ledger.ledger import Ledger
from sweep.lookup import earlier

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

STUDY = """
code: [paced.py]
workload: {name: paced, flip: all, tasks: 25, period: 2000}
seeds: 4
arms:
  sgd: {optimizer: sgd, step_size: [0.01, 0.003]}
  continual_backprop:
    optimizer: sgd
    step_size: 0.01
    continual_backprop: {replacement_rate: [1e-4, 1e-3], maturity_threshold: 10}
metrics: [online_error, dormant_fraction]
diagnostics: {every: 3}
"""
SEARCH = """
name: searched
code: [paced.py]
workload: {name: paced, flip: all, tasks: 10, period: 2000}
seeds: {select: 2, evaluate: 2}
search: {trials: 4, round: 2}
arms:
  sgd: {optimizer: sgd, step_size: {log: [1e-3, 1e-1]}}
metrics: [online_error]
"""
ACTING = """
name: acting
workload: {name: hopper, tasks: 4, steps_per_task: 2048, envs: 2, rollout: 128, epochs: 2, minibatches: 4}
network: {name: mlp, width: 8, depth: 1}
seeds: 2
arms:
  continual_backprop:
    optimizer: adam
    step_size: 1e-3
    continual_backprop: {replacement_rate: 1e-2, maturity_threshold: 10}
metrics: [average_return, dormant_fraction, policy_churn, blown_up]
"""
TRIALS = 16
VALUES = 4  # two step sizes, two replacement rates
REPLACING = 8  # of the trials, which record units_replaced too
TASKS, STEPS = 25, 25 * 2000  # of each of the two packs
DIAGNOSED = 9  # tasks 0, 3, ..., 24
KILLS = 5
PACE = 0.05  # seconds for the examples of a seed's 2000 steps, so that a pack takes about five
PATIENCE = 120.0  # seconds for what takes a few
WORKERS_END_WITHIN = 45.0  # seconds after their driver; in a moment once they train, later where they still start
RAY_ENDS_WITHIN = 90.0  # its idle agents look for their head for a minute


def cli(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "sweep.cli.commands", *arguments]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("study") / "survival.yaml"
    file.write_text(STUDY)
    (file.parent / "paced.py").write_text(PACED.format(seconds=PACE))
    return file


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """For `sweep` in processes of its own: commits five times a second, and nothing of the user's."""
    home = tmp_path_factory.mktemp("home")
    foreign = ("RAY_", "PLIANT_", "MLFLOW_", "TUNE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PLIANT_COMMIT_SECONDS": "0.2"}


@pytest.fixture(scope="module")
def undisturbed(study: Path, environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of a run in one process that nothing happened to."""
    storage = tmp_path_factory.mktemp("undisturbed")
    command = cli("run", str(study), "--storage", str(storage), "--inline", "--no-track", "--no-figures")
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return digest(storage, environment)


class Run:
    """`sweep run` of the study in a storage, in a process of its own; killed with the context if it still runs."""

    def __init__(self, study: Path, storage: Path, environment: Mapping[str, str], *options: str) -> None:
        self.output = storage.parent / f"{storage.name}.output"
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                cli("run", str(study), "--storage", str(storage), "--workers", "2", "--ray", "--no-figures", *options),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=heed_interrupts,
            )

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error: object) -> None:
        if self.ended is None:
            self.process.kill()
            self.process.wait()

    @property
    def ended(self) -> int | None:
        """The exit code, None while it runs."""
        return self.process.poll()

    def wait(self) -> int:
        """The exit code once it has ended."""
        return self.process.wait(timeout=300)

    def said(self) -> str:
        """What this run, and those before it in the storage, have printed."""
        return self.output.read_text()


# Processes, as Linux lists them


def processes() -> dict[int, tuple[int, int]]:
    """Process id -> (parent's id, time it started in ticks, which tells it from a later one of the same id)."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split() if folder.name.isdigit() else []
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields and fields[0] != "Z":
            found[int(folder.name)] = (int(fields[1]), int(fields[19]))
    return found


def descendants(ancestor: int) -> dict[int, int]:
    """Process id -> when it started, of everything a process started, and what that started."""
    known = processes()
    found: dict[int, int] = {}
    before = -1
    while len(found) > before:
        before = len(found)
        found |= {id: began for id, (parent, began) in known.items() if parent == ancestor or parent in found}
    return found


def command_line(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def workers(run: Run) -> list[int]:
    """The Ray workers of a run that hold a pack."""
    return sorted(id for id in descendants(run.process.pid) if command_line(id).startswith("ray::ImplicitFunc"))


def alive(of: Mapping[int, int]) -> list[str]:
    """The command lines of those processes that have not ended."""
    known = processes()
    return [command_line(id) for id, began in of.items() if known.get(id, (0, 0))[1] == began]


def workers_alive(of: Mapping[int, int]) -> list[str]:
    """Those among them that train, or could."""
    return [line for line in alive(of) if re.match(r"ray::(ImplicitFunc|IDLE)|.*default_worker\.py", line)]


def until(condition: Callable[[], bool], what: Callable[[], str], within: float = PATIENCE) -> None:
    """Poll a condition; fails the test where it does not come."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within:g} s: {what()}")
        time.sleep(0.02)


def until_gone(left: Mapping[int, int], lives: Callable[[Mapping[int, int]], list[str]], within: float) -> None:
    until(lambda: not lives(left), lambda: "\n".join(lives(left)), within)


# What must hold of a storage at the end


def digest(storage: Path, environment: Mapping[str, str]) -> str:
    """What `sweep status --digest` says."""
    command = cli("status", "survival", "--storage", str(storage), "--digest")
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


def manifests(storage: Path) -> dict[str, list[Manifest]]:
    """Pack -> every commit there is, in the order they were made."""
    found: dict[str, list[Manifest]] = {}
    for file in sorted((storage / "ledger" / "packs").glob("*/*/manifest-*.json")):
        found.setdefault(file.parts[-3], []).append(Manifest.from_json(file.read_bytes()))
    return {pack: sorted(made, key=lambda manifest: manifest.time) for pack, made in found.items()}


def files(storage: Path) -> set[Path]:
    return {file.relative_to(storage) for file in (storage / "ledger").rglob("*") if file.is_file()}


def check_everything_named_is_whole(storage: Path) -> None:
    """Every shard of every commit, not of the last ones alone, and the checkpoints that were not dropped."""
    for pack, made in manifests(storage).items():
        for manifest in made:
            for named in manifest.shards:
                content = (storage / "ledger" / "packs" / pack / named.file).read_bytes()
                assert (len(content), hashlib.sha256(content).hexdigest()) == (named.bytes, named.sha256)


def check_each_trial_is_measured_once(storage: Path) -> None:
    ledger = Ledger(storage)
    record = ledger.sweep("survival", "full")
    assert len(ledger.done()) == len(record.trials) == TRIALS
    table = ledger.curves([trial.id for trial in record.trials])
    rows = Counter(zip(*(table.column(name).to_pylist() for name in ("trial", "metric", "task")), strict=True))
    assert len(rows) == table.num_rows == TRIALS * (TASKS + DIAGNOSED) + REPLACING * TASKS


def check_nothing_was_computed_twice(storage: Path, packs: int = 2) -> int:
    """Attempts followed each other, each from the furthest commit, none after the end; returns how many resumed."""
    resumed = 0
    assert len(manifests(storage)) == packs
    for made in manifests(storage).values():
        assert [manifest.finished for manifest in made] == [False] * (len(made) - 1) + [True]
        # A commit further on every time: no step before a commit was done again after it.
        assert all(one.step < other.step for one, other in zip(made, made[1:], strict=False))
        for one, other in zip(made, made[1:], strict=False):
            if one.attempt != other.attempt:
                assert other.resumed_from == one.name
                assert other.shards[: len(one.shards)] == one.shards
                resumed += 1
    return resumed


def check_each_trial_is_tracked_once(storage: Path) -> None:
    query = """
        SELECT tags.value, runs.status FROM runs JOIN tags ON tags.run_uuid = runs.run_uuid
        WHERE tags.key = ? AND runs.lifecycle_stage = 'active'
    """
    record = Ledger(storage).sweep("survival", "full")
    wanted = {trial.id: trial.group for trial in record.trials}
    with sqlite3.connect(storage / "mlflow.db") as database:
        trials = database.execute(query, ("pliant.trial",)).fetchall()
        kinds = database.execute(query, ("pliant.kind",)).fetchall()
    assert sorted(trials) == sorted((trial, "FINISHED") for trial in wanted)
    groups, arms = len(set(wanted.values())), len(record.arms)
    expected = {"trial": TRIALS, "group": groups, "value": VALUES, "arm": arms, "sweep": 1}
    assert Counter(kind for kind, _ in kinds) == expected


def check_another_run_does_nothing(study: Path, storage: Path, environment: Mapping[str, str]) -> None:
    before = files(storage)
    with Run(study, storage, environment) as run:
        assert run.wait() == 0, run.said()
    assert f"{TRIALS} trials, {TRIALS} already done, 0 to run" in run.said()
    assert files(storage) == before


# The tests


class Progress:
    """How far a storage is, from 0 to 1, asked again and again."""

    def __init__(self, storage: Path) -> None:
        self.ledger = Ledger(storage)

    def __call__(self) -> float:
        return sum(pack.step for pack in self.ledger.packs()) / (2 * STEPS)


def test_killed_workers(study: Path, environment: dict[str, str], undisturbed: str, tmp_path: Path) -> None:
    chance = random.Random(1)
    storage = tmp_path / "storage"
    progress = Progress(storage)
    # The seed decides how far the sweep is at each kill; how long after a commit that falls, a moment more.
    moments = sorted((chance.uniform(0.0, 0.8), chance.uniform(0.0, 0.6)) for _ in range(KILLS))
    killed = runs = 0
    code: int | None = 1
    # A pack that loses more workers than Tune forgives ends the run; the same command goes on.
    while code != 0 and runs < KILLS:
        runs += 1
        with Run(study, storage, environment) as run:
            while killed < KILLS:
                furthest, moment = moments[killed]
                until(
                    lambda run=run, furthest=furthest: (  # type: ignore[misc]
                        run.ended is not None or (progress() >= furthest and len(workers(run)) > 0)
                    ),
                    run.said,
                )
                time.sleep(moment)
                found = workers(run)
                if run.ended is not None:
                    break
                if found:
                    os.kill(chance.choice(found), signal.SIGKILL)
                    killed += 1
            code = run.wait()
        assert code in (0, 1), run.said()
    assert code == 0, run.said()
    assert killed == KILLS

    assert digest(storage, environment) == undisturbed
    # A worker that had committed nothing leaves no attempt behind.
    assert 1 <= check_nothing_was_computed_twice(storage) <= KILLS
    check_everything_named_is_whole(storage)
    check_each_trial_is_measured_once(storage)
    check_each_trial_is_tracked_once(storage)
    check_another_run_does_nothing(study, storage, environment)


def test_killed_drivers(study: Path, environment: dict[str, str], undisturbed: str, tmp_path: Path) -> None:
    chance = random.Random(2)
    storage = tmp_path / "storage"
    progress = Progress(storage)
    starting = [chance.uniform(0.5, 8.0) for _ in range(2)]  # seconds: importing, planning, starting Ray
    training = sorted((chance.uniform(0.0, 0.8), chance.uniform(0.0, 0.6)) for _ in range(KILLS - 2))
    left: dict[int, int] = {}
    for kill in range(KILLS):
        with Run(study, storage, environment) as run:
            if kill < len(starting):
                time.sleep(starting[kill])
            else:
                furthest, moment = training[kill - len(starting)]
                until(lambda run=run, furthest=furthest: len(workers(run)) > 0 and progress() >= furthest, run.said)  # type: ignore[misc]
                time.sleep(moment)
            assert run.ended is None, run.said()
            left |= descendants(run.process.pid)
            run.process.kill()
            run.process.wait()
        until_gone(left, workers_alive, WORKERS_END_WITHIN)
    with Run(study, storage, environment) as run:
        assert run.wait() == 0, run.said()

    assert digest(storage, environment) == undisturbed
    assert check_nothing_was_computed_twice(storage) >= 1
    check_everything_named_is_whole(storage)
    check_each_trial_is_measured_once(storage)
    check_each_trial_is_tracked_once(storage)
    check_another_run_does_nothing(study, storage, environment)
    until_gone(left, alive, RAY_ENDS_WITHIN)


@pytest.fixture
def orphan(environment: dict[str, str]) -> Iterator[Callable[[str, Path], subprocess.Popen[bytes]]]:
    """Starts processes that train a pack for no driver at all, as a worker thought dead would."""
    started: list[subprocess.Popen[bytes]] = []
    program = (
        "import sys; from sweep.cluster.worker import train; train(sys.argv[1], sys.argv[2], lambda progress: None)"
    )

    def start(pack: str, storage: Path) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", program, pack, str(storage)], env=environment)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_orphans_that_still_commit_do_no_harm(
    study: Path,
    environment: dict[str, str],
    undisturbed: str,
    tmp_path: Path,
    orphan: Callable[[str, Path], subprocess.Popen[bytes]],
) -> None:
    storage = tmp_path / "storage"
    ledger = Ledger(storage)
    with Run(study, storage, environment) as run:
        until(lambda: any(0 < pack.step < STEPS / 2 for pack in ledger.packs()), run.said)

    def attempts() -> set[str]:
        return {manifest.attempt for manifest in manifests(storage)[pack]}

    pack = next(pack.id for pack in ledger.packs() if pack.attempts and not pack.finished)
    assert len(attempts()) == 1
    left = orphan(pack, storage)
    until(lambda: len(attempts()) == 2, lambda: "the orphan commits nothing")
    left.send_signal(signal.SIGSTOP)
    with Run(study, storage, environment) as run:
        until(lambda: len(attempts()) == 3, run.said)
        left.send_signal(signal.SIGCONT)  # from here on both train the pack and commit
        assert run.wait() == 0, run.said()
    assert left.wait(timeout=PATIENCE) == 0
    assert len(attempts()) == 3
    assert "Trial pack_trial" not in run.said(), "Tune prints"
    assert digest(storage, environment) == undisturbed
    check_everything_named_is_whole(storage)
    check_each_trial_is_measured_once(storage)
    check_each_trial_is_tracked_once(storage)
    check_another_run_does_nothing(study, storage, environment)


def test_stopped_drivers(study: Path, environment: dict[str, str], undisturbed: str, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    progress = Progress(storage)
    left: dict[int, int] = {}
    for number, furthest in ((signal.SIGINT, 0.05), (signal.SIGTERM, 0.3)):
        with Run(study, storage, environment, "--no-track") as run:
            until(lambda furthest=furthest: progress() > furthest, run.said)  # type: ignore[misc]
            left |= descendants(run.process.pid)
            run.process.send_signal(number)
            assert run.wait() == 130, run.said()
        assert 0.05 < progress() < 1
        until_gone(left, alive, WORKERS_END_WITHIN)
    assert run.said().count("stopped; what is committed is kept, and the same command continues from there") == 2
    assert not re.search("Traceback|computed in", run.said())
    with Run(study, storage, environment, "--no-track") as run:
        assert run.wait() == 0, run.said()
    assert digest(storage, environment) == undisturbed
    assert check_nothing_was_computed_twice(storage) >= 1


def asked_for(storage: Path, name: str = "searched") -> list[str]:
    """The trials that the record of a sweep, the searching one unless told, holds so far."""
    record = earlier(Ledger(storage), name, "full")
    return [trial.id for trial in record.trials] if record else []


def test_a_search_killed_in_its_rounds(study: Path, environment: dict[str, str], tmp_path: Path) -> None:
    file = study.with_name("searched.yaml")
    file.write_text(SEARCH)
    undisturbed, storage = tmp_path / "undisturbed", tmp_path / "storage"
    command = cli("run", str(file), "--storage", str(undisturbed), "--inline", "--no-track", "--no-figures")
    subprocess.run(command, env=environment, check=True, capture_output=True)

    with Run(file, storage, environment, "--no-track") as run:  # its driver, in the second of three rounds
        until(lambda: len(asked_for(storage)) == 8 and len(workers(run)) > 0, run.said)
        left = descendants(run.process.pid)
        run.process.kill()
        run.process.wait()
    until_gone(left, workers_alive, WORKERS_END_WITHIN)
    assert len(asked_for(storage)) == 8
    with Run(file, storage, environment, "--no-track") as run:  # a worker, while what was chosen is evaluated
        until(lambda: len(asked_for(storage)) == 10 and len(workers(run)) > 0, run.said)
        os.kill(workers(run)[0], signal.SIGKILL)
        assert run.wait() == 0, run.said()

    assert asked_for(storage) == asked_for(undisturbed) and len(asked_for(storage)) == 10
    ids = asked_for(storage)
    assert Ledger(storage).digest(ids) == Ledger(undisturbed).digest(ids)
    assert len(Ledger(storage).done()) == 10, "nothing was trained that no round asked for"


def test_a_killed_process_of_agents(environment: dict[str, str], tmp_path: Path) -> None:
    """Robots go on from where they stood, with the episodes they were in."""
    file = tmp_path / "acting.yaml"
    file.write_text(ACTING)
    undisturbed, storage = tmp_path / "undisturbed", tmp_path / "storage"

    def command(where: Path) -> list[str]:
        return cli("run", str(file), "--storage", str(where), "--inline", "--no-track", "--no-figures")

    subprocess.run(command(undisturbed), env=environment, check=True, capture_output=True)
    ledger = Ledger(storage)
    with subprocess.Popen(command(storage), env=environment, stdout=subprocess.DEVNULL) as process:
        until(
            lambda: process.poll() is not None or any(pack.step > 2048 for pack in ledger.packs()),
            lambda: "the first task is not over",
        )
        process.kill()
    assert process.returncode == -signal.SIGKILL and not ledger.done()
    subprocess.run(command(storage), env=environment, check=True, capture_output=True)

    assert check_nothing_was_computed_twice(storage, packs=1) == 1
    check_everything_named_is_whole(storage)
    ids = asked_for(storage, "acting")
    assert len(ids) == 2 and ledger.digest(ids) == Ledger(undisturbed).digest(ids)
