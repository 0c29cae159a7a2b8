"""Ray Tune runs packs: one Tune trial is one pack, on this machine or on any cluster.

The ledger is the truth and Tune the scheduler: a worker that dies is started again by Tune and continues from the
pack's last commit, and so is one that raised what may pass; nothing is read back from Tune's own checkpoints. Workers
write to the sweep's storage and send home a few numbers. Only this module and `submit` import ray.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

# Read when ray is imported. The ledger logs: Tune's own CSV files would cost more than training.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the newer output prints boxes even when told to be quiet
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")  # a traceback each; `Forward` has a line instead
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # with Tune's own, Ctrl-C looks like a run that ended well
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import grpc  # noqa: E402
import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray._private.authentication.authentication_token_setup import _enable_token_auth  # noqa: E402
from ray._private.services import canonicalize_bootstrap_address  # noqa: E402
from ray._private.state import state as ray_state  # noqa: E402
from ray.job_config import JobConfig  # noqa: E402
from ray.tune.callback import Callback  # noqa: E402

from sweep.cluster import tokens  # noqa: E402
from sweep.cluster.worker import Listener, Progress, Train, check_device, given_up, train  # noqa: E402
from sweep.errors import ClusterError, InputError, PliantError, StorageError  # noqa: E402
from sweep.ledger.commits import attempt_name  # noqa: E402
from sweep.ledger.failures import Failure, without_error  # noqa: E402
from sweep.ledger.ledger import Ledger  # noqa: E402
from workloads.machine import cpus  # noqa: E402

RETRIES = 3  # of a pack whose worker died
DIED = "WorkerDied"  # the type of a failure that no worker lived to write down
ANSWER_WITHIN = 4.0  # seconds to wait for a cluster before it counts as absent; Ray itself waits minutes
CHECK_ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"  # what a head node answers without being asked for anything
AUTOSCALED = Path("~/ray_bootstrap_config.yaml")  # lies on the head of a cluster that grows
SOCKET_PATH = 107  # characters that Linux allows
RAYS_PART = len("/ray/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store_0")  # of a socket's path
SHORT_FOLDER = "/tmp"
FOLDERS_PASSED_ON = ("PLIANT_DATA", "XDG_CACHE_HOME")  # environment that workers need too, folders made absolute
PASSED_ON = ("PLIANT_COMMIT_SECONDS",)


LOG = logging.getLogger(__name__)


class Forward(Callback):
    """Passes workers' reports on to the listener, which stays in this process when Tune pickles its own state.

    Logs in a line what befell a pack, keeps it by pack in `failures`, and writes down for a worker that died what it
    could not.
    """

    def __init__(self, listener: Listener, ledger: Ledger) -> None:
        self.listener = listener
        self.ledger = ledger
        self.failures: dict[str, Failure] = {}  # of packs that are not training again
        self.finished: set[str] = set()

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
        """A pack has reported."""
        if "failure" in result:
            self.fallen(Failure(**result["failure"]))
            return
        progress = Progress(**result["progress"])
        if progress.finished:
            self.finished.add(progress.pack)
        self.listener(progress)

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A pack's worker died or raised; another one will continue it."""
        LOG.warning("pack %s goes on from its last commit: %s", trial.config["pack"][:8], self.befell(trial).reason)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A pack failed for good."""
        self.fallen(self.befell(trial))

    def fallen(self, failure: Failure) -> None:
        """A pack is given up, by this run."""
        self.failures[failure.pack] = failure
        LOG.error("pack %s failed: %s", failure.pack[:8], failure.reason)
        self.listener(given_up(failure.pack))

    def befell(self, trial: Any) -> Failure:
        """A Tune trial's last failure: as its worker wrote it down, else what Tune says of a worker that died."""
        pack, (kind, message) = trial.config["pack"], what_tune_says(trial)
        try:
            state = self.ledger.pack(pack)
            if kind != DIED and state and state.failure:
                return state.failure
            step = state.step if state else 0
            failure = without_error(kind, message, pack=pack, attempt=attempt_name(), step=step)
            self.ledger.fail(failure)
        except StorageError:  # which is perhaps what failed
            failure = without_error(kind, message, pack=pack, attempt="", step=0)
        return failure

    def __getstate__(self) -> dict[str, None]:
        return {"listener": None}


class PackFailed(Exception):
    """For Tune, which starts anew what raises: the pack's failure is in the ledger."""


