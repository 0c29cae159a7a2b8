"""Comparisons, verdicts and honest selection, on sweeps whose truth is known."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import synthetic

from sweep.cli import comparing
from sweep.errors import InputError
from sweep.results import answers, comparisons, kept, leaderboard, verdicts
from sweep.results.comparisons import Comparison
from sweep.results.leaderboard import Leaderboard
from sweep.results.results import Results
from sweep.results.windows import Window
from sweep.trials import Trial

FILE = synthetic.regression(synthetic.ARMS, tasks=20, seeds=12, width=5, question="Which is best?")
LEVEL = {"sgd": 1.0, "adam": 0.5, "linear": 1.0}


def noise(trial: Trial) -> float:
    return float(np.random.default_rng(int(trial.id, 16) % 2**32).normal())


def curve(trial: Trial, metric: str) -> np.ndarray:
    """Every arm at its level, with noise of its own; at step size 0.01 better at first and worse in the end."""
    early = np.arange(20) < 10
    tilt = 0.3 if trial.config["optimizer"]["step_size"] == 0.01 else 0.0
    return np.full(20, LEVEL[trial.arms[0]] + 0.05 * noise(trial)) + np.where(early, -tilt, tilt)


def sweep(text: str = FILE, **options: Any) -> Any:
    return synthetic.sweep(text, curve, **options)


def compare(*arms: str, text: str = FILE, **options: Any) -> Comparison:
    made = sweep(text)
    [told] = comparisons.compare(made.record, made, *arms, **options)
    return told


def board(made: Any, **options: Any) -> Leaderboard:
    return leaderboard.leaderboard(made.record, made, **options)


def test_a_comparison_says_what_the_leaderboard_says() -> None:
    told = compare("adam", "sgd")
    [standing] = [each for each in board(sweep()).standings if each.arm == "adam"]
    assert told.ours == standing and told.comparisons == 2
    assert standing.difference is not None and standing.difference.adjusted == pytest.approx(2 * standing.difference.p)
    assert told.smallest == pytest.approx(0.05 * told.theirs.late.mean)
    assert told.curve["task"].to_list() == list(range(20)) and set(told.curve["seeds"]) == {12}
    late = told.curve["mean"].iloc[-2:].mean()
    assert late == pytest.approx(standing.difference.estimate.mean)


def test_two_other_arms_are_one_comparison() -> None:
    told = compare("adam", "linear")
    assert told.comparisons == 1 and told.ours.difference is not None
    assert told.ours.difference.p == told.ours.difference.adjusted and told.ours.verdict == "better"
    back = compare("linear", "adam")
    assert back.ours.difference is not None and back.ours.verdict == "worse"
    assert back.ours.difference.estimate.mean == pytest.approx(-told.ours.difference.estimate.mean)


def test_it_is_told_whole(capsys: pytest.CaptureFixture[str]) -> None:
    made = sweep()
    made.storage = type("Storage", (), {"uri": "/here"})()
    [told] = comparisons.compare(made.record, made, "adam", "sgd")
    again = comparing.again(made.record, made)
    text = comparing.as_text(told, again)
    for said in (
        "adam minus sgd: online squared error, mean over the last tenth of the tasks (lower is better)",
        "Settings were chosen by online squared error over the last tenth of the tasks, from up to 2 for an arm, on the"
        " same seeds that are shown: that flatters arms with many.",
        "12 of 12 seeds, best of its 2 settings",
        "better in       12 of 12 seeds",
        "improvement     100% [",
        "corrected for the 2 arms that are compared with sgd (Holm)",
        "adam beats sgd by ",
        f"sweep trial {[t.id for t in made.record.trials if t.group == told.ours.group][0]} --run --storage /here",
        "--arms adam,sgd",
    ):
        assert said in text
    json.dumps(comparing.facts(told, again), default=str)


def test_what_cannot_be_compared_is_said() -> None:
    for arms, said in [
        (("adm", "sgd"), "unknown arm 'adm': did you mean 'adam'"),
        (("sgd", "sgd"), "sgd is compared with itself"),
    ]:
        with pytest.raises(InputError, match=said):
            compare(*arms)
    made = sweep(pending=lambda trial: "adam" in trial.arms)
    with pytest.raises(InputError, match="adam and sgd cannot be compared: no trial of adam has ended yet"):
        comparisons.compare(made.record, made, "adam", "sgd")


def test_a_metric_of_a_sweep_that_has_just_begun_is_not_compared_yet() -> None:
    made = sweep(pending=lambda trial: True)
    made.record.manifest["select"] = {"objective": "effective_rank", "window": "last 10%"}
    with pytest.raises(InputError, match="no trial of this sweep has finished yet"):
        comparisons.compare(made.record, made, "adam", "sgd", metric="online_error")


def test_settings_are_chosen_alike_whatever_is_shown() -> None:
    """Step size 0.01 is better in the first half; a board of it stands at the setting that is better in the last."""
    late, early = board(sweep()), board(sweep(), window=Window("first", 50))
    assert (
        {s.name for s in late.standings} == {s.name for s in early.standings} == {"sgd 0.003", "adam 0.001", "linear"}
    )
    assert "over the last tenth of the tasks" in early.selection.told()
    ranks = board(sweep(), metric="effective_rank")
    assert {s.name for s in ranks.standings} == {s.name for s in late.standings} and ranks.metric == "effective_rank"


def test_the_beginning_chooses_what_it_saw_best() -> None:
    made = sweep()
    made.record.manifest["select"] = {"objective": "online_error", "window": "first 10%"}
    found = board(made)
    assert {s.name for s in found.standings} == {"sgd 0.01", "adam 0.01", "linear"}
    assert found.selection.seeds == "beginning" and "flatters" not in found.selection.told()
    assert board(made, window=Window("last", 95)).selection.seeds == "same", "the two overlap"


def test_a_setting_makes_panels() -> None:
    found = board(sweep(), by=["step_size"])
    assert [panel for panel, _ in found.panels()] == ["step size 0.001", "step size 0.003", "step size 0.01"]
    with pytest.raises(InputError, match="unknown setting 'rate'.*allowed: .*step_size"):
        board(sweep(), by=["rate"])
    with pytest.raises(InputError, match="metric 'effective_rnk' was not recorded by this sweep: did you mean"):
        board(sweep(), metric="effective_rnk")
    with pytest.raises(InputError, match="has one stage"):
        board(sweep(), stage="select")


def test_too_few_seeds_say_how_many_would_do() -> None:
    found = board(sweep(FILE.replace("seeds: 12", "seeds: 3")))
    assert {s.verdict for s in found.standings} == {"first", "too few seeds"}
    [linear] = [s for s in found.standings if s.arm == "linear"]
    assert linear.seeds_needed is not None and linear.seeds_needed >= 6
    assert "With 3 seeds in common no difference to sgd can be told" in answers.sentence(found.standings)
    said = answers.sentence(found.standings)
    assert "What is seen: adam at -" in said and said.endswith("beside sgd, ahead in 3 of 3 seeds.")
    assert kept.won(found) == "too few seeds" and kept.won(board(sweep())) == "adam"


def test_a_difference_too_small_to_matter_is_known() -> None:
    assert verdicts.smallest_effect("online_accuracy", 0.8) == 0.01
    assert verdicts.smallest_effect("online_error", -2.0) == pytest.approx(0.1)


def test_results_in_python_show_a_table_and_escape_what_files_say() -> None:
    made = sweep(FILE.replace("# Which is best?", "# Is a < b & <script>?"))
    shown = Results(made.record, made)
    html = shown._repr_html_()
    assert "Is a &lt; b &amp; &lt;script&gt;?" in html and "<script>" not in html and "<table" in html
    assert "adam beats sgd by" in html
    late = shown.leaderboard(metric="online_error", window="last 25%")
    assert late.window == Window("last", 25) and "over the last 25% of the tasks" in late._repr_html_()
    assert shown.leaderboard()._repr_html_() in html
    [told] = shown.compare("adam", "sgd")
    assert told.ours.arm == "adam" and len(shown.trials) == 60
    assert set(shown.curves["arm"]) == {"sgd", "adam", "linear"}


def told_of(made: Any) -> str:
    made.storage = type("Storage", (), {"uri": "/here"})()
    [told] = comparisons.compare(made.record, made, "adam", "sgd")
    return comparing.as_text(told, comparing.again(made.record, made))


def test_one_seed_and_a_sweep_that_diverged_wholly_are_told_too() -> None:
    one = told_of(sweep(FILE.replace("seeds: 12", "seeds: 1")))
    assert "if differences are normal" in told_of(sweep(FILE.replace("seeds: 12", "seeds: 5")))
    assert "1 seed that both have" in one and "it takes 6 at least" in one and "it takes  " not in one
    lost = synthetic.sweep(FILE, synthetic.lost_at(3))
    said = told_of(lost)
    assert "no value, 0 of 12 seeds" in said and "One of them has no value, so there is nothing to compare." in said
    assert kept.won(board(lost)) == "nothing to compare"


CURSE = """\
workload: {{name: slowly_changing_regression, tasks: 10, period: 100}}
network: {{width: 5}}
seeds: {seeds}
arms:
  one: {{optimizer: sgd, step_size: 0.5}}
  many: {{optimizer: sgd, step_size: [{many}]}}
