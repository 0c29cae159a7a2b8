"""What every world has of its base, by a bandit: episodes, what ends them, and that members are nobody's neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
from bandit import Bandit, BanditConfig, Bandits

from workloads.random import uniform
from workloads.reinforcement.worlds import Stepped


def bandit(seed: int = 1, **settings: Any) -> Bandit:
    return Bandit(BanditConfig(**settings), seed)


def started(*members: Bandit) -> Bandits:
    worlds = Bandit.worlds(members)
    worlds.start()
    return worlds


def stepped(worlds: Bandits, count: int) -> list[Stepped]:
    """Steps by the same actions for every member."""
    actions = [np.full(worlds.shape, (int(worlds.steps[0]) // worlds.shape[1] + k) % 3) for k in range(count)]
    return [worlds.step(each) for each in actions]


def same(first: Stepped, second: Stepped, which: Any = slice(None)) -> bool:
    names = Stepped.__slots__
    return all(np.array_equal(getattr(first, n)[which], getattr(second, n), equal_nan=n == "returned") for n in names)


def test_what_is_asked_when_planning() -> None:
    made = bandit(tasks=3, steps_per_task=96)
    assert (made.inputs, made.outputs, made.heads, made.envs) == (3, 3, (3, 1), 2)
    assert [made.task_start(task) for task in range(4)] == [0, 96, 192, 288]
    assert (made.task_of(95), made.task_of(96), made.boundaries_shown) == (0, 1, False)


def test_an_episode_ends_by_itself_or_at_its_longest_and_tells_its_return() -> None:
    worlds = started(bandit(ending=0.1, longest=8))
    steps = stepped(worlds, 32)
    sums, lengths, kinds = np.zeros(2), np.zeros(2), set()
    for step in steps:
        sums += step.reward[0]
        lengths += 1
        for env in range(2):
            ended = step.terminated[0, env] or step.truncated[0, env]
            assert ended == (not np.isnan(step.returned[0, env])) or step is steps[-1]
            if ended and step is not steps[-1]:
                assert step.returned[0, env] == sums[env]
                assert step.truncated[0, env] == (lengths[env] == 8 and not step.terminated[0, env])
                kinds.add(bool(step.truncated[0, env]))
                sums[env], lengths[env] = 0, 0
    assert kinds == {True, False}  # both ways to end were seen
    assert worlds.ended_early.sum() == sum(step.terminated.sum() for step in steps)


def test_the_following_observation_is_the_one_before_a_reset() -> None:
    worlds = started(bandit(longest=1, ending=0.0))
    before = worlds.observe()
    step = worlds.step(np.zeros((1, 2), dtype=np.int64))
    drawn = [uniform(1, "bandit/next", np.array([env << 32]), 1)[0, 0] for env in range(2)]
    assert step.following.argmax(-1)[0].tolist() == [int(3 * value) for value in drawn]
    assert step.truncated.all() and worlds.episode.tolist() == [[1, 1]] and (worlds.length == 0).all()
    seen = [int(3 * uniform(1, "bandit/first", np.array([(env << 32) | 1]), 1)[0, 0]) for env in range(2)]
    assert worlds.observe().argmax(-1)[0].tolist() == seen and before.dtype == np.float32


def test_where_a_task_cuts_its_episodes_they_tell_no_return() -> None:
    worlds = started(bandit(ending=0.0, longest=5, steps_per_task=8))
    steps = stepped(worlds, 4)  # of 2 environments: a task
    assert steps[-1].truncated.all() and np.isnan(steps[-1].returned).all() and worlds.task == 1
    assert not any(step.truncated.any() for step in steps[:-1])
    full = stepped(started(bandit(ending=0.0, longest=4, steps_per_task=8)), 4)
    assert not np.isnan(full[-1].returned).any()  # those that ended by themselves do


def test_a_state_goes_on_to_the_same_bits_and_shares_no_memory() -> None:
    one = started(bandit(1), bandit(2))
    stepped(one, 5)
    held = one.state()
    rest = stepped(one, 20)
    other = Bandit.worlds([bandit(1), bandit(2)])
    other.load(held)
    assert all(same(a, b) for a, b in zip(rest, stepped(other, 20), strict=True))
    assert all(np.array_equal(value, other.state()[name]) for name, value in one.state().items())


def test_a_member_is_what_it_is_alone_wherever_it_stands() -> None:
    together = stepped(started(bandit(5), bandit(6, ending=0.5), bandit(7)), 30)
    for place, member in enumerate((bandit(5), bandit(6, ending=0.5), bandit(7))):
        assert all(same(a, b, [place]) for a, b in zip(together, stepped(started(member), 30), strict=True))
    other = started(bandit(5), bandit(6, ending=0.5), bandit(7))
    stepped(other, 10)
    left = Bandit.worlds([bandit(5), bandit(7)])
    left.load({name: value[[0, 2]] for name, value in other.state().items()})
    assert all(same(a, b, [0, 2]) for a, b in zip(together[10:], stepped(left, 20), strict=True))
    assert not np.array_equal(together[0].following[0], together[0].following[2])


def test_environments_of_one_member_differ() -> None:
    worlds = started(bandit(envs=16))
    assert len({tuple(row) for row in worlds.observe()[0].tolist()}) == 3
