"""What a task changes, that it follows from (seed, task), and whose physics an episode has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from workloads.reinforcement.continual_control import ContinualControl, ContinualControlConfig, ControlWorlds


def world(seed: int = 3, **settings: Any) -> ContinualControl:
    return ContinualControl(ContinualControlConfig(**settings), seed)


def started(*members: ContinualControl) -> ControlWorlds:
    worlds = ControlWorlds(members)
    worlds.start()
    return worlds


@pytest.mark.parametrize("environment", ["cart_pole", "acrobot", "pendulum"])
def test_physics_are_a_function_of_seed_and_task_within_their_spread(environment: str) -> None:
    found = np.stack([world(environment=environment).physics(task) for task in range(200)])
    assert np.array_equal(found, np.stack([world(environment=environment).physics(task) for task in range(200)]))
    assert len(np.unique(found, axis=0)) == 200
    assert not np.array_equal(world(4, environment=environment).physics(0), found[0])
    stock = list(world(environment=environment).environment.stock.values())
    factors = np.log2(found / stock)
    assert (factors.min(0) < -0.9).all() and (factors.max(0) > 0.9).all()
    assert np.abs(factors).max() <= 1 and (np.abs(factors.mean(0)) < 0.15).all()
    assert world(environment=environment, spread=1.0).physics(5).tolist() == stock


def test_what_is_seen_is_moved_by_a_constant_of_the_task() -> None:
    plain, moved = world(spread=1.0), world(spread=1.0, offset=2.0)
    assert not plain.offset(7).any() and not moved.offset(0).any()  # nothing in the first task
    offsets = np.stack([moved.offset(task) for task in range(1, 400)])
    assert offsets.shape == (399, 4) and np.allclose(offsets.std(0), 2, rtol=0.1)
    assert np.abs(offsets.mean(0)).max() < 0.3
    a, b = (started(world(spread=1.0, offset=o, envs=2, tasks=2, steps_per_task=40)) for o in (0.0, 2.0))
    while int(a.steps[0]) < 80:
        actions = np.zeros((1, 2), dtype=np.int64)
        came, also = a.step(actions), b.step(actions)
        assert np.array_equal(came.reward, also.reward) and np.array_equal(a.place, b.place)
    assert a.episode.min() > 0
    expected = (a.observe() + moved.offset(1)).astype(np.float32)  # all are in episodes of the second task by now
    assert np.array_equal(b.observe(), expected) and np.abs(expected - a.observe()).max() > 0.5


def test_an_episode_is_played_to_its_end_in_the_task_it_began_in() -> None:
    own = world(environment="pendulum", tasks=3, steps_per_task=500, envs=2)  # of 200 steps: 250 of each environment
    worlds = started(own)
    expected = [0] * 200 + [0] * 200 + [1] * 200 + [2] * 150  # the third began at step 800 of the member
    for task in expected:
        assert worlds.physics[0, 0].tolist() == own.physics(task).tolist()
        came = worlds.step(np.zeros((1, 2, 1)))
    assert not came.truncated.any() and int(worlds.steps[0]) == 1500


def test_episodes_begin_where_the_stock_environments_do() -> None:
    """Uniform about an upright pole at rest, as far from it as 0.05; other ones in every environment and episode."""
    starts = started(world(envs=300)).place[0]
    assert np.abs(starts).max() < 0.05 and (starts.max(0) > 0.045).all() and (starts.min(0) < -0.045).all()
    worlds = started(world(envs=2))
    before = worlds.place.copy()
    worlds.episode += 1
    worlds.begin(np.array([[False, True]]))
    assert np.array_equal(worlds.place[0, 0], before[0, 0]) and not np.array_equal(worlds.place[0, 1], before[0, 1])


def test_probes_are_all_over_the_place_and_everyones() -> None:
    for environment, inputs in (("cart_pole", 4), ("acrobot", 6), ("pendulum", 3)):
        probe = world(environment=environment).probe(0, 64)
        assert probe.shape == (64, inputs) and probe.dtype == np.float32
        assert np.array_equal(probe[:10], world(9, environment=environment, offset=1.0).probe(1, 10))
        assert np.abs(probe).max(0).min() > 0.15
