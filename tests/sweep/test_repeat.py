"""A trial by itself: found by the beginning of its id, shown, and trained again to the same curve."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from tiny import Command

from sweep import repeat
from sweep.cluster.worker import Progress
from sweep.errors import InputError
from sweep.ledger.ledger import Ledger
from workloads.engine.lanes import Lanes
from workloads.engine.trace import NotLowered


def test_difference_is_relative_to_the_largest_magnitude() -> None:
    assert repeat.difference([1.0, -4.0], [1.0, -4.0]) == 0.0
    assert repeat.difference([1.0, -4.0], [1.5, -4.0]) == pytest.approx(0.125)
    assert repeat.difference([0.0], [0.25]) == 0.25
    assert repeat.difference([], []) == 0.0


def test_difference_of_what_is_not_finite() -> None:
    nan = math.nan
    assert repeat.difference([1.0, nan], [1.0, nan]) == 0.0
    assert repeat.difference([2.0, nan], [2.0, 5.0]) == math.inf
    assert repeat.difference([2.0, 5.0], [nan, 5.0]) == math.inf
    assert repeat.difference([1.0, 2.0], [1.0]) == math.inf


def first_trial(ledger: Ledger) -> str:
    return ledger.sweep("tiny", "full").trials[0].id


def test_facts_of_a_trial(ran: Path) -> None:
    ledger = Ledger(ran)
    trial = first_trial(ledger)
    facts = repeat.facts(ledger, trial[:7])
    assert (facts["trial"], facts["sweep"], facts["arms"], facts["status"]) == (trial, "tiny@full", ["sgd"], "done")
    assert facts["config"]["optimizer"]["step_size"] == 0.01 and facts["config"]["seed"] == 0
    assert {metric: len(values) for metric, values in facts["curves"].items()} == {
        "effective_rank": 2,
        "online_error": 2,
    }
    assert all(1.0 <= rank <= 3.0 for rank in facts["curves"]["effective_rank"])


@pytest.mark.parametrize("path", ["plain", "looped", "lifted", "lanes", "online"])
def test_trained_again_alone_it_comes_out_the_same(ran: Path, uncompiled: None, path: str) -> None:
    ledger = Ledger(ran)
    differences = repeat.compare(ledger, repeat.alone(ledger, first_trial(ledger), path))
    assert set(differences) == {"effective_rank", "online_error"}
    assert all(first <= largest < 1e-5 for first, largest in differences.values())


def test_what_cannot_be_repeated_is_said(ran: Path) -> None:
    ledger = Ledger(ran)
    with pytest.raises(InputError, match="unknown path 'plane': did you mean 'plain'"):
        repeat.alone(ledger, first_trial(ledger), "plane")
    with pytest.raises(InputError, match="no sweep in .* holds trial 0123"):
        repeat.alone(ledger, "0123")
    with pytest.raises(InputError, match="no trial begins with 'xyz'"):
        repeat.facts(ledger, "xyz")


def test_a_trial_that_is_not_done_has_nothing_to_compare_with(ran: Path, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.save_sweep(Ledger(ran).sweep("tiny", "full"))
    trial = first_trial(ledger)
    assert repeat.facts(ledger, trial)["status"] == "not done"
    with pytest.raises(InputError, match="is not done: there is nothing to compare with"):
        repeat.compare(ledger, repeat.alone(ledger, trial))


def test_the_source_of_a_trials_step_is_shown(ran: Path, command: Command) -> None:
    trial = first_trial(Ledger(ran))
    [shown] = json.loads(command("trial", trial, "--source", "--path", "lanes", "--storage", ran, "--json").out)
    assert Path(shown["path"]).read_text() == shown["text"] and "step0(" in shown["text"]
    printed = command("trial", trial, "--source", "--path", "online", "--storage", ran).out
    head, built, source = printed.split("\n", 2)
    assert Path(head.removeprefix("// ")).read_text().rstrip() == source.rstrip() and "-O3" in built
    assert source != shown["text"]
    said = command("trial", trial, "--source", "--path", "lifted", "--storage", ran)
    assert said.code == 2 and "path lifted emits no C++" in said.err
    said = command("trial", trial, "--source", "--run", "--storage", ran)
    assert said.code == 2 and "leave one of them out" in said.err


def test_a_step_that_no_source_can_be_written_of_is_said(
    ran: Path, uncompiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def knot(*_: object) -> None:
        raise NotLowered("a knot")

    monkeypatch.setattr(Lanes, "_prepare", knot)
    ledger = Ledger(ran)
    with (
        pytest.warns(UserWarning, match="trains lifted, not lanes, since its step has a knot"),
        pytest.raises(InputError, match=r"path lanes has no C\+\+ for the step of trial"),
    ):
        repeat.sources(ledger, repeat.alone(ledger, first_trial(ledger), "lanes"))


def test_the_path_its_results_are_from_is_the_one_it_is_repeated_on(ran: Path, uncompiled: None) -> None:
    ledger = Ledger(ran)
    heard: list[Progress] = []
    pack = repeat.alone(ledger, first_trial(ledger))
    assert pack.path == "lanes"
    differences = repeat.compare(ledger, pack, heard.append)
    assert repeat.verdict(differences, "float32") == "the same to the last bit"
    assert (heard[0].trained, heard[-1].step, heard[-1].finished) == (0, 200, True)


def test_a_verdict_tells_rounding_from_another_result() -> None:
    said = {
        "bits": repeat.verdict({"a": (0.0, 0.0)}, "float32"),
        "rounding": repeat.verdict({"a": (0.0, 2e-5)}, "float32"),
        "amplified": repeat.verdict({"a": (2e-5, 0.3), "b": (0.0, 0.0)}, "float32"),
        "other": repeat.verdict({"a": (0.02, 0.3)}, "float32"),
        "float64": repeat.verdict({"a": (2e-5, 2e-5)}, "float64"),
        "length": repeat.verdict({"a": (0.0, math.inf)}, "float32"),
    }
    assert said["bits"] == "the same to the last bit"
    assert said["rounding"].startswith("the same up to rounding")
    assert said["amplified"] == "rounding, which training has amplified: 2e-05 apart at first, 0.3 at most"
    assert said["other"].startswith("NOT the same: 0.02 apart at the first point already")
    assert said["float64"].startswith("NOT the same")
    assert said["length"].startswith("NOT the same: a curve ends elsewhere")
    assert repeat.first_difference([1.0, 2.0], [1.5, 2.0]) == 0.25
    assert repeat.first_difference([], [1.0]) == math.inf and repeat.first_difference([], []) == 0.0
