"""Activation functions by name, and the gain each asks of the weights before it.

Four of them are isometric: their Jacobian A has AᵀA = I, so that a layer has the singular values of its matrix.

    groupsort_k   every k neighbouring units in ascending order (Anil, Lucas, Grosse 2019; k = 2 is MaxMin): A permutes
    absolute      |z|: A is a diagonal of signs
    crelu         [z]+ and [-z]+ (Abbas et al. 2023), twice as many activations as units
    fourier       sin z and cos z (deep Fourier features, Lewandowski et al. 2025), likewise

With orthogonal matrices a network of the first two that nowhere widens is an isometry from end to end: its
input-output Jacobian has no other singular value than 1. With crelu and fourier its layers are, one by one, but not
their product: the next matrix, which has twice as many columns as rows, is one only within the span of its rows.

The gain g keeps the scale of a signal through the layer: weights of variance g^2 / fan_in (He et al. 2015).
The numbers are those of the loss-of-plasticity experiments (Dohare et al. 2024): sqrt(2) for the
rectifier-like functions, 5/3 for tanh, 1 for sigmoid and for none. crelu has relu's: of its two activations, which
both count as inputs of the next layer, one is silent. So has fourier, since sin² z + cos² z = 1: the mean square of two
activations is 1/2. Sorting and |z| leave the mean square as it is, gain 1. The fixed point of selu was derived for
gain 1 (Klambauer et al. 2017).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

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


def absolute(x: Tensor) -> Tensor:
    """|x|, of slope 1 at 0 where torch's has 0: isometric everywhere."""
    return torch.where(x < 0, -x, x)


def fourier(x: Tensor) -> Tensor:
    """sin x and cos x side by side along the last axis, which they double."""
    return torch.cat([torch.sin(x), torch.cos(x)], -1)


def groupsort(x: Tensor, *, size: int) -> Tensor:
    """Every `size` neighbours along the last axis in ascending order.

    By exchanges rather than torch.sort, so that it can be written as C++; equal ones keep their places, so that even
    there the Jacobian is a permutation.
    """
    ranks = list(x.reshape(*x.shape[:-1], -1, size).unbind(-1))
    for low, high in exchanges(size):
        swapped = ranks[low] > ranks[high]
        ranks[low], ranks[high] = (
            torch.where(swapped, ranks[high], ranks[low]),
            torch.where(swapped, ranks[low], ranks[high]),
        )
    return torch.stack(ranks, -1).flatten(-2)


def exchanges(size: int) -> Iterator[tuple[int, int]]:
    """Pairs (low, high) of places that, put in order one after the other, sort `size` numbers, a power of two.

    The odd-even merge sort of Batcher (1968): 1, 5 and 19 pairs for 2, 4 and 8.
    """
    run = 1  # length of what is sorted already
    while run < size:
        gap = run
        while gap:
            for first in range(gap % run, size - gap, 2 * gap):
                for place in range(first, min(first + gap, size - gap)):
                    if place // (2 * run) == (place + gap) // (2 * run):
                        yield place, place + gap
            gap //= 2
        run *= 2


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
    "absolute": absolute,
    "fourier": fourier,
    "groupsort_2": partial(groupsort, size=2),
    "groupsort_4": partial(groupsort, size=4),
    "groupsort_8": partial(groupsort, size=8),
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
    "absolute": 1.0,
    "fourier": math.sqrt(2),
    "groupsort_2": 1.0,
    "groupsort_4": 1.0,
    "groupsort_8": 1.0,
}
