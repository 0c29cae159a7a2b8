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

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray._private.services import canonicalize_bootstrap_address  # noqa: E402
from ray.tune.callback import Callback  # noqa: E402

from sweep.errors import ClusterError, InputError, StorageError  # noqa: E402
from sweep.failures import Failure, without_error  # noqa: E402
from sweep.ledger import Ledger, attempt_name  # noqa: E402
from sweep.worker import Listener, Progress, train  # noqa: E402

RETRIES = 3  # of a pack whose worker died
DIED = "WorkerDied"  # the type of a failure that no worker lived to write down
ANSWER_WITHIN = 4.0  # seconds to wait for a cluster before it counts as absent; Ray itself waits minutes
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

    def befell(self, trial: Any) -> Failure:
        """A Tune trial's last failure: as its worker wrote it down, else what Tune says of a worker that died."""
        pack, (kind, message) = trial.config["pack"], what_tune_says(trial)
        try:
            known = self.ledger.pack(pack)
            if kind != DIED and known and known.failure:
                return known.failure
            step = known.step if known else 0
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
    failure = train(config["pack"], config["storage"], lambda progress: tune.report({"progress": progress.to_dict()}))
    if failure is not None and failure.deterministic:
        tune.report({"failure": asdict(failure)})
    elif failure is not None:
        raise PackFailed(failure.reason)


def run_on_ray(
    packs: Sequence[str],
    storage: str,
    listener: Listener,
    *,
    address: str | None = None,
    workers: int | None = None,
    gpus_per_pack: float = 0.0,
) -> dict[str, Failure]:
    """Train packs (ids described in the ledger) on Ray; returns those that failed for good, and why.

    Args:
        address: of a running cluster ("auto", "HOST:6379"), or None for a local Ray that lives as long as this call.
        workers: at most this many packs at once; None for what the cluster's CPUs allow.

    Raises: ClusterError where no cluster answers at the address; KeyboardInterrupt where Tune was told to stop.
    """
    forward = Forward(listener, Ledger(storage))
    with connected(address, workers), tempfile.TemporaryDirectory(prefix="pliant-tune-") as scratch:
        tune.Tuner(
            tune.with_resources(pack_trial, {"cpu": 1, "gpu": gpus_per_pack}),
            param_space={"pack": tune.grid_search(list(packs)), "storage": storage},
            tune_config=tune.TuneConfig(max_concurrent_trials=workers, reuse_actors=True),
            run_config=tune.RunConfig(
                name="packs",
                storage_path=scratch,  # of Tune's own notes, which only this process writes and nobody reads back
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                callbacks=[forward],
                verbose=0,
            ),
        ).fit()
    if not forward.finished.union(forward.failures).issuperset(packs):
        raise KeyboardInterrupt  # Tune takes SIGUSR1 for a wish to stop, and returns as if all were well
    return forward.failures


@contextmanager
def connected(address: str | None, workers: int | None) -> Iterator[None]:
    """A connection to Ray that is closed again."""
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    for name in FOLDERS_PASSED_ON:
        if os.environ.get(name):  # a worker's working directory is another one
            passed[name] = os.path.abspath(os.path.expanduser(os.environ[name]))
    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "runtime_env": {"env_vars": {**passed, "OMP_NUM_THREADS": "1"}},
    }
    if address is None:
        # "local" is always a new one; with no address Ray would join whatever cluster runs on this machine.
        options |= {"address": "local", "num_cpus": workers, "include_dashboard": False}
    else:
        options |= {"address": answering(address)}
        if os.environ.get("RAY_OVERRIDE_JOB_RUNTIME_ENV") == "1":
            # A job's folder is for the driver: packs bring their code with them. And where two nodes share a machine,
            # the second to unpack that folder would first delete it under the driver.
            options["runtime_env"]["working_dir"] = None
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise ClusterError(f"no Ray cluster answers at {address or 'this machine'}: {error}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_terminate)  # ray.init has put its own in place
    try:
        yield
    finally:
        ray.shutdown()


def answering(address: str) -> str:
    """The address, "auto" resolved, once something accepts connections there.

    Raises within seconds: ClusterError where nothing does, InputError for an address of another kind.
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
        found = "" if where == address else f", which means {where}"
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ClusterError(f"no Ray cluster answers at {address}{found}: {reason}") from error
    return where