def what_tune_says(trial: Any) -> tuple[str, str]:
    """(kind, message) of a Tune trial's last failure: the exception, or why its worker died."""
    text = Path(trial.error_file).read_text().rpartition("Failure # ")[2].strip()
    lines = [line.strip() for line in text.splitlines()] or ["unknown"]
    for line in lines:
        if line.startswith("The actor is dead because"):
            return DIED, line
    kind, colon, message = lines[-1].partition(": ")
    return (kind.rpartition(".")[2], message) if colon else ("Error", kind)


def pack_trial(config: dict[str, Any]) -> None:
    """A Tune trial: train one pack. Raises what Tune is to try again, and reports a failure that would come again."""
    os.environ.update(config["environment"])
    failure = train(config["pack"], config["storage"], lambda progress: tune.report({"progress": progress.to_dict()}))
    if failure is not None and failure.deterministic:
        tune.report({"failure": asdict(failure)})
    elif failure is not None:
        raise PackFailed(failure.reason)


@contextmanager
def on_ray(
    storage: str, *, address: str | None = None, workers: int | None = None, gpus_per_pack: float = 0.0
) -> Iterator[Train]:
    """What trains packs on Ray, as often as it is asked to, while the context lasts.

    Args:
        address: of a running cluster ("auto", "HOST:6379"), or None for a local Ray that lives as long as the context.
        workers: at most this many packs at once; None for what the cluster's CPUs allow.

    Raises: ClusterError where no cluster answers at the address; InputError where it has no GPU and packs need one;
        from what it gives, KeyboardInterrupt where Tune was told to stop.
    """
    if gpus_per_pack and address is None and not ray.is_initialized():
        check_device("cuda")  # before a Ray of this machine's is started
    with connected(address, workers) as environment:
        if gpus_per_pack:
            check_for_gpu(address)

        def train_there(packs: Sequence[str], listener: Listener) -> dict[str, Failure]:
            space = {"pack": tune.grid_search(list(packs)), "storage": storage, "environment": environment}
            forward = Forward(listener, Ledger(storage))
            tuned(space, forward, workers, gpus_per_pack)
            if not forward.finished.union(forward.failures).issuperset(packs):
                raise KeyboardInterrupt  # Tune takes SIGUSR1 for a wish to stop, and returns as if all were well
            return forward.failures

        yield train_there


def tuned(space: dict[str, Any], forward: Forward, workers: int | None, gpus_per_pack: float) -> None:
    """Have Tune train the packs of a space; returns when they are done, or Tune was told to stop."""
    with tempfile.TemporaryDirectory(prefix="pliant-tune-") as scratch:
        tune.Tuner(
            tune.with_resources(pack_trial, {"cpu": 1, "gpu": gpus_per_pack}),
            param_space=space,
            tune_config=tune.TuneConfig(max_concurrent_trials=workers, reuse_actors=True),
            run_config=tune.RunConfig(
                name="packs",
                storage_path=scratch,  # of Tune's own notes, which only this process writes and nobody reads back
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                callbacks=[forward],
                verbose=0,
            ),
        ).fit()


class Isolated(JobConfig):
    """A job whose workers import what is installed: neither what lies in the folder a sweep is run from, nor beside
    the script that runs it. A user's `sweep.py` or `torch.py` there would be imported in place of the real one."""

    def _serialize(self) -> str:
        self._py_driver_sys_path.clear()  # to which Ray has added both by now
        serialized: str = super()._serialize()
        return serialized


@contextmanager
def connected(address: str | None, workers: int | None) -> Iterator[dict[str, str]]:
    """A connection to Ray that is closed again, or the one this process has; gives what workers' environment lacks.

    Raises: ClusterError, InputError.
    """
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ} | {"OMP_NUM_THREADS": "1"}
    for name in FOLDERS_PASSED_ON:
        if os.environ.get(name):  # a worker's working directory is another one
            environment[name] = os.path.abspath(os.path.expanduser(os.environ[name]))
    if ray.is_initialized():
        own = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", own):
            raise InputError(
                f"this process is connected to the Ray at {own} already, so not to {address}: ray.shutdown()"
            )
        yield environment
        return
    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "job_config": Isolated(),
        "runtime_env": {"env_vars": environment},
    }
    if address is None:
        # "local" is always a new one; with no address Ray would join whatever cluster runs on this machine.
        options |= {"address": "local", "num_cpus": workers or cpus(), "include_dashboard": False}
        options |= short_folder()
    else:
        options |= {"address": answering(address)}
        if os.environ.get("RAY_OVERRIDE_JOB_RUNTIME_ENV") == "1":
            # A job's folder is for the driver: packs bring their code with them. And where two nodes share a machine,
            # the second to unpack that folder would first delete it under the driver.
            options["runtime_env"]["working_dir"] = None
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**options)
    except PliantError:
        raise
    except Exception as error:  # Ray's own word for a node that was too slow to start is a bare Exception
        raise ClusterError(why_not_connected(address, error)) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_terminate)  # ray.init has put its own in place
    try:
        yield {}
    finally:
        ray.shutdown()


