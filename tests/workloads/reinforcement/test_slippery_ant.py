"""The slippery ant as a Gymnasium environment: the stock ant's numbers, and frictions of a seed."""

from __future__ import annotations

import math
import pickle
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.mujoco.ant_v4 import AntEnv as AntV4
from gymnasium.envs.mujoco.ant_v5 import AntEnv as AntV5
from gymnasium.utils.env_checker import check_env

from workloads.reinforcement.friction import friction
from workloads.reinforcement.slippery_ant import SlipperyAntEnv

NAME = "pliant/SlipperyAnt-v0"


def made(**settings: Any) -> SlipperyAntEnv:
    env = gymnasium.make(NAME, **settings).unwrapped
    assert isinstance(env, SlipperyAntEnv)
    return env


def warned(env: gymnasium.Env[Any, Any]) -> set[str]:
    """What Gymnasium's own check says of an environment; it raises for what is wrong."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env, skip_render_check=True)
    return {str(each.message) for each in caught}


@pytest.mark.parametrize("version", ["v5", "v3"])
def test_gymnasium_finds_nothing_that_it_does_not_find_in_its_own(version: str) -> None:
    unbounded = warned(AntV5())  # that its observations have no bounds
    assert warned(made(version=version)) == unbounded and all("infinity" in text for text in unbounded)


@pytest.mark.parametrize(("version", "stock"), [("v5", AntV5), ("v3", AntV4)])
def test_on_the_usual_friction_it_is_the_stock_ant(version: str, stock: type[AntV5] | type[AntV4]) -> None:
    ours, theirs = made(version=version), stock()
    first, _ = ours.reset(seed=5)
    expected, _ = theirs.reset(seed=5)
    size = {"v5": 105, "v3": 111}[version]
    assert first.shape == ours.observation_space.shape == (size,)
    assert np.array_equal(first[: len(expected)], expected) and not first[len(expected) :].any()
    ours.model.geom_friction[:, 0] = 1.0
    draws, rewards = np.random.default_rng(0), []
    for _ in range(400):
        action = draws.normal(size=8)
        step, other = ours.step(action), theirs.step(action)
        assert np.array_equal(step[0][: len(other[0])], other[0]) and not step[0][len(other[0]) :].any()
        assert step[1:4] == other[1:4] and step[4]["reward_forward"] == other[4]["reward_forward"]
        rewards.append(step[1])
        if step[2]:
            break
    assert step[2], "it falls, which v3 and v5 reward differently"


def test_frictions_are_a_seed_s_and_change_with_the_episode_after_a_period() -> None:
    env = made(steps_per_friction=5)
    expected = [friction(9, task) for task in range(4)]
    assert env.reset(seed=9)[1]["friction"] == expected[0] and set(env.model.geom_friction[:, 0]) == {expected[0]}
    for _ in range(12):
        *_, info = env.step(np.zeros(8, dtype=np.float32))
        assert info["friction"] == expected[0]  # the episode runs on
    assert env.reset()[1]["friction"] == expected[2] == env.friction  # 12 steps are in the third period
    assert env.reset(seed=9)[1]["friction"] == expected[0]
    assert made().reset(seed=10)[1]["friction"] == friction(10, 0) != expected[0]


def test_friction_is_log_uniform() -> None:
    drawn = np.log([friction(seed, task) for seed in range(40) for task in range(50)])
    low, high = math.log(0.02), math.log(2.0)
    assert drawn.min() >= low and drawn.max() <= high
    share, _ = np.histogram(drawn, bins=4, range=(low, high))
    assert np.abs(share / len(drawn) - 0.25).max() < 4 * math.sqrt(0.25 * 0.75 / len(drawn))


def test_many_at_once_are_limited_as_the_stock_ant_and_travel() -> None:
    envs = gymnasium.make_vec(NAME, num_envs=2, version="v3")
    _, info = envs.reset(seed=3)
    assert info["friction"].tolist() == [friction(3, 0), friction(4, 0)]
    assert gymnasium.spec(NAME).max_episode_steps == gymnasium.spec("Ant-v5").max_episode_steps == 1000
    env = pickle.loads(pickle.dumps(made(steps_per_friction=7, version="v3", ctrl_cost_weight=0.1)))
    assert (env.steps_per_friction, env.version, env.control_cost(np.ones(8))) == (7, "v3", pytest.approx(0.8))


def test_what_it_does_not_take() -> None:
    with pytest.raises(ValueError, match="steps_per_friction is 0, and must be at least 1"):
        SlipperyAntEnv(steps_per_friction=0)
    with pytest.raises(ValueError, match="version is 'v4', and may be 'v5' or 'v3'"):
        SlipperyAntEnv(version="v4")  # type: ignore[arg-type]
