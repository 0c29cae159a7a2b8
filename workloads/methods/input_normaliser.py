"""Inputs normalised by running statistics: what most benefits a network whose inputs have unlike scales or are shifted.

    d ← min(decay, t / (t + 1))                       t = 1, 2, ... steps
    δ = x − μ,   μ ← μ + (1 − d) mean_B(δ),   v ← d v + (1 − d) mean_B(δ (x − μ))
    x ← (x − μ) / √(v + 1e-8)

for every input on its own; μ and v begin as 0 and 1, which count as one step seen. Statistics move first, so a step is
shown its own batch by them; a probe or a test is shown by the statistics as they are and moves none. This is the
exponential moving average of SlopDotCash/asi (its EMANormalizer), which adds its 1e-8 to √v instead and keeps v above
it; the two differ where an input is constant.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from workloads.errors import InputError
from workloads.methods.base import Hyper, Method, Params, State
from workloads.methods.config import InputNormaliserConfig
from workloads.networks.base import Network
from workloads.settings import Settings

SMALLEST_VARIANCE = 1e-8  # added to v


class InputNormaliser(Method[InputNormaliserConfig]):
    """State: `mean` and `variance` (inputs,), `steps`, t."""

    def __init__(self, config: InputNormaliserConfig, network: Network[Settings]) -> None:
        super().__init__(config, network)
        inputs = getattr(network, "inputs", None)
        if inputs is None:
            name = type(network).__name__
            raise InputError(f"{name} does not say how many inputs it has: call super().__init__ in its __init__")
        self.size = inputs if isinstance(inputs, int) else math.prod(inputs)

    def init(self, params: Params, *, per_element: bool) -> State:
        """Mean 0, variance 1, no step."""
        like = params[self.network.head]
        return {"mean": like.new_zeros(self.size), "variance": like.new_ones(self.size), "steps": like.new_zeros(())}

    def observed(self, x: Tensor, state: State, hyper: Hyper) -> State:
        """The statistics after the batch x (B, inputs)."""
        steps = state["steps"] + 1
        decay = torch.minimum(hyper["decay"], steps / (steps + 1))
        apart = x - state["mean"]
        mean = state["mean"] + (1 - decay) * apart.mean(0)
        variance = decay * state["variance"] + (1 - decay) * (apart * (x - mean)).mean(0)
        return {"mean": mean, "variance": variance, "steps": steps}

    def inputs(self, x: Tensor, state: State, hyper: Hyper) -> Tensor:
        """x (B, inputs), normalised."""
        mean, variance = state["mean"], state["variance"]
        normalised: Tensor = (x - mean) / torch.sqrt(variance + SMALLEST_VARIANCE)
        return normalised


METHODS = {"input_normaliser": InputNormaliser}
