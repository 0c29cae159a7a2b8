"""AdamW (Loshchilov and Hutter 2019), as in torch.optim.AdamW: the decay bypasses the moments.

θ ← θ − (η w θ + η m̂ / (√v̂ + ε))
"""

from __future__ import annotations

from workloads.methods.adam import Adam
from workloads.methods.base import Hyper, Params, Seen, State
from workloads.methods.config import AdamWConfig
from workloads.random import Draw


class AdamW(Adam[AdamWConfig]):
    """State as Adam's."""

    def optimizer(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """One AdamW step."""
        directions, state = self.directions(state, seen.grads)
        # Not (1 - rate) x value: in float32 a factor near 1 is a multiple of 6e-8, and weak decay none or twice itself.
        rate = hyper["step_size"] * hyper["weight_decay"]
        return {n: value - (rate * value + hyper["step_size"] * directions[n]) for n, value in params.items()}, state


OPTIMIZERS = {"adamw": AdamW}
