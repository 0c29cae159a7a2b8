"""Adam (Kingma and Ba 2015), as in torch.optim.Adam.

    m ← β₁ m + (1 − β₁) g,   v ← β₂ v + (1 − β₂) g²,   θ ← θ − η (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)

Where single units may be reset (continual backprop), t is kept per weight, so that a reset weight restarts its bias
correction alone. 1 − βᵗ is computed as −expm1(t log β): in float32 the plain form loses five digits at small t.
"""

from __future__ import annotations

import math
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from workloads.methods.base import Hyper, Method, Params, Seen, State
from workloads.random import Draw
from workloads.settings import Settings


def bias_correction(beta: float, steps: Tensor) -> Tensor:
    """1 − βᵗ for t = `steps`, same shape; exact to rounding for small t."""
    if beta == 0:
        return torch.ones_like(steps)
    return -torch.expm1(steps * math.log(beta))


def adam_direction(mean: Tensor, square: Tensor, steps: Tensor, *, beta1: float, beta2: float, eps: float) -> Tensor:
    """m̂ / (√v̂ + ε) of moments that have seen `steps` gradients, 0-d or per element; same shape as the moments."""
    return mean / bias_correction(beta1, steps) / (torch.sqrt(square / bias_correction(beta2, steps)) + eps)


class Averaging(Settings, Protocol):
    """Settings of an optimizer that goes by Adam's moments."""

    @property
    def beta1(self) -> float: ...  # of the mean

    @property
    def beta2(self) -> float: ...  # of the square

    @property
    def eps(self) -> float: ...


A = TypeVar("A", bound=Averaging, covariant=True)


class Adam(Method[A]):
    """State: `mean` and `square`, the moments per parameter, and `steps`, t (a float: it only ever nears 2²⁴)."""

    def init(self, params: Params, *, per_element: bool) -> State:
        """Zero moments; t per weight where single units may be reset, else one t per parameter."""
        zeros = {name: torch.zeros_like(value) for name, value in params.items()}
        steps = {n: torch.zeros_like(v) if per_element else v.new_zeros(()) for n, v in params.items()}
        return {"mean": zeros, "square": {n: v.clone() for n, v in zeros.items()}, "steps": steps}

    def directions(self, state: State, grads: Params) -> tuple[Params, State]:
        """m̂ / (√v̂ + ε) per parameter, and the state that goes with it."""
        beta1, beta2, eps = self.config.beta1, self.config.beta2, self.config.eps
        mean = {n: beta1 * state["mean"][n] + (1 - beta1) * g for n, g in grads.items()}
        square = {n: beta2 * state["square"][n] + (1 - beta2) * g * g for n, g in grads.items()}
        steps = {n: t + 1 for n, t in state["steps"].items()}
        directions = {n: adam_direction(mean[n], square[n], steps[n], beta1=beta1, beta2=beta2, eps=eps) for n in grads}
        return directions, {"mean": mean, "square": square, "steps": steps}

    def optimizer(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """One Adam step; weight decay joins the gradient."""
        grads = {n: seen.grads[n] + hyper["weight_decay"] * value for n, value in params.items()}
        directions, state = self.directions(state, grads)
        return {n: value - hyper["step_size"] * directions[n] for n, value in params.items()}, state


OPTIMIZERS = {"adam": Adam}
