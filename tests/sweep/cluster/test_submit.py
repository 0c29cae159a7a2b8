"""Submitting a sweep: what travels, how addresses and tokens are read, and a real head node at the end."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ports import free_ports
from tiny import sweep_command

from sweep.cluster import submit
from sweep.cluster.dashboard import _is_local, _probe, dashboard_of, is_here, reach
from sweep.errors import ClusterError, InputError, SpecError, StorageError
from sweep.spec.studies import load
from workloads.extensions import load_code

STUDY = """
workload: {name: slowly_changing_regression, tasks: 2, period: 10}
seeds: 1
arms: {backprop: {optimizer: sgd, step_size: 0.01}}
scales: {smoke: {workload.tasks: 1}}
"""
CODE = """
from workloads.streams.slowly_changing_regression import SlowlyChangingRegression
STREAMS = {"mine": SlowlyChangingRegression}
"""
VERSION = json.dumps({"version": "4", "ray_version": "2.60.0"})
RAY_VARIABLES = (
    "RAY_ADDRESS",
    "RAY_API_SERVER_ADDRESS",
    "RAY_AUTH_MODE",
    "RAY_AUTH_TOKEN",
    "RAY_AUTH_TOKEN_PATH",
)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in (*RAY_VARIABLES, "PLIANT_DATA", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # no token of whoever runs the tests
    yield
    load_code({})  # takes a study's own code out of the registries


@pytest.fixture
def dashboard() -> Iterator[Callable[[Callable[[str, str], tuple[int, str]]], str]]:
    """Starts stand-ins of a dashboard from a function of (path, authorization header) to (status, body)."""
    servers: list[http.server.ThreadingHTTPServer] = []

    def start(answer: Callable[[str, str], tuple[int, str]]) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = answer(self.path, self.headers.get("authorization", ""))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


# ---------------------------------------------------------------------------------------------- what is sent


def test_the_command_runs_the_sweep_on_the_cluster_that_runs_it() -> None:
    command = submit._command("study/my study.yaml", "smoke", "s3://bucket/x", here=False)
    assert command == (
        "exec python -P -m sweep.cli.commands run 'study/my study.yaml' --scale smoke --address auto --storage s3://bucket/x"
    )
    assert submit._command("permuted_mnist", "paper", "/x", here=True).startswith(f"exec {sys.executable} -P -m ")


def files_of(study: str) -> list[Path]:
    return submit._files(study, load(study))


def test_a_shipped_study_travels_as_its_name() -> None:
    assert files_of("slowly_changing_regression") == []


def test_a_file_travels_with_its_code_and_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for folder in ("studies", "streams"):
        (tmp_path / folder).mkdir()
    study, stream = tmp_path / "studies" / "mine.yaml", tmp_path / "streams" / "my_stream.py"
    study.write_text(STUDY + "code: [../streams/my_stream.py]\n")
    stream.write_text(CODE)
    (tmp_path / "studies" / "secret.txt").touch()
    monkeypatch.chdir(tmp_path / "studies")
    files = files_of("mine.yaml")
    assert files == [study, stream]
    with submit._shipped(files) as (folder, argument):
        found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        assert found == ["study/streams/my_stream.py", "study/studies/mine.yaml"]
        assert argument == "study/studies/mine.yaml"
        assert (folder / "study/streams/my_stream.py").read_text() == CODE
    assert not folder.exists()


def test_a_file_that_cannot_travel_is_refused_before_any_cluster_is_asked(tmp_path: Path) -> None:
    study, stream = tmp_path / "mine.yaml", tmp_path / "my_stream.py"
    stream.write_text(CODE)
    for text, error in (
        (STUDY + f"code: [{stream}]\n", "my_stream.py' means nothing elsewhere"),
        (STUDY + "code: [absent.py]\n", "absent.py"),
        ("workload: [\n", "mine.yaml"),
    ):
        study.write_text(text)
        with pytest.raises(SpecError, match=error):
            submit.submit(str(study), address="127.0.0.1:1", storage="/x")
    with pytest.raises(SpecError, match="permuted_mnist"):
        submit.submit("permuted_mnits", address="127.0.0.1:1", storage="/x")


def test_options_go_with_the_command() -> None:
    options = submit.Options(workers=3, device="cuda", replace=True)
    command = submit._command("demo", "smoke", "/x", False, options)
    assert command.endswith("--storage /x --workers 3 --device cuda --replace")


def test_a_script_catches_the_job_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[submit.Options] = []

    def submitted(study: str, *, options: submit.Options, **rest: object) -> str:
        asked.append(options)
        return "demo-smoke-abc"

    monkeypatch.setattr(submit, "submit", submitted)
    said = sweep_command("submit", "demo", "--device", "cuda", "--workers", "2")
    assert said.out == "demo-smoke-abc\n" and said.err == "sweep job status demo-smoke-abc --address auto\n"
    assert asked == [submit.Options(workers=2, device="cuda")]


def test_a_files_host_is_refused() -> None:
    with pytest.raises(StorageError, match="names a host, 'rel'"):
        submit._there("file://rel/x", "storage", "http://head:8265", here=False)


def test_places_are_named_as_the_cluster_sees_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for place in (
        "s3://bucket/x",
        "/mnt/shared",
        "http://127.0.0.1:5000",
        "sqlite:////mnt/x.db",
        "file:///mnt",
    ):
        assert submit._there(place, "storage", "http://head:8265", here=False) == place
    for place in ("pliant", "./pliant", "~/pliant", "sqlite:///mlflow.db"):
        with pytest.raises(InputError, match="relative to a folder here, which the cluster at http://head:8265"):
            submit._there(place, "storage", "http://head:8265", here=False)
    assert submit._there("pliant", "storage", "", here=True) == str(tmp_path / "pliant")
    assert submit._there("~/pliant", "storage", "", here=True) == str(tmp_path / "pliant")
    assert submit._there("sqlite:///a.db", "storage", "", here=True) == f"sqlite:///{tmp_path / 'a.db'}"


# ---------------------------------------------------------------------------------------- reaching a cluster


@pytest.mark.parametrize(
    ("address", "environment", "url"),
    [
        ("http://head:8265/", {}, "http://head:8265"),
        ("https://head/ray", {}, "https://head/ray"),
        ("head:9000", {"RAY_ADDRESS": "http://other:1"}, "http://head:9000"),
        ("head", {}, "http://head:8265"),
        ("ray://head:10001", {}, "http://head:8265"),
        ("ray://[::1]:10001", {}, "http://[::1]:8265"),
        ("auto", {}, "http://127.0.0.1:8265"),
        ("auto", {"RAY_ADDRESS": "auto"}, "http://127.0.0.1:8265"),
        ("auto", {"RAY_ADDRESS": "head:6379"}, "http://head:8265"),
        ("auto", {"RAY_ADDRESS": "http://head:1234"}, "http://head:1234"),
        ("auto", {"RAY_API_SERVER_ADDRESS": "head:1234", "RAY_ADDRESS": "other:6379"}, "http://head:1234"),
    ],
)
def test_addresses(monkeypatch: pytest.MonkeyPatch, address: str, environment: dict[str, str], url: str) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert dashboard_of(address) == url


@pytest.mark.parametrize("address", ["ftp://head", "head:port", "http://", "", "http://[::1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="not an address of a Ray cluster; allowed: http://host:8265, host:8265"):
        dashboard_of(address)


def test_nobody_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed, socket.socket() as silent:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(ClusterError, match=r"^no Ray cluster answers at http://127\.0\.0\.1:\d+ \(Conn.*\)$"):
            submit.status("job", f"127.0.0.1:{closed.getsockname()[1]}")
        # Accepts and never speaks: only the time limit ends this.
        monkeypatch.setattr("sweep.cluster.dashboard.ANSWER_WITHIN", 0.2)
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(ClusterError, match="^no Ray cluster answers at .*timed out"):
            submit.logs("job", f"127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.parametrize("answer", [(200, "<html>"), (200, "{}"), (200, "[1]"), (404, ""), (403, "go away")])
def test_somebody_else_there(dashboard: Callable[..., str], answer: tuple[int, str]) -> None:
    address = dashboard(lambda path, authorization: answer)
    with pytest.raises(ClusterError, match="answers, but not as a Ray dashboard"):
        submit.jobs(address)


def test_a_proxy_that_reaches_nobody_is_nobody(dashboard: Callable[..., str]) -> None:
    address = dashboard(lambda path, authorization: (502, "bad gateway"))
    with pytest.raises(ClusterError, match=r"no Ray cluster answers at .* \(HTTP 502\)"):
        submit.jobs(address)


def guarded(path: str, authorization: str) -> tuple[int, str]:
    """The answers of Ray's dashboard under token authentication."""
    if not authorization:
        return 401, "Unauthorized: Missing authentication token"
    if authorization != "Bearer right":
        return 403, "Forbidden: Invalid authentication token"
    return 200, VERSION


