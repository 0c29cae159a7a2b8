"""Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon): a momentum step whose every singular value is near 1.

    m ← μ m + (1 − μ) g,    u ← (1 − μ) g + μ m  (Nesterov; else m),    W ← W − η w W − η √max(1, rows / cols) NS(u)

NS(u) runs X ← a X + (b A + c A²) X with A = X Xᵀ five times from u / ‖u‖_F, on the side that makes A the smaller: its
singular values end between about 0.7 and 1.2 and do not converge, as published. That is for the weight matrices of the
hidden layers; all else (the head, biases, a norm's scale and shift) goes by Adam with a step size of its own, decay
apart from the moments. Defaults are those of the released MuonWithAuxAdam.

A kernel (out, in, h, w) is the matrix out x (in h w), also for the factor √max(1, rows / cols), which the released code
takes of a kernel's last two sizes. The iteration runs in the type of the weights, where the released code's runs in
bfloat16: the same but for its rounding.

`isometry_strength` λ > 0 adds AdamO's pull of the hidden layers' matrices, − η λ ∇R(W) at the weights before the step
(see `isometry`; MuonO in the first author's public code, which takes half the penalty, after the step). Muon's own
steps have near-equal singular values, and leave those of the weights free. 4 η λ (s² − 1) must stay below 1, as in
AdamO, where η is smaller: a pull that passes 0 grows. Each λ is a pack of its own: without it there is no product to
pay for.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from workloads.methods.adam import Adam
from workloads.methods.base import Hyper, Params, Seen, State
from workloads.methods.config import MuonConfig
from workloads.methods.isometry import isometry_pull
from workloads.networks.base import Network
from workloads.random import Draw
from workloads.settings import Settings

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # a, b, c: the steepest at 0 that keep values near 1
SMALLEST_NORM = 1e-7  # of what is divided by its norm


def orthogonalized(matrix: Tensor, iterations: int) -> Tensor:
    """NS(matrix), (rows, cols) of any scale; 0 where it is 0."""
    a, b, c = COEFFICIENTS
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / (torch.sqrt((wide * wide).sum()) + SMALLEST_NORM)
    for _ in range(iterations):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * (gram @ gram)) @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


class Muon(Adam[MuonConfig]):
    """State: `momentum` of the hidden layers' matrices; of all else Adam's."""

    def __init__(self, config: MuonConfig, network: Network[Settings]) -> None:
        super().__init__(config, network)
        self.matrices = [name for name in network.weights if name != network.head]

    def init(self, params: Params, *, per_element: bool) -> State:
        """Zeros."""
        rest = {name: value for name, value in params.items() if name not in self.matrices}
        momentum = {name: torch.zeros_like(params[name]) for name in self.matrices}
        return {"momentum": momentum, **super().init(rest, per_element=per_element)}

    def optimizer(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """One step of either rule, each by its step size."""
        mix, grads = self.config.momentum, seen.grads
        momentum = {n: mix * m + (1 - mix) * grads[n] for n, m in state["momentum"].items()}
        moves = {n: (1 - mix) * grads[n] + mix * m if self.config.nesterov else m for n, m in momentum.items()}
        directions, moments = self.directions(state, {n: g for n, g in grads.items() if n not in momentum})
        rates = {n: hyper["step_size" if n in momentum else "rest_step_size"] for n in params}
        directions = {n: directions[n] if n in directions else self.direction(moves[n]) for n in params}
        # As in AdamW not (1 - rate) x value, which in float32 is a coarse factor.
        decays = {n: rate * hyper["weight_decay"] for n, rate in rates.items()}
        after = {n: value - (decays[n] * value + rates[n] * directions[n]) for n, value in params.items()}
        if self.config.isometry_strength:
            pulls = {n: isometry_pull(params[n], penalty="full", scale_by_gram=False) for n in momentum}
            after |= {n: after[n] - rates[n] * self.config.isometry_strength * pull for n, pull in pulls.items()}
        return after, {"momentum": momentum, **moments}

    def direction(self, move: Tensor) -> Tensor:
        """√max(1, rows / cols) NS(move) of a matrix or kernel, same shape."""
        matrix = move.flatten(1)
        rows, cols = matrix.shape
        return (math.sqrt(max(1, rows / cols)) * orthogonalized(matrix, self.config.iterations)).view_as(move)


OPTIMIZERS = {"muon": Muon}
