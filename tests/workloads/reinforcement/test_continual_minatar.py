"""Which game is played when and how it is shown, visits, and that members go on to the same bits in any pack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args, get_type_hints

import numpy as np

from workloads.random import integers
from workloads.reinforcement.continual_minatar import (
    SEQUENCES,
    ContinualMinAtar,
    ContinualMinAtarConfig,
    MinAtarWorlds,
    visited,
)
from workloads.reinforcement.minatar import ACTIONS, CHANNELS, GAMES
from workloads.reinforcement.worlds import Stepped

LENGTH = 120  # steps of a visit here, of two environments


def world(seed: int = 3, **settings: Any) -> ContinualMinAtar:
    sizes = {"envs": 2, "tasks": 4, "steps_per_task": LENGTH, "rollout": 15, "minibatches": 2}
    return ContinualMinAtar(ContinualMinAtarConfig(**{**sizes, **settings}), seed)


def started(*members: ContinualMinAtar) -> MinAtarWorlds:
    worlds = MinAtarWorlds(members)
    worlds.start()
    return worlds


def played(worlds: MinAtarWorlds, count: int, seeds: Sequence[int] = (3, 8, 1)) -> list[Stepped]:
    """Steps by random actions, each member's from its own seed."""
    steps = []
    for _ in range(count):
        clock = np.array([int(worlds.steps[0]) // 2])
        steps.append(worlds.step(np.concatenate([integers(seed, "any", clock, 2, ACTIONS) for seed in seeds])))
    return steps


def same(first: Stepped, second: Stepped, which: Any = slice(None)) -> bool:
    names = Stepped.__slots__
    return all(np.array_equal(getattr(first, n)[which], getattr(second, n), equal_nan=n == "returned") for n in names)


def test_every_cycle_has_every_game_once_in_an_order_of_its_own() -> None:
    made = world()
    cycles = [[made.game(4 * cycle + place) for place in range(4)] for cycle in range(40)]
    assert all(sorted(cycle) == sorted(set(GAMES) - {"seaquest"}) for cycle in cycles)
    assert len({tuple(cycle) for cycle in cycles}) > 15  # of 24
    assert cycles == [[world().game(4 * cycle + place) for place in range(4)] for cycle in range(40)]
    assert [world(4).game(task) for task in range(40)] != [made.game(task) for task in range(40)]
    assert [visited("published", 3, 4 * cycle + 2) for cycle in range(40)] == [
        (c[2], k) for k, c in enumerate(cycles, 1)
    ]
    assert {world(games="all").game(task) for task in range(5)} == set(GAMES)
    assert {world(games="seaquest").game(task) for task in range(5)} == {"seaquest"}


def test_channels_are_permuted_at_every_visit() -> None:
    places = np.stack([world(games="breakout").places(task) for task in range(100)])
    assert (np.sort(places, axis=1) == np.arange(10)).all() and len(np.unique(places, axis=0)) > 95
    assert np.array_equal(places[7], world(games="seaquest").places(7))
    assert not np.array_equal(places[7], world(4).places(7))


def test_a_visit_ends_with_its_task_and_the_next_game_is_shown_in_its_own_places() -> None:
    worlds = started(world(3), world(8))
    for task in range(4):
        for member, own in enumerate(worlds.members):
            assert isinstance(own, ContinualMinAtar)
            board = worlds.observe()[member]
            filled = np.flatnonzero(board.any((0, 1, 2)))
            assert set(filled) <= set(own.places(task)[: CHANNELS[own.game(task)]].tolist()) and len(filled)
        *_, last = played(worlds, LENGTH // 2, (3, 8))
        assert (last.truncated | last.terminated).all() and np.isnan(last.returned[last.truncated]).all()
        assert worlds.task == min(task + 1, 3) and not worlds.length.any()
        assert task == 3 or not worlds.last_action.any()
    assert worlds.episode.min() >= 4


def test_a_member_goes_on_to_the_same_bits_from_its_state_and_alone() -> None:
    members = world(3), world(8), world(1, sticky_action_prob=0.3, difficulty_ramping=False, games="all")
    straight, broken = started(*members), started(*members)
    for count in (37, 23, 30, 60):  # the second ends with a task
        steps = played(straight, count)
        kept = broken.state()
        again = MinAtarWorlds(members)
        again.load(kept)
        assert np.array_equal(again.observe(), broken.observe())
        thinned = MinAtarWorlds(members[1:2])
        thinned.load({name: value[1:2] for name, value in kept.items()})
        for whole, one, other in zip(steps, played(thinned, count, (8,)), played(again, count), strict=True):
            assert same(whole, other) and same(whole, one, slice(1, 2))
        assert np.array_equal(straight.observe()[1:2], thinned.observe())
        broken = again
    assert all(np.array_equal(value, broken.state()[name]) for name, value in straight.state().items())
    assert straight.task == 2


def test_taking_a_state_leaves_it_as_it_is() -> None:
    worlds = started(world(), world(8), world(1))
    kept = worlds.state()
    before = {name: value.copy() for name, value in kept.items()}
    worlds.load(kept)
    played(worlds, 10)
    assert all(np.array_equal(value, before[name]) for name, value in kept.items())


def test_an_episode_can_be_cut_off() -> None:
    assert not any(step.truncated.any() for step in played(started(world(games="freeway")), 59, (3,)))
    cut = played(started(world(games="freeway", longest_episode=25)), 59, (3,))
    assert [step.truncated.all() for step in cut] == [place in (24, 49) for place in range(59)]
    assert not np.isnan(cut[24].returned).any()


def test_a_probe_is_everyones_and_of_all_games() -> None:
    probe = world().probe(0, 60)
    assert probe.shape == (60, 1000) and probe.dtype == np.float32 and world().probe(0, 0).shape == (0, 1000)
    assert np.array_equal(probe[:12], world(9).probe(3, 12)) and len(np.unique(probe, axis=0)) == 60


def test_a_wrong_game_is_answered_with_all_that_there_are() -> None:
    """Not with the first half of a union of choices."""
    choices = get_args(get_type_hints(ContinualMinAtarConfig)["games"])
    assert set(choices) == {*SEQUENCES, *GAMES}
