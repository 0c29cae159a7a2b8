"""L2 towards the initial weights (regenerative regularisation, Kumar, Marklund, Van Roy 2023, arXiv 2308.11958).

    coupled      g ← g + c λ (θ − θ₀)     in the gradient, so through an optimizer's moments: as published
    decoupled    θ ← θ − c λ (θ − θ₀)     after the optimizer's step, apart from its step size and moments

`penalty` is what λ multiplies, where the paper and its released code differ: half of ‖θ − θ₀‖² (code; c = 1, the
default) or all of it (paper; c = 2). θ₀ are the weights that the trial began with, those handed in where they are, and
stay so whatever is replaced or reset later. As published the scale and shift of a layer's norm are left alone; so is a
learned scale of the layer.
"""

from __future__ import annotations

from workloads.methods.base import Hyper, Method, Params, Seen, State
from workloads.methods.config import L2InitConfig
from workloads.networks.base import Network
from workloads.random import Draw
from workloads.settings import Settings


class L2Init(Method[L2InitConfig]):
    """State: `initial`, θ₀ of every parameter that is pulled; no step writes it."""

    def __init__(self, config: L2InitConfig, network: Network[Settings]) -> None:
        super().__init__(config, network)
        self.acts = frozenset({"gradient" if config.form == "coupled" else "after_step"})
        norms = {name for site in network.sites if site.norm is not None for name in site.norm.parameters}
        self.names = [name for name in network.parameter_shapes() if name not in norms.union(network.scales)]

    def init(self, params: Params, *, per_element: bool) -> State:
        """The weights as they are now."""
        return {"initial": {name: params[name].clone() for name in self.names}}

    def pulls(self, params: Params, state: State, hyper: Hyper) -> Params:
        """c λ (θ − θ₀) per parameter that is pulled."""
        factor = 1.0 if self.config.penalty == "half" else 2.0
        rate = factor * hyper["strength"]
        return {name: rate * (params[name] - initial) for name, initial in state["initial"].items()}

    def gradient(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """g + c λ (θ − θ₀)."""
        pulls = self.pulls(params, state, hyper)
        return {name: g + pulls[name] if name in pulls else g for name, g in seen.grads.items()}, state

    def after_step(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """θ − c λ (θ − θ₀)."""
        pulls = self.pulls(params, state, hyper)
        return {name: value - pulls[name] if name in pulls else value for name, value in params.items()}, state


METHODS = {"l2_init": L2Init}
