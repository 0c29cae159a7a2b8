"""How many more steps a second MinAtar's games make here than in the package of that name, on one core.

Sixty-four members of some environments each play at random; so does one environment of the package, which plays one at
a time. A step of either is an action that may be repeated instead of a new one, the rules, the next episode where one
has ended, and what is seen after it: in the package an array of its game's channels, here ten channels, of which those
cells are written that have changed. `worlds` is the same as PPO takes it (`continual_minatar`), where what is seen
after a step and after a reset is copied out twice. Both sides by turns in one process, by the processor's time, since
neither waits for anything; the best stretch counts. All five games together are as many steps of each.

    python -m sweep.benchmarks.arcade
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module

import numpy as np

from sweep.benchmarks.bench import on_one_core
from sweep.errors import InputError
from workloads.reinforcement.continual_minatar import ContinualMinAtar, ContinualMinAtarConfig
from workloads.reinforcement.minatar import ACTIONS, GAMES, Arcade, Game

MEMBERS = 64
TARGET = 50.0
STRETCHES = 9  # of either side; the best counts
CALLS, ALONE = 50, 2000  # calls of ours, and steps of the package's one environment, in a stretch


@dataclass(frozen=True, slots=True)
class Speed:
    """Nanoseconds that one step of one environment takes."""

    game: str
    members: int
    environments: int  # of each
    package_ns: float
    arcade_ns: float
    worlds_ns: float

    @property
    def times(self) -> float:
        """As fast as the package."""
        return self.package_ns / self.arcade_ns


def packaged(game: Game) -> Callable[[], int]:
    """Plays a stretch of the package's game; returns its steps. Raises InputError where there is no package."""
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


def played(game: Game, environments: int) -> tuple[Callable[[], int], Callable[[], int]]:
    """The same of an arcade, and of worlds."""
    config = ContinualMinAtarConfig(games=game, envs=environments, tasks=1, steps_per_task=2**40)
    members = [ContinualMinAtar(config, seed) for seed in range(MEMBERS)]
    arcade, worlds = Arcade([member.play(0) for member in members], environments), ContinualMinAtar.worlds(members)
    actions = np.random.default_rng(0).integers(0, ACTIONS, (CALLS, *arcade.shape))
    clock, episode = np.zeros(MEMBERS, dtype=np.int64), np.zeros(arcade.shape, dtype=np.int64)
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


def measured(game: Game, environments: int) -> Speed:
    """One game, in this process."""
    sides = (packaged(game), *played(game, environments))
    times = [[timed(side) for side in sides] for _ in range(STRETCHES)]
    package, arcade, worlds = (min(side) for side in zip(*times, strict=True))
    return Speed(game, MEMBERS, environments, package, arcade, worlds)


def timed(stretch: Callable[[], int]) -> float:
    """Nanoseconds a step."""
    began = time.process_time_ns()
    steps = stretch()
    return (time.process_time_ns() - began) / steps


def main(arguments: Sequence[str] | None = None) -> int:
    """MinAtar's games here beside the package's."""
    parser = argparse.ArgumentParser(prog="python -m sweep.benchmarks.arcade", description=main.__doc__)
    parser.add_argument("--environments", type=int, default=16, help="of each of the 64 members")
    parser.add_argument("--json", action="store_true", help="one line of JSON per game")
    options = parser.parse_args(arguments)
    on_one_core()
    rows = [measured(game, options.environments) for game in GAMES]
    sums = [sum(getattr(row, name) for row in rows) for name in ("package_ns", "arcade_ns", "worlds_ns")]
    for row in (*rows, Speed("all", MEMBERS, options.environments, *(each / len(rows) for each in sums))):
        print(json.dumps(asdict(row)) if options.json else told(row), flush=True)
    return 0


def told(row: Speed) -> str:
    """A row in words."""
    return (
        f"{row.game:15} {row.members} x {row.environments}: package {row.package_ns:,.0f} ns a step, here "
        f"{row.arcade_ns:,.0f} ns, {row.times:,.0f} times as fast (worlds {row.worlds_ns:,.0f} ns, "
        f"{row.package_ns / row.worlds_ns:,.0f} times)"
    )


if __name__ == "__main__":
    sys.exit(main())
