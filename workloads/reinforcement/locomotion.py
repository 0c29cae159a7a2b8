"""Robots that learn to walk: Gymnasium's Ant, Hopper, Walker2d and HalfCheetah, and the ant on slippery ground.

As in Dohare et al. (2024), Nature 632:768: observations and rewards as they come, episodes of at most 1000 steps. The
ant is their Ant-v3 unless told otherwise, the others Gymnasium's v5 (`workloads.reinforcement.bodies` says what these
differ in from the v3 that were published). Where nothing changes, tasks are the stretches over which returns are
averaged. On slippery ground each, or so many of them together, have a friction, a pure function of (seed, task), of
every episode that begins in it: one that runs on when it ends keeps the friction it began with. Theirs changes with the
first episode that ends 2,000,000 steps or more after the last change; ours at multiples of iterations of 2048 steps, so
that the changes of a seed are where they are whatever it learns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge

from workloads.random import uniform
from workloads.reinforcement.bodies import ANT_V3, ANT_V5, HALF_CHEETAH, HOPPER, WALKER, Body
from workloads.reinforcement.friction import friction
from workloads.reinforcement.worlds import Continuous, Float32, World, WorldConfig, Worlds
from workloads.settings import Settings, later

if TYPE_CHECKING:
    from workloads.reinforcement.simulations import Simulations

PROBED = 20  # environments that a probe is gathered from


@dataclass(frozen=True, kw_only=True, slots=True)
class LocomotionConfig(WorldConfig):
    """Of a robot on ground that stays as it is."""

    tasks: Annotated[int, Ge(1)] = 200  # stretches that a run is told in
    steps_per_task: Annotated[int, Ge(1)] = 249_856  # 122 iterations of 2048: about the paper's 250,000


@dataclass(frozen=True, kw_only=True, slots=True)
class AntConfig(LocomotionConfig):
    """Of an ant."""

    # v3: as published, 84 zeros at the end of what is seen and a reward for being healthy also in the step in which it
    # falls; v5: 78 contact forces in their place, which cost
    version: Literal["v3", "v5"] = "v3"


@dataclass(frozen=True, kw_only=True, slots=True)
class SlipperyAntConfig(AntConfig):
    """Of an ant on slippery ground."""

    tasks: Annotated[int, Ge(1)] = 10  # one after the other
    steps_per_task: Annotated[int, Ge(1)] = 2_000_896  # 977 iterations of 2048
    tasks_per_friction: Annotated[int, Ge(1)] = later(1)  # more: a friction's return over as many stretches


class Locomotion(World):
    """A robot, its `body`. A subclass says which."""

    Config: ClassVar[type[Settings]] = LocomotionConfig
    semantics: ClassVar[int] = 1
    unmeasured: ClassVar[tuple[str, ...]] = tuple(name for name in World.unmeasured if name != "blown_up")
    body: Body
    longest = 1000

    def __init__(self, config: Any, seed: int) -> None:
        super().__init__(config, seed)
        self.action = Continuous(self.body.actions)
        self.observation = (self.body.shown,)

    @classmethod
    def worlds(cls, members: Sequence[Any]) -> Worlds:
        """See World."""
        return cls.simulations(members)

    @classmethod
    def simulations(cls, members: Sequence[Any], threads: int = 1) -> Simulations:
        """The same, stepped by so many threads."""
        from workloads.reinforcement.simulations import Simulations

        return Simulations(members, members[0].body, threads=threads)

    def probe(self, task: int, count: int) -> Float32:
        """(count, inputs): what was seen under random actions, in some episodes of seed 0; the same for all tasks."""
        return seen(type(self), self.config.version if isinstance(self.config, AntConfig) else None, count)


@cache
def seen(kind: type[Locomotion], version: str | None, count: int) -> Float32:
    """(count, inputs): observations of `PROBED` robots of a kind that are moved at random."""
    settings = {"version": version} if version else {}
    member = kind(kind.Config(tasks=1, envs=PROBED, steps_per_task=2048 * PROBED, **settings), 0)
    worlds = kind.worlds([member])
    worlds.start()
    looks = [worlds.observe()[0]]
    for step in range(1, -(-count // PROBED)):
        drawn = uniform(0, "mujoco/probe", PROBED * step + np.arange(PROBED), member.action.n)
        looks.append(worlds.step(2 * drawn[None] - 1).following[0])
    return np.concatenate(looks)[:count]


class Ant(Locomotion):
    """Four legs."""

    Config: ClassVar[type[Settings]] = AntConfig
    name: ClassVar[str] = "ant"

    def __init__(self, config: AntConfig, seed: int) -> None:
        self.body = ANT_V3 if config.version == "v3" else ANT_V5
        super().__init__(config, seed)


class SlipperyAnt(Ant):
    """Four legs on ground whose friction changes."""

    Config: ClassVar[type[Settings]] = SlipperyAntConfig
    name: ClassVar[str] = "slippery_ant"

    def friction(self, task: int) -> float:
        """Of the floor and of the ant."""
        return friction(self.seed, task // self.config.tasks_per_friction)

    @classmethod
    def simulations(cls, members: Sequence[Any], threads: int = 1) -> Simulations:
        """See Locomotion."""
        from workloads.reinforcement.simulations import SlipperySimulations

        frictions = [member.friction for member in members]
        return SlipperySimulations(members, members[0].body, frictions, threads=threads)


class Hopper(Locomotion):
    """One leg."""

    name: ClassVar[str] = "hopper"
    body = HOPPER


class Walker(Locomotion):
    """Two legs."""

    name: ClassVar[str] = "walker"
    body = WALKER


class HalfCheetah(Locomotion):
    """Two legs that cannot fall."""

    name: ClassVar[str] = "half_cheetah"
    body = HALF_CHEETAH