def why_not_connected(address: str | None, error: Exception) -> str:
    """What to say where ray.init failed, and what may help."""
    said = next(iter(str(error).strip().splitlines()), type(error).__name__)
    if address is not None:
        return f"no Ray cluster answers at {address}: {said}"
    return (
        f"Ray did not start on this machine: {said}\n"
        "Where the machine is busy the same command may do later; --inline trains without Ray."
    )


def short_folder() -> dict[str, str]:
    """What to tell ray.init where the folder for temporary files is too deep for Ray's sockets, as on Slurm.

    Raises: ClusterError where there is none that will do.
    """
    wanted = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    if len(os.fsencode(wanted)) + RAYS_PART <= SOCKET_PATH:
        return {}
    if os.access(SHORT_FOLDER, os.W_OK):
        return {"_temp_dir": f"{SHORT_FOLDER}/ray-{os.getuid()}"}
    most = SOCKET_PATH - RAYS_PART
    raise ClusterError(
        f"Ray's sockets need a folder for temporary files of at most {most} characters, {wanted} has {len(wanted)} and"
        f" {SHORT_FOLDER} cannot be written: set RAY_TMPDIR to a shorter one, or run with --inline"
    )


def check_for_gpu(address: str | None) -> None:
    """Raises InputError where the connected cluster has no GPU and will get none: its packs would wait for ever."""
    if ray.cluster_resources().get("GPU", 0) > 0:  # type: ignore[no-untyped-call]
        return
    growing = ray_state.get_max_resources_from_cluster_config()
    if AUTOSCALED.expanduser().exists() if growing is None else growing.get("GPU", 0) > 0:
        LOG.warning("the Ray cluster has no GPU yet: packs wait until it has grown one")
        return
    where = "this machine's Ray" if address is None else f"the Ray cluster at {address}"
    raise InputError(f"packs are to train on cuda, and {where} has no GPU: leave out --device cuda")


def answering(address: str) -> str:
    """The address, "auto" resolved, once a head node answers there that takes our token, or wants none.

    Raises within seconds: ClusterError where none does, InputError for an address of another kind.
    """
    if "://" in address:  # Tune would run on the other side of ray://, and the listener is on this one
        raise InputError(
            f"a sweep cannot be run through {address}: use `sweep submit --address {address}`,"
            " or run it on a node of the cluster with --address auto"
        )
    where = address
    try:
        where = canonicalize_bootstrap_address(address) or address
        host, _, port = where.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_WITHIN).close()
    except (OSError, ValueError) as error:
        meaning = "" if where == address else f", which means {where}"
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ClusterError(f"no Ray cluster answers at {address}{meaning}: {reason}") from error
    if os.environ.get("RAY_USE_TLS", "0") in ("0", ""):  # with certificates, Ray itself must ask
        present_token(where, tokens.is_local(host.strip("[]")))
    return where


def present_token(where: str, local: bool) -> None:
    """Ask the head node whether it is one and takes our token. Ray itself tries for 20 s, and does not say why.

    A token that the user did not speak of is sent, and used from then on, where a head node of this machine wants it.
    Raises: ClusterError.
    """
    for headers in tokens.headers(local=local):
        try:
            with grpc.insecure_channel(where) as channel:
                channel.unary_unary(CHECK_ALIVE)(b"", timeout=ANSWER_WITHIN, metadata=list(headers.items()))
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAUTHENTICATED:
                raise ClusterError(f"{where} answers, but not as the head node of a Ray cluster") from error
            continue
        if headers:
            _enable_token_auth()
        return
    raise tokens.refused(where, headers)
