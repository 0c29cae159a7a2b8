"""What a look takes, in forward passes of one example, by the arithmetic of its parts; needs no torch.

A forward pass is a multiply-add per parameter (of a network of pictures more, and of its derivatives as many times
more). Counted are products of matrices and decompositions, an operation of which takes as long as DECOMPOSED of a
product's: to an order of magnitude, for a network whose hidden layers are alike. What reads every feature or weight
once is counted as measured. A contract test counts operations and compares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from workloads import diagnostics
from workloads.diagnostics import (
    FINDING,
    FITTING_STEPS,
    LANCZOS_STEPS,
    QUADRATURE_STEPS,
    STARTS,
    TANGENTS,
    Part,
    by_probe,
)

DECOMPOSED = 3.0
EIGENVALUES, SINGULAR_VALUES = 4 / 3, 8 / 3  # multiply-adds, of the cube of a square matrix' rows
FORWARD_AND_BACK = 3.0  # passes
CURVED = 6.0  # passes of a product with the Hessian: forward and back, and back through both


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What a cost depends on."""

    examples: int  # in the probe
    outputs: int
    parameters: int
    width: float  # units of a hidden layer
    convolutional: bool = False


def kernel(sizes: Sizes, outputs: int) -> float:
    """Of J J^T of so many outputs of each example, and its eigenvalues; see `workloads.diagnostics.kernel`."""
    rows = sizes.examples * outputs
    values = DECOMPOSED * EIGENVALUES * rows**3 / (sizes.examples * sizes.parameters)
    if sizes.convolutional:  # some parameters at a time; or a row from a pass back of all, and its transpose
        times = math.ceil(rows * sizes.parameters / TANGENTS)
        return min(times * (1 + (FORWARD_AND_BACK - 1) * outputs), 2 * (FORWARD_AND_BACK - 1) * rows) + values
    return 2 + outputs + rows * outputs / sizes.width + values


def hessian_sums(sizes: Sizes) -> float:
    """Of the products, and of keeping directions orthogonal: twice, to and from, to half of all in the mean."""
    products = FINDING + STARTS * QUADRATURE_STEPS
    among = 2 * FINDING**2 + STARTS * QUADRATURE_STEPS * (2 * QUADRATURE_STEPS + 4 * FINDING)
    return min(products, sizes.parameters) * CURVED + among / sizes.examples


# Of each part of a look, in forward passes of its examples beside the one that is made for all.
COSTS: dict[Part, Callable[[Sizes], float]] = {
    "outputs": lambda sizes: 0.0,
    "outputs_before": lambda sizes: 1.0,
    "features": lambda sizes: 0.0,
    "activity": lambda sizes: 0.2,
    "presence": lambda sizes: 0.2,
    "feature_spectra": lambda sizes: 1.0 + DECOMPOSED * EIGENVALUES * sizes.width / sizes.examples,
    "weights": lambda sizes: 0.0,
    "weights_before": lambda sizes: 0.0,
    "initial_weights": lambda sizes: 0.0,
    "weight_spectra": lambda sizes: DECOMPOSED * SINGULAR_VALUES * sizes.width / sizes.examples,
    "gradients": lambda sizes: FORWARD_AND_BACK - 1,
    "layer_jacobian_spectra": lambda sizes: (2 + DECOMPOSED * EIGENVALUES) * sizes.width,
    "input_output_jacobian_spectra": lambda sizes: 1.0 + sizes.outputs,
    "tangent_kernel_spectrum": lambda sizes: kernel(sizes, sizes.outputs),
    "gradient_covariance_spectrum": lambda sizes: kernel(sizes, 1),
    "hessian_spectrum": lambda sizes: LANCZOS_STEPS * CURVED,
    "hessian_largest": lambda sizes: LANCZOS_STEPS * CURVED + 2 * LANCZOS_STEPS**2 / sizes.examples,
    "hessian_sums": hessian_sums,
    "losses_of_fit": lambda sizes: 2 + FITTING_STEPS * FORWARD_AND_BACK,
    "ages": lambda sizes: 0.0,
}


def look_cost(names: Iterable[str], sizes: Sizes) -> float:
    """What one look of these metrics takes, in forward passes of one example: each part of it is made once.

    Those that are no diagnostics take nothing. `sizes.examples` is how many those look at that do not say themselves.
    """
    total = 0.0
    looked_at = [name for name in names if name in diagnostics.DIAGNOSTICS]
    for examples, alike in by_probe(looked_at, sizes.examples).items():
        own = replace(sizes, examples=examples)
        parts = diagnostics.parts_of(alike)
        beside = sum(diagnostics.DIAGNOSTICS[name].cost for name in alike)
        total += examples * (1 + sum(COSTS[part](own) for part in parts) + beside)
    return total


def costliest(names: Iterable[str], sizes: Sizes) -> str:
    """The one of these metrics that takes the most by itself; the first of equals."""
    return max(names, key=lambda name: look_cost([name], sizes))
