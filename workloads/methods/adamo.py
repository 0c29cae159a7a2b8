"""AdamO: Adam, with a decoupled pull of every weight matrix towards an isometry.

    θ ← θ − η m̂ / (√v̂ + ε) − η_iso λ ∇R(W)

The moments see the task's gradient only. Source: Rosseau, Müller, Nowé (2026), arXiv 2606.09762, eqs. 16, 19, 20.
Options where paper and authors' code differ: `penalty` (full, or half as coded) and `order` (the pull at the old
weights, or at the weights after the Adam step as coded). `every: k` pulls at every k-th step with k times the
strength (ours). What λ the paper's experiments used under which convention is not known for certain: sweep the
product η_iso λ.
"""

from __future__ import annotations

from workloads.methods.adam import Adam
from workloads.methods.base import Hyper, Params, Seen, State
from workloads.methods.config import AdamOConfig
from workloads.methods.isometry import isometry_gradients
from workloads.networks.base import Network
from workloads.random import Draw
from workloads.settings import Settings


class AdamO(Adam[AdamOConfig]):
    """State as Adam's. Strength 0 is Adam."""

    def __init__(self, config: AdamOConfig, network: Network[Settings]) -> None:
        super().__init__(config, network)
        self.period = config.every

    def optimizer(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """One Adam step on the task's gradient, and the pull."""
        directions, state = self.directions(state, seen.grads)
        moved = {n: value - hyper["step_size"] * directions[n] for n, value in params.items()}
        if not seen.acts:
            return moved, state
        rate = self.config.every * hyper["isometry_step_size"] * hyper["isometry_strength"]
        pulls = isometry_gradients(
            params if self.config.order == "simultaneous" else moved,
            self.network,
            penalty=self.config.penalty,
            scale_by_gram=self.config.scale_by_gram,
            head=self.config.head,
        )
        return {n: value - rate * pulls[n] if n in pulls else value for n, value in moved.items()}, state


OPTIMIZERS = {"adamo": AdamO}
