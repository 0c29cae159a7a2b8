"""Proximal policy optimisation of one agent as anybody would write it in one file, with torch.nn and torch.optim.

What packs of agents are measured beside, and what they must come to: the same initial weights, environments and draws.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP
from workloads.random import words
from workloads.reinforcement.agents import critic_seed
from workloads.reinforcement.policies import policy_of
from workloads.reinforcement.rollout import noise_of
from workloads.reinforcement.worlds import Discrete, World, Worlds


def network(config: MLPConfig, inputs: int, outputs: int, seed: int, dtype: torch.dtype) -> nn.Sequential:
    """A ReLU network with the initial weights that a trial of this seed has."""
    sizes = [inputs, *config.hidden, outputs]
    layers: list[nn.Module] = []
    for into, out in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(into, out), nn.ReLU()]
    made = nn.Sequential(*layers[:-1]).to(dtype)
    with torch.no_grad():
        for own, given in zip(made.parameters(), MLP(config, inputs, outputs).init(seed).values(), strict=True):
            own.copy_(given)
    return made


class PlainPPO:
    """One agent in its environments."""

    def __init__(
        self,
        world: World,
        config: MLPConfig,
        worlds: Worlds | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        **adam: float,
    ) -> None:
        """`worlds`: the environments, the world's own unless given; `adam`: arguments of torch.optim.Adam."""
        self.world, self.settings, self.dtype = world, world.ppo, dtype
        self.discrete = isinstance(world.action, Discrete)
        self.worlds = worlds or world.worlds([world])
        self.worlds.start()
        self.actor = network(config, world.inputs, world.outputs, world.seed, dtype)
        self.critic = network(config, world.inputs, 1, critic_seed(world.seed), dtype)
        self.log_std = nn.Parameter(torch.zeros(0 if self.discrete else world.outputs, dtype=dtype))
        parameters = [*self.actor.parameters(), self.log_std, *self.critic.parameters()]
        self.optimizer = torch.optim.Adam(parameters, **adam)  # type: ignore[arg-type]
        self.iteration = 0
        self.ended: list[float] = []  # returns of the episodes that ended

    def policy(self, x: Tensor) -> torch.distributions.Distribution:
        """Of observations (N, inputs)."""
        if self.discrete:
            return torch.distributions.Categorical(logits=self.actor(x), validate_args=False)
        normal = torch.distributions.Normal(self.actor(x), self.log_std.exp(), validate_args=False)
        return torch.distributions.Independent(normal, 1, validate_args=False)

    def acted(self, x: Tensor, noise: Tensor) -> Tensor:
        """Actions by uniform or normal noise, so that they are those of the pack."""
        output: Tensor = self.actor(x)
        if not self.discrete:
            return output + self.log_std.exp() * noise
        drawn: Tensor = (torch.softmax(output, -1).cumsum(-1) <= noise)[:, :-1].sum(-1)
        return drawn

    def iterate(self) -> None:
        """Act, and learn from it."""
        steps, envs = self.settings.rollout, self.world.envs
        noise = torch.from_numpy(noise_of(self.worlds, policy_of(self.world.action), steps)[:, 0]).to(self.dtype)
        states, actions, rewards, following, ended = [], [], [], [], []
        with torch.no_grad():
            x = self.seen(self.worlds.observe())
            for t in range(steps):
                action = self.acted(x, noise[t])
                told = action.numpy() if self.discrete else action.double().numpy()
                stepped = self.worlds.step(told[None])
                after = self.critic(self.seen(stepped.following))[:, 0]
                gone = stepped.terminated[0] | (stepped.truncated[0] & (self.settings.time_limits == "end"))
                states.append(x)
                actions.append(action)
                rewards.append(torch.from_numpy(stepped.reward[0]).to(self.dtype))
                following.append(after * torch.from_numpy(~gone))
                ended.append(torch.from_numpy(stepped.terminated[0] | stepped.truncated[0]))
                self.ended += stepped.returned[~np.isnan(stepped.returned)].tolist()
                x = self.seen(stepped.now)
            x, taken = torch.cat(states), torch.cat(actions)
            values = self.critic(x)[:, 0].view(steps, envs)
            advantages, after = torch.zeros_like(values), torch.zeros(envs, dtype=self.dtype)
            for t in reversed(range(steps)):
                error = rewards[t] + self.settings.discount * following[t] - values[t]
                after = error + self.settings.discount * self.settings.gae_lambda * after * ~ended[t]
                advantages[t] = after
            returns = (advantages + values).flatten()
            gained = (advantages.flatten() - advantages.mean()) / advantages.std()
            before = self.policy(x).log_prob(taken)
        for epoch in range(self.iteration * self.settings.epochs, (self.iteration + 1) * self.settings.epochs):
            order = np.argsort(words(self.world.seed, "ppo/order", epoch, len(x)), kind="stable")
            for rows in np.split(order, self.settings.minibatches):
                self.descend(x[rows], taken[rows], before[rows], gained[rows], returns[rows])
        self.iteration += 1

    def descend(self, x: Tensor, taken: Tensor, before: Tensor, gained: Tensor, returns: Tensor) -> None:
        """One update by a minibatch."""
        policy = self.policy(x)
        ratio = (policy.log_prob(taken) - before).exp()
        bounded = ratio.clamp(1 - self.settings.clip, 1 + self.settings.clip)
        loss = -torch.minimum(ratio * gained, bounded * gained).mean()
        if self.settings.entropy:
            loss = loss - self.settings.entropy * policy.entropy().mean()
        loss = loss + self.settings.value_weight * ((self.critic(x)[:, 0] - returns) ** 2).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def seen(self, observation: np.ndarray) -> Tensor:
        """(E, inputs) of what the worlds show."""
        return torch.from_numpy(observation[0]).flatten(1).to(self.dtype)
