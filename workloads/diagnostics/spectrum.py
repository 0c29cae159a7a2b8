"""Singular values of many matrices at once, in float64, with a matrix that is not finite kept to itself.

LAPACK raises for a whole batch when one matrix holds a NaN, so such matrices are decomposed as zeros and
answered with NaN. On a CPU the values come from an SVD, which is accurate, no slower there, and gives a
matrix the same bits whatever it is batched with. On an accelerator an SVD iterates on the tall matrices
themselves; the eigenvalues of their small Gram matrices come from one product. Squaring halves the digits, so
that route resolves singular values down to about 1e-7 of the largest, which is float32's own resolution, and
calls smaller ones zero.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

PART = 2**24  # elements decomposed at a time: 128 MiB of float64 beside the input


def singular_values(matrices: Tensor) -> Tensor:
    """(..., N, D) -> (..., min(N, D)), descending, float64; all NaN for a matrix that is not finite."""
    rows, columns = matrices.shape[-2:]
    flat = matrices.reshape(-1, rows, columns)
    route = by_decomposition if matrices.device.type == "cpu" else by_gram
    parts = torch.split(flat, max(1, PART // (rows * columns)))
    values = torch.cat([_contained(part, route) for part in parts])
    return values.reshape(*matrices.shape[:-2], -1)


def by_decomposition(matrices: Tensor) -> Tensor:
    """Singular values of finite float64 matrices (n, N, D) -> (n, min(N, D)), to float64's accuracy."""
    values: Tensor = torch.linalg.svdvals(matrices)
    return values


def by_gram(matrices: Tensor) -> Tensor:
    """The same from the smaller Gram matrix; values under sqrt(max(N, D) eps) of the largest are 0."""
    largest = matrices.abs().amax((-2, -1), keepdim=True)
    # Entries near 1e200 are finite, their squares are not.
    scaled = matrices / torch.where(largest > 0, largest, 1)
    gram = scaled.mT @ scaled if scaled.shape[-2] >= scaled.shape[-1] else scaled @ scaled.mT
    squares = torch.linalg.eigvalsh(gram).flip(-1)
    floor = squares[..., :1] * max(matrices.shape[-2:]) * torch.finfo(torch.float64).eps
    return torch.where(squares > floor, squares, 0).sqrt() * largest.squeeze(-1)


def _contained(matrices: Tensor, route: Callable[[Tensor], Tensor]) -> Tensor:
    wide = matrices.to(torch.float64)
    finite = matrices.amax((-2, -1)).isfinite() & matrices.amin((-2, -1)).isfinite()
    if finite.all():  # the usual case is spared two passes over everything
        return route(wide)
    values = route(torch.where(finite[:, None, None], wide, 0))
    return torch.where(finite[:, None], values, torch.nan)
