"""Every stream of pictures trains in a pack, is tested where it says so, and resumes to the same bits."""

from __future__ import annotations

from typing import Any

import pytest

from workloads.streams import STREAMS
from workloads.training.loop import run_pack
from workloads.training.pack import Pack, PackMember, Snapshot

pytestmark = pytest.mark.usefixtures("marked")

WORKLOADS: list[dict[str, Any]] = [
    {"name": "continual_imagenet", "tasks": 3, "epochs": 2, "batch": 6, "pairs": "fresh", "test_every": 1},
    {"name": "incremental_cifar", "classes": 6, "classes_per_stage": 2, "epochs": 2, "batch": 6}
    | {"validation_per_class": 3},
    {"name": "relabelled", "examples": 20, "tasks": 3, "epochs": 1, "batch": 2, "gradual": 5},
    {"name": "warm_start", "epochs": 2, "batch": 6},
]


def run(workload: dict[str, Any], resume: bytes | None = None) -> tuple[list[Snapshot], dict[Any, list[float]]]:
    """All snapshots, and values by (metric, task)."""
    stream = STREAMS[workload["name"]]
    config = {
        "workload": {**workload, "dataset": "glyphs"},
        "network": {"name": "mlp", "width": 16, "depth": 1},
        "optimizer": {"name": "sgd", "step_size": 0.003},
        "methods": {},
        "metrics": ["online_accuracy", "effective_rank", *(["test_accuracy", "test_accuracy_max"] * stream.tested)],
        "every": 1,
        "probe": 10,
        "dtype": "float32",
        "keep": "none",
    }
    members = [PackMember(f"t{seed}", {**config, "seed": seed}) for seed in (1, 2)]
    seen: list[Snapshot] = []
    run_pack(Pack(id="p", members=members, path="looped"), seen.append, resume, commit_seconds=0)
    values: dict[Any, list[float]] = {}
    for rows in (snapshot.rows for snapshot in seen):
        for member, metric, task, value in zip(rows.member, rows.metric, rows.task, rows.value, strict=True):
            values.setdefault((rows.names[metric], int(task)), []).insert(int(member), float(value))
    return seen, values


@pytest.mark.parametrize("workload", WORKLOADS, ids=[w["name"] for w in WORKLOADS])
def test_it_trains_and_resumes(workload: dict[str, Any]) -> None:
    snapshots, values = run(workload)
    assert snapshots[-1].statuses == ["done", "done"]
    tasks = snapshots[-1].tasks
    names = {"online_accuracy", "effective_rank"}
    if STREAMS[workload["name"]].tested:
        names |= {"test_accuracy", "test_accuracy_max"}
    assert set(values) == {(name, task) for name in names for task in range(tasks)}
    assert all(len(found) == 2 and found[0] != found[1] for (n, _), found in values.items() if n == "effective_rank")
    middle = snapshots[len(snapshots) // 2]
    again = run(workload, middle.checkpoint)[1]
    assert again and again.items() <= values.items()
