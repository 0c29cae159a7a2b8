"""How many more steps a second MinAtar's games make here than in the package of that name, on one core.

Sixty-four members of some environments each play at random; so does one environment of the package, which plays one at
a time. A step of either is an action that may be repeated instead of a new one, the rules, the next episode where one
has ended, and what is seen after it: in the package an array of its game's channels, here ten channels, of which those
cells are written that have changed. `worlds` is the same as PPO takes it (`continual_minatar`), where what is seen
after a step and after a reset is copied out twice; the ratio, and the 50 that it is to reach, are of the games alone.
All sides by turns in one process, by the processor's time, since neither waits for anything; the best stretch counts.
All five games together are as many steps of each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module

import numpy as np

from sweep.benchmarks.rows import GamesRow, versions
from sweep.benchmarks.turns import busy, by_turns
from sweep.benchmarks.world_cases import ALL, Games
from sweep.errors import InputError
from workloads.reinforcement.continual_minatar import ContinualMinAtar, ContinualMinAtarConfig
from workloads.reinforcement.minatar import ACTIONS, GAMES, Arcade, Game

STRETCHES = 9  # of either side; the best counts
CALLS, ALONE = 50, 2000  # calls of ours, and steps of the package's one environment, in a stretch


def packaged(game: Game) -> Callable[[], int]:
    """Plays a stretch of the package's game: its steps. Raises InputError where there is no package."""
    try:
        made = import_module("minatar").Environment(game)
    except ImportError as error:
        raise InputError("the package minatar is not installed; the extra `dev` has it") from error
    actions = np.random.default_rng(0).integers(0, ACTIONS, ALONE).tolist()

    def stretch() -> int:
        for action in actions:
            _, over = made.act(action)
            if over:
                made.reset()
            made.state()
        return ALONE

    made.reset()
    return stretch


def played(game: Game, count: int, environments: int) -> tuple[Callable[[], int], Callable[[], int]]:
    """The same of an arcade, and of worlds."""
    config = ContinualMinAtarConfig(games=game, envs=environments, tasks=1, steps_per_task=2**40)
    members = [ContinualMinAtar(config, seed) for seed in range(count)]
    arcade, worlds = Arcade([member.play(0) for member in members], environments), ContinualMinAtar.worlds(members)
    actions = np.random.default_rng(0).integers(0, ACTIONS, (CALLS, *arcade.shape))
    clock, episode = np.zeros(count, dtype=np.int64), np.zeros(arcade.shape, dtype=np.int64)
    arcade.begin(np.ones(arcade.shape, dtype=np.bool_), episode)
    worlds.start()

    def alone() -> int:
        for action in actions:
            _, over = arcade.step(clock, action)
            np.add(episode, over, out=episode)
            np.add(clock, 1, out=clock)
            arcade.begin(over, episode)
        return actions.size

    def acted() -> int:
        for action in actions:
            worlds.step(action)
        return actions.size

    return alone, acted


def measured(case: Games) -> GamesRow:
    """One row, in this process. Raises InputError where there is no package."""
    games = [game for game in GAMES if case.game in (game, ALL)]
    of_games = [stretched((packaged(game), *played(game, case.members, case.envs))) for game in games]
    package, arcade, worlds = (sum(side) / len(games) for side in zip(*of_games, strict=True))
    return GamesRow(
        stream=case.stream,
        game=case.game,
        arm=case.arm,
        members=case.members,
        envs=case.envs,
        package_ns=round(package, 1),
        arcade_ns=round(arcade, 1),
        worlds_ns=round(worlds, 1),
        ratio=round(package / arcade, 2),
        target=case.target,
        versions=versions("minatar"),
    )


def stretched(sides: tuple[Callable[[], int], ...]) -> list[float]:
    """Nanoseconds a step, of each side."""
    steps = [side() for side in sides]
    best = map(min, by_turns([partial(busy, side) for side in sides], STRETCHES))
    return [1e9 * seconds / count for seconds, count in zip(best, steps, strict=True)]
