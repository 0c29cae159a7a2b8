"""Derivatives of networks: of outputs by inputs, example by example; the kernel of outputs, or of losses, by
parameters; the curvature of a loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

TANGENTS = 2**22  # numbers of parameters' tangents at a time, of a member: 32 MiB of float64


def jacobian_of(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Of a function of examples that do not see one another, x (N, ...) -> (N, ...): (N, out, in)."""
    rows: Tensor = torch.func.jacrev(lambda x: function(x).flatten(1).sum(0))(x)  # (out, N, ...)
    return rows.movedim(0, 1).flatten(2)


def kernel_of(function: Callable[[dict[str, Tensor]], Tensor], params: Mapping[str, Tensor]) -> Tensor:
    """J J^T (n, n) for J the Jacobian of `function(params)` (n,) by all parameters; exact.

    J itself, n times as large as the network, is never held: a row of it comes from one pass back, and what it makes of
    all outputs from the transpose of that pass, which is linear, for as many rows at a time as TANGENTS allows.
    """
    values, pull = torch.func.vjp(function, dict(params))[:2]
    push = torch.func.vjp(lambda basis: pull(basis)[0], torch.zeros_like(values))[1]

    def column(basis: Tensor) -> Tensor:
        made: Tensor = push(pull(basis)[0])[0]
        return made

    together = max(1, TANGENTS // sum(value.numel() for value in params.values()))
    basis = torch.eye(len(values), dtype=values.dtype, device=values.device)
    kernel: Tensor = torch.func.vmap(column, chunk_size=min(together, len(values)))(basis)
    return kernel


def hessian_product_of(
    function: Callable[[dict[str, Tensor]], Tensor], params: Mapping[str, Tensor]
) -> Callable[[Tensor], Tensor]:
    """The map v -> H v of vectors of all parameters in order, H the Hessian of `function(params)` (); a pass back
    through a gradient.
    """
    params = dict(params)
    pull = torch.func.vjp(torch.func.grad(function), params)[1]
    sizes = [value.numel() for value in params.values()]

    def product(vector: Tensor) -> Tensor:
        parts = zip(params.items(), torch.split(vector, sizes), strict=True)
        (curved,) = pull({name: part.view(value.shape) for (name, value), part in parts})
        return torch.cat([curved[name].flatten() for name in params])

    return product
