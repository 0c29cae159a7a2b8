"""Lengths of weights, and what to divide by one."""

from __future__ import annotations

import torch
from torch import Tensor


def frobenius(matrices: Tensor) -> Tensor:
    """The Frobenius norm of each matrix, (..., rows, columns) -> (...)."""
    # One axis after the other: over both at once torch, where it has several threads, shares out the sum of one large
    # matrix among them but not those of many, so that last bits would depend on who is beside. A pack has one thread.
    return torch.sqrt((matrices * matrices).sum(-1).sum(-1))


def or_one(length: Tensor) -> Tensor:
    """A length, or 1 where it is 0: what is then divided by it stays 0."""
    return torch.where(length > 0, length, 1.0)
