"""Initial weights: uniform in [-B, B) with B by scheme, or an orthogonal matrix.

    kaiming     B = gain sqrt(3 / fan_in)               biases 0     He et al. 2015
    xavier      B = gain sqrt(6 / (fan_in + fan_out))   biases 0     Glorot and Bengio 2010
    lecun       B = sqrt(3 / fan_in)                    biases 0     LeCun et al. 1998
    default     B = sqrt(1 / fan_in)                    biases too   torch.nn.Linear
    orthogonal  W^T W = I or W W^T = I, gain 1          biases 0     Saxe et al. 2014

fan_in and fan_out are the inputs and outputs of the matrix that is drawn. Orthogonal matrices have gain 1
whatever the activation: a network of them starts at the point that isometry methods pull towards. Draws are
keyed by (seed, "init/<parameter>"): one layer's do not depend on another's shape.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from workloads import random

Float64 = NDArray[np.float64]


def uniform_bound(initialisation: str, fan_in: int, fan_out: int, gain: float) -> float:
    """The half-width B of the scheme's uniform distribution.

    For `orthogonal`, which has none, the B of equal variance: such a matrix has mean square
    1 / max(fan_in, fan_out).
    """
    bounds = {
        "kaiming": gain * math.sqrt(3 / fan_in),
        "xavier": gain * math.sqrt(6 / (fan_in + fan_out)),
        "lecun": math.sqrt(3 / fan_in),
        "default": math.sqrt(1 / fan_in),
        "orthogonal": math.sqrt(3 / max(fan_in, fan_out)),
    }
    return bounds[initialisation]


def uniform_array(seed: int, parameter: str, shape: tuple[int, ...], bound: float) -> Float64:
    """float64 array of `shape`, uniform in [-bound, bound)."""
    drawn = random.uniform(seed, f"init/{parameter}", 0, math.prod(shape))
    return bound * (2 * drawn - 1).reshape(shape)


def orthogonal_array(seed: int, parameter: str, shape: tuple[int, int]) -> Float64:
    """float64 (out, in) with orthonormal columns (out >= in) or rows, uniform over all such matrices."""
    long, short = max(shape), min(shape)
    normals = random.normal(seed, f"init/{parameter}", 0, long * short).reshape(long, short)
    q, r = np.linalg.qr(normals)
    # QR leaves the columns' signs to the library; a positive diagonal of R makes Q unique and uniform
    # (Mezzadri 2007).
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return np.ascontiguousarray(q if shape[0] >= shape[1] else q.T)
