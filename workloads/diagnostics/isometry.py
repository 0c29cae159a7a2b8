"""How far a network's weight matrices are from isometries, whose singular values are all 1.

    deviation = sum over matrices of ||W^T W - I||_F^2  (out >= in)  or  ||W W^T - I||_F^2  (out < in)

Source: Rosseau, Müller, Nowé (2026), arXiv 2606.09762, eq. 16: the penalty itself, on the smaller Gram
matrix, which can reach the identity. Every weight matrix counts, the head too; biases have no part in it.

Of all min(out, in) singular values of a matrix `singular_values` records the mean and the deciles: which of them leave
1, and when.

A learned scale of a layer is no part of its matrix, and of these counts in `lipschitz_bound` alone, which is of the
function; Jacobians and kernels, being of it too, see it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workloads.diagnostics.base import Diagnostic
from workloads.diagnostics.look import Look
from workloads.diagnostics.spectrum import lower_gram, padded, singular_values, spread
from workloads.diagnostics.total import total


def isometry_deviation(weights: Sequence[Tensor]) -> Tensor:
    """One (..., out, in) tensor per matrix -> (...,) >= 0, float64; not finite where a weight is not."""
    return total([_deviation(weight) for weight in weights])


def singular_value_max(weights: Sequence[Tensor]) -> Tensor:
    """The largest singular value of any matrix, (...,); NaN where a weight is not finite."""
    return largest_of_spectra([singular_values(weight) for weight in weights])


def singular_value_min(weights: Sequence[Tensor]) -> Tensor:
    """The smallest of the min(out, in) values of any matrix, (...,); NaN where a weight is not finite."""
    return smallest_of_spectra([singular_values(weight) for weight in weights])


def lipschitz_bound(weights: Sequence[Tensor]) -> Tensor:
    """The product of all matrices' largest singular values, (...,); NaN where a weight is not finite."""
    return bound_of_spectra([singular_values(weight) for weight in weights])


def bound_of_spectra(spectra: Sequence[Tensor]) -> Tensor:
    """Per matrix (..., K), descending -> (...,)."""
    return torch.stack([values[..., 0] for values in spectra]).prod(0)


def largest_of_spectra(spectra: Sequence[Tensor]) -> Tensor:
    """Per matrix (..., K), descending -> (...,)."""
    return torch.stack([values[..., 0] for values in spectra]).amax(0)


def smallest_of_spectra(spectra: Sequence[Tensor]) -> Tensor:
    """Per matrix (..., K), descending -> (...,)."""
    return torch.stack([values[..., -1] for values in spectra]).amin(0)


def spread_of_spectra(spectra: Sequence[Tensor]) -> Tensor:
    """Per matrix (..., K) -> the standard deviation of its values, averaged over the matrices, (...,)."""
    return total([spread(values[..., None, :]) for values in spectra]) / len(spectra)


def _deviation(weight: Tensor) -> Tensor:
    outputs, inputs = weight.shape[-2:]
    small = min(outputs, inputs)
    wide = padded(weight)
    gram = lower_gram(wide if outputs >= inputs else wide.mT)[..., :small, :small]
    below, diagonal = gram.tril(-1), gram.diagonal(dim1=-2, dim2=-1)
    return 2 * below.square().sum((-2, -1)) + (diagonal - 1).square().sum(-1)


class IsometryDeviation(Diagnostic):
    """Summed over all weight matrices."""

    def measure(self, look: Look) -> Tensor:
        """(P,)."""
        return isometry_deviation(look.weights)


class SingularValueMax(Diagnostic):
    """Of any weight matrix."""

    def measure(self, look: Look) -> Tensor:
        """(P,)."""
        return largest_of_spectra(look.weight_spectra)


class SingularValueMin(Diagnostic):
    """Of any weight matrix."""

    def measure(self, look: Look) -> Tensor:
        """(P,)."""
        return smallest_of_spectra(look.weight_spectra)


class SingularValueSpread(Diagnostic):
    """Within a weight matrix, averaged over them."""

    def measure(self, look: Look) -> Tensor:
        """(P,)."""
        return spread_of_spectra(look.weight_spectra)


class LipschitzBound(Diagnostic):
    """Of the whole network, where no activation is steeper than 1 and no norm divides."""

    def measure(self, look: Look) -> Tensor:
        """(P,); a learned scale of a layer counts with its matrix."""
        bound = bound_of_spectra(look.weight_spectra)
        for name in look.network.scales:
            bound = bound * look.params[name].double().abs().prod(-1)
        return bound


class SingularValues(Diagnostic):
    """All of every weight matrix."""

    def measure(self, look: Look) -> list[Tensor]:
        """(P, K) per weight matrix, descending; NaN where a weight is not finite."""
        return look.weight_spectra


DIAGNOSTICS = {
    "isometry_deviation": IsometryDeviation,
    "singular_value_max": SingularValueMax,
    "singular_value_min": SingularValueMin,
    "singular_value_spread": SingularValueSpread,
    "lipschitz_bound": LipschitzBound,
    "singular_values": SingularValues,
}
