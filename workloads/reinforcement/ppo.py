"""Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347): what is computed of an iteration's steps.

    δ_t = r_t + γ v(s_{t+1}) − v(s_t),   Â_t = δ_t + γ λ Â_{t+1}          (generalised advantages, arXiv 1506.02438)
    actor:   −min(ρ Â, clip(ρ, 1 − ε, 1 + ε) Â) − β H(π(·|s)),   ρ = π(a|s) / π_old(a|s)
    critic:  c (Â + v_old(s) − v(s))²

with Â normalised, in the actor's loss, over the steps of an iteration.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.losses.implementations import Loss
from workloads.reinforcement.actions import Action
from workloads.reinforcement.policies import policy_of

TINY = 1e-8  # a deviation or variance of no steps that differ


def advantages(
    rewards: Tensor, values: Tensor, following: Tensor, ended: Tensor, *, discount: float, gae_lambda: float
) -> Tensor:
    """Generalised advantages (T, ...) from rewards, values v(s_t), all (T, ...), by a loop from the last step.

    `following` (T, ...) is what is to be had after a step: v(s_{t+1}), or 0 where there is nothing. `ended` (T, ...)
    marks an episode's last step, beyond which no advantage is passed back.
    """
    errors = rewards + discount * following - values
    passed = discount * gae_lambda * (~ended).to(errors.dtype)
    result = torch.empty_like(errors)
    after = torch.zeros_like(errors[0])
    for t in range(len(errors) - 1, -1, -1):
        after = torch.addcmul(errors[t], passed[t], after)
        result[t] = after
    return result


def normalised(advantages: Tensor) -> Tensor:
    """(N,) of one member's N steps, less their mean, over their unbiased standard deviation."""
    return (advantages - advantages.mean()) / advantages.std().clamp(min=TINY)


class PolicyLoss(Loss):
    """The clipped objective. Targets (B, numbers + 2): an action, its log-probability when drawn, its advantage."""

    name = "ppo_policy"

    def __init__(self, action: Action, clip: float, entropy: float) -> None:
        """`clip` ε, of ratios; `entropy` its weight β, in units of advantage per nat."""
        self.policy = policy_of(action)
        self.clip = clip
        self.entropy = entropy

    def example_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """(B,)"""
        action, before, advantage = target[..., :-2], target[..., -2], target[..., -1]
        ratio = torch.exp(self.policy.log_probability(output, action) - before)
        bounded = ratio.clamp(1 - self.clip, 1 + self.clip)
        losses = -torch.minimum(ratio * advantage, bounded * advantage)
        return losses - self.entropy * self.policy.entropy(output) if self.entropy else losses


class ValueLoss(Loss):
    """Squared error of values (B, 1) to returns (B, 1), times a weight."""

    name = "ppo_value"

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def example_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """(B,)"""
        return self.weight * ((output - target) ** 2).sum(-1)
