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

import os
import re
import secrets
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from sweep.cluster.dashboard import client_of, explained, is_here, reach
from sweep.errors import ClusterError, InputError, SpecError
from sweep.ledger.storage import place_of
from sweep.spec import changes, identity
from sweep.spec.model import Spec
from sweep.spec.studies import load, study_path
from workloads.registry import nearest

if TYPE_CHECKING:
    from ray.dashboard.modules.job.pydantic_models import JobDetails
    from ray.job_submission import JobSubmissionClient

STOP_WITHIN = 60  # seconds that a stopped sweep has to end by itself before it is killed
SHOWN_ON_FAILURE = 15  # lines of output


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
    changed: Mapping[str, Any] = field(default_factory=dict)  # of the study, by --set

    def words(self) -> list[str]:
        """As they stand on its command line."""
        given = ["--workers", str(self.workers)] if self.workers else []
        given += ["--device", self.device] if self.device != "cpu" else []
        return given + (["--replace"] if self.replace else []) + changes.as_words(self.changed)


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
    spec = load(study, scale, options.changed)
    files = _files(study, spec)
    cluster = reach(address)
    here = is_here(cluster)
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

    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{spec.name}-{spec.scale}").strip("-")
    job = f"{name}-{secrets.token_hex(3)}"
    environment |= {identity.ORIGIN: str(files[0])} if files else {}
    with _shipped(files) if files else nullcontext((None, study)) as (folder, argument):
        if folder is not None:
            runtime["working_dir"] = str(folder)
        client = client_of(cluster)
        with explained(cluster.url):
            return client.submit_job(
                entrypoint=entrypoint or _command(argument, spec.scale.partition("+")[0], storage, here, options),
                submission_id=job,
                runtime_env=runtime,
                metadata={"sweep": f"{spec.name}@{spec.scale}"},
            )


def jobs(address: str) -> list[Job]:
    """Every job the cluster remembers, latest first."""
    cluster = reach(address)
    return _listed(client_of(cluster), cluster.url)


def status(job: str, address: str) -> Job:
    """Where the job stands. Raises InputError for an id the cluster does not know."""
    cluster = reach(address)
    return _job(client_of(cluster), cluster.url, job)


def logs(job: str, address: str, *, follow: bool = False, every: float = 1.0) -> Iterator[str]:
    """The job's output in pieces; with `follow`, asked for again `every` seconds until the job has ended.

    Polled, not streamed: that works in notebooks, where an event loop already runs, and through proxies.
    """
    cluster = reach(address)
    client = client_of(cluster)
    _job(client, cluster.url, job)
    return _pieces(client, cluster.url, job, follow, every)


def stop(job: str, address: str) -> bool:
    """Asks the job to stop (SIGTERM) and returns whether it was running; what it has computed stays."""
    cluster = reach(address)
    client = client_of(cluster)
    _job(client, cluster.url, job)
    with explained(cluster.url):
        return client.stop_job(job)


def wait(job: str, address: str, *, timeout: float | None = None, every: float = 1.0) -> Job:
    """The job once it has ended, by itself or stopped.

    Raises ClusterError when it failed, or has not ended after `timeout` seconds.
    """
    cluster = reach(address)
    client = client_of(cluster)
    deadline = None if timeout is None else time.monotonic() + timeout
    while not (state := _job(client, cluster.url, job)).finished:
        if deadline is not None and time.monotonic() > deadline:
            raise ClusterError(f"job {job} is still {state.status} after {timeout:g} s")
        time.sleep(every)
    if state.status == "FAILED":
        first, *rest = state.message.strip().splitlines() or ["no message"]
        raise ClusterError("\n".join([f"job {job} failed: {first}", *rest[-SHOWN_ON_FAILURE:]]))
    return state


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


def _job(client: JobSubmissionClient, url: str, job: str) -> Job:
    with explained(url):
        try:
            return _read(client.get_job_info(job))
        except RuntimeError as error:
            if "status code 404" not in str(error):
                raise
    ids = [each.id for each in _listed(client, url)]
    close = nearest(job, ids)
    hint = f" did you mean {close!r}?" if close else ""
    raise InputError(
        f"unknown job {job!r}:{hint} the cluster at {url} knows "
        + (f"{len(ids)} jobs, the latest: {', '.join(ids[:5])}" if ids else "no jobs")
    )


def _listed(client: JobSubmissionClient, url: str) -> list[Job]:
    with explained(url):
        jobs = [_read(details) for details in client.list_jobs() if details.submission_id]
    return sorted(jobs, key=lambda job: job.started or 0.0, reverse=True)


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
        with explained(url):
            text = client.get_job_logs(job)
        if len(text) > shown:
            yield text[shown:]
            shown = len(text)
        if finished:
            return
        time.sleep(every)
