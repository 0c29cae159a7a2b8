"""Frames: numbers worked out by hand, and what happens to seeds that are lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from synthetic import Done

from sweep.errors import InputError
from sweep.ledger.ledger import Ledger
from sweep.results import frames, selections, windows
from sweep.results.bands import bands
from sweep.results.differences import paired_difference
from sweep.trials import Trial

TASKS = 4


@dataclass(frozen=True)
class Record:
    trials: list[Trial]
    identity: str = "toy@laptop"
    manifest: dict[str, Any] = field(default_factory=dict)

    @property
    def arms(self) -> list[str]:
        return list(dict.fromkeys(arm for trial in self.trials for arm in trial.arms))


@dataclass
class FakeLedger:
    """What frames ask of a ledger, from lists."""

    statuses: dict[str, str]
    rows: list[tuple[str, str, int, int, float]]

    def ends(self) -> dict[str, Done]:
        return {trial: Done(status, TASKS) for trial, status in self.statuses.items() if status != "failed"}

    def done(self) -> dict[str, Done]:
        return {
            trial: Done(status, TASKS)
            for trial, status in self.statuses.items()
            if status not in ("failed", "censored")
        }

    def failures(self) -> dict[str, str]:
        return {trial: "why" for trial, status in self.statuses.items() if status == "failed"}

    def curves(self, ids: list[str], metrics: list[str] | None = None) -> pa.Table:
        rows = [row for row in self.rows if row[0] in ids and (metrics is None or row[1] in metrics)]
        columns = list(zip(*rows, strict=True)) if rows else [[], [], [], [], []]
        kinds = [pa.string(), pa.string(), pa.int32(), pa.int64(), pa.float64()]
        arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
        arrays[:2] = [array.dictionary_encode() for array in arrays[:2]]
        return pa.table(dict(zip(("trial", "metric", "task", "step", "value"), arrays, strict=True)))


def config(seed: int, step_size: float = 0.01, methods: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "workload": {"name": "slowly_changing_regression", "tasks": TASKS, "batch": 1},
        "network": {"name": "mlp", "width": 5, "depth": 1, "activation": "relu"},
        "optimizer": {"name": "sgd", "step_size": step_size},
        "methods": methods or {},
        "seed": seed,
        "metrics": ["online_error"],
        "every": 10,
    }


@pytest.fixture
def toy() -> tuple[Record, FakeLedger]:
    """Arm a: seed 1 of 0 to 2 diverges in task 2 and seed 2 at once; arm b: seed 0, not yet run."""
    trials = [Trial(f"a{seed}", config(seed), ("a",), "ga") for seed in range(3)]
    cbp = config(0, methods={"continual_backprop": {"replacement_rate": 1e-4}})
    record = Record([*trials, Trial("b0", cbp, ("b",), "gb")])
    values = {"a0": [1.0, 2.0, 3.0, 4.0], "a1": [3.0, 4.0]}
    rows = [
        (trial, "online_error", task, 10 * (task + 1), value)
        for trial, curve in values.items()
        for task, value in enumerate(curve)
    ]
    return record, FakeLedger({"a0": "done", "a1": "diverged", "a2": "diverged"}, rows)


def test_curves_are_tidy(toy: tuple[Record, FakeLedger]) -> None:
    frame = frames.curves(*toy)
    assert tuple(frame.columns) == frames.COLUMNS
    assert frame.iloc[-1].to_list() == [
        "toy@laptop", "a1", "a", "slowly_changing_regression", 1, 1, 20, "online_error", 4.0
    ]  # fmt: skip


def test_curves_of_nothing_done(toy: tuple[Record, FakeLedger]) -> None:
    frame = frames.curves(toy[0], FakeLedger({}, []))
    assert frame.empty and tuple(frame.columns) == frames.COLUMNS


def test_trials_keep_every_status_and_flatten_the_config(toy: tuple[Record, FakeLedger]) -> None:
    trials = frames.trials(*toy)
    assert trials["status"].to_dict() == {"a0": "done", "a1": "diverged", "a2": "diverged", "b0": "pending"}
    assert trials.loc["b0", "continual_backprop.replacement_rate"] == 1e-4
    assert np.isnan(trials.loc["a0", "continual_backprop.replacement_rate"])
    assert trials["methods"].to_list() == ["", "", "", "continual_backprop"]
    assert trials.loc["a2", "optimizer.step_size"] == 0.01
    assert frames.varying(trials, "optimizer.") == []
    toy[1].statuses["b0"] = "failed"
    assert frames.trials(*toy)["status"].to_dict()["b0"] == "failed"


def shown(toy: tuple[Record, FakeLedger]) -> pd.DataFrame:
    """What figures are drawn of."""
    return frames.observed(frames.trials(*toy), frames.curves(*toy), "online_error")


def test_a_censored_trial_is_shown_as_such_and_is_in_no_mean(toy: tuple[Record, FakeLedger]) -> None:
    before = shown(toy)
    toy[1].statuses["b0"] = "censored"
    trials = frames.trials(*toy)
    assert (trials.loc["b0", "status"], trials.loc["b0", "ended"]) == ("censored", TASKS)
    assert shown(toy).equals(before)
    assert frames.varying(trials, "continual_backprop.") == ["continual_backprop.replacement_rate"]


def test_a_trial_of_two_arms_counts_in_both(toy: tuple[Record, FakeLedger]) -> None:
    record, ledger = toy
    tuned = [Trial(f"c{seed}", config(seed, 1e-6), ("tuned",), "gc") for seed in range(3)]
    shared = [Trial(f"a{seed}", config(seed), ("default", "tuned"), "ga") for seed in range(3)]
    ledger.statuses |= {f"{arm}{seed}": "done" for arm in "ac" for seed in range(3)}
    values = {f"a{seed}": 1.0 + seed for seed in range(3)} | {f"c{seed}": 9.0 for seed in range(3)}
    ledger.rows = [(trial, "online_error", task, 10, value) for trial, value in values.items() for task in range(4)]
    record = Record([*shared, *tuned])
    trials, curves = frames.trials(record, ledger), frames.curves(record, ledger)
    assert trials.groupby("arm").size().to_dict() == {"default": 3, "tuned": 6}
    assert curves.groupby("arm", observed=True).size().to_dict() == {"default": 12, "tuned": 24}
    late = windows.late(frames.observed(trials, curves, "online_error"))
    best = selections.best_settings(trials, late, ["arm"])
    assert best[["arm", "group", "candidates"]].values.tolist() == [["default", "ga", 1], ["tuned", "ga", 2]]


def test_the_axes_that_vary_are_columns(toy: tuple[Record, FakeLedger]) -> None:
    record, ledger = toy
    slow = [Trial(f"c{seed}", config(seed, 1e-6), ("a",), "gc") for seed in range(2)]
    ledger.rows += [(trial.id, "online_error", 0, 10, 7.0) for trial in slow]
    ledger.statuses |= dict.fromkeys(("c0", "c1", "b0"), "done")
    ledger.rows.append(("b0", "online_error", 0, 10, 8.0))
    record = Record([*record.trials, *slow])
    trials, curves = frames.trials(record, ledger), frames.curves(record, ledger)
    assert frames.axes(trials) == ["optimizer.step_size"], "one rate in one arm tells no settings apart"
    wide = frames.with_axes(curves, trials)
    assert list(wide.columns) == [*frames.COLUMNS, "optimizer.step_size"]
    pd.testing.assert_frame_equal(wide[list(frames.COLUMNS)], curves)
    assert wide.groupby("optimizer.step_size")["value"].unique().map(set).to_dict() == {
        1e-6: {7.0}, 0.01: {1.0, 2.0, 3.0, 4.0, 8.0}
    }  # fmt: skip


def test_observed_fills_the_grid_of_diverged_trials(toy: tuple[Record, FakeLedger]) -> None:
    values = frames.observed(frames.trials(*toy), frames.curves(*toy), "online_error")
    assert values["trial"].value_counts().to_dict() == {"a0": 4, "a1": 4, "a2": 4}
    assert values.loc[values["trial"] == "a1", "value"].isna().to_list() == [False, False, True, True]
    late = windows.late(values).set_index("trial")["value"]
    assert late["a0"] == 4.0 and late[["a1", "a2"]].isna().all()


def test_bands_count_who_is_there_and_who_is_lost(toy: tuple[Record, FakeLedger]) -> None:
    values = frames.observed(frames.trials(*toy), frames.curves(*toy), "online_error")
    found = bands(values, ["arm", "task"])
    assert found["mean"].to_list() == [2.0, 3.0, 3.0, 4.0]
    assert found["seeds"].to_list() == [2, 2, 1, 1]
    assert found["diverged"].to_list() == [1, 1, 2, 2]
    assert found["ci_low"].isna().to_list() == [False, False, True, True]


def test_the_interval_of_two_seeds_is_students() -> None:
    """Of {0, 1} the standard error is 1/2, and t reaches 12.7062 of them with one degree of freedom."""
    found = bands(pd.DataFrame({"arm": "a", "seed": [0, 1], "value": [0.0, 1.0]}), ["arm"])
    row = found[["mean", "ci_low", "ci_high", "seeds"]].iloc[0].to_list()
    assert row == pytest.approx([0.5, 0.5 - 6.3531, 0.5 + 6.3531, 2], abs=1e-4)
    assert "diverged" not in found


def test_the_interval_covers_as_normal_theory_says() -> None:
    values = np.random.default_rng(0).normal(size=400)
    band = bands(pd.DataFrame({"seed": range(400), "value": values}), []).iloc[0]
    assert band["mean"] == pytest.approx(values.mean())
    assert band["ci_high"] - band["ci_low"] == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.06)


def test_a_band_does_not_depend_on_its_neighbours() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"arm": np.repeat(["a", "b"], 10), "seed": list(range(10)) * 2, "value": rng.normal(size=20)})
    both = bands(frame, ["arm"], seed=3)
    alone = bands(frame[frame["arm"] == "b"], ["arm"], seed=3)
    pd.testing.assert_frame_equal(both[both["arm"] == "b"].reset_index(drop=True), alone)
    assert not bands(frame, ["arm"], seed=4).equals(both)


def test_bands_of_one_seed_have_no_interval() -> None:
    band = bands(pd.DataFrame({"seed": [7], "value": [2.0]}), []).iloc[0]
    assert band["mean"] == 2.0 and np.isnan(band["ci_low"]) and np.isnan(band["ci_high"])


def test_bands_refuse_two_settings_in_one() -> None:
    with pytest.raises(InputError, match="bands over arm: seed 0 has several values.*'group'"):
        bands(pd.DataFrame({"arm": "a", "seed": [0, 0], "value": [1.0, 2.0]}), ["arm"])


def test_bins_are_means_and_drop_the_leftover() -> None:
    frame = pd.DataFrame(
        {"trial": "t", "task": range(5), "step": [10, 20, 30, 40, 50], "value": [1.0, 3.0, 5.0, np.nan, 9.0]}
    )
    binned = frames.bins(frame, 2)
    assert binned["task"].to_list() == [1, 3]
    assert binned["step"].to_list() == [20, 40]
    assert binned["value"].iloc[0] == 2.0 and np.isnan(binned["value"].iloc[1])
    pd.testing.assert_frame_equal(frames.bins(frame, 1)[list(frame)], frame)
    with pytest.raises(InputError, match="at least 1"):
        frames.bins(frame, 0)


def test_bins_keep_what_is_recorded_seldom() -> None:
    frame = pd.DataFrame({"trial": "t", "task": [0, 10, 20], "step": [0, 100, 200], "value": [1.0, 2.0, 3.0]})
    assert frames.bins(frame, 2)["value"].to_list() == [1.0, 2.0, 3.0]


def test_paired_difference_is_over_shared_seeds() -> None:
    """Seeds 1 and 2 are shared; differences 1 and 3 whatever the seeds' own level."""
    a = pd.DataFrame({"arm": "a", "seed": [0, 1, 2], "value": [50.0, 11.0, 103.0]})
    b = pd.DataFrame({"arm": "b", "seed": [1, 2, 3], "value": [10.0, 100.0, 70.0]})
    row = paired_difference(pd.concat([a, b]), "a", "b").iloc[0]
    assert row[["mean", "ci_low", "ci_high", "seeds"]].to_list() == pytest.approx([2.0, 2 - 12.7062, 2 + 12.7062, 2])
    assert paired_difference(pd.concat([a, b]), "b", "a")["mean"].iloc[0] == -2.0


