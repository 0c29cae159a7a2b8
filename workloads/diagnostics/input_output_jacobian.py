"""Singular values of the input-output Jacobian, d output / d x: what a network does to a small change of its input.

min(outputs, inputs) values at each example of the probe, the network as in evaluation. Where every layer is an isometry
they are all 1, at any depth. The extremes are over all examples; the mean, the standard deviation and the root mean
square distance from 1 are over all values of all of them. Values under sqrt(max(outputs, inputs) eps) of the largest
are 0.

Source: Saxe, McClelland, Ganguli (2014), arXiv 1312.6120; Pennington, Schoenholz, Ganguli (2017), arXiv 1711.04735.
"""

from __future__ import annotations

from torch import Tensor

from workloads.diagnostics.base import Diagnostic
from workloads.diagnostics.look import Look
from workloads.diagnostics.spectrum import distance_from_one, spread


class InputOutputJacobianMax(Diagnostic):
    """The largest on any example."""

    def measure(self, look: Look) -> Tensor:
        """(P,); NaN where any number is not finite."""
        return look.input_output_jacobian_spectra.amax((-2, -1))


class InputOutputJacobianMin(Diagnostic):
    """The smallest on any example."""

    def measure(self, look: Look) -> Tensor:
        """(P,); NaN where any number is not finite."""
        return look.input_output_jacobian_spectra.amin((-2, -1))


class InputOutputJacobianMean(Diagnostic):
    """Of all values on all examples."""

    def measure(self, look: Look) -> Tensor:
        """(P,); NaN where any number is not finite."""
        return look.input_output_jacobian_spectra.mean((-2, -1))


class InputOutputJacobianSpread(Diagnostic):
    """The standard deviation of all values on all examples."""

    def measure(self, look: Look) -> Tensor:
        """(P,); NaN where any number is not finite."""
        return spread(look.input_output_jacobian_spectra)


class InputOutputJacobianDeviation(Diagnostic):
    """The root mean square distance from 1 of all values on all examples."""

    def measure(self, look: Look) -> Tensor:
        """(P,); NaN where any number is not finite."""
        return distance_from_one(look.input_output_jacobian_spectra)


DIAGNOSTICS = {
    "input_output_jacobian_max": InputOutputJacobianMax,
    "input_output_jacobian_min": InputOutputJacobianMin,
    "input_output_jacobian_mean": InputOutputJacobianMean,
    "input_output_jacobian_spread": InputOutputJacobianSpread,
    "input_output_jacobian_deviation": InputOutputJacobianDeviation,
}
