"""The isometry penalty of a weight matrix and its gradient.

    R(W) = ‖WᵀW − I‖²_F  (out ≥ in),  ‖WWᵀ − I‖²_F  (out < in)

Source: Rosseau, Müller, Nowé (2026), arXiv 2606.09762, eq. 16. The authors' released code uses half of it; both are
named options of the methods that use it. The two sides differ by the constant |out − in|, so the gradient is the same
on either; the smaller Gram matrix is the cheaper one and the one that can reach zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.methods.base import Params
from workloads.networks.mlp import MLP


def isometry_gradient(weight: Tensor) -> Tensor:
    """∇R(W) for weight (out, in), same shape; zero where the smaller Gram matrix is the identity."""
    out, inp = weight.shape
    eye = torch.eye(min(out, inp), dtype=weight.dtype, device=weight.device)
    if out >= inp:
        return 4 * (weight @ (weight.T @ weight - eye))
    return 4 * ((weight @ weight.T - eye) @ weight)


def isometry_gradients(params: Params, network: MLP, *, penalty: str, scale_by_gram: bool, head: bool) -> Params:
    """The gradient of the summed penalty for every weight matrix it acts on; biases are never pulled.

    `penalty` "full" is eq. 16, "half" half of it; `scale_by_gram` divides each matrix's share by min(out, in).
    """
    gradients = {}
    for name in network.weights:
        if name == network.head and not head:
            continue
        scale = (1.0 if penalty == "full" else 0.5) / (min(params[name].shape) if scale_by_gram else 1)
        gradients[name] = scale * isometry_gradient(params[name])
    return gradients
