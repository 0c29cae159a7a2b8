"""Settings of proximal policy optimisation, the same for all worlds, and two presets of them.

`published` is what Dohare et al. (2024), Nature 632:768, ran on ants; `modern` the usual settings of many environments
at a time, for short episodes. What else a run of today has is a method of the registry and is added as one:
observations by running statistics are `input_normaliser`, short gradients `gradient_clipping`. Two things that other
implementations do are left out: advantages are normalised over an iteration, not over each minibatch, and the value's
loss is not clipped.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from workloads.streams.base import Boundaries

Preset = Literal["published", "modern"]
TimeLimits = Literal["end", "bootstrap"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PPO:
    """One choice of all settings. See `WorldConfig` for their meaning."""

    rollout: int
    epochs: int
    minibatches: int
    discount: float
    gae_lambda: float
    clip: float
    value_weight: float
    entropy: float
    time_limits: TimeLimits


PRESETS: dict[Preset, PPO] = {
    "published": PPO(
        rollout=2048,
        epochs=10,
        minibatches=16,
        discount=0.99,
        gae_lambda=0.95,
        clip=0.2,
        value_weight=1.0,
        entropy=0.0,
        time_limits="end",
    ),
    "modern": PPO(
        rollout=128,
        epochs=4,
        minibatches=4,
        discount=0.99,
        gae_lambda=0.95,
        clip=0.2,
        value_weight=0.5,
        entropy=0.01,
        time_limits="bootstrap",
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldConfig:
    """Settings of every world; a world's own config adds to them and may give them other defaults.

    What is None is the preset's. A subclass with a `__post_init__` of its own calls `WorldConfig.__post_init__(self)`.
    """

    tasks: Annotated[int, Ge(1)] = 10  # one after the other
    steps_per_task: Annotated[int, Ge(1)] = 102_400  # of a member, over all its environments; whole iterations
    envs: Annotated[int, Ge(1)] = 1  # environments of each member
    task_boundaries: Boundaries = "hidden"  # whether methods are told when a task begins
    ppo: Preset = "published"  # what is null below: as in the papers, or as is usual now
    rollout: Annotated[int, Ge(1)] | None = None  # steps of each environment in an iteration
    epochs: Annotated[int, Ge(1)] | None = None  # times that an iteration's steps are learned from
    minibatches: Annotated[int, Ge(1)] | None = None  # equal parts of an epoch: an update each
    discount: Annotated[float, Ge(0), Lt(1)] | None = None  # per step
    gae_lambda: Annotated[float, Ge(0), Le(1)] | None = None  # how far advantages look: 0 one step, 1 all that came
    clip: Annotated[float, Gt(0)] | None = None  # ratios of probabilities count within 1 +- this
    value_weight: Annotated[float, Gt(0)] | None = None  # of the squared error of values
    entropy: Annotated[float, Ge(0)] | None = None  # weight of the policy's entropy, in nats
    # What follows where an episode was cut off: nothing, as if it had ended, or what its value says
    time_limits: TimeLimits | None = None

    def __post_init__(self) -> None:
        """What is not said is the preset's, so that a trial is written down in full."""
        for field in fields(PPO):
            if getattr(self, field.name) is None:
                object.__setattr__(self, field.name, getattr(PRESETS[self.ppo], field.name))


def ppo_of(config: Any) -> PPO:
    """A `WorldConfig`'s settings of PPO."""
    return PPO(**{field.name: getattr(config, field.name) for field in fields(PPO)})
