"""Games of MinAtar one after the other, again and again, whose channels are shuffled at every visit.

In a cycle every game is visited once, in an order drawn anew for each cycle; a task is a visit. One network plays them
all, by one head: observations are 10 x 10 cells of 10 channels, of which a game fills as many as it has; six actions
are those of all games, and what a game does not heed is nothing. At a visit each channel is shown in another place, so
that no filter of an earlier visit, of the same game either, fits. Order and places are pure functions of (seed, task).

That is how the authors of AdamO's dynamical isometry have MinAtar played, by what their code is known to do: Breakout,
Asterix, Space Invaders and Freeway (Seaquest's rewards are of another size), 20 cycles, 15 million steps a visit, 2048
environments x 128 steps an iteration, the optimizer's state reset at every visit (`reset: {what: optimizer}`, with
`task_boundaries: shown`). They run JAX versions of the games, whose settings there are not known; of the versions that
we have read, Asterix repeats no action at random and is cut off after 1000 steps. The defaults here are the MinAtar
package's, sticky actions and difficulty that ramps up; but for the length of an episode, which there has an end in
Freeway alone, after 2,501 steps: here that is the end of all, so that every task sees some.

A visit ends the episodes that are running; their returns count nowhere. A game's reward is not rescaled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, cast

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from workloads.random import Int64, integers, permutation
from workloads.reinforcement.minatar import ACTIONS, BOARD, GAMES, Arcade, Game, Play
from workloads.reinforcement.settings import Preset, WorldConfig
from workloads.reinforcement.worlds import Bool, Discrete, Float32, Float64, World, Worlds
from workloads.settings import Settings

# Seaquest's rewards are of another size: the published sequence leaves it out.
SEQUENCES: dict[str, tuple[Game, ...]] = {
    "published": ("breakout", "asterix", "space_invaders", "freeway"),
    "all": GAMES,
}
WARM = 40  # steps before what a probe sees


def sequence(games: str) -> tuple[Game, ...]:
    """The games of a cycle, by the name of a sequence, or of the only one."""
    return SEQUENCES.get(games, (cast(Game, games),))


def visited(games: str, seed: int, task: int) -> tuple[Game, int]:
    """The game that is played in a task, and the number of the visit to it, from 1."""
    cycle, place = divmod(task, len(sequence(games)))
    order = permutation(seed, "minatar/order", cycle, len(sequence(games)))
    return sequence(games)[int(order[place])], cycle + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ContinualMinAtarConfig(WorldConfig):
    """Names are those of the package, where it has them."""

    games: Literal["published", "all", Game] = "published"  # of a cycle: four, five, or the same one again and again
    sticky_action_prob: Annotated[float, Ge(0), Le(1)] = 0.1  # chance that the last action is taken again
    difficulty_ramping: bool = True  # games get harder as they go on, as in the package
    longest_episode: Annotated[int, Ge(1)] = 2501  # steps after which one is cut off; Freeway ends itself by then
    ppo: Preset = "modern"


class ContinualMinAtar(World):
    """One trial's games."""

    Config: ClassVar[type[Settings]] = ContinualMinAtarConfig
    name: ClassVar[str] = "continual_minatar"
    semantics: ClassVar[int] = 1
    cut_by_tasks: ClassVar[bool] = True

    action = Discrete(ACTIONS)
    observation = BOARD

    config: ContinualMinAtarConfig

    def __init__(self, config: ContinualMinAtarConfig, seed: int) -> None:
        super().__init__(config, seed)
        self.longest = config.longest_episode
        self.games = sequence(config.games)

    @classmethod
    def worlds(cls, members: Sequence[ContinualMinAtar]) -> Worlds:
        """See World. Raises InputError where there is no C++ compiler."""
        return MinAtarWorlds(members)

    def game(self, task: int) -> Game:
        """What is played in a task."""
        return visited(self.config.games, self.seed, task)[0]

    def places(self, task: int) -> Int64:
        """(10,): the channel in which each of a game's channels is shown in a task."""
        return permutation(self.seed, "minatar/channels", task, BOARD[-1])

    def play(self, task: int) -> Play:
        """A task as the arcade takes it."""
        config = self.config
        return Play(self.seed, self.game(task), self.places(task), config.sticky_action_prob, config.difficulty_ramping)

    def probe(self, task: int, count: int) -> Float32:
        """(count, 1000): boards of all games in turn, each with places of its own, after some random actions."""
        plays = [self.of_probe(place) for place in range(count)]
        arcade, episode = Arcade(plays, 1), np.zeros((count, 1), dtype=np.int64)
        arcade.begin(np.ones((count, 1), dtype=np.bool_), episode)
        actions = integers(0, "minatar/probe", np.arange(count), WARM, ACTIONS)
        for step in range(WARM):
            _, over = arcade.step(np.full(count, step), np.ascontiguousarray(actions[:, step : step + 1]))
            arcade.begin(over, episode + step + 1)
        return arcade.observation.reshape(count, self.inputs)

    def of_probe(self, place: int) -> Play:
        """What is played for one board of a probe."""
        game = self.games[place % len(self.games)]
        return Play(place, game, permutation(place, "minatar/probe_channels", 0, BOARD[-1]), 0.0, True)


class MinAtarWorlds(Worlds):
    """The arcades of a pack, whose members may play different games."""

    arrays: ClassVar[tuple[str, ...]] = ("own", "last_action")

    def __init__(self, members: Sequence[ContinualMinAtar]) -> None:
        super().__init__(members)
        self.plays = [member.play for member in members]
        self.at = 0  # the task whose games are played
        self.arcade = Arcade([play(0) for play in self.plays], self.shape[1])
        self.own, self.last_action = self.arcade.own, self.arcade.last_action

    def begin(self, where: Bool) -> None:
        """See Worlds. With a task its games begin, for all."""
        self.visit(self.task)
        self.arcade.begin(where, self.episode)

    def visit(self, task: int) -> None:
        """Play the games of a task."""
        if task != self.at:
            self.at = task
            self.arcade.play([play(task) for play in self.plays])

    def move(self, actions: NDArray[Any]) -> tuple[Float64, Bool]:
        """See Worlds."""
        return self.arcade.step(self.steps // self.shape[1], actions)

    def observe(self) -> Float32:
        """See Worlds."""
        return self.arcade.observation.copy()

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """See Worlds. What is kept in `state` of the arcade is copied into its own arrays."""
        super().load(state)
        self.visit(self.task)
        self.arcade.load(self.own, self.last_action)
        self.own, self.last_action = self.arcade.own, self.arcade.last_action
