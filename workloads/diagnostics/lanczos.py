"""Lanczos' iteration: a large symmetric matrix, known by its products alone, seen as a small tridiagonal one.

The largest eigenvalue of the small one comes to that of the large one from below: for a matrix of n rows, after k steps
from a random start, with an error of the order of (log n / k)^2 of the spread of its eigenvalues (Kuczynski and
Wozniakowski 1992), and by far less where the largest stands apart. Up to n of twenty it is exact but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from workloads.diagnostics import LANCZOS_STEPS as STEPS

NOTHING = 1e-10  # of the size of the matrix: what is left when all of a start's directions were seen


def start_of(count: int) -> Tensor:
    """A random direction (count,), float64: the same for every matrix of so many rows."""
    start = torch.randn(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    direction: Tensor = start / start.norm()
    return direction


def tridiagonal(product: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """(STEPS, STEPS) of the symmetric matrix (n, n) that `product` multiplies vectors by, from a direction (n,).

    The directions are not made orthogonal anew, which makes copies of eigenvalues and moves none. Where nothing new is
    left the diagonal goes on with its first entry, which lies between the extremes, so that it hides none of them.
    """
    current, before = start, torch.zeros_like(start)
    length = size = start.new_zeros(())
    diagonal: list[Tensor] = []
    beside: list[Tensor] = []
    for _ in range(STEPS):
        following = product(current) - length * before
        along = following @ current
        following = following - along * current
        ended = (length == 0) if beside else torch.zeros_like(length, dtype=torch.bool)
        diagonal.append(torch.where(ended, diagonal[0] if diagonal else along, along))
        length = following.norm()
        size = torch.maximum(size, torch.maximum(along.abs(), length))
        length = torch.where(ended | (length <= NOTHING * size), 0, length)
        beside.append(length)
        before, current = current, following / torch.where(length == 0, 1, length)
    off = torch.stack(beside[:-1])
    return torch.stack(diagonal).diag() + off.diag(1) + off.diag(-1)
