"""Every number that is recorded is the same to the bit whoever shares the pack: a sweep's digest is one."""

from __future__ import annotations

from typing import Any

import compilers
import pytest

from workloads.diagnostics import DIAGNOSTICS
from workloads.training.loop import run_pack
from workloads.training.pack import Pack, PackMember
from workloads.training.rows import Rows

REGRESSION = {"name": "slowly_changing_regression", "tasks": 2, "period": 30}
IMAGES = {"name": "permuted_mnist", "dataset": "digits", "tasks": 2, "examples_per_task": 30}
DEEP = {"name": "mlp", "width": 12, "depth": 4}  # ten parameters and more, which are summed one after the other
WIDE = {"name": "mlp", "width": 70, "depth": 3}
MOMENTUM = {"name": "sgd", "momentum": 0.9}
# Workload, network, optimizer, path.
KINDS = [
    (REGRESSION, {"name": "mlp", "width": 5, "depth": 1}, {"name": "adam"}, "lanes"),
    (REGRESSION, DEEP, {"name": "sgd"}, "lanes"),
    pytest.param((IMAGES, WIDE, {"name": "adam"}, "online"), marks=pytest.mark.slow),
    pytest.param((IMAGES, DEEP, MOMENTUM, "lifted"), marks=pytest.mark.slow),
    pytest.param((IMAGES, WIDE, MOMENTUM, "lifted"), marks=pytest.mark.slow),
]
TOGETHER = 51  # a number that fills no vector


def config(number: int, kind: tuple[Any, ...]) -> dict[str, Any]:
    """A trial of this kind: three settings of every seed."""
    workload, network, optimizer, _ = kind
    online = "online_error" if workload is REGRESSION else "online_accuracy"
    return {
        "workload": workload,
        "network": {**network, "killed": "step"},  # so that there are units to revive
        "optimizer": {**optimizer, "step_size": 0.01 / (1 + number % 3)},
        "methods": {"continual_backprop": {"maturity_threshold": 5}},  # so that units have ages
        "seed": number // 3,
        "metrics": [online, "within_task", "plasticity_gap", *DIAGNOSTICS],
        **{"every": 1, "fresh_every": 1, "probe": 40, "dtype": "float32", "keep": "none"},
    }


def recorded(numbers: list[int], kind: tuple[Any, ...], wanted: int) -> dict[tuple[str, int, int], bytes]:
    """(metric, task, step) -> the value's bits, of one of the trials that share a pack."""
    seen: list[Rows] = []
    members = [PackMember(str(number), config(number, kind)) for number in numbers]
    run_pack(Pack(id="p", members=members, path=kind[-1]), lambda snapshot: seen.append(snapshot.rows))
    place = numbers.index(wanted)
    return {
        (rows.names[metric], int(task), int(step)): value.tobytes()
        for rows in seen
        for member, metric, task, step, value in zip(
            rows.member, rows.metric, rows.task, rows.step, rows.value, strict=True
        )
        if member == place
    }


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind[1]['width']}x{kind[1]['depth']}-{kind[-1]}")
def test_what_is_recorded_does_not_depend_on_who_shares_the_pack(
    kind: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    compilers.once(monkeypatch)
    alone = recorded([7], kind, 7)
    names = {name.partition("/")[0] for name, _, _ in alone}
    assert {"within_task", "plasticity_gap", *DIAGNOSTICS} <= names
    for numbers in ([7, 8], list(range(TOGETHER)), [3, 7, 20, 40, 41]):
        assert recorded(numbers, kind, 7) == alone
