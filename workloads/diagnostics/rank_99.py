"""How few directions hold 99 % of the features: the smallest k with sum_{i <= k} s_i^2 >= 0.99 sum_i s_i^2.

The "approximate rank", on squared singular values, of Yang et al. (2019), as in the loss-of-plasticity
experiments (Dohare et al. 2024).
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.diagnostics.spectrum import feature_values

SHARE = 0.99
SLACK = 1e-12  # a tie, such as 99 of 100 equal values, must not hang on the last bit of a sum


def rank_99(features: Tensor) -> Tensor:
    """features (..., N, D) -> (...,) whole numbers; NaN where all are zero or any is not finite."""
    return rank_99_of_spectrum(feature_values(features))


def rank_99_of_spectrum(values: Tensor) -> Tensor:
    """Singular values (..., K), descending -> (...,)."""
    held = ((values / values[..., :1]) ** 2).cumsum(-1)
    total = held[..., -1:]
    rank = 1 + (held < (SHARE - SLACK) * total).sum(-1)
    return torch.where(total.squeeze(-1).isnan(), torch.nan, rank.to(values.dtype))
