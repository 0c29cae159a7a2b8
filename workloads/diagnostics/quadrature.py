"""Sums over the eigenvalues of a large symmetric matrix A (n, n) that is known by its products alone.

Stochastic Lanczos quadrature (Ubaru, Chen, Saad 2017): from a random direction v, Lanczos' iteration makes a small
tridiagonal matrix with eigenvalues t_i whose eigenvectors begin with w_i, and v^T f(A) v is about sum w_i^2 f(t_i); so

    sum over eigenvalues l of f(l)  is about  n sum w_i^2 f(t_i),    the mean over directions v.

A few large eigenvalues make that uncertain, as how much of them a random direction has is chance. So first a longer
iteration finds those it can, each with its eigenvector, and they count once; the quadrature, in what is left of the
space, counts the rest, further ones of the same value among it (the idea of Hutch++, Meyer et al. 2021). Directions are
kept orthogonal; all together they take the room of some hundred vectors.

For the effective rank of Hessians of relu and tanh classifiers of 700 to 1,800 parameters, newborn, trained and with
nine tenths of their units dead, that was within a fifth of the truth, mostly within a tenth.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.diagnostics import FINDING, STARTS
from workloads.diagnostics import QUADRATURE_STEPS as STEPS
from workloads.diagnostics.lanczos import Product, iterated, whole_of
from workloads.diagnostics.spectrum import eigenpairs

EXACT = FINDING + STARTS * STEPS  # rows up to which a matrix is made whole, with no more products
FOUND = 1e-3  # of an eigenvalue, what the iteration may leave of it
LEAST = 1e-6  # of the largest: what is smaller may be rounding, of which other sums find another number


def starts_of(count: int) -> Tensor:
    """Random directions (1 + STARTS, count), float64: the same for every matrix of so many rows."""
    drawn = torch.randn(1 + STARTS, count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return _directions(drawn)


def sums_of_whole(product: Product, like: Tensor) -> Tensor:
    """Of the eigenvalues l of a matrix as large as `like` (..., n) is wide: sum |l| and sum |l| log |l|, (2,)."""
    return torch.stack([each.sum() for each in _terms(eigenpairs(whole_of(product, like))[0])])


def sums(product: Product, starts: Tensor) -> Tensor:
    """The same, (2,), by the quadrature from `starts` (1 + STARTS, n); NaN where a number is not finite."""
    small, left, directions = iterated(product, starts[0], FINDING)
    values, vectors = eigenpairs(small)
    sizes = values.abs()
    found = ((vectors[-1] * left).abs() < FOUND * sizes) & (sizes > LEAST * sizes.amax())
    known = torch.where(found[:, None], vectors.mT @ directions, 0)  # an eigenvector each, or zeros

    def remaining(vector: Tensor) -> Tensor:
        return vector - known.mT @ (known @ vector)

    total = [torch.where(found, each, 0).sum() for each in _terms(values)]
    others = starts.shape[-1] - found.sum()
    for start in starts[1:]:
        small, _, _ = iterated(lambda v: remaining(product(remaining(v))), _directions(remaining(start)), STEPS)
        values, vectors = eigenpairs(small)
        shares = others * vectors[0].square() / STARTS
        total = [whole + (shares * each).sum() for whole, each in zip(total, _terms(values), strict=True)]
    return torch.stack(total)


def effective_rank_of_sums(sums: Tensor) -> Tensor:
    """(..., 2) as above -> (...,): exp(-sum p log p) for p = |l| / sum |l|, at least 1; 1 where all are 0."""
    size, logs = sums.unbind(-1)
    total = torch.where(size == 0, 1, size)
    return (total.log() - logs / total).exp().clamp(min=1)


def _terms(values: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (...,) -> |l|, and |l| log |l|, 0 where l is 0."""
    sizes = values.abs()
    return sizes, -torch.special.entr(sizes)


def _directions(vectors: Tensor) -> Tensor:
    """(..., n), each of length 1, or 0 where it is nothing."""
    length = vectors.norm(dim=-1, keepdim=True)
    return vectors / torch.where(length == 0, 1, length)
