"""A sweep submitted from another process to a cluster of two nodes: watched, stopped, continued, and as if run here."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ports import free_ports

from sweep.cluster import submit
from sweep.cluster.dashboard import _get
from sweep.ledger.commits import Manifest
from sweep.ledger.ledger import Ledger

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

STUDY = """
code: [mine/pulled.py]
workload: {name: gated, flip: [all, one], tasks: 40, period: 2000}
seeds: 4
arms: {pulled: {optimizer: sgd, step_size: [0.01, 0.003], pulled: {strength: 1e-3}}}
metrics: [online_error, weight_magnitude]
scales: {smoke: {workload.tasks: 3}}
"""
GATE = 40_000  # steps; a job that is to be stopped half-way waits there, however fast the machine is
CODE = '''
"""L2 by another name, and a stream whose second half waits while a file is there."""
import dataclasses
import pathlib
import time
from workloads.methods.base import Method
from workloads.streams.slowly_changing_regression import SlowlyChangingRegression

class Pulled(Method):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Config:
        strength: float = 0.0

    varies = ("strength",)
    semantics = 1
    acts = frozenset({"gradient"})

    def gradient(self, params, state, hyper, seen, draw):
        return {name: seen.grads[name] + hyper["strength"] * value for name, value in params.items()}, state

class Gated(SlowlyChangingRegression):
    name = "gated"

    def batches(self, start, count):
        while start >= %(gate)d and pathlib.Path(%(closed)r).exists():
            time.sleep(0.05)
        return super().batches(start, count)

METHODS = {"pulled": Pulled}
STREAMS = {"gated": Gated}
'''
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "secret"}
PATIENCE = 150.0  # seconds for what takes a few

Sweep = Callable[..., str]


def clean_environment(home: Path) -> dict[str, str]:
    foreign = ("RAY_", "PLIANT_", "MLFLOW_", "TUNE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}


def until(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    """Poll a condition; fails the test where it does not come."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {PATIENCE:g} s: {what()}")
        time.sleep(0.05)


def asked(url: str, path: str) -> Any:
    """What the cluster's dashboard answers; None where it does not yet."""
    try:
        return _get(url + path, {"authorization": "Bearer secret"})["data"]
    except (OSError, KeyError, ValueError):
        return None


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The dashboard's address of a head node and another one, of one CPU each, that want the token `secret`.

    Packs commit whenever they can: the head node's environment says so, and the other node's does not.
    """
    port, dashboard, client, *agents = free_ports(5)
    url = f"http://127.0.0.1:{dashboard}"
    home = tmp_path_factory.mktemp("cluster")
    environment = clean_environment(home) | TOKEN
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", "--num-cpus=1"]
    ray += ["--num-gpus=0", "--object-store-memory=80000000"]
    # Ray puts sockets in its folder, and the path of a socket may not be long.
    where = tempfile.mkdtemp(prefix="ray-")
    output = home / "output"
    started: list[subprocess.Popen[bytes]] = []

    def start(agent: int, *options: str, **more: str) -> None:
        command = [*ray, f"--dashboard-agent-listen-port={agent}", *options]
        with output.open("ab") as file:
            started.append(subprocess.Popen(command, env=environment | more, stdout=file, stderr=file))

    def complete(wanted: int) -> bool:
        assert all(process.poll() is None for process in started), output.read_text()
        return len(living_nodes(url)) == wanted

    try:
        start(
            agents[0],
            "--head",
            f"--port={port}",
            f"--dashboard-port={dashboard}",
            f"--ray-client-server-port={client}",
            f"--temp-dir={where}",
            PLIANT_COMMIT_SECONDS="0",
        )
        until(lambda: complete(1), output.read_text)
        start(agents[1], f"--address=127.0.0.1:{port}")
        until(lambda: complete(2), output.read_text)
        yield url
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(timeout=30)
        shutil.rmtree(where, ignore_errors=True)


def listed(url: str, what: str) -> list[dict[str, Any]]:
    """Nodes or actors, as Ray's state API lists them."""
    answer = asked(url, f"/api/v0/{what}?detail=1&limit=100") or {}
    found: list[dict[str, Any]] = answer.get("result", {}).get("result", [])
    return found


