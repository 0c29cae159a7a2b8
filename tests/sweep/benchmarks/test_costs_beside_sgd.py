"""What a step of every method costs beside one of SGD: as a record measured it, and as planning has it declared."""

from __future__ import annotations

from typing import Any

import pytest

from sweep.benchmarks import bench_records
from sweep.benchmarks.bench_records import Record, beside_sgd, declared_beside_sgd
from sweep.benchmarks.cases import IMAGES, REGRESSION

DEAREST = 3.0  # times what is declared
WIDE = "784-100-100-100-10"


def row(arm: str, ns: float, stream: str = REGRESSION, network: str = "20-5-1", members: int = 1000) -> dict[str, Any]:
    return {"stream": stream, "network": network, "arm": arm, "members": members, "ns_per_trial_step": ns}


def record(*rows: dict[str, Any]) -> Record:
    return Record(name="r", date=None, commit=None, machine={}, versions={}, note=None, rows=rows)


def test_a_step_is_beside_sgds_of_as_many_trials_of_the_same_network() -> None:
    rows = row("sgd", 10.0), row("sgd", 99.0, members=30), row("l2", 12.5), row("l2", 7.0, network="20-50-1")
    assert [beside_sgd(each, record(*rows)) for each in rows] == [1.0, 1.0, 1.25, None]
    assert beside_sgd({**rows[2], "ns_per_trial_step": None}, record(*rows)) is None


def test_what_is_declared_is_in_steps_of_sgd() -> None:
    """L2 declares a fifth of a step; AdamO at width 100 and batch 1 a product of every matrix and its Gram matrix."""
    assert declared_beside_sgd(row("l2", 1.0, members=3000)) == pytest.approx(1.2)
    wide = {arm: declared_beside_sgd(row(arm, 1.0, IMAGES, WIDE, 30)) for arm in ("adamo", "adamo_every_16")}
    assert wide["adamo"] and wide["adamo_every_16"] and wide["adamo"] > 5 * wide["adamo_every_16"] > 5
    assert declared_beside_sgd(row("clipping", 1.0, IMAGES, WIDE, 30)) is None  # a user's own code
    assert declared_beside_sgd(row("l2", 1.0, members=17)) is None


def test_the_newest_record_has_nothing_three_times_dearer_than_declared() -> None:
    newest = bench_records.last(bench_records.oldest_first(bench_records.default_folder()), "cpu")
    assert newest is not None
    told = [(each, beside_sgd(each, newest), declared_beside_sgd(each)) for each in newest.rows if "kind" not in each]
    known = [(each["arm"], each["members"], m, d) for each, m, d in told if m is not None and d is not None]
    assert len(known) > 30
    assert not [case for case in known if case[2] > DEAREST * case[3]]