def test_paired_difference_names_what_is_missing() -> None:
    frame = pd.DataFrame({"arm": ["a", "b"], "seed": [0, 1], "value": [1.0, 2.0]})
    with pytest.raises(InputError, match="no arm 'c' to compare: there are a, b"):
        paired_difference(frame, "a", "c")
    with pytest.raises(InputError, match="share no seed"):
        paired_difference(frame, "a", "b")


def test_paired_difference_per_task_counts_diverged_pairs() -> None:
    frame = pd.DataFrame(
        {
            "arm": ["a"] * 4 + ["b"] * 4,
            "seed": [0, 0, 1, 1] * 2,
            "task": [0, 1] * 4,
            "status": ["done"] * 2 + ["diverged"] * 2 + ["done"] * 4,
            "value": [1.0, 1.0, 1.0, np.nan, 0.0, 0.0, 2.0, 2.0],
        }
    )
    rows = paired_difference(frame, "a", "b", by=["task"])
    assert rows["mean"].to_list() == [0.0, 1.0]
    assert rows["seeds"].to_list() == [2, 1] and rows["diverged"].to_list() == [0, 1]


def test_the_best_setting_has_fewest_diverged_then_the_best_mean() -> None:
    late = pd.DataFrame(
        {
            "trial": ["p0", "p1", "q0", "q1", "r0", "r1"],
            "arm": "a",
            "group": ["p", "p", "q", "q", "r", "r"],
            "seed": [0, 1] * 3,
            "status": ["done", "diverged", "done", "done", "done", "done"],
            "value": [0.1, np.nan, 0.5, 0.7, 0.9, 0.8],
        }
    )
    trials = late.set_index("trial")[["arm"]]
    lowest = selections.best_settings(trials, late.assign(metric="online_error"), ["arm"]).iloc[0]
    assert lowest["group"] == "q" and lowest["candidates"] == 3
    assert selections.best_settings(trials, late.assign(metric="online_accuracy"), [])["group"].to_list() == ["r"]


def test_missing_metrics_say_what_to_record(toy: tuple[Record, FakeLedger]) -> None:
    trials = frames.trials(*toy)
    assert frames.headline(trials) == "online_error"
    with pytest.raises(InputError, match="records effective_rank: add one of them to `metrics:`"):
        frames.headline(trials.assign(metrics="effective_rank"))
    with pytest.raises(InputError, match="no trial of this sweep has finished"):
        frames.headline(trials.assign(status="pending"))
    with pytest.raises(InputError, match="no values of effective_rank: add it to `metrics:`"):
        frames.observed(trials, frames.curves(*toy), "effective_rank")


def test_the_real_ledgers_empty_answer_is_understood(tmp_path: Path) -> None:
    record = Record([Trial("a0", config(0), ("a",), "ga")])
    ledger = Ledger(str(tmp_path))
    assert frames.trials(record, ledger)["status"].to_list() == ["pending"]
    assert frames.curves(record, ledger).empty
