"""Packs on a local Ray: the same results as in this process, and what happens when one fails or no cluster answers."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faulty import faulty_study
from tiny import TINY

from sweep.errors import ClusterError, InputError
from sweep.ledger.failures import without_error
from sweep.ledger.ledger import Ledger


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A sweep file of two packs, one of which fails."""
    return faulty_study(tmp_path)


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `sweep` in a process of its own, with nothing of the user's in its environment."""
    foreign = ("RAY_", "PLIANT_", "MLFLOW_", "TUNE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    own = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PLIANT_COMMIT_SECONDS": "0"}

    def run(*arguments: str, cwd: str | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "sweep.cli.commands", *arguments]
        return subprocess.run(command, env=kept | own | more, cwd=cwd, capture_output=True, text=True, timeout=120)

    return run


# A user's files whose names are those of modules that workers import.
SHADOWS = ("sweep", "workloads", "torch", "ray", "numpy", "random")


@pytest.mark.slow
@pytest.mark.cluster
def test_a_pack_that_fails_does_not_stop_the_others_whatever_files_lie_where_it_is_run(
    study: Path, sweep: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    command = ("run", str(study), "--storage", str(tmp_path / "ray"), "--ray", "--no-track", "--no-figures")
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name}.py was imported')")
    # A local Ray is a new one, whatever cluster the environment names.
    ran = sweep(*command, "--workers", "1", cwd=str(tmp_path), RAY_ADDRESS="127.0.0.1:1")
    assert "was imported" not in ran.stdout + ran.stderr
    assert ran.returncode == 1, ran.stderr
    assert "error: 1 of 2 packs failed (4 trials); what they committed is kept." in ran.stderr
    # Raised in the user's own code, it would come again: the pack is given up at once.
    assert "goes on from its last commit" not in ran.stderr
    assert ran.stderr.count("failed: ArithmeticError: the switch is on (faulty.py:8)") == 1
    assert "Traceback" not in ran.stderr
    words = [line.split()[0] for line in ran.stdout.splitlines() if line]
    assert words[:2] == ["study@full:", "4"] and "results" in words

    ledger = Ledger(tmp_path / "ray")
    assert sorted((pack.finished, pack.tasks, pack.step, pack.attempts) for pack in ledger.packs()) == [
        (False, 2, 80, 1),
        (True, 3, 120, 1),
    ]
    assert not (tmp_path / "ray" / "tune").exists()

    (tmp_path / "switch").unlink()
    assert sweep(*command, "--inline").returncode == 0
    assert sweep("run", str(study), "--storage", str(tmp_path / "inline"), *command[4:], "--inline").returncode == 0
    ids = [trial.id for trial in ledger.sweep("study", "full").trials]
    assert len(ledger.done()) == len(ids) == 8
    assert ledger.digest(ids) == Ledger(tmp_path / "inline").digest(ids)


ENDED = """Failure # 1 (occurred at 2026-01-01_00-00-00)
ray.exceptions.RayActorError: The actor died.
Failure # 2 (occurred at 2026-01-01_00-01-00)
{said}
"""
DEATH = "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR"


@pytest.fixture
def forward(tmp_path: Path) -> Any:
    """Passes reports on to nobody; its ledger knows a pack `p`, with a trial `t`."""
    from sweep.cluster import execute
    from workloads.training.pack import Pack, PackMember

    ledger = Ledger(tmp_path / "st")
    ledger.describe(Pack(id="p", members=[PackMember("t", {})]))
    return execute.Forward(lambda progress: None, ledger)


def tune_trial(tmp_path: Path, said: str) -> Any:
    (tmp_path / "error.txt").write_text(ENDED.format(said=said))
    return SimpleNamespace(config={"pack": "p"}, error_file=str(tmp_path / "error.txt"))


def test_what_a_dead_worker_could_not_write_down(forward: Any, tmp_path: Path) -> None:
    said = f"ray.exceptions.RayActorError: The actor died.\n\t{DEATH}.\n\tclass_name: P"
    forward.on_trial_error(1, [], tune_trial(tmp_path, said))
    kept = Ledger(tmp_path / "st").failures()["t"]
    assert forward.failures == {"p": kept} and not kept.deterministic
    assert kept.reason == f"WorkerDied: {DEATH}."


