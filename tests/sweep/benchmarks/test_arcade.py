"""What is measured of MinAtar's games: the same number of steps of either side, and what is said of it."""

from __future__ import annotations

import json

import pytest

from sweep.benchmarks import arcade
from sweep.benchmarks.arcade import Speed
from sweep.errors import InputError


def test_both_sides_play_and_all_games_together_are_a_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("minatar")
    monkeypatch.setattr(arcade, "on_one_core", lambda: None)
    monkeypatch.setattr(arcade, "STRETCHES", 2)
    monkeypatch.setattr(arcade, "ALONE", 50)
    monkeypatch.setattr(arcade, "GAMES", ("breakout", "freeway"))
    assert arcade.main(["--environments", "2", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["game"], row["members"], row["environments"]) for row in rows] == [
        (game, 64, 2) for game in ("breakout", "freeway", "all")
    ]
    for side in ("package_ns", "arcade_ns", "worlds_ns"):
        assert rows[0][side] > 0 and rows[2][side] == pytest.approx((rows[0][side] + rows[1][side]) / 2)


def test_how_much_faster_is_said_in_a_line() -> None:
    assert arcade.told(Speed("breakout", 64, 16, 4321.0, 70.0, 432.1)) == (
        "breakout        64 x 16: package 4,321 ns a step, here 70 ns, 62 times as fast (worlds 432 ns, 10 times)"
    )


def test_without_the_package_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "minatar", None)
    with pytest.raises(InputError, match="the package minatar is not installed"):
        arcade.packaged("breakout")
