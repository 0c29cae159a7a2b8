"""What is measured of agents: all sides act and learn, Gymnasium's environments are ours, and shares are parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sweep.benchmarks import acting
from sweep.benchmarks.stock_worlds import StockWorlds
from sweep.benchmarks.world_cases import Agents
from workloads import kinds
from workloads.reinforcement.worlds import World

FEW: dict[str, Any] = {"envs": 2, "rollout": 8, "epochs": 1, "minibatches": 2}


@pytest.mark.parametrize(("stream", "stock"), [("continual_control", "CartPole-v1"), ("hopper", "Hopper-v5")])
def test_all_sides_act_and_learn(monkeypatch: pytest.MonkeyPatch, stream: str, stock: str) -> None:
    monkeypatch.setattr(acting, "path_of", lambda config, device: ("looped", ""))
    row = acting.measured(Agents(stream=stream, settings=FEW, width=4, depth=2, members=2, stock=stock))
    assert (row.stream, row.network, row.arm, row.members, row.envs, row.path) == (stream, "4-4", "ppo", 2, 2, "looped")
    assert min(row.pack, row.plain, row.gymnasium) > 0 and row.ratio == pytest.approx(row.pack / row.plain, rel=0.01)
    assert min(row.worlds, row.asking, row.learning) > 0 and row.worlds + row.asking + row.learning < 1
    if stream == "hopper":
        assert row.physics is not None and 0 < row.physics < row.worlds
    else:
        assert row.physics is None


def test_both_loops_learn_by_the_same_settings() -> None:
    case = Agents(
        stream="ant", settings=FEW, width=4, depth=1, members=1, stock="Ant-v5", stock_settings={"version": "v5"}
    )
    plain, stock = acting.loop(case, stock=False), acting.loop(case, stock=True)
    assert plain.settings == stock.settings and plain.settings.rollout == 8
    assert isinstance(stock.worlds, StockWorlds) and not isinstance(plain.worlds, StockWorlds)
    before = [value.clone() for value in stock.critic.parameters()]
    stock.iterate()
    assert any(not np.array_equal(a.detach(), b) for a, b in zip(stock.critic.parameters(), before, strict=True))


def test_gymnasiums_environments_are_worlds_like_ours() -> None:
    world = kinds.made({"name": "continual_control", "envs": 2, "spread": 1.0}, 3)
    assert isinstance(world, World)
    ours: Any = world.worlds([world])
    stock = StockWorlds(world, "CartPole-v1")
    ours.start()
    stock.start()
    ours.place[0] = [env.unwrapped.state for env in stock.vector.envs]
    push = np.ones((1, 2), dtype=np.int64)
    while True:
        own, theirs = ours.step(push), stock.step(push)
        for name in ("reward", "terminated", "truncated", "following", "returned"):
            np.testing.assert_array_equal(getattr(own, name), getattr(theirs, name))
        if theirs.terminated.any():
            break
    ended = theirs.terminated
    assert (theirs.returned[ended] >= 5).all(), "one for every step"
    assert (np.abs(theirs.now[ended]) <= 0.05).all(), "the next episode has begun"
    np.testing.assert_array_equal(theirs.now[~ended], theirs.following[~ended])
