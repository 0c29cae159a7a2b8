"""Stable rank, ||A||_F^2 / ||A||_2^2: how many directions as strong as the strongest the features amount to.

Source: Rudelson and Vershynin (2007), Sampling from large matrices. The loss-of-plasticity code uses the same
name for a count of singular values, which it is not; see `rank_99`.
"""

from __future__ import annotations

from torch import Tensor

from workloads.diagnostics.spectrum import feature_values


def stable_rank(features: Tensor) -> Tensor:
    """features (..., N, D) -> (...,) in [1, min(N, D)]; NaN where all are zero or any is not finite."""
    return stable_rank_of_spectrum(feature_values(features))


def stable_rank_of_spectrum(values: Tensor) -> Tensor:
    """Singular values (..., K), descending -> (...,)."""
    return ((values / values[..., :1]) ** 2).sum(-1)
