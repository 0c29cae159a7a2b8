"""Worlds: what acts in them, what they show, and many of them stepped together as arrays.

A `World` is one trial's, a workload of kind control: sizes and timetable, pure in (config, seed); making one builds no
environment. `Worlds` are all environments of a pack, E for each of its M members, and do the work. Time is counted in
*steps*: one step of one environment of a member, so that a call of `Worlds.step` is E of them for every member.

All that is drawn is a function of the member's seed, the environment's place, and the number of the episode or step
(`Worlds.drawn`): never of a neighbour, so that a member's numbers are the same in any pack.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from workloads.errors import InputError
from workloads.random import Int64
from workloads.reinforcement.actions import Action, Continuous, Discrete
from workloads.reinforcement.settings import PPO, WorldConfig, ppo_of
from workloads.settings import Settings

if TYPE_CHECKING:
    from workloads.losses.implementations import Loss

__all__ = ["Action", "Continuous", "Discrete", "Stepped", "World", "WorldConfig", "Worlds"]

Bool = NDArray[np.bool_]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
State = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Stepped:
    """What came of one step in every environment, (M, E) each."""

    reward: Float64
    terminated: Bool  # the episode ended by itself: nothing is to be had after it
    truncated: Bool  # it was cut off, by its longest length or with its task
    following: Float32  # (M, E, *observation): what was seen after the step, before any reset
    now: Float32  # the same after it: where no episode ended, what `following` is
    returned: Float64  # the sum of rewards of the episode that ended here; NaN where none did, or its task cut it off


class World(ABC):
    """One trial's world, by its config and seed. A subclass names its `Config`, a `WorldConfig`, and what is below."""

    Config: ClassVar[type[Settings]]
    name: ClassVar[str]
    semantics: ClassVar[int]
    loss: ClassVar[str] = "ppo_policy"
    online_metric: ClassVar[str] = "average_return"
    unmeasured: ClassVar[tuple[str, ...]] = ("online_loss", "plasticity_gap", "blown_up")
    default_every: ClassVar[int] = 1
    default_probe: ClassVar[int] = 1000

    action: Action
    observation: tuple[int, ...]  # shape of what one environment shows, float32
    longest: int  # steps after which an episode is cut off
    cut_by_tasks: ClassVar[bool] = False  # whether the episodes that run when a task ends are cut off then

    def __init__(self, config: Any, seed: int) -> None:
        """`config`: a `WorldConfig`."""
        self.config = config
        self.seed = seed
        self.tasks: int = config.tasks
        self.envs: int = config.envs
        self.ppo: PPO = ppo_of(config)
        self.boundaries_shown: bool = config.task_boundaries == "shown"

    @classmethod
    @abstractmethod
    def worlds(cls, members: Sequence[Any]) -> Worlds:
        """The environments of members of this class, whose seeds and settings may differ, but not what they show."""

    @abstractmethod
    def probe(self, task: int, count: int) -> Float32:
        """(count, inputs) observations for diagnostics to look at, the same for all members."""

    @property
    def inputs(self) -> int:
        """Numbers in an observation."""
        return math.prod(self.observation)

    @property
    def outputs(self) -> int:
        """Of the policy's network: a preference for every action, or a mean for every number of one."""
        return self.action.n

    @property
    def heads(self) -> tuple[int, int]:
        """The policy's outputs, and the value's."""
        return self.outputs, 1

    def check(self) -> None:
        """Raises InputError where tasks are not whole iterations, or may be over before any episode is."""
        steps, least = self.config.steps_per_task, self.envs * self.longest
        if self.iteration % self.ppo.minibatches:
            raise InputError(
                f"{self.name}: minibatches {self.ppo.minibatches} must divide envs x rollout, {self.iteration:,} steps"
            )
        if over := steps % self.iteration:
            near = " or ".join(f"{n:,}" for n in (steps - over, steps - over + self.iteration) if n)
            raise InputError(
                f"{self.name}: steps_per_task {steps:,} must be whole iterations of envs x rollout, {self.iteration:,} "
                f"steps: take {near}"
            )
        if steps < least:
            raise InputError(
                f"{self.name}: steps_per_task {steps:,} must be at least {least:,} for an episode to end in each task, "
                f"which may last {self.longest:,} steps, in {self.envs} environments at once"
            )

    @property
    def iteration(self) -> int:
        """Steps of a member between two times that it learns."""
        return self.envs * self.ppo.rollout

    @property
    def batch(self) -> int:
        """Steps in a minibatch."""
        return self.iteration // self.ppo.minibatches

    @property
    def updates(self) -> int:
        """Steps of learning that a trial comes to."""
        return self.task_start(self.tasks) // self.iteration * self.ppo.epochs * self.ppo.minibatches

    @property
    def buffer(self) -> int:
        """Numbers of an iteration's steps that a member holds at once: as they came, by member, shuffled."""
        return 3 * self.iteration * (self.inputs + 2 * self.outputs + 4)

    def own_loss(self) -> Loss:
        """What the policy's network descends."""
        from workloads.reinforcement.ppo import PolicyLoss

        return PolicyLoss(self.action, self.ppo.clip, self.ppo.entropy)

    def task_start(self, task: int) -> int:
        """The first step of a task; `task_start(tasks)` is the length of the trial."""
        start: int = task * self.config.steps_per_task
        return start

    def task_of(self, step: int) -> int:
        """The task a step belongs to."""
        task: int = step // self.config.steps_per_task
        return task


