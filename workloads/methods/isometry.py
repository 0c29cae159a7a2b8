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

from typing import Protocol

import torch
from torch import Tensor

from workloads.methods.base import Params
from workloads.networks.base import Network
from workloads.settings import Settings


def isometry_gradient(weight: Tensor, target: float = 1.0) -> Tensor:
    """∇R(W) for weight (out, in), same shape; zero where the smaller Gram matrix is `target` times the identity."""
    out, inp = weight.shape
    eye = target * torch.eye(min(out, inp), dtype=weight.dtype, device=weight.device)
    if out >= inp:
        return 4 * (weight @ (weight.T @ weight - eye))
    return 4 * ((weight @ weight.T - eye) @ weight)


def projected(weight: Tensor, iterations: int, target: float = 1.0) -> Tensor:
    """A matrix (out, in) or kernel after steps of Newton and Schulz towards the nearest of Gram matrix `target` x I.

        W ← W − β W (WᵀW / target − I),    β = min(1/2, 1 / max_i Σ_j |WᵀW / target|_ij)

    β = 1/2 is the step of Björck and Bowie (1971), whose limit is the polar factor. It goes astray where a singular
    value exceeds √3; the bound, which is at least the largest one squared, keeps every step from passing 0.
    """
    matrix = weight.flatten(1)
    for _ in range(iterations):
        tall = matrix.shape[0] >= matrix.shape[1]
        gram = (matrix.T @ matrix if tall else matrix @ matrix.T) / target
        beta = torch.clamp(1 / gram.abs().sum(0).amax(), max=0.5)
        matrix = matrix + beta * (matrix - (matrix @ gram if tall else gram @ matrix))
    return matrix.view_as(weight)


def newton_schulz(matrices: Tensor, iterations: int) -> Tensor:
    """Matrices (..., rows, columns) of singular values below √3 after steps X ← 3/2 X − 1/2 X Xᵀ X, same shape.

    Towards the polar factors, which have the value 1 for all of them but those that are 0 and stay so.
    """
    tall = matrices.shape[-2] >= matrices.shape[-1]
    for _ in range(iterations):
        cubed = matrices @ (matrices.mT @ matrices) if tall else (matrices @ matrices.mT) @ matrices
        matrices = 1.5 * matrices - 0.5 * cubed
    return matrices


def isometry_pull(weight: Tensor, *, penalty: str, scale_by_gram: bool, target: float = 1.0) -> Tensor:
    """The penalty's gradient for a matrix (out, in) or a kernel (out, in, ...), same shape.

    `penalty` "full" is eq. 16, "half" half of it; `scale_by_gram` divides it by min(out, in); `target` is what the Gram
    matrix is pulled to, times the identity: 1 in eq. 16.
    """
    matrix = weight.flatten(1)
    scale = (1.0 if penalty == "full" else 0.5) / (min(matrix.shape) if scale_by_gram else 1)
    return scale * isometry_gradient(matrix, target).view_as(weight)


class Choice(Protocol):
    """Settings that say which matrices are pulled, and to what."""

    @property
    def head(self) -> bool: ...

    @property
    def first(self) -> bool: ...

    @property
    def kernels(self) -> bool: ...

    @property
    def target(self) -> str: ...


class Penalty(Choice, Protocol):
    """Settings that say how strongly, beside."""

    @property
    def penalty(self) -> str: ...

    @property
    def scale_by_gram(self) -> bool: ...


def targets(network: Network[Settings], choice: Choice) -> dict[str, float]:
    """Weight that is pulled -> what its Gram matrix is pulled to, times the identity; biases never are.

    `target` "gain_squared" is g² for the gain g that the activation after a layer asks for, 1 for the head.
    """
    shapes, weights = network.parameter_shapes(), network.weights
    return {
        name: network.gain(name) ** 2 if choice.target == "gain_squared" else 1.0
        for name in weights
        if (choice.head or name != network.head)
        and (choice.first or name != weights[0])
        and (choice.kernels or len(shapes[name]) == 2)
    }


def isometry_gradients(params: Params, network: Network[Settings], choice: Penalty) -> Params:
    """The gradient of the summed penalty for every weight matrix it acts on."""
    return {
        name: isometry_pull(params[name], penalty=choice.penalty, scale_by_gram=choice.scale_by_gram, target=target)
        for name, target in targets(network, choice).items()
    }
