"""What is measured of robots' steps: the same steps on every side."""

from __future__ import annotations

import pytest

from sweep.benchmarks import stepping
from sweep.benchmarks.world_cases import Robots


def test_every_side_takes_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
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
    row = stepping.measured(Robots(stream="hopper", stock="Hopper-v5", members=2, steps=6))
    assert (row.stream, row.environment, row.arm, row.members) == ("hopper", "Hopper-v5", "stepping", 2)
    assert min(row.physics_us, row.worlds_us, row.gymnasium_us, row.times) > 0
    assert row.ratio == pytest.approx(row.physics_us / row.worlds_us, rel=0.01)
    # Both others step by the same function: physics alone, and Gymnasium's two environments, 4 substeps each.
    assert taken == {"4": 2 * (2 * 6)} and vectors[0].num_envs == 2
