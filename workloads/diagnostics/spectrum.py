"""Singular values of many matrices at once, in float64, with a matrix that is not finite kept to itself.

LAPACK raises for a whole batch when one matrix holds a NaN, so such matrices are decomposed as zeros and
answered with NaN. There are two routes:

- An SVD is accurate for every value. Weights take it on a CPU: their smallest singular value is a diagnostic, and
  near a singular matrix it is far below what a Gram matrix still holds.
- The eigenvalues of the smaller Gram matrix cost a fraction of it for the tall matrices that features are. Squaring
  halves the digits: with s_1 the largest value and u = sqrt(max(N, D) eps), 7e-7 for 2,000 examples, a value s is off
  by less than 2e-14 s_1^2 / s, and those under u s_1 are called zero. effective_rank is then off by less than 1e-8
  of itself where none is so small, by less than 1e-4 where some are; stable_rank by less than 1e-11, rank_99 not.
  Features in float32 are hardly known better. On an accelerator, where an SVD is slow, weights go this way too.

BLAS adds in another order where a matrix begins at another address, so matrices that lie side by side are padded
with zeros to whole vectors: on a CPU a matrix has the same bits whatever it is batched with.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

PART = 2**24  # elements decomposed at a time: 128 MiB of float64 beside the input
VECTOR = 8  # float64 numbers in the widest vector there is
SMALL = 64  # columns; wider matrices are worth a call, and a look for columns of zeros, each
BLOCK = 48  # columns of a Gram matrix at a time, more of a large one; what is above the diagonal is not wanted
MANY = 8  # leaving columns out takes a copy: worth it from an eighth of them on


def singular_values(matrices: Tensor) -> Tensor:
    """(..., N, D) -> (..., min(N, D)), descending, float64; all NaN for a matrix that is not finite."""
    return _in_parts(matrices, by_decomposition if matrices.device.type == "cpu" else by_gram)


def feature_values(features: Tensor) -> Tensor:
    """The same, and at less cost where N >> D; values under sqrt(max(N, D) eps) of the largest are 0."""
    return _in_parts(features, by_gram)


def by_decomposition(matrices: Tensor) -> Tensor:
    """Singular values of finite matrices (n, N, D) -> (n, min(N, D)), to float64's accuracy."""
    values: Tensor = torch.linalg.svdvals(padded(_tall(matrices), columns=False))
    return values


def by_gram(matrices: Tensor) -> Tensor:
    """The same from the smaller Gram matrix; values under sqrt(max(N, D) eps) of the largest are 0."""
    tall = _tall(matrices)
    rows, columns = tall.shape[-2:]
    scale = torch.ones_like(tall[:, :1, :1], dtype=torch.float64)
    if tall.dtype == torch.float64:  # entries near 1e200 are finite, their squares are not; float32's all are
        largest = tall.abs().amax((-2, -1), keepdim=True)
        scale = torch.where((largest > 1e100) | ((largest < 1e-100) & (largest > 0)), largest, 1)
        tall = tall / scale
    if columns <= SMALL or tall.device.type != "cpu":
        values = _roots(padded(tall), rows)[:, :columns]
    else:
        values = torch.stack([_of_living(matrix) for matrix in tall])
    return values * scale.squeeze(-1)


def eigenvalues(symmetric: Tensor) -> Tensor:
    """Of positive semidefinite matrices (..., n, n) -> (..., n), descending, float64, at least 0; see `_contained`.

    Those under n eps of the largest are rounding, and 0.
    """
    return _in_parts(symmetric, _nonnegative)


def signed_eigenvalues(symmetric: Tensor) -> Tensor:
    """Of any symmetric matrices (..., n, n) -> (..., n), descending, float64; see `_contained`."""
    return _in_parts(symmetric, lambda matrices: torch.linalg.eigvalsh(matrices.double()).flip(-1))


def eigenpairs(symmetric: Tensor) -> tuple[Tensor, Tensor]:
    """Of symmetric matrices (..., n, n) the eigenvalues (..., n) and eigenvectors (..., n, n), a column each, float64.

    All NaN for a matrix that is not finite.
    """
    finite = symmetric.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)
    values, vectors = torch.linalg.eigh(torch.where(finite, symmetric, 0).double())
    return torch.where(finite.squeeze(-1), values, torch.nan), vectors


