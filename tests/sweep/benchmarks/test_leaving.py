"""What is measured of packs that members have left: that half of them have, and what is said of it."""

from __future__ import annotations

import json

import pytest

from sweep.benchmarks import leaving
from sweep.benchmarks.cases import REGRESSION, Case
from sweep.benchmarks.leaving import Left


def test_every_second_trial_leaves_the_pack_that_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(leaving, "on_one_core", lambda: None)
    small = Case(REGRESSION, "sgd", 3, 2, 3)
    monkeypatch.setattr(leaving, "ROWS", [("looped", small, 2), ("lanes", small, 8)])
    trained: list[tuple[int, int]] = []
    train = leaving.trained
    monkeypatch.setattr(
        leaving, "trained", lambda pack, steps: (trained.append((len(pack.held), steps)), train(pack, steps))[1]
    )
    assert leaving.main(["--path", "lanes", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["path"], row["network"], row["members"], row["stay"]) == ("lanes", "20-3-1", 6, 3)
    assert min(row["whole_us"], row["left_us"], row["leaving_s"]) > 0
    assert trained == [(6, 8), (3, 8)] * (1 + leaving.REPEATS), "by turns, the same steps"


def test_how_much_sooner_is_said_in_a_line() -> None:
    row = Left("lanes", "20-5-1", 2560, 1280, 78.46, 40.0, 0.0113)
    assert row.sooner == pytest.approx(1.9615)
    assert leaving.told(row) == (
        "lanes  20-5-1: 2,560 trials 78.5 us a step, 1,280 of them 40.0 us: 1.96 times sooner; leaving took 0.011 s"
    )
