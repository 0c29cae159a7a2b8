"""A world for tests: every step shows a symbol, and one of three answers to it is right. Which, a task changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from workloads.random import integers, permutation, uniform
from workloads.reinforcement.worlds import Bool, Discrete, Float32, Float64, World, WorldConfig, Worlds
from workloads.settings import Settings

SYMBOLS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class BanditConfig(WorldConfig):
    tasks: Annotated[int, Ge(1)] = 2
    steps_per_task: Annotated[int, Ge(1)] = 64
    envs: Annotated[int, Ge(1)] = 2
    rollout: Annotated[int, Ge(1)] | None = 4
    epochs: Annotated[int, Ge(1)] | None = 2
    minibatches: Annotated[int, Ge(1)] | None = 2
    longest: Annotated[int, Ge(1)] = 8  # steps of an episode
    ending: Annotated[float, Ge(0), Le(1)] = 0.1  # chance that a step ends it by itself


class Bandit(World):
    Config: ClassVar[type[Settings]] = BanditConfig
    name: ClassVar[str] = "bandit"
    semantics: ClassVar[int] = 1
    action = Discrete(SYMBOLS)
    observation = (SYMBOLS,)
    cut_by_tasks = True

    def __init__(self, config: BanditConfig, seed: int) -> None:
        super().__init__(config, seed)
        self.longest = config.longest

    @classmethod
    def worlds(cls, members: Sequence[Bandit]) -> Bandits:
        return Bandits(members)

    def answers(self, task: int) -> NDArray[np.int64]:
        """(SYMBOLS,) the right answer to each."""
        return permutation(self.seed, "bandit/answers", task, SYMBOLS)

    def probe(self, task: int, count: int) -> Float32:
        return np.eye(SYMBOLS, dtype=np.float32)[np.arange(count) % SYMBOLS]


class Bandits(Worlds):
    arrays = ("symbol", "ended_early")
    counts = ("ended_early",)

    def __init__(self, members: Sequence[Bandit]) -> None:
        super().__init__(members)
        self.ending = np.array([[member.config.ending] for member in members])
        self.symbol = np.zeros(self.shape, dtype=np.int64)
        self.ended_early = np.zeros(self.shape)
        self.everywhere = np.ones(self.shape, dtype=np.bool_)

    def begin(self, where: Bool) -> None:
        self.symbol[where] = self.drawn(symbols, "bandit/first", self.episode, where, 1)[:, 0]

    def move(self, actions: NDArray[Any]) -> tuple[Float64, Bool]:
        answers = np.stack([member.answers(self.task) for member in self.members])  # type: ignore[attr-defined]
        reward = (np.take_along_axis(answers, self.symbol, 1) == actions).astype(np.float64)
        at = np.broadcast_to(self.steps[:, None], self.shape)
        self.symbol = self.drawn(symbols, "bandit/next", at, self.everywhere, 1).reshape(self.shape)
        ended = self.drawn(uniform, "bandit/ended", at, self.everywhere, 1).reshape(self.shape) < self.ending
        self.ended_early += ended
        return reward, ended

    def observe(self) -> Float32:
        return np.eye(SYMBOLS, dtype=np.float32)[self.symbol]


def symbols(seed: Any, what: str, step: Any, count: int, /) -> NDArray[np.int64]:
    return integers(seed, what, step, count, SYMBOLS)
