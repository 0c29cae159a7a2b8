"""What is measured of robots' steps: the same steps on every side, and what is said of them."""

from __future__ import annotations

import json

import pytest

from sweep.benchmarks import stepping
from sweep.benchmarks.stepping import Stepping


def test_every_side_takes_the_same_steps(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    taken: dict[str, int] = {}

    def counted(name: str, size: int) -> None:
        taken[name] = taken.get(name, 0) + size

    mj_step, make_vec = stepping.mujoco.mj_step, stepping.gymnasium.make_vec
    monkeypatch.setattr(
        stepping.mujoco, "mj_step", lambda m, d, nstep: (counted(str(nstep), 1), mj_step(m, d, nstep=nstep))[1]
    )
    vectors = []
    monkeypatch.setattr(
        stepping.gymnasium, "make_vec", lambda *a, **k: vectors.append(made := make_vec(*a, **k)) or made
    )
    assert stepping.main(["--robot", "hopper", "--members", "2", "--steps", "6", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["robot"], row["members"]) == ("hopper", 2) and min(row["physics_us"], row["worlds_us"]) > 0
    # Both others step by the same function: physics alone, and Gymnasium's two environments, 4 substeps each.
    assert taken == {"4": 2 * (2 * 6)} and vectors[0].num_envs == 2


def test_a_row_is_told_as_the_table_has_it() -> None:
    row = Stepping("ant", 16, 187.94, 208.82, 320.7, 8, 7.25)
    assert row.share == 187.94 / 208.82
    assert stepping.told(row) == "| ant | 16 | 187.9 | 208.8 | 90% | 320.7 | 7.2 of 8 |"
