"""Members that act: each on its own pole, one step of the world and one update of its two networks at a time.

What a member is between two steps is all in its state, where the world stands included: a pack that was resumed, or
that members left, goes on to the same bits.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from workloads.engine.layout import Tree, member
from workloads.engine.plain import train
from workloads.engine.seated import OneByOne
from workloads.learner import Learner
from workloads.random import words
from workloads.reinforcement.changing_control import LONGEST, ChangingControl
from workloads.training.held_out import evaluated

if TYPE_CHECKING:
    from gymnasium.envs.classic_control.cartpole import CartPoleEnv


@functools.cache
def critic_seed(seed: int) -> int:
    """Of all that is drawn for the value's network, so that it is not the policy's twin."""
    return int(words(seed, "control/critic", 0, 1)[0])


def output(learner: Learner, own: Tree, hyper: Tree, x: Tensor) -> Tensor:
    """What a network, its "params" and "state", says of states x (B, 4), as in evaluation: (B, outputs)."""
    return learner.network.apply(evaluated(own), learner.shown(x, own["state"], hyper))[0]


def at_beginning(world: ChangingControl, episode: int) -> Tree:
    """A world in which an episode begins: its state (4,) float64, the episode's number and length so far."""
    return {
        "state": torch.from_numpy(world.first_state(episode)),
        "episode": torch.tensor(episode),
        "length": torch.tensor(0),
    }


class Acting(OneByOne):
    """Members one after the other, each with an actor and a critic. Trained by `advance`; see `training.members`.

    A member's state: "params" and "state" of the actor, the same of the "critic", its "world", and sums since somebody
    zeroed them: "returns" of the episodes that ended, and their number, "episodes".
    """

    def __init__(
        self,
        actor: Learner,
        critic: Learner,
        worlds: Mapping[int, ChangingControl],
        hyper: Tree,
        seeds: Tensor,
        dtype: torch.dtype,
    ) -> None:
        """`worlds`: seed -> what its member acts on."""
        self.actor = actor
        self.critic = critic
        self.worlds = worlds
        self.dtype = dtype
        self.seat(hyper, seeds)
        self.environment = functools.lru_cache(maxsize=64)(lambda seed, task: worlds[seed].environment(task))

    def advance(self, start: int, count: int) -> None:
        """Train every member for `count` steps of one task from step `start` on."""
        for i, seed in enumerate(self.seeds.tolist()):
            env = self.environment(seed, self.worlds[seed].task_of(start))
            hyper = member(self.hyper, i)
            for step, chance in enumerate(self.worlds[seed].chances(start, count), start):
                self.members[i] = self.stepped(self.members[i], hyper, seed, env, step, chance)

    def stepped(self, own: Tree, hyper: Tree, seed: int, env: CartPoleEnv, step: int, chance: float) -> Tree:
        """A member after one more step: an action, what came of it, and what both networks learn from that."""
        world, critic = self.worlds[seed], own["critic"]
        x = self.seen(own["world"]["state"].numpy())
        chances = torch.softmax(output(self.actor, own, hyper, x)[0], -1)
        action = int(chance >= float(chances[0]))
        env.state, env.steps_beyond_terminated = own["world"]["state"].numpy(), None
        _, reward, fallen, _, _ = env.step(action)  # type: ignore[no-untyped-call]
        before, after = (output(self.critic, critic, hyper, s)[0, 0] for s in (x, self.seen(env.state)))
        target = reward + (0.0 if fallen else world.config.discount) * after
        taken = torch.stack([torch.tensor(action, dtype=self.dtype), target - before])
        return {
            **self.learned(self.actor, own, hyper, x, taken, seed, step),
            "critic": self.learned(self.critic, critic, hyper, x, target[None], critic_seed(seed), step),
            **moved(own, world, env, fallen),
        }

    def learned(self, learner: Learner, own: Tree, hyper: Tree, x: Tensor, y: Tensor, seed: int, step: int) -> Tree:
        """A network after one step on x (1, 4) and its target y."""
        trained = train(learner, own["params"], own["state"], hyper, x[None], y[None, None], torch.tensor(seed), step)
        return {"params": trained.params, "state": trained.state}

    def seen(self, state: np.ndarray) -> Tensor:
        """(1, 4): a state of the world as the environment shows it, in float32, in the trial's type."""
        return torch.from_numpy(np.asarray(state, dtype=np.float32)[None]).to(self.dtype)


def moved(own: Tree, world: ChangingControl, env: CartPoleEnv, fallen: bool) -> Tree:
    """The world after a step and the sums over episodes: the next one begins where this one has ended."""
    episode, length = int(own["world"]["episode"]), int(own["world"]["length"]) + 1
    if not fallen and length < LONGEST:
        at = {"state": torch.from_numpy(env.state), "episode": torch.tensor(episode), "length": torch.tensor(length)}
        return {"world": at, "returns": own["returns"], "episodes": own["episodes"]}
    return {
        "world": at_beginning(world, episode + 1),
        "returns": own["returns"] + length,  # a reward of 1 a step
        "episodes": own["episodes"] + 1,
    }
