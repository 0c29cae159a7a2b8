"""What the outputs of a policy's network say: the distribution of actions, as pure functions of tensors.

A `Categorical` of preferences for n actions, a `Gaussian` of n means and n logarithms of standard deviations, each
number by itself. An action is (..., numbers): the number of an action, or the numbers themselves.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workloads.random import normal, uniform
from workloads.reinforcement.actions import Action, Discrete

HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


class Policy(ABC):
    """Of outputs (..., outputs); `numbers` are those of an action, `noise` is what actions are drawn by."""

    numbers: int
    noise: Callable[..., NDArray[np.float64]]

    @abstractmethod
    def acted(self, output: Tensor, noise: Tensor) -> Tensor:
        """(..., numbers) actions drawn by as many numbers of `noise`."""

    @abstractmethod
    def log_probability(self, output: Tensor, action: Tensor) -> Tensor:
        """(...) in nats: of an action, or of its density."""

    @abstractmethod
    def entropy(self, output: Tensor) -> Tensor:
        """(...) in nats."""

    @abstractmethod
    def divergence(self, before: Tensor, after: Tensor) -> Tensor:
        """(...) in nats: Kullback-Leibler, from the policy of one output to that of another, KL(before ‖ after)."""

    @abstractmethod
    def told(self, action: Tensor) -> NDArray[Any]:
        """Actions as a world takes them."""


class Categorical(Policy):
    """π(a) = softmax(output)_a."""

    numbers = 1

    def __init__(self) -> None:
        self.noise = uniform

    def acted(self, output: Tensor, noise: Tensor) -> Tensor:
        """The first action up to which the probabilities sum to more than the uniform noise."""
        below = torch.softmax(output, -1).cumsum(-1) <= noise
        return below[..., :-1].sum(-1, keepdim=True).to(output.dtype)

    def log_probability(self, output: Tensor, action: Tensor) -> Tensor:
        """By a comparison with all actions instead of a gather, whose backward is a scatter."""
        taken = action == torch.arange(output.shape[-1], device=output.device)
        return torch.where(taken, torch.log_softmax(output, -1), 0).sum(-1)

    def entropy(self, output: Tensor) -> Tensor:
        """−Σ π log π"""
        logs = torch.log_softmax(output, -1)
        return -(logs.exp() * logs).sum(-1)

    def divergence(self, before: Tensor, after: Tensor) -> Tensor:
        """Σ π (log π − log π')"""
        logs = torch.log_softmax(before, -1)
        return (logs.exp() * (logs - torch.log_softmax(after, -1))).sum(-1)

    def told(self, action: Tensor) -> NDArray[np.int64]:
        """(...) int64"""
        return action[..., 0].long().cpu().numpy()


class Gaussian(Policy):
    """π(a) = Π N(a_i; μ_i, σ_i), of outputs (μ, log σ)."""

    def __init__(self, numbers: int) -> None:
        self.numbers = numbers
        self.noise = normal

    def acted(self, output: Tensor, noise: Tensor) -> Tensor:
        """μ + σ noise, of standard normal noise."""
        mean, log_std = torch.split(output, self.numbers, -1)
        return mean + log_std.exp() * noise

    def log_probability(self, output: Tensor, action: Tensor) -> Tensor:
        """−Σ ½ ((a − μ) / σ)² + log σ + ½ log 2π"""
        mean, log_std = torch.split(output, self.numbers, -1)
        apart = (action - mean) * (-log_std).exp()
        return -(0.5 * apart * apart + log_std + HALF_LOG_TAU).sum(-1)

    def entropy(self, output: Tensor) -> Tensor:
        """Σ log σ + ½ log 2πe"""
        log_std = torch.split(output, self.numbers, -1)[1]
        return (log_std + (HALF_LOG_TAU + 0.5)).sum(-1)

    def divergence(self, before: Tensor, after: Tensor) -> Tensor:
        """Σ log σ'/σ + (σ² + (μ − μ')²) / 2σ'² − ½"""
        mean, log_std = torch.split(before, self.numbers, -1)
        other, log_other = torch.split(after, self.numbers, -1)
        ratio = (2 * (log_std - log_other)).exp() + ((mean - other) * (-log_other).exp()) ** 2
        return (log_other - log_std + 0.5 * ratio - 0.5).sum(-1)

    def told(self, action: Tensor) -> NDArray[np.float64]:
        """(..., n) float64"""
        return action.double().cpu().numpy()


def policy_of(action: Action) -> Policy:
    """The policy over actions of this kind."""
    return Categorical() if isinstance(action, Discrete) else Gaussian(action.n)
