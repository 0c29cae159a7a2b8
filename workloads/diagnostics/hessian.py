"""The curvature of the loss, its Hessian by all parameters: largest eigenvalues, and how many directions are curved.

Gradient descent of step size a on a quadratic of this curvature is stable up to a = 2 / hessian_max. By 30 products of
Lanczos' iteration with the Hessian, each a pass back through a gradient: never above the largest but for float32's
rounding, and as close below it on relu classifiers of width 100, newborn and trained; see `lanczos` for what is known
of others.

The fifth-largest eigenvalue tells whether the largest stands alone. An eigenvalue that several directions have counts
once. Exact up to 128 parameters; above that by as many products whose directions are kept orthogonal, from below too.

The effective rank is exp(-sum p_i log p_i) for p_i = |l_i| / sum |l|: curved downwards counts like upwards. Exact up to
128 parameters; above that from three random directions, within a fifth of the truth, mostly within a tenth, where both
were computed: see `quadrature`. The directions are the same for all networks of a size.

The loss is the mean of the task's on the probe, without terms that methods add; the network as in evaluation. Kinks, as
relu has, have no curvature of their own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.diagnostics.base import Diagnostic
from workloads.diagnostics.look import Look
from workloads.diagnostics.quadrature import effective_rank_of_sums


class HessianMax(Diagnostic):
    """Of the mean loss on the probe."""

    def measure(self, look: Look) -> Tensor:
        """(P,); NaN where any number is not finite."""
        return look.hessian_spectrum[..., 0]


class HessianFifth(Diagnostic):
    """Of the mean loss on the probe."""

    def measure(self, look: Look) -> Tensor:
        """(P,); NaN where any number is not finite, or there are fewer parameters than five."""
        values = look.hessian_largest
        return values[..., 4] if values.shape[-1] > 4 else values.new_full(values.shape[:-1], torch.nan)


class HessianEffectiveRank(Diagnostic):
    """Of the mean loss on the probe."""

    def measure(self, look: Look) -> Tensor:
        """(P,), at least 1; NaN where any number is not finite."""
        return effective_rank_of_sums(look.hessian_sums)


DIAGNOSTICS = {
    "hessian_max": HessianMax,
    "hessian_fifth": HessianFifth,
    "hessian_effective_rank": HessianEffectiveRank,
}
