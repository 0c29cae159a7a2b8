"""Packs that commit made-up values to a ledger."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa

from sweep.ledger.commits import PACKS, Attempt
from sweep.ledger.ledger import Ledger
from sweep.ledger.sweeps import SweepRecord


def make_record(name: str = "study", scale: str = "paper", first: int = 0, trials: int = 3) -> SweepRecord:
    from sweep.trials import Trial

    config = {"workload": {"name": "w", "rate": 1e-3}, "methods": {"é": {"a": None}}}
    made = [Trial(f"{first + i:016x}", {**config, "seed": i}, (f"arm{i % 2}", "all"), "group") for i in range(trials)]
    return SweepRecord(name, scale, "# a question?\nseeds: 3\n", {"track": {"metrics": 6}}, made)


TASKS = 4
PERIOD = 100  # steps per task
NAMES = ("online_error", "effective_rank")


@dataclass(frozen=True)
class Snap:
    """Field for field a Snapshot of workloads.training.pack, which imports torch."""

    tasks: int
    step: int
    rows: Any
    statuses: list[str]
    ended: list[int]
    checkpoint: bytes | None
    weights: dict[str, bytes]


def make_pack(id: str = "pack", members: int = 3, first: int = 0) -> Any:
    trials = [SimpleNamespace(id=f"{first + i:016x}", config={"seed": i}) for i in range(members)]
    return SimpleNamespace(id=id, members=trials, to_json=lambda: json.dumps({"id": id}))


def value(member: int, metric: int, task: int) -> float:
    return 100.0 * member + 10.0 * metric + task


def make_rows(pack: Any, task: int, change: Callable[[float], float] = lambda v: v) -> Any:
    """One value per member and metric."""
    member, metric = np.divmod(np.arange(len(pack.members) * len(NAMES)), len(NAMES))
    return SimpleNamespace(
        names=NAMES,
        member=member.astype(np.int32),
        metric=metric.astype(np.int16),
        task=np.full(len(member), task, np.int32),
        step=np.full(len(member), (task + 1) * PERIOD, np.int64),
        value=np.array([change(value(i, j, task)) for i, j in zip(member, metric, strict=True)]),
    )


def snap(pack: Any, task: int, **changes: Any) -> Any:
    """The snapshot after a task."""
    finished = task + 1 == TASKS
    count = len(pack.members)
    return replace(
        Snap(
            tasks=task + 1,
            step=(task + 1) * PERIOD,
            rows=make_rows(pack, task),
            statuses=["done" if finished else "running"] * count,
            ended=[task + 1] * count,
            checkpoint=None if finished else b"checkpoint %d" % task,
            weights={},
        ),
        **changes,
    )


def train(ledger: Ledger, pack: Any, first: int = 0, last: int = TASKS, resume: Any = None) -> Attempt:
    attempt = ledger.open(pack, resume=resume)
    for task in range(first, last):
        attempt.commit(snap(pack, task))
    return attempt


def ids(pack: Any) -> list[str]:
    return [member.id for member in pack.members]


def expected(pack: Any) -> list[tuple[str, str, int, int, float]]:
    """All rows of a pack, in order."""
    return sorted(
        (trial, name, task, (task + 1) * PERIOD, value(i, j, task))
        for i, trial in enumerate(ids(pack))
        for j, name in enumerate(NAMES)
        for task in range(TASKS)
    )


def as_rows(table: pa.Table) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in table.to_pylist()]


def folder(ledger: Ledger, pack: str = "pack") -> Path:
    assert ledger.storage.folder is not None
    return ledger.storage.folder / PACKS / pack


def again(ledger: Ledger) -> Ledger:
    """As another process sees it."""
    return Ledger(ledger.storage)
