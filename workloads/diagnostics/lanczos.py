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

Product = Callable[[Tensor], Tensor]


def start_of(count: int) -> Tensor:
    """A random direction (count,), float64: the same for every matrix of so many rows."""
    start = torch.randn(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    direction: Tensor = start / start.norm()
    return direction


def tridiagonal(product: Product, start: Tensor) -> Tensor:
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


def iterated(product: Product, start: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Lanczos' iteration from a direction (n,): the small matrix, what it left, (), and the directions (steps, n).

    Where nothing is left the rest is zeros, of which the start has no share.
    """
    directions, diagonal, beside = [start], list[Tensor](), list[Tensor]()
    size = start.new_zeros(())
    for _ in range(steps):
        following = product(directions[-1])
        diagonal.append(following @ directions[-1])
        before = torch.stack(directions)
        for _ in range(2):  # the second takes out what the first leaves by rounding
            following = following - before.mT @ (before @ following)
        length = following.norm()
        size = torch.maximum(size, torch.maximum(diagonal[-1].abs(), length))
        beside.append(torch.where(length <= NOTHING * size, 0, length))
        directions.append(torch.where(beside[-1] == 0, 0, following / torch.where(beside[-1] == 0, 1, length)))
    off = torch.stack(beside[:-1])
    small = torch.stack(diagonal).diag() + off.diag(1) + off.diag(-1)
    return small, beside[-1], torch.stack(directions[:-1])


def whole_of(product: Product, like: Tensor) -> Tensor:
    """The matrix itself, as large as `like` (..., n) is wide, (n, n)."""
    rows: Tensor = torch.func.vmap(product)(torch.eye(like.shape[-1], dtype=like.dtype, device=like.device))
    return (rows + rows.mT) / 2
