"""Stable rank, ||A||_F^2 / ||A||_2^2: how many directions as strong as the strongest the features amount to.

Source: Rudelson and Vershynin (2007), Sampling from large matrices. The loss-of-plasticity papers use the same name
for a count of singular values, which it is not: that is `stable_rank_99`. A silent layer has rank 1, the least there
is: along every direction in which features fade to nothing, ||A||_F^2 / ||A||_2^2 is at least that, and at the end of
the last one it is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.diagnostics.base import Diagnostic
from workloads.diagnostics.look import Look
from workloads.diagnostics.spectrum import feature_values


def stable_rank(features: Tensor) -> Tensor:
    """features (..., N, D) -> (...,) in [1, min(N, D)]; 1 where all are zero, NaN where any is not finite."""
    return stable_rank_of_spectrum(feature_values(features))


def stable_rank_of_spectrum(values: Tensor) -> Tensor:
    """Singular values (..., K), descending -> (...,)."""
    largest = values[..., :1]
    rank: Tensor = ((values / torch.where(largest == 0, 1, largest)) ** 2).sum(-1)
    return torch.where(largest.squeeze(-1) == 0, 1, rank)


class StableRank(Diagnostic):
    """Of every hidden layer's features."""

    def measure(self, look: Look) -> list[Tensor]:
        """(P,) per hidden layer."""
        return [stable_rank_of_spectrum(values) for values in look.feature_spectra]


DIAGNOSTICS = {"stable_rank": StableRank}
