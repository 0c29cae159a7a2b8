"""The isometry penalty of a weight matrix and its gradient.

    R(W) = ‖WᵀW − I‖²_F  (out ≥ in),  ‖WWᵀ − I‖²_F  (out < in)

Source: Rosseau, Müller, Nowé (2026), arXiv 2606.09762, eq. 16. The authors' released code uses half of it; both are
named options of the methods that use it. The two sides differ by the constant |out − in|, so the gradient is the same
on either; the smaller Gram matrix is the cheaper one and the one that can reach zero.

A convolution's kernel (out, in, h, w) is the matrix out x (in h w): what maps one patch of the picture to one place of
the output. The paper's reshape is not known. The others considered: (out h w) x in, an isometry from a place to the
patch it reaches, the same idea for the transposed map; one matrix per kernel element, h w isometries that add up to a
map of norm up to h w; and the convolution as an operator on whole pictures, whose exact spectrum needs a Fourier
transform per step. With the chosen one patches overlap, so that the operator's norm may reach sqrt(h w) / stride.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.methods.base import Params
from workloads.networks.base import Network
from workloads.settings import Settings


def isometry_gradient(weight: Tensor) -> Tensor:
    """∇R(W) for weight (out, in), same shape; zero where the smaller Gram matrix is the identity."""
    out, inp = weight.shape
    eye = torch.eye(min(out, inp), dtype=weight.dtype, device=weight.device)
    if out >= inp:
        return 4 * (weight @ (weight.T @ weight - eye))
    return 4 * ((weight @ weight.T - eye) @ weight)


def isometry_pull(weight: Tensor, *, penalty: str, scale_by_gram: bool) -> Tensor:
    """The penalty's gradient for a matrix (out, in) or a kernel (out, in, ...), same shape.

    `penalty` "full" is eq. 16, "half" half of it; `scale_by_gram` divides it by min(out, in).
    """
    matrix = weight.flatten(1)
    scale = (1.0 if penalty == "full" else 0.5) / (min(matrix.shape) if scale_by_gram else 1)
    return scale * isometry_gradient(matrix).view_as(weight)


def isometry_gradients(
    params: Params, network: Network[Settings], *, penalty: str, scale_by_gram: bool, head: bool
) -> Params:
    """The gradient of the summed penalty for every weight matrix it acts on; biases are never pulled."""
    return {
        name: isometry_pull(params[name], penalty=penalty, scale_by_gram=scale_by_gram)
        for name in network.weights
        if name != network.head or head
    }
