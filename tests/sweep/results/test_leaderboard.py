"""The leaderboard: numbers worked out by hand, and sweeps in which arms are lost."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import synthetic

from sweep.errors import InputError
from sweep.results import answers, leaderboard
from sweep.results.leaderboard import Leaderboard, Standing, of_frames
from sweep.trials import Trial

FILE = synthetic.regression(
    synthetic.ARMS, tasks=20, seeds=8, width=5, question="Which is best?", metrics="online_error"
)
# Late error of (optimizer, step size, depth) without the seed's part; the first 18 tasks are at 5.
LATE = {("sgd", 0.01, 1): 2.0, ("sgd", 0.003, 1): 1.0, ("adam", 0.01, 1): 3.0, ("adam", 0.001, 1): 0.5}


def late_error(trial: Trial) -> float:
    """Its setting's error and 0.01 for each seed."""
    optimizer = trial.config["optimizer"]
    key = optimizer["name"], optimizer["step_size"], trial.config["network"]["depth"]
    return LATE.get(key, 1.0) + 0.01 * trial.config["seed"]


def curve(trial: Trial, metric: str) -> np.ndarray:
    return np.r_[np.full(18, 5.0), np.full(2, late_error(trial))]


def board(text: str = FILE, values: synthetic.Values = curve, *, seeds: int = 8, **options: Any) -> Leaderboard:
    made = synthetic.sweep(text.replace("seeds: 8", f"seeds: {seeds}"), values, **options)
    return of_frames(made.record, *made.frames())


def by_arm(found: Leaderboard) -> dict[str, Standing]:
    return {standing.arm: standing for standing in found.standings}


def test_arms_stand_at_their_best_setting_by_the_last_tenth() -> None:
    found = board()
    assert (found.metric, found.higher, found.first) == ("online_error", False, "sgd")
    assert (found.trials, found.finished, found.diverged) == (40, 40, 0)
    assert [standing.name for standing in found.standings] == ["adam 0.001", "sgd 0.003", "linear"]
    sgd = by_arm(found)["sgd"]
    assert sgd.late.mean == pytest.approx(1.0 + 0.01 * 3.5) and sgd.late.seeds == sgd.members == 8
    assert sgd.late.low < sgd.late.mean < sgd.late.high
    assert (sgd.candidates, sgd.settings, sgd.difference, sgd.verdict) == (
        2, {"optimizer.step_size": 0.003}, None, "first"
    )  # fmt: skip


def test_differences_are_paired_by_seed_and_have_a_direction() -> None:
    arms = by_arm(board())
    difference = arms["adam"].difference
    assert difference is not None and difference.seeds == 8
    # Within each seed the difference is the same, so its interval is a point, whatever the seeds' spread.
    assert (difference.estimate.mean, difference.estimate.low, difference.estimate.high) == pytest.approx((-0.5,) * 3)
    assert (difference.probability, difference.p) == (1.0, difference.adjusted / 2)  # of two comparisons
    assert (arms["adam"].verdict, arms["linear"].verdict) == (
        "better",
        "no difference told",
    )  # linear is as good as sgd
    accuracy = by_arm(
        board(
            FILE.replace(
                "slowly_changing_regression, tasks: 20, period: 100", "permuted_mnist, tasks: 20, dataset: digits"
            ).replace("online_error", "online_accuracy")
        )
    )
    assert accuracy["adam"].name == "adam 0.01" and accuracy["adam"].verdict == "better"


def test_the_sentence_says_what_can_be_told_apart() -> None:
    assert answers.sentence(board().standings) == (
        "adam beats sgd by 0.5 [0.5, 0.5], 8 seeds. Beside sgd, at 95% over 2 comparisons: better: adam; no difference"
        " told: linear."
    )


@pytest.mark.parametrize(("seeds", "said"), [(1, "With 1 seed in common"), (5, "With 5 seeds in common")])
def test_few_seeds_tell_nothing_apart(seeds: int, said: str) -> None:
    found = board(seeds=seeds)
    assert {standing.verdict for standing in found.standings} == {"first", "too few seeds"}
    assert answers.sentence(found.standings).startswith(said)