def test_without_a_token_it_says_what_to_set(dashboard: Callable[..., str]) -> None:
    with pytest.raises(ClusterError, match="set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN=<its token>"):
        submit.jobs(dashboard(guarded))


def test_a_wrong_token_is_told_apart_from_none(dashboard: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    with pytest.raises(ClusterError, match="does not accept this token: set RAY_AUTH_TOKEN"):
        submit.jobs(dashboard(guarded))


@pytest.mark.parametrize("place", ["variable", "named file", "default file"])
@pytest.mark.parametrize("mode", ["token", None])
def test_tokens_are_found_where_ray_finds_them(
    dashboard: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    place: str,
    mode: str | None,
) -> None:
    if mode:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    default = tmp_path / ".ray" / "auth_token"
    default.parent.mkdir()
    default.write_text("right\n" if place == "default file" else "wrong")
    if place == "variable":
        monkeypatch.setenv("RAY_AUTH_TOKEN", "right")
    if place == "named file":
        (tmp_path / "named").write_text("right")
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "named"))
    assert reach(dashboard(guarded)).headers == {"authorization": "Bearer right"}


def test_a_token_goes_to_other_machines_only_when_asked_for(
    dashboard: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def noting(path: str, authorization: str) -> tuple[int, str]:
        seen.append(authorization)
        return guarded(path, authorization)

    monkeypatch.setattr("sweep.cluster.dashboard._is_local", lambda url: False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "right")
    with pytest.raises(ClusterError, match="set RAY_AUTH_MODE=token"):
        submit.jobs(dashboard(noting))
    assert seen == [""]


def test_a_local_address_is_this_machine_only_if_the_cluster_says_so(dashboard: Callable[..., str]) -> None:
    def cluster(*names: str) -> str:
        listed = json.dumps({"data": {"hostNameList": names}})
        return dashboard(lambda path, authorization: (200, listed if path.startswith("/nodes") else VERSION))

    here = socket.gethostname()
    assert is_here(reach(cluster(here)))
    assert not is_here(reach(cluster("somewhere-else")))  # a forwarded port
    assert not is_here(reach(cluster(here, "somewhere-else")))
    assert _is_local("http://localhost:1")
    assert not _is_local("http://203.0.113.1:8265")  # for documentation, never anybody's


# ----------------------------------------------------------------------------------------------- a real head


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A head node with token authentication in processes of its own; its token is `secret`."""
    port, dashboard, client, agent = free_ports(4)
    folder = tmp_path_factory.mktemp("ray")
    environment = {name: value for name, value in os.environ.items() if name not in RAY_VARIABLES}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "secret", "HOME": str(folder)}
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
    # Ray puts sockets in its folder, and the path of a socket may not be long.
    where = tempfile.mkdtemp(prefix="ray-")
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [
                *ray,
                f"--port={port}",
                f"--dashboard-port={dashboard}",
                f"--ray-client-server-port={client}",
                f"--dashboard-agent-listen-port={agent}",
                f"--temp-dir={where}",
                "--num-cpus=1",
                "--object-store-memory=80000000",
            ],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                _probe(f"http://127.0.0.1:{dashboard}", {"authorization": "Bearer secret"})
                break
            except ClusterError:
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail("the head node did not start:\n" + (folder / "output").read_text())
                time.sleep(0.1)
        yield f"127.0.0.1:{dashboard}"
    finally:
        process.terminate()
        process.wait(timeout=30)
        shutil.rmtree(where, ignore_errors=True)


@pytest.mark.cluster
@pytest.mark.slow
def test_a_job_on_a_real_head(head: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"):
        submit.jobs(head)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")  # the address that is given wins
    monkeypatch.setenv("PLIANT_DATA", "/data")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_stream.py").write_text(CODE)
    (tmp_path / "question.yaml").write_text(STUDY + "code: [my_stream.py]\n")

    started = submit.submit(
        "question.yaml",
        address=head,
        scale="smoke",
        storage="results",
        tracking_uri="http://127.0.0.1:5000",
        entrypoint='ls study; echo "$PLIANT_STORAGE $PLIANT_DATA $MLFLOW_TRACKING_URI"',
    )
    assert started.startswith("question-smoke-")
    done = submit.wait(started, head, timeout=60, every=0.1)
    assert (done.id, done.sweep, done.status) == (started, "question@smoke", "SUCCEEDED")
    assert done.started is not None and done.ended is not None and done.started <= done.ended
    lines = "".join(submit.logs(started, head, follow=True)).splitlines()
    # Ray's own word about the job comes before or after what the job prints.
    lines = [line for line in lines if "entrypoint" not in line]
    assert lines[-3:] == ["my_stream.py", "question.yaml", f"{tmp_path}/results /data http://127.0.0.1:5000"]

    failing = submit.submit(
        "question.yaml", address=head, scale="smoke", storage="/x", entrypoint="echo because; exit 3"
    )
    with pytest.raises(ClusterError, match=rf"(?s)^job {failing} failed: .*exit code 3.*because"):
        submit.wait(failing, head, timeout=60, every=0.1)
    assert submit.stop(failing, head) is False

    endless = submit.submit(
        "question.yaml", address=head, scale="smoke", storage="/x", entrypoint="echo ready; exec sleep 600"
    )
    pieces = submit.logs(endless, head, follow=True, every=0.1)
    text = ""
    while "ready" not in text:
        text += next(pieces)
    assert submit.status(endless, head).status == "RUNNING"
    with pytest.raises(ClusterError, match="still RUNNING after 0 s"):
        submit.wait(endless, head, timeout=0, every=0.1)
    assert submit.stop(endless, head) is True
    assert submit.wait(endless, head, timeout=60, every=0.1).status == "STOPPED"
    assert list(pieces) == []

    assert {job.id for job in submit.jobs(head)} == {started, failing, endless}
    for ask in (submit.status, submit.logs, submit.stop, submit.wait):
        with pytest.raises(InputError, match=f"unknown job '{started[:-1]}': did you mean '{started}'"):
            ask(started[:-1], head)
