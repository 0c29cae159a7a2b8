"""Singular values of many matrices at once, in float64, with a matrix that is not finite kept to itself.

LAPACK raises for a whole batch when one matrix holds a NaN, so such matrices are decomposed as zeros and
answered with NaN. There are two routes:

- An SVD, which is accurate for every value. Weights take it on a CPU: their smallest singular value is a diagnostic.
- The eigenvalues of the Gram matrix on the smaller side, a product and a small problem: several times as fast for the
  tall matrices that features are. Squaring halves the digits, so that values are resolved down to about 1e-7 of the
  largest, which is the resolution of features in float32, and smaller ones are called zero. Features take it from
  TALL columns on, below which an SVD costs nothing; everything does on an accelerator, where an SVD is slow.

On a CPU a matrix has the same bits whatever it is batched with.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

TALL = 32  # columns of features, and at least twice as many rows, from which their Gram matrix is decomposed
BLOCK = 128  # columns of a Gram matrix that are multiplied at a time
PART = 2**24  # elements decomposed at a time: 128 MiB of float64 beside the input


def feature_values(features: Tensor) -> Tensor:
    """Singular values of features (..., N, D), by the faster route; otherwise as `singular_values`.

    Against the SVD each differs by less than 1e-7 of the largest, and those above 1e-3 of it by less than 1e-10.
    """
    rows, columns = features.shape[-2:]
    return singular_values(features, by_gram if columns >= TALL and rows >= 2 * columns else by_decomposition)


def singular_values(matrices: Tensor, route: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """(..., N, D) -> (..., min(N, D)), descending, float64; all NaN for a matrix that is not finite.

    `route` is what decomposes them on a CPU, the SVD unless told otherwise.
    """
    rows, columns = matrices.shape[-2:]
    flat = matrices.reshape(-1, rows, columns)
    route = (route or by_decomposition) if matrices.device.type == "cpu" else by_gram
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
    tall = scaled if scaled.shape[-2] >= scaled.shape[-1] else scaled.mT
    if tall.device.type == "cpu":
        # One product after the other: those of a batch may be summed in another order than that of one matrix.
        gram = torch.stack([lower_gram(matrix) for matrix in tall])
    else:
        gram = tall.mT @ tall
    squares = torch.linalg.eigvalsh(gram).flip(-1)
    floor = squares[..., :1] * max(matrices.shape[-2:]) * torch.finfo(torch.float64).eps
    return torch.where(squares > floor, squares, 0).sqrt() * largest.squeeze(-1)


def lower_gram(matrix: Tensor) -> Tensor:
    """A^T A of a matrix (N, D) in blocks of columns, those above the diagonal left 0: half of the work for a large D.

    Eigenvalue solvers read the lower triangle alone.
    """
    parts = torch.split(matrix, BLOCK, dim=1)
    if len(parts) == 1:
        return matrix.T @ matrix
    gram = matrix.new_zeros(matrix.shape[1], matrix.shape[1])
    for k, part in enumerate(parts):
        first = k * BLOCK
        gram[first:, first : first + part.shape[1]] = matrix[:, first:].T @ part
    return gram


def _contained(matrices: Tensor, route: Callable[[Tensor], Tensor]) -> Tensor:
    wide = matrices.to(torch.float64)
    finite = matrices.amax((-2, -1)).isfinite() & matrices.amin((-2, -1)).isfinite()
    if finite.all():  # the usual case is spared two passes over everything
        return route(wide)
    values = route(torch.where(finite[:, None, None], wide, 0))
    return torch.where(finite[:, None], values, torch.nan)
