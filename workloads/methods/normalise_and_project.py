"""Normalise and project (NaP): every hidden weight matrix keeps the Frobenius norm that it began with.

    W ← ρ W / ‖W‖_F,    ρ = ‖W₀‖_F        after the optimizer's step

Source: Lyle, Zheng, Khetarpal, Martens, van Hasselt, Pascanu, Dabney (2024), "Normalization and effective learning
rates in reinforcement learning", NeurIPS, arXiv 2407.01800. The paper's method is this projection of a network that is
normalised before every nonlinearity, without gains, shifts and biases: `network: {normalisation: layer_plain, biases:
false}`. There the size of a hidden matrix has no say in what is computed, and growing weights mean smaller effective
steps; the projection keeps those what the step size says. Without norms it rescales the function itself.

The head is not projected. A kernel is projected as a whole. `every: k` projects after every k-th step alone.
"""

from __future__ import annotations

from torch import Tensor

from workloads.methods.base import Hyper, Method, Params, Seen, State
from workloads.methods.config import NormaliseAndProjectConfig
from workloads.methods.lengths import frobenius, or_one
from workloads.networks.base import Network
from workloads.random import Draw
from workloads.settings import Settings


def length(weight: Tensor) -> Tensor:
    """The Frobenius norm of a matrix or kernel, 0-d."""
    return frobenius(weight.flatten(1))


class NormaliseAndProject(Method[NormaliseAndProjectConfig]):
    """State: `norm`, ρ of every hidden weight matrix, 0-d; no step writes it."""

    def __init__(self, config: NormaliseAndProjectConfig, network: Network[Settings]) -> None:
        super().__init__(config, network)
        self.period = config.every
        self.hidden = [name for name in network.weights if name != network.head]

    def init(self, params: Params, *, per_element: bool) -> State:
        """Of the weights as they are now."""
        return {"norm": {name: length(params[name]) for name in self.hidden}}

    def after_step(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """Hidden matrices at their norms; one that is 0 stays 0."""
        if not seen.acts:
            return params, state
        lengths = {name: length(params[name]) for name in self.hidden}
        scales = {n: state["norm"][n] / or_one(own) for n, own in lengths.items()}
        return {n: scales[n] * value if n in scales else value for n, value in params.items()}, state


METHODS = {"normalise_and_project": NormaliseAndProject}
