"""Spectral regularisation: every layer's largest singular value is kept near 1, biases near 0, norms' gains near 1.

    loss + strength x ( Σ_W (σ₁(W)² − 1)² + Σ_b ‖b‖⁴ + Σ_γ ‖γ − 1‖² )

Source: Lewandowski, Bortkiewicz, Kumar, György, Schuurmans, Ostaszewski, Machado (2025), "Learning continually by
spectral regularization", ICLR, arXiv 2406.06811, with exponent k = 2. The gradient is written out:

    u = W v / ‖W v‖,   v ← Wᵀ u / ‖Wᵀ u‖,   σ₁ ≈ uᵀ W v = ‖Wᵀ u‖,    ∇ = 4 σ₁ (σ₁² − 1) u vᵀ,  4 ‖b‖² b,  2 (γ − 1)

one power iteration a step, warm from the last one's v; u and v are constants where it is differentiated. Along the top
singular pair the pull is the isometry penalty's (AdamO's, with s = 1), and there is none along the others.

Options where public codes differ: `head` and `biases` (WSN, of bordeauxred/rejax, regularises neither), and
`target: gain_squared` (1 becomes g² for the gain g of the activation, 2 under relu). Of lop-jax's form that target
alone is taken over, beside (γ − 1)², which it shares: for biases it has Σ b² in the place of ‖b‖⁴, and σ₁ of ten
iterations from one fixed random vector, anew in every step; neither can be asked for here. A kernel (out, in, h, w) is
the matrix out x (in h w). v begins as the constant vector, which no initial distribution is orthogonal to. While a
matrix is 0 its v stays as it was, so that it is regularised again once it has grown. A learned scale of a layer counts
as a gain γ.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from workloads.methods.base import Hyper, Method, Params, Seen, State
from workloads.methods.config import SpectralRegularisationConfig
from workloads.methods.lengths import or_one
from workloads.networks.base import Network
from workloads.random import Draw
from workloads.settings import Settings


def power_iteration(matrix: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """u (out,), v (in,) and uᵀ W v, 0-d, after one iteration from v = `right`; 0, the same v and 0 where W v is 0."""
    left = (matrix * right).sum(1)
    left = left / or_one(norm(left))
    back = (matrix * left[:, None]).sum(0)
    largest = norm(back)
    return left, torch.where(largest > 0, back / or_one(largest), right), largest


def norm(vector: Tensor) -> Tensor:
    """Its Euclidean length, 0-d."""
    return torch.sqrt((vector * vector).sum())


class SpectralRegularisation(Method[SpectralRegularisationConfig]):
    """State: `right`, v (in,) of every weight matrix that is regularised."""

    def __init__(self, config: SpectralRegularisationConfig, network: Network[Settings]) -> None:
        super().__init__(config, network)
        squared = config.target == "gain_squared"
        names = [name for name in network.weights if config.head or name != network.head]
        self.targets = {name: network.gain(name) ** 2 if squared else 1.0 for name in names}
        shapes = network.parameter_shapes()
        self.vectors = [name for name, shape in shapes.items() if len(shape) == 1 and config.biases]

    def init(self, params: Params, *, per_element: bool) -> State:
        """The constant vectors of length 1."""
        matrices = {name: params[name].flatten(1) for name in self.targets}
        return {"right": {n: m.new_full(m.shape[1:], 1 / math.sqrt(m.shape[1])) for n, m in matrices.items()}}

    def gradient(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """g + strength x the gradient of the penalties."""
        pulls = {name: self.vector_pull(name, params[name]) for name in self.vectors}
        rights = {}
        for name, target in self.targets.items():
            matrix = params[name].flatten(1)
            left, rights[name], largest = power_iteration(matrix, state["right"][name])
            pull = 4 * largest * (largest * largest - target)
            pulls[name] = ((pull * left)[:, None] * rights[name]).view_as(params[name])
        grads = {n: g + hyper["strength"] * pulls[n] if n in pulls else g for n, g in seen.grads.items()}
        return grads, {"right": rights}

    def vector_pull(self, name: str, vector: Tensor) -> Tensor:
        """4 ‖b‖² b of a bias or shift, 2 (γ − 1) of a gain; same shape."""
        return 2 * (vector - 1) if name in self.network.gains else 4 * (vector * vector).sum() * vector


METHODS = {"spectral_regularisation": SpectralRegularisation}
