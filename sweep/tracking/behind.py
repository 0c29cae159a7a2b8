"""Tracking behind the training: a process of its own, at low priority, that is started when there is news."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from sweep.errors import TrackingError
from sweep.ledger.ledger import Ledger
from sweep.tracking import addresses

TRACK_EVERY = 20.0  # seconds between two looks at what the tracker could write while packs train


class Tracker:
    """Keeps MLflow up with the ledger in a process of its own, at low priority, while packs train.

    The process is started when a pack has finished, unless one runs or has just run, and once more at the end.
    """

    def __init__(self, identity: str, ledger: Ledger, tracking_uri: str | None = None) -> None:
        """Raises StorageError or TrackingError where runs could not be written; nothing is started yet."""
        ledger.check_writable()  # first, as MLflow's database usually lies in the storage
        storage = ledger.storage.uri
        uri = tracking_uri or addresses.default_uri(storage)
        addresses.check(uri)
        self.command = [
            # -P: a file of the user's called sweep.py in the working directory is not meant.
            *(sys.executable, "-P", "-m", "sweep.tracking", identity),
            *("--storage", storage),
        ]
        self.environment = {**os.environ, "MLFLOW_TRACKING_URI": uri}  # a command line is for everybody to see
        self.process: subprocess.Popen[str] | None = None
        self.started = 0.0

    def nudge(self) -> None:
        """Start a sync unless one is running or has just run."""
        running = self.process is not None and self.process.poll() is None
        if not running and time.monotonic() - self.started > TRACK_EVERY:
            self.start()

    def start(self, figures: Sequence[Path] = (), report: Path | None = None) -> None:
        """Start a sync."""
        self.started = time.monotonic()
        attached = ["--figures", *map(str, figures)] if figures else []
        attached += ["--report", str(report)] if report else []
        self.process = subprocess.Popen(
            [*self.command, *attached],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, figures: Sequence[Path] = (), report: Path | None = None) -> dict[str, int]:
        """Wait for a sync under way, then bring MLflow up to date. Raises TrackingError with what went wrong."""
        if self.process is not None:
            self.process.communicate()
        self.start(figures, report)
        assert self.process is not None
        out, err = self.process.communicate()
        if self.process.returncode != 0:
            raise TrackingError(_explanation(self.process.returncode, err.strip() or out.strip()))
        counts: dict[str, int] = json.loads(out.strip().splitlines()[-1])
        return counts


def _explanation(status: int, said: str) -> str:
    """Why a tracker ended: what it told the user, whole; of a traceback the end."""
    if status == 2 and said:
        return said
    return "\n".join([f"the tracker ended with status {status}", *said.splitlines()[-3:]])