class Draw(Protocol):
    """`uniform`, `normal` or another of `workloads.random`."""

    def __call__(self, seed: Int64, what: str, step: Int64, count: int, /) -> NDArray[Any]: ...


class Worlds(ABC):
    """All environments of M members, E each. The base keeps episodes: their number, length and return, and who ended.

    A subclass says in `arrays` which attributes, (M, ...) each, hold the rest of its state, and defines `begin`, `move`
    and `observe`. After making one, call `start` or `load`.
    """

    OF_EPISODES: ClassVar[tuple[str, ...]] = ("steps", "episode", "length", "sum")
    arrays: ClassVar[tuple[str, ...]] = ()
    # Of `arrays` those, (M, E), that are sums of events, such as simulators that blew up: they are reported as metrics
    # of these names, and set to zero when a task has ended.
    counts: ClassVar[tuple[str, ...]] = ()

    def __init__(self, members: Sequence[World]) -> None:
        self.members = members
        self.shape = len(members), members[0].envs
        self.seeds = np.array([member.seed for member in members], dtype=np.int64)
        self.longest = np.array([[member.longest] for member in members])
        self.steps = np.zeros(len(members), dtype=np.int64)  # that every member has made
        self.episode = np.zeros(self.shape, dtype=np.int64)  # the number of the running one
        self.length = np.zeros(self.shape, dtype=np.int64)  # its steps so far
        self.sum = np.zeros(self.shape, dtype=np.float64)  # its rewards so far

    @abstractmethod
    def begin(self, where: Bool) -> None:
        """Put the environments in the mask (M, E) at the beginning of their `episode`, in task `task`."""

    @abstractmethod
    def move(self, actions: NDArray[Any]) -> tuple[Float64, Bool]:
        """One step of every environment: the rewards, and which episodes ended by themselves, (M, E) each."""

    @abstractmethod
    def observe(self) -> Float32:
        """(M, E, *observation): what every environment shows now."""

    @property
    def task(self) -> int:
        """The task of the coming step, the same for all members; after the last step, the last."""
        return min(self.members[0].task_of(int(self.steps[0])), self.members[0].tasks - 1)

    def start(self) -> None:
        """Begin the first episode everywhere."""
        self.begin(np.ones(self.shape, dtype=np.bool_))

    def step(self, actions: NDArray[Any]) -> Stepped:
        """One step everywhere, by int64 (M, E) or float64 (M, E, n); where an episode has ended the next one begins."""
        reward, terminated = self.move(actions)
        self.steps += self.shape[1]
        self.length += 1
        self.sum += reward
        following = self.observe()
        told = terminated | (self.length >= self.longest)
        returned = np.where(told, self.sum, np.nan)
        ended = np.ones(self.shape, dtype=np.bool_) if self.cut else told
        if not ended.any():
            return Stepped(reward, terminated, ended, following, following, returned)
        self.episode += ended
        self.length[ended], self.sum[ended] = 0, 0.0
        self.begin(ended)
        return Stepped(reward, terminated, ended & ~terminated, following, self.observe(), returned)

    @property
    def cut(self) -> bool:
        """Whether a task has just ended that its episodes end with."""
        member, step = self.members[0], int(self.steps[0])
        return member.cut_by_tasks and step == member.task_start(member.task_of(step))

    def drawn(self, draw: Draw, what: str, at: Int64, where: Bool, count: int) -> NDArray[Any]:
        """(environments in the mask `where` (M, E), count) random numbers: `draw` is one of `workloads.random`.

        `at` (M, E), below 2^32, is the number of the episode or step that they are for.
        """
        member, env = np.nonzero(where)
        return draw(self.seeds[member][:, None], what, (env << 32) | at[member, env], count)

    def state(self) -> State:
        """All there is, (M, ...) each: `load(state())` goes on to the same bits."""
        return {name: getattr(self, name).copy() for name in (*self.OF_EPISODES, *self.arrays)}

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take the members' state."""
        for name in (*self.OF_EPISODES, *self.arrays):
            setattr(self, name, state[name].copy())
