"""What the bench measures of worlds: agents that learn in them, and worlds stepped alone, robots' and MinAtar's.

`stream` is the workload's name, as of packs; `arm` is `ppo` where somebody learns, else `stepping`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from workloads.reinforcement.minatar import GAMES

PPO, STEPPING = "ppo", "stepping"  # arms
SLIPPERY = "workloads.reinforcement.slippery_ant:pliant/SlipperyAnt-v0"
ALL = "all"  # games together


@dataclass(frozen=True, slots=True, kw_only=True)
class Agents:
    """A pack of agents that learn by PPO, beside one agent in a plain loop (`acting`)."""

    kind: ClassVar[str] = "agents"
    arm: ClassVar[str] = PPO
    device: ClassVar[str] = "cpu"
    target: ClassVar[float] = 1.4  # times as many steps a second as the plain loop
    stream: str
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the world
    width: int
    depth: int
    members: int
    stock: str  # the environment as Gymnasium has it
    stock_settings: Mapping[str, Any] = field(default_factory=dict)  # of our world that shows as much as that

    @property
    def subject(self) -> str:
        """Hidden layers of both networks."""
        return "-".join([str(self.width)] * self.depth)


@dataclass(frozen=True, slots=True, kw_only=True)
class Robots:
    """Robots stepped alone, one environment a member, beside `mj_step` by itself (`stepping`)."""

    kind: ClassVar[str] = "robots"
    arm: ClassVar[str] = STEPPING
    device: ClassVar[str] = "cpu"
    target: ClassVar[float] = 0.9  # of the time is physics
    stream: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    members: int
    stock: str
    steps: int = 300  # of every environment

    @property
    def subject(self) -> str:
        """The environment as Gymnasium has it."""
        return self.stock.rpartition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Games:
    """MinAtar's games stepped alone, beside the package of that name (`arcade`)."""

    kind: ClassVar[str] = "games"
    arm: ClassVar[str] = STEPPING
    device: ClassVar[str] = "cpu"
    stream: ClassVar[str] = "continual_minatar"
    game: str  # or ALL: as many steps of each
    members: int = 64
    envs: int = 16

    @property
    def subject(self) -> str:
        """The game."""
        return self.game

    @property
    def target(self) -> float | None:
        """Times as fast as the package."""
        return 50.0 if self.game == ALL else None


CONTROL: dict[str, Any] = {
    "stream": "continual_control",
    "settings": {"envs": 8, "ppo": "modern"},
    "stock": "CartPole-v1",
}
ANT: dict[str, Any] = {"stream": "ant", "stock": "Ant-v5", "stock_settings": {"version": "v5"}}
ROBOTS: list[dict[str, Any]] = [
    {"stream": "slippery_ant", "stock": SLIPPERY},
    {"stream": "ant", "settings": {"version": "v5"}, "stock": "Ant-v5"},  # which sees contact forces
    {"stream": "hopper", "stock": "Hopper-v5"},
    {"stream": "walker", "stock": "Walker2d-v5"},
    {"stream": "half_cheetah", "stock": "HalfCheetah-v5"},
]
WORLD_CASES: list[Agents | Robots | Games] = [
    *[
        Agents(**setting, width=width, depth=depth, members=members)
        for setting, width, depth in ((CONTROL, 32, 1), (CONTROL, 64, 2), (ANT, 256, 2))
        for members in (8, 16)
    ],
    *[Robots(**robot, members=members) for robot in ROBOTS for members in (8, 16, 32)],
    *[Games(game=game) for game in (*GAMES, ALL)],
]
