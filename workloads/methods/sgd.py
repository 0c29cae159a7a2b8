"""Stochastic gradient descent with momentum and weight decay, as in torch.optim.SGD.

g ← g + w θ,    b ← μ b + g,    θ ← θ − η b
"""

from __future__ import annotations

import torch

from workloads.methods.base import Hyper, Method, Params, Seen, State
from workloads.methods.config import SGDConfig
from workloads.random import Draw


class SGD(Method[SGDConfig]):
    """State: the momentum buffer, only where the momentum is not 0."""

    def init(self, params: Params, *, per_element: bool) -> State:
        """A zero buffer per parameter."""
        if self.config.momentum == 0:
            return {}
        return {"momentum": {name: torch.zeros_like(value) for name, value in params.items()}}

    def optimizer(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """One step down the (momentum-averaged) gradient."""
        move = {name: seen.grads[name] + hyper["weight_decay"] * value for name, value in params.items()}
        if self.config.momentum != 0:
            move = {name: self.config.momentum * state["momentum"][name] + g for name, g in move.items()}
            state = {"momentum": move}
        return {name: value - hyper["step_size"] * move[name] for name, value in params.items()}, state


OPTIMIZERS = {"sgd": SGD}
