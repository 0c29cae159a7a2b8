"""AdamW (Loshchilov and Hutter 2019), as in torch.optim.AdamW: the decay bypasses the moments.

θ ← (1 − η w) θ − η m̂ / (√v̂ + ε)
"""

from __future__ import annotations

from workloads.methods.adam import Adam
from workloads.methods.base import Hyper, Params, Seen, State


class AdamW(Adam):
    """State as Adam's."""

    def optimizer(self, params: Params, state: State, hyper: Hyper, seen: Seen) -> tuple[Params, State]:
        """One AdamW step."""
        directions, state = self.directions(state, seen.grads)
        keep = 1 - hyper["step_size"] * hyper["weight_decay"]
        return {n: keep * value - hyper["step_size"] * directions[n] for n, value in params.items()}, state
