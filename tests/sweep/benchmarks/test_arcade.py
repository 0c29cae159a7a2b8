"""What is measured of MinAtar's games: nanoseconds a step of either side, of one game or as many steps of each."""

from __future__ import annotations

import pytest

from sweep.benchmarks import arcade
from sweep.benchmarks.world_cases import ALL, Games
from sweep.errors import InputError


def test_both_sides_play(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("minatar")
    monkeypatch.setattr(arcade, "STRETCHES", 2)
    monkeypatch.setattr(arcade, "ALONE", 50)
    row = arcade.measured(Games(game="breakout", envs=2))
    assert (row.stream, row.game, row.arm, row.members, row.envs) == (
        *("continual_minatar", "breakout", "stepping"),
        *(64, 2),
    )
    assert min(row.package_ns, row.arcade_ns, row.worlds_ns) > 0 and row.target is None
    assert row.ratio == pytest.approx(row.package_ns / row.arcade_ns, rel=0.01)


def test_all_games_together_are_as_many_steps_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arcade, "GAMES", ("breakout", "freeway"))
    monkeypatch.setattr(arcade, "packaged", lambda game: game)
    monkeypatch.setattr(arcade, "played", lambda game, count, environments: (count, environments))
    taken = {"breakout": [6000.0, 40.0, 300.0], "freeway": [4000.0, 60.0, 100.0]}
    monkeypatch.setattr(arcade, "stretched", lambda sides: taken[sides[0]])
    monkeypatch.setattr(arcade, "versions", lambda *names: {})
    row = arcade.measured(Games(game=ALL))
    assert (row.package_ns, row.arcade_ns, row.worlds_ns, row.ratio, row.target) == (5000, 50, 200, 100, 50)


def test_time_is_told_by_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arcade, "busy", lambda side: side() * 2e-9 if side() == 10 else 1e-6)
    assert arcade.stretched((lambda: 10, lambda: 20)) == pytest.approx([2, 50])


def test_without_the_package_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "minatar", None)
    with pytest.raises(InputError, match="the package minatar is not installed"):
        arcade.packaged("breakout")
