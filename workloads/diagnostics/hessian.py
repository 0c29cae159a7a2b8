"""The sharpest curvature of the loss: the largest eigenvalue of its Hessian by all parameters.

Gradient descent of step size a on a quadratic of this curvature is stable up to a = 2 / hessian_max. By 30 products of
Lanczos' iteration with the Hessian, each a pass back through a gradient: never above the largest but for float32's
rounding, and as close below it on relu classifiers of width 100, newborn and trained; see `lanczos` for what is known
of others. The loss is the mean of the task's on the probe, without terms that methods add; the network as in
evaluation. Kinks, as relu has, have no curvature of their own.
"""

from __future__ import annotations

from torch import Tensor

from workloads.diagnostics.base import Diagnostic
from workloads.diagnostics.look import Look


class HessianMax(Diagnostic):
    """Of the mean loss on the probe."""

    def measure(self, look: Look) -> Tensor:
        """(P,); NaN where any number is not finite."""
        return look.hessian_spectrum[..., 0]


DIAGNOSTICS = {"hessian_max": HessianMax}
