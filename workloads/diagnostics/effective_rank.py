"""Effective rank, exp(-sum p_i log p_i) with p_i = s_i / sum s: how many directions the features use.

Source: Roy and Vetterli (2007), The effective rank: a measure of effective dimensionality. s are the singular
values themselves, not their squares; 0 log 0 is 0; the features are not centred. A silent layer has rank 1, the least
there is and what is left when the last living direction fades; the released loss-of-plasticity code says so too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.diagnostics.base import Diagnostic
from workloads.diagnostics.look import Look
from workloads.diagnostics.spectrum import feature_values


def effective_rank(features: Tensor) -> Tensor:
    """features (..., N, D) -> (...,) in [1, min(N, D)]; 1 where all are zero, NaN where any is not finite."""
    return effective_rank_of_spectrum(feature_values(features))


def effective_rank_of_spectrum(values: Tensor) -> Tensor:
    """Singular values (..., K) -> (...,)."""
    total = values.sum(-1, keepdim=True)
    share = values / torch.where(total == 0, 1, total)
    entropy: Tensor = torch.special.entr(share).sum(-1)
    return entropy.exp()


class EffectiveRank(Diagnostic):
    """Of every hidden layer's features."""

    def measure(self, look: Look) -> list[Tensor]:
        """(P,) per hidden layer."""
        return [effective_rank_of_spectrum(values) for values in look.feature_spectra]


DIAGNOSTICS = {"effective_rank": EffectiveRank}
