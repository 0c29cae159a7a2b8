"""A sweep on a cluster: Ray's Jobs API carries the command `sweep run` to the head node and runs it there.

What travels is small: the command, a few environment variables, and, for a study given as a file, that file
with its `code:` files. All that the sweep computes goes to its storage, so every node must reach that.

An address is that of the cluster's dashboard (`http://host:8265` or `host:8265`); `ray://host:10001` means
the dashboard on port 8265 of that host, and `auto` means $RAY_API_SERVER_ADDRESS, else the host in
$RAY_ADDRESS, else this machine. Tokens are found where Ray finds them ($RAY_AUTH_TOKEN, the file
$RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token) and sent when RAY_AUTH_MODE=token, or when that is unset and a local
address asks for one (`sweep.cluster.tokens`).
"""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import shlex
import shutil
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ruamel.yaml import YAML

from sweep.cluster import tokens
from sweep.errors import ClusterError, InputError, SpecError
from sweep.ledger.storage import place_of
from sweep.spec import identity
from sweep.spec.model import Spec
from sweep.spec.studies import load, study_path
from workloads.registry import nearest

if TYPE_CHECKING:
    from ray.dashboard.modules.job.pydantic_models import JobDetails
    from ray.job_submission import JobSubmissionClient

DASHBOARD_PORT = 8265
ANSWER_WITHIN = 4.0  # seconds to wait for the dashboard before it counts as absent
LISTED_WITHIN = 15.0  # seconds until a head node that has just started lists its own nodes
STOP_WITHIN = 60  # seconds that a stopped sweep has to end by itself before it is killed
SHOWN_ON_FAILURE = 15  # lines of output
ADDRESSES = "http://host:8265, host:8265, ray://host:10001 or auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One submitted sweep as the cluster sees it; times are Unix seconds."""

    id: str
    sweep: str | None  # name@scale; None for a job that Pliant did not submit
    status: str  # PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED
    message: str
    started: float | None
    ended: float | None

    @property
    def finished(self) -> bool:
        return self.status in {"STOPPED", "SUCCEEDED", "FAILED"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Of the `sweep run` on the cluster."""

    workers: int | None = None
    device: str = "cpu"
    replace: bool = False

    def words(self) -> list[str]:
        """As they stand on its command line."""
        given = ["--workers", str(self.workers)] if self.workers else []
        given += ["--device", self.device] if self.device != "cpu" else []
        return given + (["--replace"] if self.replace else [])


DEFAULTS = Options()


def submit(
    study: str,
    *,
    address: str,
    scale: str | None = None,
    storage: str,
    tracking_uri: str | None = None,
    options: Options = DEFAULTS,
    pip: Sequence[str] = (),
    entrypoint: str | None = None,
) -> str:
    """Starts `sweep run STUDY` on the cluster and returns the job's id, `<study>-<scale>-<random>`, at once.

    `study` is a shipped name or the path of a sweep file; it is checked before anything is sent. `storage`
    and `tracking_uri` (default $MLFLOW_TRACKING_URI, else what the head node has) are read on the cluster, so
    a relative path is allowed only where the cluster is this machine; $PLIANT_DATA is passed on as it is.
    `pip` names packages that a study's own code needs there. `entrypoint` is a shell command to run in place
    of the sweep's.

    Raises SpecError for a study that cannot run, InputError for a storage or address that cannot be meant,
    ClusterError when no cluster answers or it refuses the job.
    """
    spec = load(study, scale)
    files = _files(study, spec)
    cluster = _reach(address)
    here = _is_here(cluster)
    storage = _there(storage, "storage", cluster.url, here)
    tracking_uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    environment = {
        "PLIANT_STORAGE": storage,
        "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WITHIN),
        # `sweep run` may hand the same variables on to its workers, which Ray would refuse as a conflict.
        "RAY_OVERRIDE_JOB_RUNTIME_ENV": "1",
    }
    if tracking_uri:
        environment["MLFLOW_TRACKING_URI"] = _there(tracking_uri, "tracking database", cluster.url, here)
    if "PLIANT_DATA" in os.environ:
        environment["PLIANT_DATA"] = os.environ["PLIANT_DATA"]
    runtime: dict[str, Any] = {"env_vars": environment}
    if pip:
        runtime["pip"] = list(pip)

    job = f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', spec.name).strip('-') or 'sweep'}-{spec.scale}-{secrets.token_hex(3)}"
    environment |= {identity.ORIGIN: str(files[0])} if files else {}
    with _shipped(files) if files else nullcontext((None, study)) as (folder, argument):
        if folder is not None:
            runtime["working_dir"] = str(folder)
        client = _client(cluster)
        with _explained(cluster.url):
            return client.submit_job(
                entrypoint=entrypoint or _command(argument, spec.scale, storage, here, options),
                submission_id=job,
                runtime_env=runtime,
                metadata={"sweep": f"{spec.name}@{spec.scale}"},
            )


def jobs(address: str) -> list[Job]:
    """Every job the cluster remembers, latest first."""
    cluster = _reach(address)
    return _listed(_client(cluster), cluster.url)


def status(job: str, address: str) -> Job:
    """Where the job stands. Raises InputError for an id the cluster does not know."""
    cluster = _reach(address)
    return _job(_client(cluster), cluster.url, job)


def logs(job: str, address: str, *, follow: bool = False, every: float = 1.0) -> Iterator[str]:
    """The job's output in pieces; with `follow`, asked for again `every` seconds until the job has ended.

    Polled, not streamed: that works in notebooks, where an event loop already runs, and through proxies.
    """
    cluster = _reach(address)
    client = _client(cluster)
    _job(client, cluster.url, job)
    return _pieces(client, cluster.url, job, follow, every)


def stop(job: str, address: str) -> bool:
    """Asks the job to stop (SIGTERM) and returns whether it was running; what it has computed stays."""
    cluster = _reach(address)
    client = _client(cluster)
    _job(client, cluster.url, job)
    with _explained(cluster.url):
        return client.stop_job(job)


def wait(job: str, address: str, *, timeout: float | None = None, every: float = 1.0) -> Job:
    """The job once it has ended, by itself or stopped.

    Raises ClusterError when it failed, or has not ended after `timeout` seconds.
    """
    cluster = _reach(address)
    client = _client(cluster)
    deadline = None if timeout is None else time.monotonic() + timeout
    while not (found := _job(client, cluster.url, job)).finished:
        if deadline is not None and time.monotonic() > deadline:
            raise ClusterError(f"job {job} is still {found.status} after {timeout:g} s")
        time.sleep(every)
    if found.status == "FAILED":
        first, *rest = found.message.strip().splitlines() or ["no message"]
        raise ClusterError("\n".join([f"job {job} failed: {first}", *rest[-SHOWN_ON_FAILURE:]]))
    return found


# ---------------------------------------------------------------------------------------------- what is sent


def _command(study: str, scale: str, storage: str, here: bool, options: Options = DEFAULTS) -> str:
    # `exec` lets the stop signal reach Python itself and not only a shell around it. A cluster on this
    # machine may have been started from any environment; ours certainly has Pliant.
    python = sys.executable if here else "python"
    arguments = ["run", study, "--scale", scale, "--address", "auto", "--storage", storage, *options.words()]
    # -P: the job's folder is no place to import from.
    return "exec " + shlex.join([python, "-P", "-m", "sweep.cli.commands", *arguments])


def _files(study: str, spec: Spec) -> list[Path]:
    """The sweep file and its `code:` files, absolute; none for a shipped study, which the cluster has."""
    path = study_path(study)
    if path != Path(study):
        return []
    code = YAML(typ="safe").load(spec.text).get("code", [])
    for name in code:
        if Path(name).is_absolute():
            raise SpecError(f"{path}: code: {name!r} means nothing elsewhere; give it relative to the sweep file")
    return [Path(os.path.abspath(file)) for file in (path, *(path.parent / name for name in code))]


@contextmanager
def _shipped(files: list[Path]) -> Iterator[tuple[Path, str]]:
    """A folder holding just these files, as they lie to each other, and the first one's path inside it.

    They go one level down: the folder itself lands on the job's import path, where a user's file called
    torch.py would be imported in place of torch.
    """
    root = Path(os.path.commonpath([file.parent for file in files]))
    with tempfile.TemporaryDirectory(prefix="pliant-") as name:
        folder = Path(name)
        for file in files:
            copy = folder / "study" / file.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        yield folder, str(Path("study", files[0].relative_to(root)))


def _there(place: str, kind: str, url: str, here: bool) -> str:
    """The storage or database `place` as a name that means the same to the cluster, or InputError."""
    scheme, separator, path = place.partition("://")
    if scheme == "file":
        place_of(place)  # refuses what would be another place there too
        return place
    if separator and scheme != "sqlite":
        return place
    # sqlite:///x names the relative path x, and sqlite:////x the absolute path /x
    path = path.removeprefix("/") if scheme == "sqlite" else path if separator else place
    if Path(path).is_absolute():
        return place
    if not here:
        raise InputError(
            f"{kind} {place!r} is relative to a folder here, which the cluster at {url} cannot see; "
            "give one that every node reaches, such as s3://bucket/folder or /a/shared/folder"
        )
    absolute = str(Path(path).expanduser().resolve())
    return f"sqlite:///{absolute}" if scheme == "sqlite" else absolute


# ---------------------------------------------------------------------------------------- reaching a cluster


@dataclass(frozen=True, slots=True)
class _Cluster:
    """A dashboard that has answered: its URL and the headers it wants."""

    url: str
    headers: dict[str, str]


def _reach(address: str) -> _Cluster:
    """The cluster at the address; ClusterError within seconds when none answers or it wants another token."""
    url = _dashboard(address)
    for headers in tokens.headers(local=_is_local(url)):
        if _probe(url, headers) is None:
            return _Cluster(url, headers)
    raise tokens.refused(url, headers)


def _dashboard(address: str) -> str:
    """The URL of the dashboard that an address means; InputError for what is no address."""
    given = address
    if address == "auto":
        address = os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS") or "auto"
        if address == "auto":
            return f"http://127.0.0.1:{DASHBOARD_PORT}"
        if "://" not in address and not os.environ.get("RAY_API_SERVER_ADDRESS"):
            address = f"ray://{address}"  # in RAY_ADDRESS a bare port is the cluster's, not its dashboard's
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if not host or parts.scheme not in {"http", "https", "ray"}:
        named = f"{given!r}" if given == address else f"{address!r} (from the environment)"
        raise InputError(f"address {named} is not an address of a Ray cluster; allowed: {ADDRESSES}")
    if parts.scheme != "ray" and "://" in address:
        return address.rstrip("/")
    bracketed = f"[{host}]" if ":" in host else host
    return f"http://{bracketed}:{DASHBOARD_PORT if parts.scheme == 'ray' or port is None else port}"


def _probe(url: str, headers: dict[str, str]) -> int | None:
    """None if a Ray dashboard answers, 401 or 403 if it wants a token or another one, else ClusterError."""
    foreign = f"{url} answers, but not as a Ray dashboard; give the dashboard's address ({ADDRESSES})"
    try:
        answer = _get(f"{url}/api/version", headers)
    except urllib.error.HTTPError as error:
        with error:
            text = error.read().decode(errors="replace")
        if error.code in {401, 403} and "authentication token" in text:
            return error.code
        if error.code in {502, 503, 504}:  # a proxy speaks for a host it could not reach
            raise ClusterError(f"no Ray cluster answers at {url} (HTTP {error.code})") from error
        raise ClusterError(foreign) from error
    except (http.client.HTTPException, ValueError) as error:
        raise ClusterError(foreign) from error
    except OSError as error:  # URLError, refused connections and time-outs
        reason = getattr(error, "reason", error)
        reason = getattr(reason, "strerror", None) or reason
        raise ClusterError(f"no Ray cluster answers at {url} ({reason})") from error
    if "ray_version" not in answer:
        raise ClusterError(foreign)
    return None


def _get(url: str, headers: dict[str, str]) -> dict[str, Any]:
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=ANSWER_WITHIN) as response:
        content = json.load(response)
    return content if isinstance(content, dict) else {}


def _is_local(url: str) -> bool:
    """Whether the URL's host is an address of this machine."""
    return tokens.is_local(urlsplit(url).hostname)


def _is_here(cluster: _Cluster) -> bool:
    """Whether the cluster is on this machine alone; a local address may also be the port of a tunnel."""
    if not _is_local(cluster.url):
        return False
    deadline = time.monotonic() + LISTED_WITHIN
    names: list[str] = []
    while not names and time.monotonic() < deadline:
        try:
            names = _get(f"{cluster.url}/nodes?view=hostNameList", cluster.headers)["data"]["hostNameList"]
        except (OSError, KeyError, ValueError):
            return False
        if not names:
            time.sleep(0.2)
    return set(names) == {socket.gethostname()}


def _client(cluster: _Cluster) -> JobSubmissionClient:
    from ray.job_submission import JobSubmissionClient

    # Ray lets its variables override the address it is given; the one that was asked for here must win.
    before = os.environ.get("RAY_API_SERVER_ADDRESS")
    os.environ["RAY_API_SERVER_ADDRESS"] = cluster.url
    try:
        with _explained(cluster.url):
            return JobSubmissionClient(cluster.url, headers=dict(cluster.headers))
    finally:
        if before is None:
            del os.environ["RAY_API_SERVER_ADDRESS"]
        else:
            os.environ["RAY_API_SERVER_ADDRESS"] = before


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Ray's errors as ours: one sentence that says what failed and where."""
    from ray.exceptions import RayError

    try:
        yield
    except (OSError, RuntimeError, RayError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ClusterError(f"the Ray cluster at {url} did not do as asked: {reason}") from error


# ----------------------------------------------------------------------------------------- asking about jobs


def _job(client: JobSubmissionClient, url: str, job: str) -> Job:
    with _explained(url):
        try:
            return _read(client.get_job_info(job))
        except RuntimeError as error:
            if "status code 404" not in str(error):
                raise
    known = [found.id for found in _listed(client, url)]
    close = nearest(job, known)
    hint = f" did you mean {close!r}?" if close else ""
    raise InputError(
        f"unknown job {job!r}:{hint} the cluster at {url} knows "
        + (f"{len(known)} jobs, the latest: {', '.join(known[:5])}" if known else "no jobs")
    )


def _listed(client: JobSubmissionClient, url: str) -> list[Job]:
    with _explained(url):
        found = [_read(details) for details in client.list_jobs() if details.submission_id]
    return sorted(found, key=lambda job: job.started or 0.0, reverse=True)


def _read(details: JobDetails) -> Job:
    return Job(
        id=details.submission_id or "",
        sweep=(details.metadata or {}).get("sweep"),
        status=str(details.status),
        message=details.message or "",
        started=details.start_time / 1000 if details.start_time else None,
        ended=details.end_time / 1000 if details.end_time else None,
    )


def _pieces(client: JobSubmissionClient, url: str, job: str, follow: bool, every: float) -> Iterator[str]:
    shown = 0
    while True:
        # Asked for in this order, the text read after the end is the whole text.
        finished = not follow or _job(client, url, job).finished
        with _explained(url):
            text = client.get_job_logs(job)
        if len(text) > shown:
            yield text[shown:]
            shown = len(text)
        if finished:
            return
        time.sleep(every)
