"""Every command that tells of a sweep, on sweeps that have little to tell."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from commits import Snap
from tiny import Command

from sweep import service

SWEEP = """\
# What is there to say?
workload: {{name: slowly_changing_regression, tasks: 4, period: 50}}
network: {{width: 3}}
seeds: {seeds}
arms:
  sgd: {{optimizer: sgd, step_size: [0.01, 0.003]}}
  adam: {{optimizer: adam, step_size: 0.001}}
metrics: [online_error, effective_rank]
diagnostics: {{every: 1, probe: 20}}
"""
NAMES = ("online_error", "effective_rank")
COMMANDS = {
    "list": ["list"],
    "status": ["status", "mine"],
    "results": ["results", "mine"],
    "compare": ["compare", "mine", "adam", "sgd"],
    "report": ["report", "mine"],
    "claims": ["claims", "mine"],
    "watch": ["watch", "mine", "--once"],
    "figure": ["figure", "mine", "--name", "arms"],
}
EMPTY = (2, "no trial of this sweep has finished yet")
SAID = {  # state -> command -> how it ends, and what it says
    "empty": {
        "list": (0, "0 %"),
        "status": (0, "9 trials, 0 done, 0 diverged, 9 left"),
        "results": EMPTY,
        "compare": EMPTY,
        "report": (0, "mine@full.html"),
        "claims": EMPTY,
        "watch": (0, "nothing is committed yet"),
        "figure": EMPTY,
    },
    "one seed": {
        "list": (0, "100 %"),
        "status": (0, "3 trials, 3 done"),
        "results": (0, "With 1 seed in common no difference"),
        "compare": (0, "With 1 seed in common no difference"),
        "report": (0, "mine@full.csv"),
        "claims": (0, "undecided"),
        "watch": (0, "100 %"),
        "figure": (0, "arms.png"),
    },
    "all diverged": {
        "list": (0, "100 % 9"),
        "status": (0, "0 done, 9 diverged"),
        "results": (0, "3 of 3 diverged, in task 1"),
        "compare": (0, "One of them has no value"),
        "report": (0, "mine@full.html"),
        "claims": (0, "no value at the end"),
        "watch": (0, "9 diverged"),
        "figure": (0, "arms.png"),
    },
    "half": {
        "list": (0, "0 %"),
        "status": (0, "9 left"),
        "results": EMPTY,
        "compare": EMPTY,
        "report": (0, "mine@full.html"),
        "claims": EMPTY,
        "watch": (0, "after 2 of 4 tasks"),
        "figure": EMPTY,
    },
}


def snapshot(count: int, state: str) -> Snap:
    """What a pack of so many trials commits."""
    tasks = {"half": 2, "all diverged": 0}.get(state, 4)
    member, metric, task = (grid.ravel() for grid in np.indices((count, 2, tasks)))
    rows: Any = SimpleNamespace(
        names=NAMES,
        member=member.astype(np.int32),
        metric=metric.astype(np.int16),
        task=task.astype(np.int32),
        step=(task + 1).astype(np.int64) * 50,
        value=1.0 + member + 0.1 * task,
    )
    status = {"half": "running", "all diverged": "diverged"}.get(state, "done")
    return Snap(tasks, 50 * tasks, rows, [status] * count, [tasks] * count, b"state" if state == "half" else None, {})


@pytest.fixture(scope="module", params=SAID)
def state(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A storage with a sweep in one of these states."""
    folder = tmp_path_factory.mktemp("any")
    file, name = folder / "mine.yaml", str(request.param)
    file.write_text(SWEEP.format(seeds=1 if name == "one seed" else 3))
    planned = service.plan(file, storage=str(folder / "storage"), workers=1)
    planned.ledger.save_sweep(service.record_of(planned, {}, None))
    for pack in planned.packs if name != "empty" else ():
        described: Any = SimpleNamespace(id=pack.id, members=pack.trials, to_json=lambda: "{}")
        planned.ledger.open(described).commit(snapshot(len(pack.trials), name))  # type: ignore[arg-type]
    return name, folder / "storage"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_something_sensible_to_say(command: Command, state: tuple[str, Path], name: str) -> None:
    which, storage = state
    code, words = SAID[which][name]
    said = command(*COMMANDS[name], "--storage", storage)
    assert said.code == code and "Traceback" not in said.err, said
    assert words in " ".join((said.err if code else said.out).split()), said
    assert not code or said.err.count("\n") == 1, "a sentence"
