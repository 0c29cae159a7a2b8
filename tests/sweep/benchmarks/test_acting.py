"""What is measured of agents: both sides act and learn, and what a pack's time goes to is told."""

from __future__ import annotations

import pytest
from bandit import Bandit

from sweep.benchmarks import acting
from sweep.benchmarks.acting import Setting, Speed
from workloads.reinforcement import CONTROLS


def test_both_sides_act_and_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONTROLS, "bandit", Bandit)
    monkeypatch.setitem(acting.SETTINGS, "small", Setting({"name": "bandit"}, 4, 1))
    monkeypatch.setattr(acting, "path_of", lambda config, device: ("looped", ""))
    monkeypatch.setattr(acting, "STRETCHES", 1)
    row = acting.measured("small", 2)
    assert (row.setting, row.members, row.path) == ("small", 2, "looped") and row.plain > 0 and row.pack > 0
    assert min(row.worlds, row.asking, row.learning) > 0 and row.worlds + row.asking + row.learning < 1


def test_a_row_in_words() -> None:
    assert acting.told(Speed("ant", 8, "lifted", 1000.0, 2500.0, 31.0, 0.5, 0.1, 0.3)) == (
        "ant              8 agents, lifted: loop 1,000 steps/s, pack 2,500, 2.5 times (at least 1.4); worlds 50%, "
        "asking 10%, learning 30%; first iteration 31 s"
    )
