"""Weight magnitude: mean |w| over all weight matrices together, biases excluded (Dohare et al. 2024).

The mean runs over weights, not over matrices: a large matrix counts for more.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workloads.diagnostics.base import Diagnostic
from workloads.diagnostics.look import Look
from workloads.diagnostics.total import total


def weight_magnitude(weights: Sequence[Tensor]) -> Tensor:
    """One (..., out, in) tensor per matrix -> (...,), float64; not finite where a weight is not."""
    magnitudes = [weight.abs().sum((-2, -1), dtype=torch.float64) for weight in weights]
    return total(magnitudes) / sum(weight.shape[-2] * weight.shape[-1] for weight in weights)


class WeightMagnitude(Diagnostic):
    """Of all weight matrices together."""

    def measure(self, look: Look) -> Tensor:
        """(P,)."""
        return weight_magnitude(look.weights)


DIAGNOSTICS = {"weight_magnitude": WeightMagnitude}