metrics: [online_error]
"""


def gaps(draw: int) -> tuple[float, float]:
    """What 20 settings that are all alike seem to gain over one, chosen on 6 seeds: on these, and on 6 fresh ones."""

    def drawn(trial: Trial, metric: str) -> np.ndarray:
        return np.full(10, 1.0 + 0.1 * np.random.default_rng([int(trial.id, 16) % 2**32, draw]).normal())

    many = ", ".join(f"{0.001 * (place + 1):.3f}" for place in range(20))
    made = synthetic.sweep(CURSE.format(seeds=12, many=many), drawn)
    trials, curves = made.frames()
    same = leaderboard.of_frames(made.record, trials[trials["seed"] < 6], curves)
    chosen = {standing.group for standing in same.standings}
    # What a sweep in two stages trains: the best of each arm by the first seeds, on the others.
    fresh = leaderboard.of_frames(made.record, trials[(trials["seed"] >= 6) & trials["group"].isin(chosen)], curves)
    gains = [s.difference.estimate.mean for found in (same, fresh) for s in found.standings if s.difference]
    return -gains[0], -gains[1]


def test_the_winners_curse_is_there_on_the_same_seeds_and_gone_on_fresh_ones() -> None:
    """The best of 20 means with a standard error of 0.041 is ahead by 1.87 of them, as the largest of 20 normals is."""
    same, fresh = np.mean([gaps(draw) for draw in range(8)], axis=0)
    assert same == pytest.approx(1.87 * 0.1 / math.sqrt(6), abs=0.05)
    assert same > 0.04 and abs(fresh) < 0.04
