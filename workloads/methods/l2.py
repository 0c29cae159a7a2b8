"""L2 regularisation: the gradient of (strength / 2) ‖θ‖² joins the task's, for every parameter, biases included.

The form used by Dohare et al. (2024): `weight_decay` of torch.optim.SGD and Adam, not AdamW's decoupled decay.
"""

from __future__ import annotations

from workloads.methods.base import Hyper, Method, Params, Seen, State
from workloads.methods.config import L2Config
from workloads.random import Draw


class L2(Method[L2Config]):
    """No state."""

    def gradient(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """g + strength θ."""
        return {name: seen.grads[name] + hyper["strength"] * value for name, value in params.items()}, state


METHODS = {"l2": L2}
