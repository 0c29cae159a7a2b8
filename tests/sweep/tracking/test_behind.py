"""The tracker that runs behind a sweep: how it ends, what it shows, how often it is nudged."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sweep.errors import TrackingError
from sweep.ledger.ledger import Ledger
from sweep.tracking.behind import Tracker


def test_a_tracker_that_ends_badly(alone: None, tmp_path: Path) -> None:
    tracker = Tracker("tiny@full", Ledger(tmp_path / "st"))
    assert tracker.command[:4] == [sys.executable, "-P", "-m", "sweep.tracking"] and "tiny@full" in tracker.command
    tracker.command = [sys.executable, "-c", "import sys; print('first\\nthe reason', file=sys.stderr); sys.exit(2)"]
    with pytest.raises(TrackingError, match=r"^first\nthe reason$"):
        tracker.finish()
    tracker.command = [sys.executable, "-c", "{}['gone']"]
    with pytest.raises(TrackingError, match=r"ended with status 1\n(.*\n)*KeyError: 'gone'"):
        tracker.finish()
    tracker.command = [sys.executable, "-c", "import sys; sys.exit(3)"]
    with pytest.raises(TrackingError, match="the tracker ended with status 3"):
        tracker.finish()
    tracker.command = [sys.executable, "-c", "print('noise'); print('{\"created\": 1}')"]
    assert tracker.finish() == {"created": 1}


def test_the_address_of_the_tracking_server_is_in_no_command_line(alone: None, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/s3cret.db"
    tracker = Tracker("tiny@full", Ledger(tmp_path / "st"), uri)
    assert not any("s3cret" in word for word in tracker.command)
    tracker.command = [sys.executable, "-c", "import os; print(os.environ['MLFLOW_TRACKING_URI'], 'x')"]
    tracker.start()
    assert tracker.process is not None and tracker.process.communicate()[0] == f"{uri} x\n"


def test_the_tracker_is_nudged_seldom(alone: None, tmp_path: Path) -> None:
    tracker = Tracker("tiny@full", Ledger(tmp_path / "st"))
    tracker.command = [sys.executable, "-c", "print('{}')"]
    tracker.nudge()
    first = tracker.process
    tracker.nudge()
    assert first is not None and tracker.process is first
    first.communicate()
    tracker.nudge()
    assert tracker.process is first, "one has just run"
