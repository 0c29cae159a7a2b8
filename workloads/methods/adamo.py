"""AdamO: Adam, with a decoupled pull of every weight matrix towards an isometry.

    θ ← θ − η m̂ / (√v̂ + ε) − η_iso λ ∇R(W)

The moments see the task's gradient only. Source: Rosseau, Müller, Nowé (2026), arXiv 2606.09762, eqs. 16, 19, 20.
Options where paper and authors' code differ: `penalty` (full, or half as coded) and `order` (the pull at the old
weights, or at the weights after the Adam step as coded). What λ the paper's experiments used under which convention is
not known for certain: sweep the product η_iso λ. The rest is ours:

    every: k                pulls at every k-th step with k times the strength, to save its two products. At 4 η_iso λ =
                            1e-3, where Adam alone moves singular values by 0.06 and more, they end within 0.0002
                            (k = 4) and 0.001 (k = 16) of the exact ones; 4 k η_iso λ (s² − 1) must stay below 1
    projection: n           the limit of strong pulls: after the Adam step n steps of Newton and Schulz, each a pull of
                            4 η_iso λ = 1/2, towards the nearest isometry; η_iso and λ have no say in it
    first, head, kernels    which matrices are pulled, beside the hidden layers'
    target                  what their Gram matrices are pulled to: I, or g² I for the gain g of the activation
    scale_penalty           of learned layer scales, where the network has them: in the loss, so through the moments;
                            see `scales`
"""

from __future__ import annotations

from workloads.methods.adam import Adam
from workloads.methods.base import Hyper, Params, Seen, State
from workloads.methods.config import AdamOConfig
from workloads.methods.isometry import isometry_gradients, projected, targets
from workloads.methods.scales import with_scale_penalty
from workloads.networks.base import Network
from workloads.random import Draw
from workloads.settings import Settings


class AdamO(Adam[AdamOConfig]):
    """State as Adam's. Strength 0 is Adam, unless it projects or penalises layer scales."""

    def __init__(self, config: AdamOConfig, network: Network[Settings]) -> None:
        super().__init__(config, network)
        self.period = config.every

    def optimizer(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """One Adam step on the task's gradient, and the pull."""
        grads = with_scale_penalty(seen.grads, params, self.network, self.config.scale_penalty)
        directions, state = self.directions(state, grads)
        moved = {n: value - hyper["step_size"] * directions[n] for n, value in params.items()}
        if not seen.acts:
            return moved, state
        if self.config.projection:
            chosen = targets(self.network, self.config)
            nearer = {n: projected(moved[n], self.config.projection, target) for n, target in chosen.items()}
            return {**moved, **nearer}, state
        rate = self.config.every * hyper["isometry_step_size"] * hyper["isometry_strength"]
        pulls = isometry_gradients(params if self.config.order == "simultaneous" else moved, self.network, self.config)
        return {n: value - rate * pulls[n] if n in pulls else value for n, value in moved.items()}, state


OPTIMIZERS = {"adamo": AdamO}
