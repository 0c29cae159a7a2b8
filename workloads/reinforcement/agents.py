"""Members that act: of each an actor and a critic, trained by engines of their own, and its environments.

An *iteration* is `rollout` steps in every environment and what is learned of them: some epochs, each a shuffled pass in
minibatches, each of which is one step of both engines. What shuffles is a function of (seed, epoch). Between two
iterations everything a member is stands in its state; the buffers of steps do not, which may be larger than all else,
so that iterations are not cut.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workloads.engine import Engine
from workloads.engine.layout import Tree, mapped
from workloads.learner import Learner
from workloads.random import words
from workloads.reinforcement.forward import Forward
from workloads.reinforcement.policies import policy_of
from workloads.reinforcement.ppo import advantages, normalised
from workloads.reinforcement.rollout import Rollout, rolled_out
from workloads.reinforcement.worlds import World

MakeEngine = Callable[[Learner, Tree, Tensor], Engine]
OF_A_STRETCH = ("stretch_returned", "stretch_episodes")
OF_THE_ACTOR = ("params", "state", "loss", "correct")
# Since somebody zeroed them; of the stretch of a task at hand, for the curve within it.
SUMS = ("returned", "episodes", "policy_churn", "unexplained", "variance", "iterations", *OF_A_STRETCH)


def sums_of(metrics: Collection[str]) -> tuple[str, ...]:
    """The sums that agents who record these metrics keep.

    That of `value_error` where it is asked for, so that other agents' checkpoints have the parts they had without it.
    """
    return (*SUMS, "squared_error") if "value_error" in metrics else SUMS


@functools.cache
def critic_seed(seed: int) -> int:
    """Of all that is drawn for the value's network, so that it is not the policy's twin."""
    return int(words(seed, "ppo/critic", 0, 1)[0])


def critic_seeds(seeds: Tensor) -> Tensor:
    """(P,) of the members' critics."""
    return torch.tensor([critic_seed(seed) for seed in seeds.tolist()], dtype=torch.int64, device=seeds.device)


