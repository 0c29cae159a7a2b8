"""What tells one of Gymnasium's MuJoCo robots from another: its model, what it shows, what it is rewarded for.

Every number and the order of every sum are those of gymnasium.envs.mujoco (Ant-v5, Hopper-v5, Walker2d-v5,
HalfCheetah-v5), over many environments at once, so that rewards and observations are the stock environments' to the
bit. Positions are (N, nq), velocities (N, nv), actions (N, A), float64.

Ant-v3, on which much was published, is Ant-v5 but for three things:
- it is rewarded for having been healthy in the step in which it falls too, where v5 is not;
- its observation ends in 84 contact forces, those of the world's body first, where v5 has 78;
- with MuJoCo 2.1, as published, all of them were zero, and so was what they cost.
It is what Gymnasium's Ant-v4 without contact forces does, with 84 zeros more to see.

The others are v5 alone. From v3, on which much was published, they differ as from Gymnasium's v4, which is v3 on a
newer MuJoCo:
- Hopper and Walker2d too were rewarded for having been healthy in the step in which they fall: 1 more an episode;
- Walker2d's right foot had a friction of 0.9, its left one of 1.9, as both have in v5;
- nothing else of their models, rewards and observations differs, nor anything of HalfCheetah's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.random import normal, uniform
from workloads.reinforcement.worlds import Draw

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

OLD_CONTACTS = 84  # 6 for each of the ant's 14 bodies
WORLD = 6  # of them, the world's own, which come first
HEIGHT = 2  # where the ant's is among its positions
FORCE = 1.0  # at which contact forces are clipped
CONTACT_WEIGHT = 5e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A robot. Lengths in m, angles in rad, time in s, as in its model."""

    model: str  # a file among Gymnasium's
    substeps: int  # steps of the simulator in one of the environment's
    control_weight: float
    actions: int
    seen: int  # positions and velocities that are shown
    hidden: int = 1  # positions that are not shown: how far it has come
    fastest: float = np.inf  # at which the velocities shown are clipped
    noise: float  # of where an episode begins
    speeds: Draw = uniform  # how that of the velocities is drawn; that of the positions is uniform
    torso: bool = False  # whether how far it has come is read off its torso, which is one stage of a substep behind
    contacts: bool = False  # whether contact forces are shown and cost
    zeros: int = 0  # at the end of what is shown
    healthy: Callable[[Float64, Float64], Bool]  # finite positions and velocities -> (N,)
    survival: float = 1.0  # the reward for being healthy
    forgiving: bool = False  # whether it is had in every step

    @property
    def shown(self) -> int:
        """Numbers in an observation."""
        return self.seen + (OLD_CONTACTS - WORLD) * self.contacts + self.zeros

    def show(self, seen: NDArray[np.float32], position: Float64, velocity: Float64, forces: Float64) -> None:
        """Write to zeros (N, shown) what is seen of positions, velocities, and clipped contact forces (N, 6 bodies)."""
        start = position.shape[1] - self.hidden
        seen[:, :start] = position[:, self.hidden :]
        seen[:, start : self.seen] = velocity if self.fastest == np.inf else velocity.clip(-self.fastest, self.fastest)
        if self.contacts:
            seen[:, self.seen :] = forces[:, WORLD:]

    def reward(self, speed: Float64, healthy: Bool, actions: Float64, forces: Float64) -> Float64:
        """(N,), of speeds forward (N,), in m/s, and clipped contact forces (N, 6 bodies)."""
        cost = self.control_weight * np.square(actions).sum(-1)
        if self.contacts:
            cost += CONTACT_WEIGHT * np.square(forces).sum(-1)
        reward: Float64 = speed + (self.survival if self.forgiving else healthy * self.survival)
        reward -= cost
        return reward


def standing_ant(position: Float64, velocity: Float64) -> Bool:
    """Whether the torso is neither too low nor too high."""
    height = position[:, HEIGHT]
    healthy: Bool = (height >= 0.2) & (height <= 1.0)
    return healthy


def standing_hopper(position: Float64, velocity: Float64) -> Bool:
    """Whether it is high and upright enough, and nothing moves too fast."""
    rest = np.abs(np.concatenate([position[:, 2:], velocity], axis=1))
    healthy: Bool = (rest < 100.0).all(-1) & (position[:, 1] > 0.7) & (rest[:, 0] < 0.2)
    return healthy


def standing_walker(position: Float64, velocity: Float64) -> Bool:
    """Whether it is at a walker's height, and not bent too far."""
    healthy: Bool = (position[:, 1] > 0.8) & (position[:, 1] < 2.0) & (np.abs(position[:, 2]) < 1.0)
    return healthy


def always(position: Float64, velocity: Float64) -> Bool:
    """An episode that only its longest length ends."""
    return np.ones(len(position), dtype=np.bool_)


def ant(*, contacts: bool = False, zeros: int = 0, forgiving: bool = False) -> Body:
    """An ant, by what tells its versions apart."""
    return Body(
        model="ant.xml",
        substeps=5,
        control_weight=0.5,
        actions=8,
        seen=27,
        hidden=2,
        noise=0.1,
        speeds=normal,
        torso=True,
        contacts=contacts,
        zeros=zeros,
        healthy=standing_ant,
        forgiving=forgiving,
    )


ANT_V5 = ant(contacts=True)
ANT_V3 = ant(zeros=OLD_CONTACTS, forgiving=True)
HOPPER = Body(
    model="hopper.xml",
    substeps=4,
    control_weight=1e-3,
    actions=3,
    seen=11,
    fastest=10.0,
    noise=5e-3,
    healthy=standing_hopper,
)
WALKER = Body(
    model="walker2d_v5.xml",
    substeps=4,
    control_weight=1e-3,
    actions=6,
    seen=17,
    fastest=10.0,
    noise=5e-3,
    healthy=standing_walker,
)
HALF_CHEETAH = Body(
    model="half_cheetah.xml",
    substeps=5,
    control_weight=0.1,
    actions=6,
    seen=17,
    noise=0.1,
    speeds=normal,
    healthy=always,
    survival=0.0,
)
