"""Gradient norm: the L2 norm of the gradient of all parameters, weights and biases, as one vector.

Which loss and which examples the gradient is of belongs to the caller.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workloads.diagnostics.base import Diagnostic
from workloads.diagnostics.look import Look
from workloads.diagnostics.total import total


def gradient_norm(gradients: Sequence[Tensor], *, leading: int = 0) -> Tensor:
    """One tensor per parameter -> its first `leading` axes, float64; not finite where a gradient is not."""
    squares = [(g.to(torch.float64) ** 2).flatten(leading).sum(-1) for g in gradients]
    return total(squares).sqrt()


class GradientNorm(Diagnostic):
    """Of the mean loss on the probe, with the terms that methods add to it."""

    def measure(self, look: Look) -> Tensor:
        """(P,)."""
        return gradient_norm(list(look.gradients.values()), leading=1)


DIAGNOSTICS = {"gradient_norm": GradientNorm}
