"""Weight clipping: after every step no weight is larger than a multiple of the bound that torch draws a layer in.

    w ← clamp(w, −κ / √fan_in, κ / √fan_in)

Source: Elsayed, Lan, Lyle, Mahmood (2024), "Weight clipping for deep continual and reinforcement learning", RLC, arXiv
2407.01704, and its released code. A bias goes by the fan_in of its weight, a kernel's is in x h x w. The unit of κ is
1 / √fan_in, the half-width of torch's default initialisation, whatever initialisation the network has: that of kaiming
under relu is √6 times as wide, and κ = 1 cuts it in the first step. The paper's κ lie between 1 and 5.

The gain of a norm is left alone, where the released code clips it too, by the fan_in of the weight before it: a gain
begins at 1, far outside. So is the learned scale of a layer. A norm's shift is treated as the bias that it replaces.
"""

from __future__ import annotations

import math

from workloads.methods.base import Hyper, Method, Params, Seen, State
from workloads.methods.config import WeightClippingConfig
from workloads.networks.base import Network
from workloads.random import Draw
from workloads.settings import Settings


class WeightClipping(Method[WeightClippingConfig]):
    """No state."""

    def __init__(self, config: WeightClippingConfig, network: Network[Settings]) -> None:
        super().__init__(config, network)
        self.units: dict[str, float] = {}  # name of what is clipped -> 1 / √fan_in
        shapes, weight = network.parameter_shapes(), network.weights[0]
        for name, shape in shapes.items():
            weight = name if len(shape) > 1 else weight
            if name not in network.gains and (config.head or weight != network.head):
                self.units[name] = 1 / math.sqrt(math.prod(shapes[weight][1:]))

    def after_step(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """Every parameter within its bound."""
        bounds = {name: unit * hyper["bound"] for name, unit in self.units.items()}
        return {n: v.clamp(-bounds[n], bounds[n]) if n in bounds else v for n, v in params.items()}, state


METHODS = {"weight_clipping": WeightClipping}