class Agents:
    """Members in training; see `training.members.Holder`.

    Their state: "params", "state", "loss" and "correct" of the actor, the same of the "critic"; "world", the
    environments'; "sums", (P,) float64 each; "seen" (P, N, inputs), the last observations.
    """

    def __init__(
        self,
        actor: Learner,
        critic: Learner,
        worlds: Mapping[int, World],
        make: MakeEngine,
        hyper: Tree,
        seeds: Tensor,
        dtype: torch.dtype,
        *,
        alone: bool,
        churn: bool,
    ) -> None:
        """`worlds`: seed -> a member's; `alone`: networks are asked one by one; `churn`: whether it is measured."""
        self.learners = actor, critic
        self.world_of = worlds
        self.settings = next(iter(worlds.values())).ppo
        self.policy = policy_of(next(iter(worlds.values())).action)
        self.dtype, self.alone, self.churn = dtype, alone, churn
        self.engines = make(actor, hyper, seeds), make(critic, hyper, critic_seeds(seeds))
        self.seat(torch.arange(len(seeds)), hyper, seeds)

    def seat(self, numbers: Tensor, hyper: Tree, seeds: Tensor) -> None:
        """Make room for the members who began as these numbers."""
        self.numbers, self.hyper, self.seeds = numbers, hyper, seeds
        self.forwards = [Forward(learner, numbers, alone=self.alone) for learner in self.learners]
        members = [self.world_of[seed] for seed in seeds.tolist()]
        self.worlds = members[0].worlds(members)

    def load(self, state: Tree) -> None:
        """Take the members' state."""
        self.engines[0].load({name: state[name] for name in OF_THE_ACTOR})
        self.engines[1].load(state["critic"])
        self.worlds.load({name: value.cpu().numpy() for name, value in state["world"].items()})
        self.sums = mapped(torch.clone, state["sums"])
        self.seen = state["seen"]

    def state(self) -> Tree:
        """The members' state."""
        world = {name: torch.from_numpy(value) for name, value in self.worlds.state().items()}
        actor, critic = (engine.state() for engine in self.engines)
        return {**actor, "critic": critic, "world": world, "sums": mapped(torch.clone, self.sums), "seen": self.seen}

    def keep(self, mask: Tensor, hyper: Tree, seeds: Tensor) -> None:
        """Go on with the members in the mask (P,) alone, to the same bits."""
        rest = {name: value for name, value in self.state().items() if name in ("world", "sums", "seen")}
        rest = mapped(lambda value: value[mask.to(value.device)], rest)
        self.engines[0].keep(mask, hyper, seeds)
        self.engines[1].keep(mask, hyper, critic_seeds(seeds))
        self.seat(self.numbers[mask.cpu()], hyper, seeds)
        self.worlds.load({name: value.numpy() for name, value in rest["world"].items()})
        self.sums, self.seen = rest["sums"], rest["seen"]

    def placed(self, values: NDArray[np.generic]) -> Tensor:
        """An array on the members' device, floating-point numbers in their type."""
        tensor = torch.from_numpy(values).to(self.seeds.device)
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor

    # An iteration

    def iterate(self, iteration: int) -> None:
        """Act for an iteration's steps and learn from them; `iteration` counts from 0."""
        actor, critic = (f.of(e.state(), self.hyper) for f, e in zip(self.forwards, self.engines, strict=True))
        beyond = critic if self.settings.time_limits == "bootstrap" else None
        with np.errstate(all="ignore"):  # a member that diverged acts as nobody should
            done = rolled_out(self.worlds, self.policy, actor, beyond, self.settings.rollout, self.placed)
        x, of_actor, of_critic = self.examples(done, critic)
        self.learn(x, of_actor, of_critic, iteration)
        if self.churn:
            after = self.forwards[0].of(self.engines[0].state(), self.hyper)(x)
            change = self.policy.divergence(by_member(done.outputs), after).double()
            self.sums["policy_churn"] += of_each(torch.mean, change)
        self.remember(x)

    def examples(self, done: Rollout, critic: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """What both networks learn from: x (P, N, inputs), and the targets of the actor's loss and the critic's."""
        steps, _, envs = done.rewards.shape
        values = critic(by_member(done.seen))[..., 0].view(-1, steps + 1, envs).movedim(0, 1)
        ended = done.terminated | done.truncated
        following = torch.where(ended, done.beyond, values[1:])
        gained = by_member(
            advantages(
                done.rewards,
                values[:-1],
                following,
                ended,
                discount=self.settings.discount,
                gae_lambda=self.settings.gae_lambda,
            )
        )
        foreseen, before = by_member(values[:-1]), self.policy.log_probability(done.outputs, done.actions)
        returns = gained + foreseen
        self.count(done.returned, returns, foreseen)
        drawn = [by_member(done.actions), by_member(before)[..., None], of_each(normalised, gained)[..., None]]
        return by_member(done.seen[:-1]), torch.cat(drawn, -1), returns[..., None]

    def count(self, returned: NDArray[np.float64], returns: Tensor, values: Tensor) -> None:
        """Add to the sums what an iteration says of its members."""
        rows = np.ascontiguousarray(returned.swapaxes(0, 1)).reshape(len(self.numbers), -1)
        ended = ~np.isnan(rows)
        counted = np.where(ended, rows, 0).sum(1), ended.sum(1)
        for name, value in zip(("returned", "episodes", *OF_A_STRETCH), (*counted, *counted), strict=True):
            self.sums[name] += torch.from_numpy(value).to(self.seeds.device)
        self.sums["unexplained"] += of_each(torch.var, returns.double() - values.double())
        self.sums["variance"] += of_each(torch.var, returns.double())
        if "squared_error" in self.sums:
            self.sums["squared_error"] += of_each(torch.mean, (returns.double() - values.double()).square())
        self.sums["iterations"] += 1

    def learn(self, x: Tensor, of_actor: Tensor, of_critic: Tensor, iteration: int) -> None:
        """All epochs of an iteration: both engines, on the same minibatches."""
        parts = self.settings.minibatches
        rows = torch.arange(len(x), device=x.device)
        for epoch in range(iteration * self.settings.epochs, (iteration + 1) * self.settings.epochs):
            order = self.order(epoch, x.shape[1]).view(len(x), parts, -1)
            shuffled = [v[rows[:, None, None], order].movedim(1, 0).contiguous() for v in (x, of_actor, of_critic)]
            for engine, y in zip(self.engines, shuffled[1:], strict=True):
                engine.advance(shuffled[0], y, rows, epoch * parts)

    def order(self, epoch: int, count: int) -> Tensor:
        """(P, count) the order in which each member's steps are gone through."""
        drawn = words(self.seeds.cpu().numpy()[:, None], "ppo/order", epoch, count)
        return torch.from_numpy(np.argsort(drawn, axis=1, kind="stable")).to(self.seeds.device)

    def remember(self, x: Tensor) -> None:
        """Keep the last observations."""
        kept = self.seen.shape[1]
        self.seen = torch.cat([self.seen, x], 1)[:, self.seen.shape[1] + x.shape[1] - kept :].clone()


def of_each(function: Callable[..., Tensor], *values: Tensor) -> Tensor:
    """What a function of one member's numbers says of each: in a sum over many the last bits are those of all."""
    return torch.stack([function(*(value[i].clone() for value in values)) for i in range(len(values[0]))])


def by_member(steps: Tensor) -> Tensor:
    """(T, P, E, ...) as (P, T x E, ...)."""
    return steps.movedim(1, 0).flatten(1, 2).contiguous()
