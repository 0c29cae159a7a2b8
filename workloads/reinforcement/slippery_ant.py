"""Gymnasium's Ant on ground whose friction changes, as an environment for anybody's agent: "pliant/SlipperyAnt-v0".

    import workloads.reinforcement.slippery_ant  # makes the name known

    env = gymnasium.make("pliant/SlipperyAnt-v0", steps_per_friction=100_000)
    observation, info = env.reset(seed=3)  # info["friction"]
    envs = gymnasium.make_vec("pliant/SlipperyAnt-v0", num_envs=4, version="v3")

Or, without the import, by "workloads.reinforcement.slippery_ant:pliant/SlipperyAnt-v0".

The first episode that begins after every `steps_per_friction` steps of this environment has the next friction of its
seed (`workloads.reinforcement.friction`), of the floor and the ant alike. `reset(seed=...)` begins with that seed's
first. Source: Dohare et al. (2024), Nature 632:768, who count the steps from the episode's end at which the friction
last changed; here they are counted from multiples of the period, so that the changes of a seed are where they are
whatever the agent does.

Trials train on the world of this name (`workloads.reinforcement.locomotion`), many environments at once and the same
numbers.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from gymnasium import register
from gymnasium.envs.mujoco.ant_v5 import AntEnv
from gymnasium.spaces import Box
from gymnasium.utils import EzPickle
from numpy.typing import NDArray

from workloads.reinforcement.bodies import OLD_CONTACTS
from workloads.reinforcement.friction import friction

Version = Literal["v5", "v3"]
V3 = {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0.0}


class SlipperyAntEnv(AntEnv):
    """The stock Ant-v5, or with version="v3" an Ant-v3 as with MuJoCo 2.1 (see `workloads.reinforcement.bodies`)."""

    def __init__(self, *, steps_per_friction: int = 2_000_000, version: Version = "v5", **stock: Any) -> None:
        """`stock`: what Ant-v5 takes. Raises ValueError for a period below 1 or another version."""
        if steps_per_friction < 1:
            raise ValueError(f"steps_per_friction is {steps_per_friction}, and must be at least 1")
        if version not in ("v5", "v3"):
            raise ValueError(f"version is {version!r}, and may be 'v5' or 'v3'")
        self.steps_per_friction = steps_per_friction
        self.version = version
        self.steps = 0  # since the seed was given
        super().__init__(**({**stock, **V3} if version == "v3" else stock))
        EzPickle.__init__(self, steps_per_friction=steps_per_friction, version=version, **stock)
        if version == "v3":
            self.observation_space = Box(low=-np.inf, high=np.inf, shape=self._get_obs().shape, dtype=np.float64)

    @property
    def friction(self) -> float:
        """Of the running episode."""
        return float(self.model.geom_friction[0, 0])

    @property
    def healthy_reward(self) -> float:
        """What a step is rewarded with for its sake; v3 forgives the fall."""
        forgiven = self.version == "v3" and self._terminate_when_unhealthy
        return float(self._healthy_reward if forgiven else super().healthy_reward)

    def step(self, action: NDArray[Any]) -> tuple[NDArray[np.float64], Any, bool, bool, dict[str, Any]]:
        """As the stock environment's."""
        self.steps += 1
        observation, reward, terminated, truncated, info = super().step(action)  # type: ignore[no-untyped-call]
        return observation, reward, terminated, truncated, {**info, "friction": self.friction}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """As the stock environment's, on the friction that is due."""
        if seed is not None:
            self.steps = 0
            self._np_random_seed = seed
        self.model.geom_friction[:, 0] = friction(self.np_random_seed, self.steps // self.steps_per_friction)
        observation, info = super().reset(seed=seed, options=options)
        return observation, {**info, "friction": self.friction}

    def _get_obs(self) -> NDArray[np.float64]:
        """What is seen; v3's contact forces are zeros."""
        seen: NDArray[np.float64] = super()._get_obs()  # type: ignore[no-untyped-call]
        return np.concatenate([seen, np.zeros(OLD_CONTACTS)]) if self.version == "v3" else seen


register(
    id="pliant/SlipperyAnt-v0",
    entry_point="workloads.reinforcement.slippery_ant:SlipperyAntEnv",
    max_episode_steps=1000,
)
