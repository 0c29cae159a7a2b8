"""Promises of every world: that it goes on to the same bits, is nobody's neighbour, and begins episodes by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from workloads.random import integers, normal
from workloads.reinforcement import CONTROLS
from workloads.reinforcement.worlds import Discrete, Stepped, World, Worlds

ENVS = 3
STEPS = 40  # of each environment in a task
LENGTH = 100  # of each environment in all: two changes of task

# Settings that are worlds of another kind: each is held to all of this.
MORE: dict[str, list[dict[str, Any]]] = {
    "continual_control": [{"environment": "acrobot", "offset": 1.0}, {"environment": "pendulum"}],
    "ant": [{"version": "v5"}],
    "continual_minatar": [{"games": "seaquest"}],
}
CASES = [(name, settings) for name in CONTROLS for settings in ({}, *MORE.get(name, []))]
IDS = [" ".join(map(str, (name, *settings.values()))) for name, settings in CASES]
every_world = pytest.mark.parametrize(("name", "settings"), CASES, ids=IDS)


def made(name: str, settings: dict[str, Any], seed: int) -> World:
    kind = cast(Any, CONTROLS[name])
    world: World = kind(
        kind.Config(envs=ENVS, rollout=STEPS, minibatches=1, steps_per_task=ENVS * STEPS, **settings), seed
    )
    return world


def started(members: Sequence[World]) -> Worlds:
    worlds = members[0].worlds(members)
    worlds.start()
    return worlds


def actions(members: Sequence[World], at: int) -> NDArray[Any]:
    """Of a step, for all environments: each member's by its own seed."""
    own = members[0].action
    if isinstance(own, Discrete):
        return np.stack([integers(m.seed, "test", at, ENVS, own.n) for m in members])
    return np.stack([normal(m.seed, "test", at, ENVS * own.n).reshape(ENVS, own.n) for m in members])


def stepped(worlds: Worlds, members: Sequence[World], start: int, until: int) -> list[Stepped]:
    return [worlds.step(actions(members, at)) for at in range(start, until)]


def assert_same(one: Sequence[Stepped], other: Sequence[Stepped], places: Any = slice(None)) -> None:
    assert len(one) == len(other)
    for at, (a, b) in enumerate(zip(one, other, strict=True)):
        for field in dataclasses.fields(Stepped):
            assert np.array_equal(
                getattr(a, field.name)[places], getattr(b, field.name), equal_nan=field.name == "returned"
            ), (at, field.name)


@every_world
def test_its_sizes_are_what_it_says_and_steps_are_arrays_of_them(name: str, settings: dict[str, Any]) -> None:
    members = [made(name, settings, seed) for seed in (1, 2)]
    worlds = started(members)
    world = members[0]
    assert (world.name, world.online_metric, world.inputs) == (name, "average_return", int(np.prod(world.observation)))
    before = worlds.observe()
    [came] = stepped(worlds, members, 0, 1)
    for seen in (before, came.following):
        assert seen.shape == (2, ENVS, *world.observation) and seen.dtype == np.float32 and np.isfinite(seen).all()
    for value, dtype in (
        (came.reward, np.float64),
        (came.returned, np.float64),
        (came.terminated, np.bool_),
        (came.truncated, np.bool_),
    ):
        assert value.shape == (2, ENVS) and value.dtype == dtype
    assert not np.array_equal(before[0], before[1]) or not np.array_equal(came.following[0], came.following[1])
    assert all(value.shape[0] == 2 for value in worlds.state().values())


@every_world
def test_a_state_is_all_there_is_and_is_kept_as_it_was(name: str, settings: dict[str, Any]) -> None:
    """Saved before, at and after a change of task; what is saved does not change under who goes on."""
    members = [made(name, settings, seed) for seed in (1, 2)]
    worlds, states = started(members), {}
    whole: list[Stepped] = []
    for at in range(LENGTH):
        if at in (7, STEPS, STEPS + 11):
            states[at] = worlds.state()
        whole += stepped(worlds, members, at, at + 1)
    end = worlds.state()
    for at, state in states.items():
        other = members[0].worlds(members)
        other.load(state)
        assert_same(whole[at:], stepped(other, members, at, LENGTH))
        assert other.state().keys() == end.keys()
        for key, value in other.state().items():
            assert np.array_equal(value, end[key], equal_nan=value.dtype.kind == "f"), (at, key)


@every_world
def test_a_member_is_what_it_is_alone_and_what_it_was_when_others_leave(name: str, settings: dict[str, Any]) -> None:
    members = [made(name, settings, seed) for seed in (5, 6, 7)]
    together = started(members)
    whole = stepped(together, members, 0, 50)
    state = together.state()
    for place in (0, 2):
        alone = [members[place]]
        assert_same(whole, stepped(started(alone), alone, 0, 50), [place])
    stay = [members[0], members[2]]
    left = members[0].worlds(stay)
    left.load({key: value[[0, 2]] for key, value in state.items()})
    assert_same(stepped(together, members, 50, LENGTH), stepped(left, stay, 50, LENGTH), [0, 2])


@every_world
def test_an_episode_that_ended_is_followed_by_another_in_the_same_step(name: str, settings: dict[str, Any]) -> None:
    members = [made(name, settings, 3)]
    members[0].longest = min(members[0].longest, 23)  # so that all kinds have ends to look at
    worlds = started(members)
    sums, lengths, ends = np.zeros((1, ENVS)), np.zeros((1, ENVS), dtype=int), 0
    for at in range(LENGTH):
        [came] = stepped(worlds, members, at, at + 1)
        sums += came.reward
        lengths += 1
        ended = came.terminated | came.truncated
        assert not (came.terminated & came.truncated).any() and (lengths <= 23).all()
        told = ~np.isnan(came.returned)
        assert (told <= ended).all() and np.array_equal(came.returned[told], sums[told])
        now = worlds.observe()
        assert np.array_equal(now[~ended], came.following[~ended])  # what was seen goes on where nothing ended
        ends += int(ended.sum())
        sums[ended], lengths[ended] = 0, 0
    assert ends >= 4 * ENVS


@every_world
def test_tasks_follow_each_other_and_an_episode_follows_from_seed_place_and_number(
    name: str, settings: dict[str, Any]
) -> None:
    world = made(name, settings, 1)
    starts = [world.task_start(task) for task in range(world.tasks + 1)]
    assert starts[0] == 0 and all(a < b for a, b in zip(starts, starts[1:], strict=False))
    for task in range(world.tasks):
        assert world.task_of(starts[task]) == world.task_of(starts[task + 1] - 1) == task
        assert (starts[task + 1] - starts[task]) % ENVS == 0
    first = started([world]).observe()
    assert np.array_equal(first, started([made(name, settings, 1)]).observe())
    other = [started([made(name, settings, seed)]) for seed in (2, 3)]
    assert any(not np.array_equal(first, worlds.observe()) for worlds in other)


@every_world
def test_probes_are_observations_and_a_shorter_one_is_the_beginning_of_a_longer(
    name: str, settings: dict[str, Any]
) -> None:
    world = made(name, settings, 1)
    for task in (0, world.tasks - 1):
        probe = world.probe(task, 24)
        assert probe.shape == (24, world.inputs) and probe.dtype == np.float32 and np.isfinite(probe).all()
        assert np.array_equal(probe[:10], made(name, settings, 2).probe(task, 10))
        assert len(np.unique(probe, axis=0)) > 1
