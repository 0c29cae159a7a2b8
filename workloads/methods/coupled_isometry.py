"""The isometry penalty inside the loss: strength x Σ R(W), whose gradient passes through the optimizer's moments.

The coupled counterpart of AdamO (Rosseau, Müller, Nowé 2026, eq. 16 added to the loss). The gradient is written out,
which is what differentiating the penalty gives and costs less. Learned layer scales are penalised as AdamO does it.
"""

from __future__ import annotations

from workloads.methods.base import Hyper, Method, Params, Seen, State
from workloads.methods.config import CoupledIsometryConfig
from workloads.methods.isometry import isometry_gradients
from workloads.methods.scales import with_scale_penalty
from workloads.random import Draw


class CoupledIsometry(Method[CoupledIsometryConfig]):
    """No state."""

    def gradient(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """g + strength ∇R(W) for weight matrices, the penalty's for layer scales, g for biases."""
        pulls = isometry_gradients(params, self.network, self.config)
        grads = with_scale_penalty(seen.grads, params, self.network, self.config.scale_penalty)
        return {n: g + hyper["strength"] * pulls[n] if n in pulls else g for n, g in grads.items()}, state


METHODS = {"coupled_isometry": CoupledIsometry}
