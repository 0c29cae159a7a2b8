"""How fast a copy of a network fits random changes of its outputs: a few steps of Adam on given examples.

    loss_k = mean over n, c of (f_c(x_n; theta_k) - f_c(x_n; theta_0) - r_nc)^2,    r_nc ~ N(0, 1)

and theta_k after k steps of Adam on all examples at once. Targets are what the network says now and a random change of
it: all networks begin at one loss, and a network that only says large numbers has none to unlearn first. The changes
are the same for all networks and all looks, and none ever learns them: what learns is a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from workloads.diagnostics import FITTING_STEPS as STEPS

STEP_SIZE, BETAS, EPS = 1e-3, (0.9, 0.999), 1e-8


def random_change(examples: int, outputs: int) -> Tensor:
    """Normal numbers (N, outputs), float64: always the same."""
    return torch.randn(examples, outputs, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def losses_of_fit(
    function: Callable[[dict[str, Tensor]], Tensor], params: Mapping[str, Tensor], change: Tensor
) -> Tensor:
    """The losses of a copy of `function(params)`, (N, outputs), before its first step and after its last, (2,).

    `change` (N, outputs) is what it has to learn.
    """
    params = dict(params)
    targets = function(params) + change

    def loss(own: dict[str, Tensor]) -> Tensor:
        return (function(own) - targets).square().mean()

    first = loss(params)
    means = {name: torch.zeros_like(value) for name, value in params.items()}
    squares = dict(means)
    for step in range(1, STEPS + 1):
        gradients = torch.func.grad(loss)(params)
        for name, gradient in gradients.items():
            means[name] = BETAS[0] * means[name] + (1 - BETAS[0]) * gradient
            squares[name] = BETAS[1] * squares[name] + (1 - BETAS[1]) * gradient.square()
            root = (squares[name] / (1 - BETAS[1] ** step)).sqrt() + EPS
            params[name] = params[name] - STEP_SIZE * means[name] / (1 - BETAS[0] ** step) / root
    return torch.stack([first, loss(params)])