def test_what_a_worker_wrote_down_is_what_befell_it(
    forward: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written = without_error("OSError", "the disk is slow", pack="p", attempt="a", step=3)
    forward.ledger.fail(written)
    forward.on_trial_recover(1, [], tune_trial(tmp_path, "sweep.cluster.execute.PackFailed: OSError: the disk is slow"))
    assert "pack p goes on from its last commit: OSError: the disk is slow" in caplog.text
    assert forward.befell(tune_trial(tmp_path, "sweep.cluster.execute.PackFailed: OSError: x")) == written
    assert forward.failures == {}


@pytest.mark.parametrize("deterministic", [True, False])
def test_only_what_may_pass_is_tried_again(deterministic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from sweep.cluster import execute

    failure = replace(without_error("OSError", "no", pack="p", attempt="a", step=0), deterministic=deterministic)
    reports: list[dict[str, Any]] = []
    monkeypatch.setattr(execute, "train", lambda *_: failure)
    monkeypatch.setattr(execute.tune, "report", reports.append)
    if deterministic:
        execute.pack_trial({"pack": "p", "storage": "", "environment": {}})
        assert reports == [{"failure": asdict(failure)}]
    else:
        with pytest.raises(execute.PackFailed, match="OSError: no"):
            execute.pack_trial({"pack": "p", "storage": "", "environment": {}})


# ------------------------------------------------------------------------------------------------ no cluster


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nothing listens."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{closed.getsockname()[1]}"


def test_no_cluster_is_one_sentence(
    sweep: Callable[..., subprocess.CompletedProcess[str]], nobody: str, tmp_path: Path
) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    file = str(tmp_path / "tiny.yaml")
    ran = sweep("run", file, "--storage", str(tmp_path), "--no-track", "--address", "auto", RAY_ADDRESS=nobody)
    assert ran.returncode == 2
    port = nobody.partition(":")[2]  # Ray puts this machine's name in place of 127.0.0.1
    told = rf"error: no Ray cluster answers at auto, which means \S+:{port}: .*refused\n"
    assert re.fullmatch(rf"reaching the Ray cluster at auto\n{told}", ran.stderr)


@pytest.mark.parametrize("address", ["{nobody}", "no port"])
def test_addresses_that_answer_nothing(address: str, nobody: str) -> None:
    from sweep.cluster import execute

    with pytest.raises(ClusterError, match="^no Ray cluster answers at .*: "):
        execute.answering(address.format(nobody=nobody))


def test_the_other_side_of_a_client_is_refused() -> None:
    from sweep.cluster import execute

    with pytest.raises(InputError, match="use `sweep submit --address ray://head:10001`"):
        execute.answering("ray://head:10001")


@pytest.fixture
def head() -> Iterator[str]:
    """A head node, as far as being asked whether it is alive; it wants the token "right"."""
    import grpc
    from ray._private.services import canonicalize_bootstrap_address

    def alive(request: bytes, context: grpc.ServicerContext) -> bytes:
        if ("authorization", "Bearer right") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
        return b""

    server = grpc.server(ThreadPoolExecutor(1))
    handlers = {"CheckAlive": grpc.unary_unary_rpc_method_handler(alive)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("ray.rpc.NodeInfoGcsService", handlers)])
    port = server.add_insecure_port("0.0.0.0:0")  # Ray puts this machine's address in place of 127.0.0.1
    server.start()
    yield canonicalize_bootstrap_address(f"127.0.0.1:{port}") or ""
    server.stop(None).wait()


@pytest.fixture
def keyless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Nothing said about tokens, and none kept; the file that would keep one."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    return tmp_path / ".ray" / "auth_token"


def test_a_head_that_wants_a_token_is_named_at_once(head: str, keyless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sweep.cluster import execute

    with pytest.raises(ClusterError, match=f"cluster at {head} wants a token: set RAY_AUTH_MODE=token and"):
        execute.answering(head)
    keyless.write_text("wrong")
    with pytest.raises(ClusterError, match=f"cluster at {head} does not accept this token"):
        execute.answering(head)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(ClusterError, match="wants a token"):
        execute.answering(head)


def test_the_token_kept_for_this_machine_is_used(head: str, keyless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sweep.cluster import execute

    used: list[bool] = []
    monkeypatch.setattr(execute, "_enable_token_auth", lambda: used.append(True))
    keyless.write_text("right\n")
    assert execute.answering(head) == head and used == [True]
    monkeypatch.setattr(execute.tokens, "is_local", lambda host: False)  # elsewhere it goes only when asked to
    with pytest.raises(ClusterError, match="wants a token"):
        execute.answering(head)


def test_what_listens_but_is_no_head_node(keyless: Path) -> None:
    from sweep.cluster import execute

    with socket.create_server(("0.0.0.0", 0)) as other:
        place = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ClusterError, match=r"\S+ answers, but not as the head node of a Ray cluster"):
            execute.answering(place)


# -------------------------------------------------------------------------------------------- the connection


@pytest.fixture
def connecting(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What ray.init is called with, in place of calling it."""
    from sweep.cluster import execute

    seen: list[dict[str, Any]] = []

    def init(**options: Any) -> None:
        seen.append(options)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as the real one puts a handler of its own

    fake = SimpleNamespace(init=init, shutdown=lambda: None, is_initialized=lambda: False)
    monkeypatch.setattr(execute, "ray", fake)
    return seen


def test_workers_find_the_same_folders(
    connecting: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from sweep.cluster import execute

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("PLIANT_DATA", "images")
    monkeypatch.setenv("XDG_CACHE_HOME", "~/cache")
    monkeypatch.setenv("PLIANT_COMMIT_SECONDS", "5")
    with execute.connected(None, 3):
        pass
    [options] = connecting
    assert options["runtime_env"]["env_vars"] == {
        "PLIANT_DATA": str(tmp_path / "images"),
        "XDG_CACHE_HOME": "/home/somebody/cache",
        "PLIANT_COMMIT_SECONDS": "5",
        "OMP_NUM_THREADS": "1",
    }
    assert (options["address"], options["num_cpus"]) == ("local", 3)


def test_workers_import_nothing_from_the_working_directory(connecting: list[dict[str, Any]]) -> None:
    from sweep.cluster import execute

    with execute.connected(None, None):
        pass
    job = connecting[0]["job_config"]
    job._py_driver_sys_path.extend(["/home/somebody/study"])  # as Ray does
    assert b"somebody" not in job._serialize()


@pytest.mark.parametrize(
    ("folder", "chosen"), [("/tmp", {}), ("/scratch/" + "x" * 40, {"_temp_dir": f"/tmp/ray-{os.getuid()}"})]
)
def test_a_deep_folder_for_temporary_files_is_passed_by(
    folder: str, chosen: dict[str, str], connecting: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweep.cluster import execute

    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr(execute.tempfile, "gettempdir", lambda: folder)
    with execute.connected(None, None):
        pass
    assert {name: value for name, value in connecting[0].items() if name == "_temp_dir"} == chosen
    monkeypatch.setattr(execute.os, "access", lambda *_: False)
    if chosen:
        with pytest.raises(ClusterError, match="at most 37 characters.*set RAY_TMPDIR to a shorter one"):
            execute.short_folder()


def test_a_ray_that_does_not_start_in_time_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray says so by a bare Exception."""
    from sweep.cluster import execute

    def slow(**options: Any) -> None:
        raise Exception("The current node timed out during startup. This could happen because ...\nmore")

    monkeypatch.setattr(execute, "ray", SimpleNamespace(is_initialized=lambda: False, init=slow))
    with pytest.raises(ClusterError) as said, execute.connected(None, 1):
        pass
    first, second = str(said.value).splitlines()
    assert first.startswith("Ray did not start on this machine: The current node timed out during startup.")
    assert "--inline" in second


@pytest.mark.parametrize("growing", [None, {"CPU": 8}, {"GPU": 1}])
def test_a_cluster_without_a_gpu_is_refused_unless_it_grows_one(
    growing: dict[str, int] | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from sweep.cluster import execute

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(execute, "ray", SimpleNamespace(cluster_resources=lambda: {"CPU": 2.0}))
    state = SimpleNamespace(get_max_resources_from_cluster_config=lambda: growing)
    monkeypatch.setattr(execute, "ray_state", state)
    if growing and "GPU" in growing:
        execute.check_for_gpu("auto")
        return
    with pytest.raises(InputError, match="the Ray cluster at auto has no GPU: leave out --device cuda"):
        execute.check_for_gpu("auto")
    if growing is None:
        (tmp_path / "ray_bootstrap_config.yaml").touch()
        execute.check_for_gpu("auto")


@pytest.mark.slow
@pytest.mark.cluster
def test_the_ray_of_this_process_is_used_and_left_open(study: Path, tmp_path: Path) -> None:
    (tmp_path / "switch").unlink()
    script = f"""
import ray, sweep
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
ours = ray.get_runtime_context().gcs_address
outcome = sweep.run({str(study)!r}, storage={str(tmp_path / "st")!r}, track=False)
assert outcome.computed == 8 and ray.get_runtime_context().gcs_address == ours
try:
    sweep.run({str(study)!r}, storage={str(tmp_path / "other")!r}, track=False, address="10.0.0.1:6379")
except Exception as error:
    print(error)
"""
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert "this process is connected to the Ray at" in ran.stdout


def test_a_stop_signal_stays_the_sweeps(connecting: list[dict[str, Any]]) -> None:
    from sweep.cluster import execute

    before = signal.getsignal(signal.SIGTERM)
    with execute.connected(None, None):
        assert signal.getsignal(signal.SIGTERM) is before
    assert connecting
