"""Effective rank of the covariance of the examples' gradients: in how many directions the examples pull the network.

    exp(-sum p_i log p_i),    p_i = l_i / sum l,    l the eigenvalues of C = 1/N sum_n (g_n - g)(g_n - g)^T

where g_n = d loss_n / d theta, and g is their mean. Of C's eigenvalues at most N - 1 are not 0. Where all examples have
one gradient the rank is 1, its least. From the N x N Gram matrix of the centred gradients, which has the same
eigenvalues: exact, in float64, a pass back and its transpose for each example. The loss is the task's, without terms
that methods add; the network as in evaluation.
"""

from __future__ import annotations

from torch import Tensor

from workloads.diagnostics.base import Diagnostic
from workloads.diagnostics.effective_rank import effective_rank_of_spectrum
from workloads.diagnostics.look import Look


class GradientCovarianceRank(Diagnostic):
    """Of the gradients of the examples of the probe."""

    def measure(self, look: Look) -> Tensor:
        """(P,) in [1, N - 1]; NaN where any number is not finite."""
        return effective_rank_of_spectrum(look.gradient_covariance_spectrum)


DIAGNOSTICS = {"gradient_covariance_rank": GradientCovarianceRank}
