"""Robots as arrays: Gymnasium's numbers to the bit, on any number of threads, and beside one that blows up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
from gymnasium.envs.mujoco import MujocoEnv
from gymnasium.envs.mujoco.ant_v4 import AntEnv as AntV4
from gymnasium.envs.mujoco.ant_v5 import AntEnv as AntV5
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv
from gymnasium.envs.mujoco.walker2d_v5 import Walker2dEnv

from workloads.engine.computing import computing, flushes, subnormal
from workloads.reinforcement.locomotion import Ant, HalfCheetah, Hopper, Locomotion, SlipperyAnt, Walker
from workloads.reinforcement.simulations import Simulations, SlipperySimulations, quiet
from workloads.reinforcement.worlds import Stepped

KINDS: list[tuple[type[Locomotion], dict[str, Any], Callable[[], MujocoEnv]]] = [
    (Ant, {"version": "v3"}, AntV4),
    (Ant, {"version": "v5"}, AntV5),
    (SlipperyAnt, {"version": "v3"}, AntV4),
    (Hopper, {}, HopperEnv),
    (Walker, {}, Walker2dEnv),
    (HalfCheetah, {}, HalfCheetahEnv),
]
NAMES = [f"{kind.name}-{settings.get('version', 'v5')}" for kind, settings, _ in KINDS]
EVERY = pytest.mark.parametrize(("kind", "settings", "stock"), KINDS, ids=NAMES)


def member(kind: type[Locomotion], seed: int, **settings: Any) -> Locomotion:
    return kind(kind.Config(**{"tasks": 3, "steps_per_task": 80, "envs": 2, **settings}), seed)


def started(*members: Locomotion, threads: int = 1) -> Simulations:
    worlds = type(members[0]).simulations(members, threads)
    worlds.start()
    return worlds


def actions(worlds: Simulations, count: int, seed: int = 0) -> list[Any]:
    """Some beyond what motors do; the same for every member."""
    drawn = np.random.default_rng(seed).normal(size=(count, 1, worlds.shape[1], worlds.body.actions))
    return [np.repeat(each, worlds.shape[0], axis=0) for each in drawn]


def stepped(worlds: Simulations, count: int, seed: int = 0) -> list[Stepped]:
    return [worlds.step(each) for each in actions(worlds, count, seed)]


def same(first: Stepped, second: Stepped) -> bool:
    return all(np.array_equal(getattr(first, n), getattr(second, n), equal_nan=True) for n in Stepped.__slots__)


@EVERY
def test_the_numbers_are_the_stock_environments(
    kind: type[Locomotion], settings: dict[str, Any], stock: Callable[[], MujocoEnv]
) -> None:
    worlds = started(member(kind, 3, **settings), member(kind, 4, **settings))
    places = [(0, 0), (0, 1), (1, 0), (1, 1)]
    with quiet():
        environments = [stock() for _ in places]
    ended = 0

    def put(i: int) -> None:
        """Where the episode begins in the world."""
        mujoco.mj_resetData(environments[i].model, environments[i].data)
        if isinstance(worlds, SlipperySimulations):
            environments[i].model.geom_friction[:, 0] = worlds.friction[places[i]]
        environments[i].set_state(worlds.position[i].copy(), worlds.velocity[i].copy())
        assert np.array_equal(seen(environments[i]._get_obs()), worlds.observe()[places[i]])

    def seen(observation: Any) -> Any:
        return np.concatenate([observation, np.zeros(worlds.body.zeros)]).astype(np.float32)

    for i in range(4):
        put(i)
    for chosen in actions(worlds, 120):
        step = worlds.step(chosen)
        for i, place in enumerate(places):
            observation, reward, terminated, _, _ = environments[i].step(chosen[place])
            assert np.array_equal(seen(observation), step.following[place])
            assert (reward, terminated) == (step.reward[place], step.terminated[place])
            if terminated:
                ended += 1
                put(i)
    assert ended > 0 or kind is HalfCheetah
    assert worlds.forces.any() == (settings.get("version") == "v5")  # contact was made, where it is looked at


def test_an_episode_is_cut_off_at_its_thousandth_step() -> None:
    worlds = started(member(HalfCheetah, 1, envs=1, tasks=2000))
    worlds.length[:] = 998
    first, second = stepped(worlds, 2)
    assert not first.truncated.any() and second.truncated.all() and not second.terminated.any()
    assert np.isfinite(second.returned).all() and worlds.episode.tolist() == [[1]]


def test_what_was_seen_is_seen_again_after_a_load() -> None:
    ant = member(Ant, 1, version="v5")
    worlds = started(ant)
    stepped(worlds, 30)
    other = Ant.simulations([ant])
    other.load(worlds.state())
    assert worlds.forces.any() and np.array_equal(other.observe(), worlds.observe())


def test_the_bits_are_the_same_for_any_number_of_threads() -> None:
    one, three = (started(member(SlipperyAnt, 5), member(SlipperyAnt, 6), threads=threads) for threads in (1, 3))
    assert all(same(a, b) for a, b in zip(stepped(one, 40), stepped(three, 40), strict=True))
    assert np.array_equal(one.physics, three.physics)


def test_a_pack_that_flushes_small_numbers_has_the_simulations_of_one_that_does_not() -> None:
    assert not flushes()
    with computing():
        assert flushes()
        with subnormal():
            assert not flushes()
        assert flushes()
        worlds = started(member(Hopper, 1), threads=2)
        worlds.velocity[0, 0] = 1e-310  # below the normal range: such a place would lose it
        flushed = [*stepped(worlds, 30)]
    plain = started(member(Hopper, 1))
    plain.velocity[0, 0] = 1e-310
    assert all(same(a, b) for a, b in zip(flushed, stepped(plain, 30), strict=True))


def test_one_that_blows_up_is_counted_ends_its_episode_and_touches_nobody(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    worlds, calm = (started(member(Ant, 1), member(Ant, 2)) for _ in range(2))
    chosen = actions(worlds, 3)
    worlds.velocity[1] = 1e12  # of the first member's second environment
    chosen[1][1, 1] = np.nan  # and an action for the second member's second
    others = np.array([[True, False], [True, False]])
    for k, usual in enumerate(actions(calm, 3)):
        step, expected = worlds.step(chosen[k]), calm.step(usual)
        assert np.array_equal(step.reward[others], expected.reward[others])
        assert np.array_equal(step.following[others], expected.following[others])
        assert np.isfinite(step.following).all() and np.isfinite(worlds.physics).all()
        blown = {0: (0, 1), 1: (1, 1)}.get(k)
        if blown:
            assert step.terminated[blown] and step.reward[blown] == 0.0 and not step.truncated[blown]
            assert worlds.episode[blown] == 1 and worlds.length[blown] == 0
        assert worlds.blown_up.sum() == min(k + 1, 2)
    assert worlds.blown_up.tolist() == [[0, 1], [0, 1]] and calm.blown_up.sum() == 0
    assert capfd.readouterr() == ("", "") and not list(tmp_path.iterdir())  # nothing is said, nowhere


def test_friction_is_the_task_s_from_the_next_episode_on() -> None:
    ant = member(SlipperyAnt, 3, steps_per_task=20)  # of 2 environments: 10 steps
    worlds = started(ant)
    assert isinstance(worlds, SlipperySimulations) and isinstance(ant, SlipperyAnt)
    frictions = [ant.friction(task) for task in range(3)]
    worlds.length[0, 0] = 995  # its episode ends in the first task, the other's after it
    worlds.length[0, 1] = 985
    still = np.zeros((1, 2, 8))
    under = []
    for _ in range(20):
        worlds.step(still)
        under.append(worlds.friction[0].tolist())
    first, second = frictions[:2]
    assert [pair[0] for pair in under] == [first] * 20  # begun anew within the task
    assert [pair[1] for pair in under] == [first] * 14 + [second] * 6


def test_tasks_may_share_a_friction() -> None:
    """Stretches of a friction, whose returns are told apart: the frictions themselves are those without."""
    alone, shared = (member(SlipperyAnt, 3, steps_per_task=20, tasks_per_friction=k) for k in (1, 3))
    assert isinstance(alone, SlipperyAnt) and isinstance(shared, SlipperyAnt)
    assert [shared.friction(task) for task in range(7)] == [alone.friction(number) for number in (0, 0, 0, 1, 1, 1, 2)]


def test_what_is_edited_in_the_model_is_what_another_friction_in_its_file_changes() -> None:
    from workloads.reinforcement.simulations import MODELS

    text = (MODELS / "ant.xml").read_text()
    compiled = mujoco.MjModel.from_xml_string(text.replace('friction="1 0.5 0.5"', 'friction="0.25 0.5 0.5"'))
    worlds = started(member(SlipperyAnt, 1))
    assert isinstance(worlds, SlipperySimulations)
    worlds.friction = np.full(worlds.shape, 0.25)
    edited = worlds.batch.get_model(0)
    assert np.array_equal(edited.geom_friction, compiled.geom_friction)
    sizes = mujoco.mj_sizeModel(edited), mujoco.mj_sizeModel(compiled)
    buffers = [np.zeros(size, dtype=np.uint8) for size in sizes]
    for model, buffer in zip((edited, compiled), buffers, strict=True):
        mujoco.mj_saveModel(model, None, buffer)
    assert sizes[0] == sizes[1] and np.array_equal(*buffers)


def test_planning_builds_nothing_and_a_probe_is_what_random_actions_show() -> None:
    ant = member(Ant, 7, envs=1)
    assert (ant.inputs, ant.outputs, ant.heads, ant.longest) == (111, 8, (8, 1), 1000)
    assert [member(kind, 0).inputs for kind in (Hopper, Walker, HalfCheetah)] == [11, 17, 17]
    assert member(Ant, 0, version="v5").inputs == 105
    probe = ant.probe(0, 130)
    assert probe.shape == (130, 111) and probe.dtype == np.float32 and not probe[:, 27:].any()
    assert np.array_equal(probe, member(Ant, 8).probe(2, 130))
    assert len(np.unique(probe[:, 0])) > 100
