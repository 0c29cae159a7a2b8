"""How few directions hold 99 % of the features: the smallest k with sum_{i <= k} s_i^2 >= 0.99 sum_i s_i^2.

The "approximate rank", on squared singular values, of Yang et al. (2019), as in the loss-of-plasticity
experiments (Dohare et al. 2024). Their "stable rank" counts the values unsquared: `stable_rank_99`. A silent layer has
rank 1, as in the released code: no direction holds anything, and the count begins with the first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.diagnostics.base import Diagnostic
from workloads.diagnostics.look import Look
from workloads.diagnostics.spectrum import feature_values

SHARE = 0.99
SLACK = 1e-12  # a tie, such as 99 of 100 equal values, must not hang on the last bit of a sum


def rank_99(features: Tensor) -> Tensor:
    """features (..., N, D) -> (...,) whole numbers; 1 where all are zero, NaN where any is not finite."""
    return rank_99_of_spectrum(feature_values(features))


def rank_99_of_spectrum(values: Tensor) -> Tensor:
    """Singular values (..., K), descending -> (...,)."""
    return count_of_share((values / scale_of(values)) ** 2)


def scale_of(values: Tensor) -> Tensor:
    """The largest of values (..., K), descending, to divide by: (..., 1), and 1 where all are 0."""
    return torch.where(values[..., :1] == 0, 1, values[..., :1])


def count_of_share(parts: Tensor) -> Tensor:
    """How many of the first parts (..., K) >= 0 hold SHARE of their sum, at least 1, (...,); NaN where the sum is."""
    held = parts.cumsum(-1)
    total = held[..., -1:]
    rank = 1 + (held < (SHARE - SLACK) * total).sum(-1)
    return torch.where(total.squeeze(-1).isnan(), torch.nan, rank.to(parts.dtype))


class Rank99(Diagnostic):
    """Of every hidden layer's features."""

    def measure(self, look: Look) -> list[Tensor]:
        """(P,) per hidden layer."""
        return [rank_99_of_spectrum(values) for values in look.feature_spectra]


DIAGNOSTICS = {"rank_99": Rank99}