def test_a_setting_that_diverges_less_goes_first_and_what_is_lost_is_counted() -> None:
    def values(trial: Trial, metric: str) -> np.ndarray:
        whole = curve(trial, metric)
        if trial.config["optimizer"]["step_size"] == 0.01 and trial.config["seed"] < 2:
            whole[3 + trial.config["seed"] :] = np.nan
        return whole

    text = FILE.replace("step_size: [0.01, 0.001]", "step_size: 0.01")
    found = board(text, values)
    adam = by_arm(found)["adam"]
    assert (adam.diverged, adam.members, adam.late.seeds, adam.diverged_in) == (2, 8, 6, (3, 4))
    assert adam.late.mean == pytest.approx(3.0 + 0.01 * np.arange(2, 8).mean())
    assert adam.difference is not None and adam.difference.seeds == 6
    assert answers.lost(adam) == "2 of 8 diverged, in tasks 4 to 5"
    assert found.diverged == 4 and by_arm(found)["sgd"].diverged == 0


def test_an_arm_that_diverged_wholly_is_a_result() -> None:
    for arm, task in (("adam", 0), ("adam", 3), ("sgd", 0)):

        def values(trial: Trial, metric: str, arm: str = arm, task: int = task) -> np.ndarray:
            return synthetic.lost_at(task, curve)(trial, metric) if arm in trial.arms else curve(trial, metric)

        found = board(values=values)
        gone = by_arm(found)[arm]
        assert (gone.diverged, gone.late.seeds) == (8, 0) and math.isnan(gone.late.mean)
        assert found.standings[-1] is gone
        assert answers.lost(gone) == f"8 of 8 diverged, in task {task + 1}"
        said = answers.sentence(found.standings)
        if arm == "sgd":
            assert said.startswith("sgd has no value to compare with: 8 of 8 diverged, in task 1")
        else:
            assert gone.verdict == "nothing to compare" and "nothing to compare: adam" in said


@pytest.mark.parametrize("task", [0, 1, 7])
def test_a_sweep_that_diverged_wholly_has_a_leaderboard(task: int) -> None:
    found = board(values=synthetic.lost_at(task))
    assert len(found.standings) == 3 and found.diverged == found.trials
    assert all(standing.late.seeds == 0 for standing in found.standings)
    json.dumps(asdict(found))


def test_axes_of_the_network_make_panels_and_a_linear_learner_stands_in_each() -> None:
    found = board(FILE.replace("width: 5", "width: [5, 10]"))
    panels = dict(found.panels())
    assert list(panels) == ["width 5", "width 10"]
    for standings in panels.values():
        assert {standing.arm for standing in standings} == {"sgd", "adam", "linear"}
        assert [standing.verdict for standing in standings].count("first") == 1
        assert all("width" not in standing.name for standing in standings)


def test_a_setting_of_two_arms_stands_in_both() -> None:
    arms = "  default: {optimizer: sgd, step_size: 0.003}\n  tuned: {optimizer: sgd, step_size: [0.003, 0.01]}\n"
    found = board(FILE[: FILE.index("  sgd:")] + arms)
    default, tuned = (by_arm(found)[arm] for arm in ("default", "tuned"))
    assert default.group == tuned.group and (default.candidates, tuned.candidates) == (1, 2)
    assert found.trials == 16 and tuned.difference is not None
    assert (tuned.difference.estimate.mean, tuned.verdict) == (0.0, "no difference told")


def test_rows_are_flat() -> None:
    rows = leaderboard.rows(board())
    assert [row["arm"] for row in rows] == ["adam", "sgd", "linear"]
    assert rows[0]["difference_mean"] == pytest.approx(-0.5) and math.isnan(rows[1]["difference_mean"])
    assert rows[0]["setting"] == "step size 0.001"


def test_nothing_finished_is_an_error() -> None:
    with pytest.raises(InputError, match="no trial of this sweep has finished yet"):
        board(pending=lambda trial: True)


def test_a_running_sweep_says_how_much_of_it_has_finished() -> None:
    found = board(pending=lambda trial: "linear" in trial.arms)
    assert (found.trials, found.finished) == (40, 32) and len(found.standings) == 2
