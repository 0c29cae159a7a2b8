"""Derivatives of networks: of outputs by inputs, example by example; the curvature of a loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


def jacobian_of(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Of a function of examples that do not see one another, x (N, ...) -> (N, ...): (N, out, in)."""
    rows: Tensor = torch.func.jacrev(lambda x: function(x).flatten(1).sum(0))(x)  # (out, N, ...)
    return rows.movedim(0, 1).flatten(2)


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
