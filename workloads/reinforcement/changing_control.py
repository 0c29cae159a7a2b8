"""A pole to balance whose lengths and masses change: Gymnasium's CartPole, another one in every task.

A task's cart mass, pole mass and pole length are the stock environment's times factors, log-uniform in
[1 / spread, spread] and a pure function of (seed, task): a policy that has settled on one pole meets a longer, heavier
one. Where an episode begins is a function of (seed, episode). An episode ends as in CartPole-v1: when the pole has
fallen or the cart has left the track, or after 500 steps; a reward of 1 for each. The one that a task's end cuts off
is dropped.

Two networks learn at every step (one-step actor-critic, Sutton & Barto 2018, section 13.5; see
`workloads.reinforcement.actor_critic`). The design of the tasks is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Lt
from numpy.typing import NDArray

from workloads.random import uniform
from workloads.settings import Settings
from workloads.streams.base import Boundaries

if TYPE_CHECKING:  # the one takes half a second to import, the other needs torch
    from gymnasium.envs.classic_control.cartpole import CartPoleEnv

    from workloads.losses.implementations import Loss

NOT_COUNTED = ("episodes", "policy_churn", "explained_variance")
LONGEST = 500  # steps of an episode, as in CartPole-v1
EDGE = (2.4, 2.0, 0.2095, 2.0)  # of the states that probes are drawn from: position, speed, angle, angular speed

Discount = Annotated[float, Ge(0.0), Lt(1.0)]


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangingControlConfig:
    """The defaults are ours."""

    tasks: Annotated[int, Ge(1)] = 20
    steps_per_task: Annotated[int, Ge(LONGEST)] = 5000  # at least an episode, so that one ends in every task
    spread: Annotated[float, Ge(1.0)] = 2.0  # masses and lengths change by a factor of up to this; 1: never
    discount: Discount = 0.99  # per step
    entropy: Annotated[float, Ge(0.0)] = 0.01  # weight of the policy's entropy, in nats, beside a reward of 1 a step
    task_boundaries: Boundaries = "hidden"


@dataclass(frozen=True, slots=True)
class Physics:
    """What of the stock environment a task changes."""

    masscart: float  # kg
    masspole: float  # kg
    length: float  # m, half the pole's


STOCK = Physics(masscart=1.0, masspole=0.1, length=0.5)


class ChangingControl:
    """One trial's poles. Making one builds no environment: `environment` does."""

    Config: ClassVar[type[Settings]] = ChangingControlConfig
    name: ClassVar[str] = "changing_control"
    semantics: ClassVar[int] = 1
    loss: ClassVar[str] = "actor_critic"
    online_metric: ClassVar[str] = "average_return"
    unmeasured: ClassVar[tuple[str, ...]] = ("online_loss", "plasticity_gap", "within_task", *NOT_COUNTED)
    default_every: ClassVar[int] = 1
    default_probe: ClassVar[int] = 256

    inputs = 4  # position, speed, angle, angular speed
    outputs = 2  # of the policy: preferences for pushing left and right
    heads = (2, 1)  # the policy's, and the value's
    batch = 1

    def __init__(self, config: ChangingControlConfig, seed: int) -> None:
        self.config = config
        self.seed = seed
        self.tasks = config.tasks
        self.boundaries_shown = config.task_boundaries == "shown"

    def own_loss(self) -> Loss:
        """What the policy's network descends."""
        from workloads.reinforcement.actor_critic import PolicyGradient

        return PolicyGradient(self.config.entropy)

    def task_start(self, task: int) -> int:
        """The first step of a task; `task_start(tasks)` is the length of the trial."""
        return task * self.config.steps_per_task

    def task_of(self, step: int) -> int:
        """The task a step belongs to."""
        return step // self.config.steps_per_task

    def physics(self, task: int) -> Physics:
        """The pole and the cart of a task."""
        drawn = uniform(self.seed, "control/physics", task, 3)
        cart, pole, length = np.exp(np.log(self.config.spread) * (2 * drawn - 1))
        return Physics(float(STOCK.masscart * cart), float(STOCK.masspole * pole), float(STOCK.length * length))

    def environment(self, task: int) -> CartPoleEnv:
        """The stock environment with the attributes of a task, to be put into a state and stepped."""
        from gymnasium.envs.classic_control.cartpole import CartPoleEnv

        pole, env = self.physics(task), CartPoleEnv()
        env.masscart, env.masspole, env.length = pole.masscart, pole.masspole, pole.length
        env.total_mass = env.masspole + env.masscart  # what it derives from them when it is made
        env.polemass_length = env.masspole * env.length
        return env

    def first_state(self, episode: int) -> NDArray[np.float64]:
        """(4,) where an episode begins: uniform within 0.05 of an upright pole at rest, as in the stock environment."""
        return 0.1 * uniform(self.seed, "control/start", episode, 4) - 0.05

    def chances(self, start: int, count: int) -> list[float]:
        """The uniform numbers in [0, 1) by which the actions of steps from `start` on are drawn."""
        drawn: list[float] = uniform(self.seed, "control/action", np.arange(start, start + count), 1)[:, 0].tolist()
        return drawn

    def probe(self, task: int, count: int) -> NDArray[np.float32]:
        """(count, 4) states all over the track for diagnostics to look at, the same for all tasks and members."""
        drawn = uniform(0, "control/probe", np.arange(count, dtype=np.int64), 4)
        states: NDArray[np.float32] = ((2 * drawn - 1) * np.array(EDGE)).astype(np.float32)
        return states
