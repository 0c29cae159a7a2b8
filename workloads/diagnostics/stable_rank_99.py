"""The "stable rank" of the loss-of-plasticity papers: the smallest k with sum_{i <= k} s_i >= 0.99 sum_i s_i.

On the singular values themselves, where `rank_99` counts squares; the released code also calls it the absolute
approximate rank (Dohare et al. 2024, Nature 632:768). It is not ||A||_F^2 / ||A||_2^2, which others call the stable
rank (`stable_rank`). A silent layer has rank 1, as in the released code.
"""

from __future__ import annotations

from torch import Tensor

from workloads.diagnostics.base import Diagnostic
from workloads.diagnostics.look import Look
from workloads.diagnostics.rank_99 import count_of_share, scale_of
from workloads.diagnostics.spectrum import feature_values


def stable_rank_99(features: Tensor) -> Tensor:
    """features (..., N, D) -> (...,) whole numbers; 1 where all are zero, NaN where any is not finite."""
    return stable_rank_99_of_spectrum(feature_values(features))


def stable_rank_99_of_spectrum(values: Tensor) -> Tensor:
    """Singular values (..., K), descending -> (...,)."""
    return count_of_share(values / scale_of(values))


class StableRank99(Diagnostic):
    """Of every hidden layer's features."""

    def measure(self, look: Look) -> list[Tensor]:
        """(P,) per hidden layer."""
        return [stable_rank_99_of_spectrum(values) for values in look.feature_spectra]


DIAGNOSTICS = {"stable_rank_99": StableRank99}
