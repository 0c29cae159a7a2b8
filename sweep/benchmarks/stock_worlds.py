"""Gymnasium's environments as worlds: a vector that steps the stock environments one after the other in Python."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from workloads.reinforcement.worlds import Bool, Continuous, Float32, Float64, World, Worlds


class StockWorlds(Worlds):
    """The environments of one member, begun at random and not by its seed's draws."""

    def __init__(self, member: World, name: str) -> None:
        """`name`: of an environment that shows and does what the member's own does."""
        super().__init__([member])
        off = {"autoreset_mode": gymnasium.vector.AutoresetMode.DISABLED}  # episodes are begun by `Worlds`
        self.vector = gymnasium.make_vec(name, num_envs=member.envs, vectorization_mode="sync", vector_kwargs=off)
        self.continuous = isinstance(member.action, Continuous)
        self.seen, _ = self.vector.reset(seed=member.seed)

    def begin(self, where: Bool) -> None:
        """See Worlds."""
        self.seen, _ = self.vector.reset(options={"reset_mask": where[0]})

    def move(self, actions: NDArray[Any]) -> tuple[Float64, Bool]:
        """See Worlds."""
        told = actions[0].astype(np.float32) if self.continuous else actions[0]
        self.seen, reward, terminated, _, _ = self.vector.step(told)
        return reward[None], terminated[None]

    def observe(self) -> Float32:
        """See Worlds."""
        seen: Float32 = self.seen[None].astype(np.float32)
        return seen
