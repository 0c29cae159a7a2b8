"""Units that no longer take part: dormant ones, almost silent beside their layer, dead ones, always zero, and those
that are almost always zero. Papers call all three dormant.

    score_j = mean_n |h_nj| / mean over the layer of the same;   dormant where score_j <= tau

Source: Sokar, Agarwal, Castro, Evci (2023), arXiv 2302.12902, eq. 1, with tau 0.025 in `dormant_fraction`, 0.01 in
`dormant_fraction_1` and 0.1 in `dormant_fraction_10`, all in use. At tau 0 these are the dead units. Dead units,
exactly zero on every example of the probe, are those of Dohare et al. (2024), Nature 632:768, on permuted MNIST; rarely
active ones, not zero on less than 1 % of the examples (and places of a picture), are theirs on incremental CIFAR and,
of an agent's last 1000 steps, in reinforcement learning, where exactly 1 % counts too. Exact zeros come from relu: for
activations that only approach zero, or cross it, `dead_fraction` and `rarely_active_fraction` stay 0 and say nothing,
and `dormant_fraction` is the one to read.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from workloads.diagnostics.base import Diagnostic
from workloads.diagnostics.look import Look, activity, presence

TAU = 0.025  # share of the layer's mean activity
SMALLER_TAU, LARGER_TAU = 0.01, 0.1
RARE = 0.01  # share of the examples


def dormant_fraction(features: Tensor, *, tau: float = TAU) -> Tensor:
    """features (..., N, D) -> (...,) in [0, 1]; 1 where all are zero, NaN where any is not finite."""
    return dormant_of_activity(activity(features), tau=tau)


def dead_fraction(features: Tensor) -> Tensor:
    """features (..., N, D) -> (...,) in [0, 1]; NaN where any feature is not finite."""
    return dead_of_activity(activity(features))


def rarely_active_fraction(features: Tensor) -> Tensor:
    """features (..., N, D) -> (...,) in [0, 1]; NaN where any feature is not finite."""
    return rare_of_presence(presence(features))


def rare_of_presence(presence: Tensor) -> Tensor:
    """(..., D) -> (...,)."""
    return _fraction(presence < RARE, presence)


def dormant_of_activity(activity: Tensor, *, tau: float = TAU) -> Tensor:
    """(..., D) -> (...,)."""
    # Multiplied out, so that a silent layer is dormant rather than 0 / 0.
    return _fraction(activity <= tau * activity.mean(-1, keepdim=True), activity)


def dead_of_activity(activity: Tensor) -> Tensor:
    """(..., D) -> (...,)."""
    return _fraction(activity == 0, activity)


def _fraction(units: Tensor, activity: Tensor) -> Tensor:
    """The mean of `units` (..., D), but NaN where `activity` (..., D) is not finite."""
    fraction = units.to(activity.dtype).mean(-1)
    return torch.where(activity.isfinite().all(-1), fraction, torch.nan)


class DormantFraction(Diagnostic):
    """Of every hidden layer's features."""

    tau: ClassVar[float] = TAU

    def measure(self, look: Look) -> list[Tensor]:
        """(P,) per hidden layer."""
        return [dormant_of_activity(activity, tau=self.tau) for activity in look.activity]


class DormantFraction1(DormantFraction):
    """The same, at 1 %."""

    tau = SMALLER_TAU


class DormantFraction10(DormantFraction):
    """The same, at 10 %."""

    tau = LARGER_TAU


class DeadFraction(Diagnostic):
    """Of every hidden layer's features."""

    def measure(self, look: Look) -> list[Tensor]:
        """(P,) per hidden layer."""
        return [dead_of_activity(activity) for activity in look.activity]


class RarelyActiveFraction(Diagnostic):
    """Of every hidden layer's features."""

    def measure(self, look: Look) -> list[Tensor]:
        """(P,) per hidden layer."""
        return [rare_of_presence(presence) for presence in look.presence]


DIAGNOSTICS = {
    "dormant_fraction": DormantFraction,
    "dormant_fraction_1": DormantFraction1,
    "dormant_fraction_10": DormantFraction10,
    "dead_fraction": DeadFraction,
    "rarely_active_fraction": RarelyActiveFraction,
}
