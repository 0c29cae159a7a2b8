"""Classic control that changes: a pole, an acrobot or a pendulum with other masses and lengths in every task.

A task's masses and lengths are the stock environment's times factors, log-uniform in [1 / spread, spread]: an agent who
has settled on one pole meets a longer, heavier one. As an option what is seen is moved by a constant per number, normal
with a deviation of `offset` and drawn for every task but the first, as in the lifelong control of Muppidi, Zhang & Yang
2024 (TRAC, arXiv 2405.16642; the deviation of 2 and the first task's zeros are their published code's). That physics
change, and how much, is ours.

All of that is a pure function of (seed, task). An episode is played to its end in the task in which it began, as in
slippery Ant; where it begins is a function of (seed, environment, episode).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from workloads.random import normal, uniform
from workloads.reinforcement.classic_control import ENVIRONMENTS
from workloads.reinforcement.worlds import Bool, Float32, Float64, World, WorldConfig, Worlds
from workloads.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class ContinualControlConfig(WorldConfig):
    """The defaults are ours."""

    environment: Literal["cart_pole", "acrobot", "pendulum"] = "cart_pole"  # Gymnasium's, each its v1
    spread: Annotated[float, Ge(1.0)] = 2.0  # masses and lengths change by a factor of up to this; 1: never
    offset: Annotated[float, Ge(0.0)] = 0.0  # deviation of what is added to each number that is seen; 2 in TRAC's code


class ContinualControl(World):
    """One trial's environments, all of one kind."""

    Config: ClassVar[type[Settings]] = ContinualControlConfig
    name: ClassVar[str] = "continual_control"
    semantics: ClassVar[int] = 1
    default_probe: ClassVar[int] = 256

    config: ContinualControlConfig

    def __init__(self, config: ContinualControlConfig, seed: int) -> None:
        super().__init__(config, seed)
        self.environment = ENVIRONMENTS[config.environment]
        self.action = self.environment.action
        self.observation = self.environment.observation
        self.longest = self.environment.longest

    @classmethod
    def worlds(cls, members: Sequence[ContinualControl]) -> Worlds:
        """See World."""
        return ControlWorlds(members)

    def physics(self, task: int) -> Float64:
        """The masses and lengths of a task, in the order of the environment's `stock`."""
        stock = self.environment.stock
        drawn = uniform(self.seed, "control/physics", task, len(stock))
        factors = np.exp(np.log(self.config.spread) * (2 * drawn - 1))
        changed: Float64 = np.array(list(stock.values())) * factors
        return changed

    def offset(self, task: int) -> Float64:
        """(*observation): what is added in a task to all that is seen; nothing in the first."""
        deviation = self.config.offset if task else 0.0
        drawn: Float64 = deviation * normal(self.seed, "control/offset", task, self.inputs)
        return drawn.reshape(self.observation)

    def probe(self, task: int, count: int) -> Float32:
        """(count, inputs): states all over the place as they are seen without an offset, the same for all tasks."""
        edge = np.array(self.environment.edge)
        drawn = uniform(0, "control/probe", np.arange(count, dtype=np.int64), len(edge))
        return self.environment.seen((2 * drawn - 1) * edge).astype(np.float32)


class ControlWorlds(Worlds):
    """The environments of a pack, stepped as one array."""

    arrays: ClassVar[tuple[str, ...]] = ("place", "physics", "offset")

    def __init__(self, members: Sequence[ContinualControl]) -> None:
        super().__init__(members)
        self.environment = members[0].environment
        own = members[0]
        self.place = np.zeros((*self.shape, len(own.environment.begins)))  # the states that environments are in
        self.physics = np.zeros((*self.shape, len(own.environment.stock)))  # of the running episode's task
        self.offset = np.zeros((*self.shape, *own.observation))
        self.of_task = functools.lru_cache(maxsize=2)(
            lambda task: (np.stack([m.physics(task) for m in members]), np.stack([m.offset(task) for m in members]))
        )

    def begin(self, where: Bool) -> None:
        """See Worlds."""
        edge = np.array(self.environment.begins)
        self.place[where] = (2 * self.drawn(uniform, "control/start", self.episode, where, len(edge)) - 1) * edge
        physics, offset = self.of_task(self.task)
        member = np.nonzero(where)[0]
        self.physics[where], self.offset[where] = physics[member], offset[member]

    def move(self, actions: NDArray[Any]) -> tuple[Float64, Bool]:
        """See Worlds."""
        count = self.shape[0] * self.shape[1]
        flat = [array.reshape(count, *array.shape[2:]) for array in (self.place, actions, self.physics)]
        place, reward, over = self.environment.stepped(*flat)
        self.place = place.reshape(self.place.shape)
        return reward.reshape(self.shape), over.reshape(self.shape)

    def observe(self) -> Float32:
        """See Worlds."""
        seen: Float32 = (self.environment.seen(self.place).astype(np.float32) + self.offset).astype(np.float32)
        return seen
