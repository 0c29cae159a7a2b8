"""The dynamics are Gymnasium's, to the bit, whatever the physics; one step of the pole by hand."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import pytest

from workloads.reinforcement.classic_control import ENVIRONMENTS, CartPole, wrapped
from workloads.reinforcement.continual_control import ContinualControl, ContinualControlConfig, ControlWorlds

STOCK = {"cart_pole": "CartPole-v1", "acrobot": "Acrobot-v1", "pendulum": "Pendulum-v1"}
FACTORS = {
    "cart_pole": {"masscart": "masscart", "masspole": "masspole", "length": "length"},
    "acrobot": {n: f"LINK_{n.upper()}" for n in ("mass_1", "mass_2", "length_1", "length_2")},
    "pendulum": {"m": "m", "l": "l"},
}


def stock_with(environment: str, physics: dict[str, float]) -> gymnasium.Env[Any, Any]:
    """The stock environment, its time limit about it, with other masses and lengths."""
    made = gymnasium.make(STOCK[environment], disable_env_checker=True)
    inner: Any = made.unwrapped
    for name, value in physics.items():
        setattr(inner, FACTORS[environment][name], value)
    if environment == "cart_pole":  # what it derives from them when it is made
        inner.total_mass, inner.polemass_length = inner.masspole + inner.masscart, inner.masspole * inner.length
    if environment == "acrobot":
        inner.LINK_COM_POS_1, inner.LINK_COM_POS_2 = 0.5 * inner.LINK_LENGTH_1, 0.5 * inner.LINK_LENGTH_2
    return made


@pytest.mark.parametrize("environment", STOCK)
def test_every_step_is_the_stock_environments(environment: str) -> None:
    config = ContinualControlConfig(environment=environment, envs=2, tasks=3, steps_per_task=600)  # type: ignore[arg-type]
    members = [ContinualControl(config, seed) for seed in (3, 4)]
    worlds = ControlWorlds(members)
    worlds.start()
    kind, random = worlds.environment, np.random.default_rng(0)
    running: dict[tuple[int, int], Any] = {}
    ends = 0
    for _ in range(900):
        actions = random.integers(worlds.environment.action.n, size=(2, 2))
        if environment == "pendulum":
            actions = 3 * random.standard_normal((2, 2, 1))  # at times beyond the strongest
        if not running:
            running = {(m, e): None for m in range(2) for e in range(2)}
        for at in running:
            if worlds.length[at] == 0:
                running[at] = stock_with(environment, dict(zip(kind.stock, worlds.physics[at].tolist(), strict=True)))
                running[at].reset(seed=0)
                running[at].unwrapped.state = worlds.place[at].copy()
        came = worlds.step(actions)
        for at, stock in running.items():
            seen, reward, terminated, truncated, _ = stock.step(actions[at])
            assert np.array_equal(came.following[at], seen)
            assert came.reward[at] == reward and came.terminated[at] == terminated
            assert came.truncated[at] == (truncated and not terminated)
            ends += int(terminated or truncated)
    assert ends > 4 and worlds.episode.sum() == ends
    assert len(np.unique(worlds.physics.reshape(4, -1), axis=0)) > 1


@pytest.mark.parametrize("environment", STOCK)
def test_what_a_task_changes_is_what_the_stock_environment_has(environment: str) -> None:
    stock = gymnasium.make(STOCK[environment])
    kind = ENVIRONMENTS[environment]
    assert {n: getattr(stock.unwrapped, FACTORS[environment][n]) for n in kind.stock} == kind.stock
    assert stock.spec is not None and stock.spec.max_episode_steps == kind.longest
    assert stock.observation_space.shape == kind.observation
    space: Any = stock.action_space
    assert kind.action.n == (space.shape[0] if environment == "pendulum" else space.n)


def test_a_pole_falls_as_the_equations_say() -> None:
    """Barto, Sutton and Anderson (1983): one step by hand, friction left out."""
    cart, pole, length = 1.3, 0.17, 0.9
    x, speed, angle, turning = 0.1, -0.2, 0.05, 0.3
    push = (10 + pole * length * turning**2 * math.sin(angle)) / (cart + pole)
    fall = (9.8 * math.sin(angle) - math.cos(angle) * push) / (
        length * (4 / 3 - pole * math.cos(angle) ** 2 / (cart + pole))
    )
    slide = push - pole * length * fall * math.cos(angle) / (cart + pole)
    expected = [x + 0.02 * speed, speed + 0.02 * slide, angle + 0.02 * turning, turning + 0.02 * fall]
    after, reward, over = CartPole.stepped(
        np.array([[x, speed, angle, turning]]), np.array([1]), np.array([[cart, pole, length]])
    )
    assert after[0] == pytest.approx(expected, rel=1e-12) and reward.tolist() == [1.0] and not over[0]


def test_angles_are_wrapped_by_whole_turns() -> None:
    angles = np.array([0.5, 3.2, -3.2, 10.0, -20.0, math.pi])
    assert np.abs(wrapped(angles)).max() <= math.pi
    assert np.allclose(np.exp(1j * wrapped(angles)), np.exp(1j * angles))
