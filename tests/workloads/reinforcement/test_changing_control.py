"""The poles: what a task changes, that it follows from (seed, task), and that the dynamics are the stock ones."""

from __future__ import annotations

import math

import gymnasium
import numpy as np
import pytest

from workloads.reinforcement.changing_control import STOCK, ChangingControl, ChangingControlConfig, Physics


def world(seed: int = 3, **settings: float) -> ChangingControl:
    return ChangingControl(ChangingControlConfig(**settings), seed)  # type: ignore[arg-type]


def test_a_tasks_physics_is_a_function_of_seed_and_task_within_its_spread() -> None:
    found = [world().physics(task) for task in range(200)]
    assert found == [world().physics(task) for task in range(200)] and len(set(found)) == 200
    assert world(4).physics(0) != found[0]
    for name in ("masscart", "masspole", "length"):
        factors = np.log2([getattr(pole, name) / getattr(STOCK, name) for pole in found])
        assert -1 <= factors.min() < -0.9 and 0.9 < factors.max() <= 1 and abs(factors.mean()) < 0.1
    assert world(spread=1.0).physics(5) == STOCK


def test_without_a_spread_it_is_cart_pole() -> None:
    own, stock = world(spread=1.0).environment(2), gymnasium.make("CartPole-v1").unwrapped
    stock.reset(seed=1)
    own.state = stock.state  # type: ignore[attr-defined]
    for step in range(8):
        action = step % 3 % 2
        mine, theirs = own.step(action), stock.step(action)  # type: ignore[no-untyped-call]
        assert np.array_equal(mine[0], theirs[0]) and mine[1:] == theirs[1:]


def test_another_pole_falls_as_the_equations_say() -> None:
    """Barto, Sutton and Anderson (1983): one step by hand, friction left out."""
    env = world().environment(7)
    pole: Physics = world().physics(7)
    env.state = np.array([0.1, -0.2, 0.05, 0.3])
    env.step(1)  # type: ignore[no-untyped-call]
    x, speed, angle, turning = 0.1, -0.2, 0.05, 0.3
    mass = pole.masscart + pole.masspole
    push = (10 + pole.masspole * pole.length * turning**2 * math.sin(angle)) / mass
    fall = (9.8 * math.sin(angle) - math.cos(angle) * push) / (
        pole.length * (4 / 3 - pole.masspole * math.cos(angle) ** 2 / mass)
    )
    slide = push - pole.masspole * pole.length * fall * math.cos(angle) / mass
    expected = [x + 0.02 * speed, speed + 0.02 * slide, angle + 0.02 * turning, turning + 0.02 * fall]
    assert env.state == pytest.approx(expected, rel=1e-12)


def test_episodes_begin_upright_and_draws_are_the_same_however_asked() -> None:
    starts = np.stack([world().first_state(episode) for episode in range(300)])
    assert np.abs(starts).max() < 0.05 and len(np.unique(starts, axis=0)) == 300
    assert world().chances(3, 5) == [world().chances(step, 1)[0] for step in range(3, 8)]
    probe = world().probe(0, 64)
    assert probe.dtype == np.float32 and np.array_equal(probe[:10], world(9).probe(1, 10))


def test_the_timetable() -> None:
    made = world(tasks=3, steps_per_task=600)
    assert [made.task_start(task) for task in range(4)] == [0, 600, 1200, 1800]
    assert (made.task_of(599), made.task_of(600)) == (0, 1)
