"""A residual network: every hidden layer adds to the one before, h + relu(W h + b).

In a sweep file:

    code: [residual_mlp.py]
    network: {name: residual_mlp, width: [10, 20], depth: 2}
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch.nn import functional

from workloads.networks.base import Network


@dataclass(frozen=True, kw_only=True)
class Config:
    width: Annotated[int, Ge(1)] = 10  # units per hidden layer
    depth: Annotated[int, Ge(0)] = 2  # hidden layers after the first


class ResidualMLP(Network):
    """A pure function of its parameters, on a batch; self.config, self.inputs and self.outputs are set.

    Weights are drawn as torch.nn.Linear draws them, unless `distribution` says otherwise. For methods that renew units,
    `sites` lists them (workloads.networks.base.Site). `pictures = True` is built for (channels, height, width).
    """

    Config = Config
    semantics = 1  # raise it when results change: it is part of every trial's name

    def parameter_shapes(self):
        """Name -> shape, in forward order, each bias after its weight."""
        width = self.config.width
        shapes = {"first.weight": (width, self.inputs), "first.bias": (width,)}
        for k in range(self.config.depth):
            shapes |= {f"{k}.weight": (width, width), f"{k}.bias": (width,)}
        return shapes | {"head.weight": (self.outputs, width), "head.bias": (self.outputs,)}

    def apply(self, params, x):
        """x (B, inputs) -> output (B, outputs), and the activations of every hidden layer, for diagnostics."""
        hidden = torch.relu(functional.linear(x, params["first.weight"], params["first.bias"]))
        activations = [("first", hidden)]
        for k in range(self.config.depth):
            hidden = hidden + torch.relu(functional.linear(hidden, params[f"{k}.weight"], params[f"{k}.bias"]))
            activations.append((str(k), hidden))
        return functional.linear(hidden, params["head.weight"], params["head.bias"]), activations


NETWORKS = {"residual_mlp": ResidualMLP}
