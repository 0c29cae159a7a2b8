"""Singular values of layer Jacobians, d h_l / d h_{l-1} = D_l W_l: what a layer does to a small change of its input.

D_l is the derivative of the layer's activation at an example of the probe. All singular values are 1 where the layer is
an isometry. Relu cannot be one: a unit that is silent on an example is a row of zeros. The extremes are over all
examples; the mean, the standard deviation and the root mean square distance from 1 are over all values of all of them,
min(out, in) each. Values under sqrt(max(out, in) eps) of the largest are 0.

Source: the layer Jacobians of dynamical isometry, Rosseau, Müller, Nowé (2026), arXiv 2606.09762; a whole spectrum at
1, Saxe, McClelland, Ganguli (2014), arXiv 1312.6120.
"""

from __future__ import annotations

from torch import Tensor

from workloads.diagnostics.base import Diagnostic
from workloads.diagnostics.look import Look
from workloads.diagnostics.spectrum import distance_from_one, spread


class LayerJacobianMax(Diagnostic):
    """The largest on any example."""

    def measure(self, look: Look) -> list[Tensor]:
        """(P,) per hidden layer; NaN where any number is not finite."""
        return [values.amax((-2, -1)) for values in look.layer_jacobian_spectra]


class LayerJacobianMin(Diagnostic):
    """The smallest on any example."""

    def measure(self, look: Look) -> list[Tensor]:
        """(P,) per hidden layer; NaN where any number is not finite."""
        return [values.amin((-2, -1)) for values in look.layer_jacobian_spectra]


class LayerJacobianMean(Diagnostic):
    """Of all values on all examples."""

    def measure(self, look: Look) -> list[Tensor]:
        """(P,) per hidden layer; NaN where any number is not finite."""
        return [values.mean((-2, -1)) for values in look.layer_jacobian_spectra]


class LayerJacobianSpread(Diagnostic):
    """The standard deviation of all values on all examples."""

    def measure(self, look: Look) -> list[Tensor]:
        """(P,) per hidden layer; NaN where any number is not finite."""
        return [spread(values) for values in look.layer_jacobian_spectra]


class LayerJacobianDeviation(Diagnostic):
    """The root mean square distance from 1 of all values on all examples."""

    def measure(self, look: Look) -> list[Tensor]:
        """(P,) per hidden layer; NaN where any number is not finite."""
        return [distance_from_one(values) for values in look.layer_jacobian_spectra]


DIAGNOSTICS = {
    "layer_jacobian_max": LayerJacobianMax,
    "layer_jacobian_min": LayerJacobianMin,
    "layer_jacobian_mean": LayerJacobianMean,
    "layer_jacobian_spread": LayerJacobianSpread,
    "layer_jacobian_deviation": LayerJacobianDeviation,
}
