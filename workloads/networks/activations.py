"""Activation functions by name, and the gain each asks of the weights before it.

The gain g keeps the scale of a signal through the layer: weights of variance g^2 / fan_in (He et al. 2015).
The numbers are those of the loss-of-plasticity experiments (Dohare et al. 2024): sqrt(2) for the
rectifier-like functions, 5/3 for tanh, 1 for sigmoid and for none. crelu has relu's: of its two activations, which
both count as inputs of the next layer, one is silent. The fixed point of selu was derived for
gain 1 (Klambauer et al. 2017).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

LEAKY_SLOPE = 0.01  # slope of leaky_relu below zero


def leaky_relu(x: Tensor) -> Tensor:
    """x where positive, 0.01 x elsewhere."""
    return functional.leaky_relu(x, LEAKY_SLOPE)


def crelu(x: Tensor) -> Tensor:
    """[x]+ and [-x]+ side by side along the last axis, which they double."""
    return torch.cat([functional.relu(x), functional.relu(-x)], -1)


def linear(x: Tensor) -> Tensor:
    """x: a deep linear network."""
    return x


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "leaky_relu": leaky_relu,
    "tanh": functional.tanh,
    "sigmoid": functional.sigmoid,
    "elu": functional.elu,
    "swish": functional.silu,
    "selu": functional.selu,
    "linear": linear,
    "crelu": crelu,
}

GAINS: dict[str, float] = {
    "relu": math.sqrt(2),
    "leaky_relu": math.sqrt(2),
    "tanh": 5 / 3,
    "sigmoid": 1.0,
    "elu": math.sqrt(2),
    "swish": math.sqrt(2),
    "selu": 1.0,
    "linear": 1.0,
    "crelu": math.sqrt(2),
}
