"""Initial weights: uniform in [-B, B) with B by scheme, or an orthogonal matrix.

    kaiming          B = gain sqrt(3 / fan_in)               biases 0     He et al. 2015
    xavier           B = gain sqrt(6 / (fan_in + fan_out))   biases 0     Glorot and Bengio 2010
    lecun            B = sqrt(3 / fan_in)                    biases 0     LeCun et al. 1998
    default          B = sqrt(1 / fan_in)                    biases too   torch.nn.Linear
    orthogonal       W^T W = I or W W^T = I                  biases 0     Saxe et al. 2014
    orthogonal_gain  the same times the gain                 biases 0

fan_in and fan_out are the inputs and outputs of the matrix that is drawn; the gain is that of the activation after a
layer, 1 for the head. With `orthogonal` a network starts at the point that isometry methods pull towards, whatever its
activation. One released code on isometry, and that of Parseval regularisation, start at the gain, √2 under relu, with
hidden layers: `orthogonal_gain`. Draws are keyed by (seed, "init/<parameter>"): one layer's do not depend on another's
shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workloads import random

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Distribution:
    """What a parameter's elements are drawn from.

    `scale`: half-width, standard deviation, what an orthogonal matrix is multiplied by, or the constant itself.
    """

    kind: Literal["uniform", "normal", "orthogonal", "constant"]
    scale: float = 1.0


def layer_distribution(initialisation: str, kind: str, fan_in: int, fan_out: int, gain: float) -> Distribution:
    """That of a layer's "weight" or "bias" under a scheme."""
    bound = uniform_bound(initialisation, fan_in, fan_out, gain)
    if kind == "bias":
        return Distribution("uniform", bound) if initialisation == "default" else Distribution("constant", 0.0)
    if initialisation in ("orthogonal", "orthogonal_gain"):
        return Distribution("orthogonal", gain if initialisation == "orthogonal_gain" else 1.0)
    return Distribution("uniform", bound)


def initial_array(
    seed: int, parameter: str, shape: tuple[int, ...], distribution: Distribution, at: int = 0
) -> Float64:
    """float64 array of `shape` from a distribution; `at` numbers independent arrays."""
    if distribution.kind == "constant":
        return np.full(shape, distribution.scale)
    if distribution.kind == "uniform":
        return uniform_array(seed, parameter, shape, distribution.scale, at)
    if distribution.kind == "normal":
        return normal_array(seed, parameter, shape, distribution.scale, at)
    # A kernel is orthogonal as the matrix out x (in height width).
    matrix = orthogonal_array(seed, parameter, (shape[0], math.prod(shape[1:])), at)
    return distribution.scale * matrix.reshape(shape)


def redrawn_tensor(draw: random.Draw, what: str, shape: tuple[int, ...], distribution: Distribution) -> Tensor:
    """Tensor of `shape` from a distribution, drawn in torch."""
    count = math.prod(shape)
    if distribution.kind == "constant":
        return torch.full(shape, distribution.scale, dtype=draw.dtype, device=draw.seed.device)
    if distribution.kind == "uniform":
        return (distribution.scale * (2 * draw.uniform(what, count) - 1)).view(shape)
    if distribution.kind == "normal":
        return (distribution.scale * draw.normal(what, count)).view(shape)
    out, inp = shape[0], count // shape[0]
    q, r = torch.linalg.qr(draw.normal(what, count).view(max(out, inp), min(out, inp)))
    signed: Tensor = distribution.scale * q * torch.where(torch.diagonal(r) < 0, -1, 1)
    return (signed if out >= inp else signed.T).reshape(shape)


def uniform_bound(initialisation: str, fan_in: int, fan_out: int, gain: float) -> float:
    """The half-width B of the scheme's uniform distribution.

    For `orthogonal`, which has none, the B of equal variance: such a matrix has mean square
    1 / max(fan_in, fan_out), and times the gain its square.
    """
    bounds = {
        "kaiming": gain * math.sqrt(3 / fan_in),
        "xavier": gain * math.sqrt(6 / (fan_in + fan_out)),
        "lecun": math.sqrt(3 / fan_in),
        "default": math.sqrt(1 / fan_in),
        "orthogonal": math.sqrt(3 / max(fan_in, fan_out)),
        "orthogonal_gain": gain * math.sqrt(3 / max(fan_in, fan_out)),
    }
    return bounds[initialisation]


def uniform_array(seed: int, parameter: str, shape: tuple[int, ...], bound: float, at: int = 0) -> Float64:
    """float64 array of `shape`, uniform in [-bound, bound); `at` numbers independent arrays."""
    drawn = random.uniform(seed, f"init/{parameter}", at, math.prod(shape))
    return bound * (2 * drawn - 1).reshape(shape)


def normal_array(seed: int, parameter: str, shape: tuple[int, ...], deviation: float, at: int = 0) -> Float64:
    """float64 array of `shape`, normal with mean 0 and this standard deviation."""
    return deviation * random.normal(seed, f"init/{parameter}", at, math.prod(shape)).reshape(shape)


def orthogonal_array(seed: int, parameter: str, shape: tuple[int, int], at: int = 0) -> Float64:
    """float64 (out, in) with orthonormal columns (out >= in) or rows, uniform over all such matrices."""
    long, short = max(shape), min(shape)
    normals = random.normal(seed, f"init/{parameter}", at, long * short).reshape(long, short)
    q, r = np.linalg.qr(normals)
    # QR leaves the columns' signs to the library; a positive diagonal of R makes Q unique and uniform
    # (Mezzadri 2007).
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return np.ascontiguousarray(q if shape[0] >= shape[1] else q.T)