def _nonnegative(symmetric: Tensor) -> Tensor:
    values = torch.linalg.eigvalsh(padded(symmetric)).flip(-1)[..., : symmetric.shape[-1]]
    floor = values[..., :1] * symmetric.shape[-1] * torch.finfo(torch.float64).eps
    return torch.where(values > floor, values, 0)


def spread(values: Tensor) -> Tensor:
    """Singular values at every example (..., N, K) -> (...,): the standard deviation of all of them."""
    return (values - values.mean((-2, -1), keepdim=True)).square().mean((-2, -1)).sqrt()


def distance_from_one(values: Tensor) -> Tensor:
    """Singular values at every example (..., N, K) -> (...,): the root of their mean squared distance from 1."""
    return (values - 1).square().mean((-2, -1)).sqrt()


def lower_gram(tall: Tensor) -> Tensor:
    """A^T A for A (..., N, D) -> (..., D, D), of which only the lower triangle is to be read."""
    columns = tall.shape[-1]
    if columns <= BLOCK:
        return tall.mT @ tall
    gram = tall.new_zeros(*tall.shape[:-2], columns, columns)
    block = BLOCK * (1 + columns // 300)
    for first in range(0, columns, block):
        last = min(first + block, columns)
        gram[..., first:, first:last] = tall[..., first:].mT @ tall[..., first:last]
    return gram


def padded(matrices: Tensor, *, columns: bool = True) -> Tensor:
    """A float64 copy of (..., N, D) with rows, and columns too, of zeros up to a whole number of vectors."""
    rows, wide = matrices.shape[-2:]
    shape = (_up(rows), _up(wide) if columns else wide)
    copy = matrices.new_zeros(*matrices.shape[:-2], *shape, dtype=torch.float64)
    copy[..., :rows, :wide] = matrices
    return copy


def _up(size: int) -> int:
    return -(-size // VECTOR) * VECTOR


def _tall(matrices: Tensor) -> Tensor:
    return matrices if matrices.shape[-2] >= matrices.shape[-1] else matrices.mT


def _of_living(matrix: Tensor) -> Tensor:
    """Singular values of one tall matrix (N, D) -> (D,). Columns of zeros, which add zeros, are left out where many."""
    rows, columns = matrix.shape
    alive = matrix.abs().amax(0) > 0
    dead = columns - int(alive.sum())
    if dead == columns:
        return torch.zeros(columns, dtype=torch.float64)
    living = matrix[:, alive] if dead * MANY > columns else matrix
    values = _roots(living.to(torch.float64)[None], rows)[0]
    return torch.nn.functional.pad(values, (0, columns - len(values)))


def _roots(tall: Tensor, rows: int) -> Tensor:
    """Singular values of tall float64 matrices (n, N, D) -> (n, D), of which `rows` rows are not padding."""
    squares = torch.linalg.eigvalsh(lower_gram(tall)).flip(-1)
    floor = squares[..., :1] * rows * torch.finfo(torch.float64).eps
    return torch.where(squares > floor, squares, 0).sqrt()


def _in_parts(matrices: Tensor, route: Callable[[Tensor], Tensor]) -> Tensor:
    rows, columns = matrices.shape[-2:]
    flat = matrices.reshape(-1, rows, columns)
    parts = torch.split(flat, max(1, PART // (rows * columns)))
    values = torch.cat([_contained(part, route) for part in parts])
    return values.reshape(*matrices.shape[:-2], -1)


def _contained(matrices: Tensor, route: Callable[[Tensor], Tensor]) -> Tensor:
    finite = matrices.amax((-2, -1)).isfinite() & matrices.amin((-2, -1)).isfinite()
    if finite.all():  # the usual case is spared two passes over everything
        return route(matrices)
    values = route(torch.where(finite[:, None, None], matrices, 0))
    return torch.where(finite[:, None], values, torch.nan)
