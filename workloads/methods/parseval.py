"""Parseval regularisation: the rows of every hidden weight matrix are kept orthogonal and of one length.

    loss + strength x (64 / units)² x Σ ‖W Wᵀ − s I‖²_F        over the hidden layers, s = 2

Source: Chung, Cherif, Precup, Meger (2024), "Parseval regularization for continual reinforcement learning", NeurIPS,
arXiv 2412.07224, and its released code, whence (64 / width)², since strengths were found at width 64 (here by the units
of each layer), and s: the square of the gain √2 that its orthogonal weights begin with, under relu our
`orthogonal_gain`. Weights of `orthogonal` begin at gain 1 and are drawn to √2. Another code takes s = 1.

W Wᵀ counts the rows whichever side is the longer. ‖W Wᵀ − s I‖² and ‖Wᵀ W − s I‖² differ by the constant s² (out − in),
so that the gradient is the same, 4 (W Wᵀ − s I) W, and is worked out on the shorter side: what trains is
`coupled_isometry` with these settings, and nothing else.
"""

from __future__ import annotations

from workloads.methods.base import Hyper, Method, Params, Seen, State
from workloads.methods.config import ParsevalConfig
from workloads.methods.isometry import isometry_pull
from workloads.networks.base import Network
from workloads.random import Draw
from workloads.settings import Settings

FOUND_AT = 64  # units of the networks that the published strengths were found for


class Parseval(Method[ParsevalConfig]):
    """No state."""

    def __init__(self, config: ParsevalConfig, network: Network[Settings]) -> None:
        super().__init__(config, network)
        units = {name: network.parameter_shapes()[name][0] for name in network.weights if name != network.head}
        self.scales = {name: (FOUND_AT / count) ** 2 if config.scale_by_width else 1.0 for name, count in units.items()}

    def gradient(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """g + strength (64 / units)² ∇‖W Wᵀ − s I‖² for hidden weight matrices, g for the rest."""
        grads = dict(seen.grads)
        for name, scale in self.scales.items():
            pull = isometry_pull(params[name], penalty="full", scale_by_gram=False, target=self.config.target)
            grads[name] = grads[name] + hyper["strength"] * scale * pull
        return grads, state


METHODS = {"parseval": Parseval}
