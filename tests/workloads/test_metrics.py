"""The registry of metrics: what a pack records is in it, and what it says of a metric holds."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from sweep.tracking.drafts import first_metrics
from workloads import metrics
from workloads.diagnostics import DIAGNOSTICS
from workloads.metrics import HEADLINES, MEASURED, OnlineMetric
from workloads.streams import STREAMS
from workloads.training.loop import run_pack
from workloads.training.pack import Pack, PackMember

WIDTH = 12


def config(workload: dict[str, Any]) -> dict[str, Any]:
    stream = STREAMS[workload["name"]]
    tested = metrics.from_origin("tested") if getattr(stream, "tested", False) else ()
    return {
        "workload": workload,
        "network": {"name": "mlp", "width": WIDTH, "depth": 2, "killed": "step"},  # so that there are units to revive
        "optimizer": {"name": "sgd", "step_size": 0.01},
        "methods": {"continual_backprop": {"replacement_rate": 0.5, "maturity_threshold": 2}},
        "seed": 0,
        "metrics": [stream.online_metric, *tested, *metrics.from_origin("asked", "counted", "diagnostic")],
        **{"every": 1, "fresh_every": 1, "probe": 20, "dtype": "float32", "keep": "none"},
    }


@pytest.mark.parametrize(
    "workload",
    [
        {"name": "slowly_changing_regression", "tasks": 2, "period": 40},
        {"name": "warm_start", "dataset": "digits", "examples": 40, "batch": 10, "epochs": 20},
    ],
    ids=lambda workload: str(workload["name"]),
)
def test_what_is_recorded_is_known_and_within_its_bounds(workload: dict[str, Any]) -> None:
    asked = config(workload)
    recorded: dict[str, list[float]] = {}

    def report(snapshot: Any) -> None:
        for code, value in zip(snapshot.rows.metric, snapshot.rows.value, strict=True):
            recorded.setdefault(snapshot.rows.names[code], []).append(float(value))

    run_pack(Pack(id="p", members=[PackMember("a", asked)], path="looped"), report)
    assert {name.partition("/")[0] for name in recorded} == set(asked["metrics"])
    for name, values in recorded.items():
        metric = metrics.of(name)
        assert metric is not None
        assert ("/" in name) <= (metric.per_layer or metric.per_matrix or metric.deciles or metric.stretches > 0)
        low, high = metric.bounds
        most = float(WIDTH) if high == "units" else high
        assert all((low is None or low <= value) and (most is None or value <= most + 1e-6) for value in values), name


def test_everything_known_says_what_it_is() -> None:
    assert set(metrics.known()) == {*MEASURED, *DIAGNOSTICS}
    assert all(len(metric.meaning) > 20 and metric.label for metric in metrics.known().values())
    assert set(metrics.DEFAULTS) < set(DIAGNOSTICS)


def test_what_judges_a_sweep_has_a_direction() -> None:
    assert [metrics.higher_is_better(name) for name in HEADLINES] == [True, True, False, True, True]
    assert list(MEASURED)[: len(HEADLINES)] == list(HEADLINES), "the order of lists begins with what judges"
    assert {stream.online_metric for stream in STREAMS.values()} <= set(get_args(OnlineMetric)) <= set(HEADLINES)


def test_lists_begin_with_what_judges_and_end_with_parts() -> None:
    names = ["effective_rank/1", "weight_magnitude", "online_accuracy", "within_task/2", "effective_rank", "own"]
    names += ["test_accuracy", "plasticity_gap"]
    ordered = ["test_accuracy", "online_accuracy", "plasticity_gap", "effective_rank", "own", "weight_magnitude"]
    assert metrics.ranked(names) == [*ordered, "within_task/2", "effective_rank/1"]
    assert first_metrics(names, 1) == ["test_accuracy"], "runs are sorted by the headline: it is always tracked"
