"""The empirical neural tangent kernel: how far a step on one example's output moves another's, and how evenly.

    Theta = J J^T,    J = d f(x_1), ..., d f(x_N) / d theta    (N x outputs, parameters)

of the network f as in evaluation, its N examples and all its outputs together. A small gradient step on a loss with
gradient g by the outputs moves them by -eta Theta g: along an eigenvector as fast as its eigenvalue l says. So the
condition number l_max / l_min says how much slower the slowest direction learns than the fastest; more than 1e12 is
told as that, and so is a kernel of 0. With p_i = l_i / sum l the effective rank is exp(-sum p_i log p_i), and the
entropy its logarithm over that of N x outputs, 1 where all directions learn alike; both are the least they can be, 1
and 0, where the kernel is 0.

Where there are more examples times outputs than parameters the smallest eigenvalue is 0, whatever the network has
learned.

Exact for every network, in float64, see `kernel_of`: on a small cloud machine's core 0.2 s for a convnet of 177,000
parameters and two outputs, 1.7 s for a ResNet-18 of width 8 and ten, more than six minutes for one of width 64. There
is no estimate for large ones: that of `quadrature` takes 128 products with the kernel, which has itself 160 rows at 16
examples and ten outputs, and would not find the smallest eigenvalue. Values under n eps of the largest are 0, for
n = N x outputs.

Source: Jacot, Gabriel, Hongler (2018), arXiv 1806.07572; that plasticity follows its conditioning, Rosseau, Müller,
Nowé (2026), arXiv 2606.09762.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from workloads.diagnostics.base import Diagnostic
from workloads.diagnostics.effective_rank import effective_rank_of_spectrum
from workloads.diagnostics.look import Look

CONDITION = 1e12  # the most that is told


def condition_of_eigenvalues(values: Tensor) -> Tensor:
    """(..., n), descending -> (...,) in [1, CONDITION]."""
    largest, smallest = values[..., 0], values[..., -1]
    told = largest / torch.maximum(smallest, largest / CONDITION)
    return torch.where(largest == 0, CONDITION, told.clamp(1, CONDITION))


def entropy_of_eigenvalues(values: Tensor) -> Tensor:
    """(..., n) -> (...,) in [0, 1]; 1 for a single eigenvalue, which has no other to differ from."""
    if values.shape[-1] == 1:
        return torch.where(values[..., 0].isnan(), torch.nan, torch.ones_like(values[..., 0]))
    return effective_rank_of_spectrum(values).log() / math.log(values.shape[-1])


class NTKMax(Diagnostic):
    """The largest eigenvalue."""

    def measure(self, look: Look) -> Tensor:
        """(P,); NaN where any number is not finite."""
        return look.tangent_kernel_spectrum[..., 0]


class NTKMin(Diagnostic):
    """The smallest eigenvalue."""

    def measure(self, look: Look) -> Tensor:
        """(P,); NaN where any number is not finite."""
        return look.tangent_kernel_spectrum[..., -1]


class NTKTrace(Diagnostic):
    """The sum of the eigenvalues."""

    def measure(self, look: Look) -> Tensor:
        """(P,); NaN where any number is not finite."""
        return look.tangent_kernel_spectrum.sum(-1)


class NTKCondition(Diagnostic):
    """The largest eigenvalue over the smallest."""

    def measure(self, look: Look) -> Tensor:
        """(P,); NaN where any number is not finite."""
        return condition_of_eigenvalues(look.tangent_kernel_spectrum)


class NTKEffectiveRank(Diagnostic):
    """exp of the entropy of the eigenvalues."""

    def measure(self, look: Look) -> Tensor:
        """(P,); NaN where any number is not finite."""
        return effective_rank_of_spectrum(look.tangent_kernel_spectrum)


class NTKEntropy(Diagnostic):
    """The entropy of the eigenvalues, of its most."""

    def measure(self, look: Look) -> Tensor:
        """(P,); NaN where any number is not finite."""
        return entropy_of_eigenvalues(look.tangent_kernel_spectrum)


DIAGNOSTICS = {
    "ntk_max": NTKMax,
    "ntk_min": NTKMin,
    "ntk_trace": NTKTrace,
    "ntk_condition": NTKCondition,
    "ntk_effective_rank": NTKEffectiveRank,
    "ntk_entropy": NTKEntropy,
}
