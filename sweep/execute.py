"""Ray Tune runs packs: one Tune trial is one pack, on this machine or on any cluster.

The ledger is the truth and Tune the scheduler: a worker that dies is started again by Tune and continues from the
pack's last commit; nothing is read back from Tune's own checkpoints. Workers write to the sweep's storage and send
home a few numbers. Only this module and `submit` import ray.
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

from sweep.errors import ClusterError, InputError  # noqa: E402
from sweep.worker import Listener, Progress, train  # noqa: E402

RETRIES = 3  # of a pack whose worker died
REASON_LENGTH = 200  # characters
ANSWER_WITHIN = 4.0  # seconds to wait for a cluster before it counts as absent; Ray itself waits minutes
FOLDERS_PASSED_ON = ("PLIANT_DATA", "XDG_CACHE_HOME")  # environment that workers need too, folders made absolute
PASSED_ON = ("PLIANT_COMMIT_SECONDS",)


LOG = logging.getLogger(__name__)


class Forward(Callback):
    """Passes workers' reports on to the listener, which stays in this process when Tune pickles its own state.

    Logs in a line what befell a pack.
    """

    def __init__(self, listener: Listener) -> None:
        self.listener = listener

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
        """A pack has reported."""
        self.listener(Progress(**result["progress"]))

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A pack's worker died or raised; another one will continue it."""
        LOG.warning("pack %s goes on from its last commit: %s", trial.config["pack"][:8], what_befell(trial))

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A pack failed for good."""
        LOG.error("pack %s failed: %s", trial.config["pack"][:8], what_befell(trial))

    def __getstate__(self) -> dict[str, None]:
        return {"listener": None}


def what_befell(trial: Any) -> str:
    """The reason of a Tune trial's last failure, in one line: the exception, or why its worker died."""
    text = Path(trial.error_file).read_text().rpartition("Failure # ")[2].strip()
    lines = text.splitlines() or ["unknown"]
    died = [line for line in lines if line.startswith("The actor is dead because")]
    return (died or lines)[-1].strip()[:REASON_LENGTH]


def pack_trial(config: dict[str, Any]) -> None:
    """A Tune trial: train one pack."""
    train(config["pack"], config["storage"], lambda progress: tune.report({"progress": progress.to_dict()}))


def run_on_ray(
    packs: Sequence[str],
    storage: str,
    listener: Listener,
    *,
    address: str | None = None,
    workers: int | None = None,
    gpus_per_pack: float = 0.0,
) -> list[str]:
    """Train packs (ids described in the ledger) on Ray; returns the ids of packs that failed for good.

    Args:
        address: of a running cluster ("auto", "HOST:6379"), or None for a local Ray that lives as long as this call.
        workers: at most this many packs at once; None for what the cluster's CPUs allow.

    Raises: ClusterError where no cluster answers at the address.
    """
    with connected(address, workers), tempfile.TemporaryDirectory(prefix="pliant-tune-") as scratch:
        results = tune.Tuner(
            tune.with_resources(pack_trial, {"cpu": 1, "gpu": gpus_per_pack}),
            param_space={"pack": tune.grid_search(list(packs)), "storage": storage},
            tune_config=tune.TuneConfig(max_concurrent_trials=workers, reuse_actors=True),
            run_config=tune.RunConfig(
                name="packs",
                storage_path=scratch,  # of Tune's own notes, which only this process writes and nobody reads back
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                callbacks=[Forward(listener)],
                verbose=0,
            ),
        ).fit()
    ended = [results[i] for i in range(len(results))]
    return [result.config["pack"] for result in ended if result.error is not None and result.config]


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