def living_nodes(url: str) -> set[str]:
    """Ids of the nodes that live."""
    return {node["node_id"] for node in listed(url, "nodes") if node["state"] == "ALIVE"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the person who submits works: a sweep file, and code of their own below it."""
    folder = tmp_path_factory.mktemp("person")
    (folder / "mine").mkdir()
    (folder / "mine" / "pulled.py").write_text(CODE % {"gate": GATE, "closed": str(folder / "closed")})
    (folder / "question.yaml").write_text(STUDY)
    return folder


@pytest.fixture(scope="module")
def sweep(home: Path) -> Sweep:
    """Runs `sweep` in that folder, in a process of its own; returns what it printed."""

    def run(*arguments: str) -> str:
        command = [sys.executable, "-P", "-m", "sweep.cli.commands", *arguments]
        environment = clean_environment(home) | TOKEN
        ran = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=300)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    return run


def status_of(sweep: Sweep, cluster: str, job: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sweep("job", "status", job, "--address", cluster, "--json"))
    return found


def ended(sweep: Sweep, cluster: str, job: str) -> dict[str, Any]:
    """The job's status once it has ended."""
    until(
        lambda: submit.status(job, cluster).finished,
        lambda: sweep("job", "logs", job, "--address", cluster),
    )
    return status_of(sweep, cluster, job)


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in TOKEN.items():
        monkeypatch.setenv(name, value)
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


def submitted(sweep: Sweep, cluster: str, storage: str, scale: str) -> str:
    """The id of a job just submitted."""
    text = sweep("submit", "question.yaml", "--scale", scale, "--address", cluster, "--storage", storage)
    job = text.split()[0]
    assert re.fullmatch(rf"question-{scale}-[0-9a-f]{{6}}", job)
    return job


def digest_here(sweep: Sweep, home: Path, scale: str) -> str:
    """The digest of the sweep run in one process, without Ray."""
    sweep("run", "question.yaml", "--scale", scale, "--storage", "here", "--inline", "--no-track", "--no-figures")
    return sweep("status", f"question@{scale}", "--storage", "here", "--digest")


def test_a_sweep_on_two_nodes_is_the_sweep_run_here(cluster: str, sweep: Sweep, home: Path) -> None:
    job = submitted(sweep, cluster, "there", "smoke")
    done = ended(sweep, cluster, job)
    logs = sweep("job", "logs", job, "--address", cluster)
    assert (done["status"], done["sweep"]) == ("SUCCEEDED", "question@smoke"), logs
    assert "question@smoke: 16 trials, 0 already done, 16 to run in 2 packs" in logs
    assert "16 trials computed in" in logs
    assert "Traceback" not in logs
    assert f"{job}  SUCCEEDED  question@smoke" in sweep("job", "list", "--address", cluster)

    there = sweep("status", "question@smoke", "--storage", "there", "--digest")
    assert there == digest_here(sweep, home, "smoke")
    ledger = Ledger(home / "there")
    assert [(pack.finished, pack.attempts) for pack in ledger.packs()] == [(True, 1), (True, 1)]
    assert (home / "there" / "mlflow.db").exists()

    used = {actor["node_id"] for actor in listed(cluster, "actors") if actor["class_name"] == "ImplicitFunc"}
    assert used == living_nodes(cluster), "each node has one CPU, and so had one of the two packs"

    again = submitted(sweep, cluster, "there", "smoke")
    assert ended(sweep, cluster, again)["status"] == "SUCCEEDED"
    assert "16 trials, 16 already done, 0 to run" in sweep("job", "logs", again, "--address", cluster)


def test_a_stopped_job_is_continued_by_the_next(cluster: str, sweep: Sweep, home: Path) -> None:
    ledger = Ledger(home / "stopped")
    (home / "closed").touch()
    job = submitted(sweep, cluster, "stopped", "full")
    until(
        lambda: [pack.step for pack in ledger.packs()] == [GATE, GATE],
        lambda: sweep("job", "logs", job, "--address", cluster),
    )
    assert status_of(sweep, cluster, job)["status"] == "RUNNING"
    assert sweep("job", "stop", job, "--address", cluster) == "stopping\n"
    assert ended(sweep, cluster, job)["status"] == "STOPPED"
    assert "stopped; what is committed is kept" in sweep("job", "logs", job, "--address", cluster)
    reached = {pack.id: pack.step for pack in ledger.packs()}
    assert list(reached.values()) == [GATE, GATE]

    (home / "closed").unlink()
    again = submitted(sweep, cluster, "stopped", "full")
    assert ended(sweep, cluster, again)["status"] == "SUCCEEDED"
    assert sweep("status", "question@full", "--storage", "stopped", "--digest") == digest_here(sweep, home, "full")
    for pack, step in reached.items():
        found = (home / "stopped" / "ledger" / "packs" / pack).glob("*/manifest-*.json")
        made = sorted((Manifest.from_json(file.read_bytes()) for file in found), key=lambda manifest: manifest.time)
        assert all(one.step < other.step for one, other in itertools.pairwise(made)), "steps done twice"
        [(last, first)] = [pair for pair in itertools.pairwise(made) if pair[0].attempt != pair[1].attempt]
        assert first.resumed_from == last.name
        assert last.step == step
