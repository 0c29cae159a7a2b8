"""One-step actor-critic (Sutton & Barto 2018, section 13.5, without its discounting of later steps): one update a step.

    δ = r + γ v(s') − v(s),    v(s') = 0 where the episode has ended by itself

    critic:  ∇ (r + γ v(s') − v(s))²  with the target held fixed
    actor:   ∇ −(δ log π(a|s) + β H(π(·|s)))  with δ held fixed, H the entropy

Both networks are trained as any other is, by the trial's optimizer and methods: the critic by the squared error to the
target, the actor by the loss below.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.losses.implementations import Loss


class PolicyGradient(Loss):
    """Of preferences for actions; targets (B, 2) are the action that was taken and its advantage."""

    name = "policy_gradient"

    def __init__(self, entropy: float) -> None:
        """`entropy`: its weight β, in units of advantage per nat."""
        self.entropy = entropy

    def example_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """(B,)"""
        logs = torch.log_softmax(output, -1)
        taken = target[..., :1] == torch.arange(output.shape[-1], device=output.device)
        chosen = torch.where(taken, logs, 0).sum(-1)
        return -target[..., 1] * chosen + self.entropy * (logs.exp() * logs).sum(-1)
