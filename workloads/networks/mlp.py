"""A multilayer perceptron as a pure function of its parameters: hidden layers and a linear head.

Parameters are a flat dict in forward order, "layers.0.weight" (out, in), "layers.0.bias" (out,), ... The last
layer is the head; with depth 0 it is all there is, the linear model. The class holds shapes and choices only,
never tensors.

Layer norm (Ba, Kiros, Hinton 2016) stands between a hidden layer's linear map and its nonlinearity, over its units:

    z <- (z - mean(z)) / sqrt(var(z) + 1e-5),    and with gain g and shift b per unit  z <- g z + b
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

from workloads.networks.activations import ACTIVATIONS, GAINS
from workloads.networks.base import Activations, Network, Norm, Site
from workloads.networks.config import MLPConfig
from workloads.networks.initialisation import Distribution, layer_distribution
from workloads.networks.killed import with_killed

EPS = 1e-5  # of layer norm, as torch's


class MLP(Network[MLPConfig]):
    """The network of `config` between `inputs` features and `outputs` values.

    `weights` names every weight matrix in forward order, `head` the last of them, `sites` the hidden layers.
    """

    def __init__(self, config: MLPConfig, inputs: int, outputs: int) -> None:
        super().__init__(config, inputs, outputs)
        self.sizes = [inputs, *config.hidden, outputs]  # features, units per layer, values
        self.fan_ins = [inputs, *[config.parts * size for size in self.sizes[1:-1]]]  # of each layer
        self.weights = tuple(f"layers.{k}.weight" for k in range(config.depth + 1))
        self.head = self.weights[-1]
        self.sites = tuple(self._site(k) for k in range(config.depth))

    @property
    def initialisation(self) -> str:
        """The scheme in force: selu keeps its fixed point only with lecun weights, so it has no other."""
        return "lecun" if self.config.activation == "selu" else self.config.initialisation

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape, in forward order, each bias after its weight."""
        shapes: dict[str, tuple[int, ...]] = {}
        for k, weight in enumerate(self.weights):
            shapes[weight] = (self.sizes[k + 1], self.fan_ins[k])
            bias = self._bias(k)
            if bias is not None:
                shapes[bias] = (self.sizes[k + 1],)
            norm = self._norm(k)
            for name in norm.parameters if norm else ():
                shapes[name] = (self.sizes[k + 1],)
        return shapes

    def distribution(self, name: str) -> Distribution:
        """See Network: the scheme's, with the gain of the activation that follows, and 1 for the head."""
        layer, _, kind = name.removeprefix("layers.").partition(".")
        k = int(layer)
        if kind.startswith("norm."):
            return Distribution("constant", 1.0 if kind == "norm.weight" else 0.0)
        gain = self.gain(f"layers.{k}.weight")
        return layer_distribution(self.initialisation, kind, self.fan_ins[k], self.sizes[k + 1], gain)

    def gain(self, name: str) -> float:
        """See Network: that of the activation, and of none for the head."""
        return GAINS["linear"] if name == self.head else GAINS[self.config.activation or "linear"]

    def init(self, seed: int, at: int = 0) -> dict[str, Tensor]:
        """See Network; a trial's beginning, `at` 0, is the one with silent units, where the config asks for them."""
        params = super().init(seed, at)
        return params if at or self.config.killed == "none" else with_killed(self, params, self.config.killed)

    def killed(self, site: Site) -> int:
        """See Network."""
        return 0 if self.config.killed == "none" else math.ceil(self.config.killed_fraction * site.units)

    def apply(self, params: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, Activations]:
        """x (B, inputs) -> output (B, outputs) and, per hidden layer, its name and activations (B, parts x width)."""
        activations = []
        for place, site in enumerate(self.sites):
            x = self.layer(params, place, x)
            activations.append((site.name, x))
        bias = self._value(params, self._bias(self.config.depth))
        return functional.linear(x, params[self.head], bias), activations

    def layer(self, params: Mapping[str, Tensor], place: int, hidden: Tensor) -> Tensor:
        """See Network."""
        site = self.sites[place]
        z = functional.linear(hidden, params[site.weight], self._value(params, site.bias))
        if site.norm is not None:
            scale, shift = (self._value(params, name) for name in (site.norm.scale, site.norm.shift))
            z = functional.layer_norm(z, (site.units,), scale, shift, EPS)
        return self._activation(z)

    def _activation(self, x: Tensor) -> Tensor:
        return ACTIVATIONS[self.config.activation or "linear"](x)

    def _bias(self, layer: int) -> str | None:
        return f"layers.{layer}.bias" if self.config.biases else None

    def _norm(self, layer: int) -> Norm | None:
        """What normalises a layer's units; the head has none."""
        if layer == self.config.depth or self.config.normalisation == "none":
            return None
        affine = self.config.normalisation == "layer"
        return Norm("layer", *(f"layers.{layer}.norm.{kind}" for kind in ("weight", "bias") if affine))

    @staticmethod
    def _value(params: Mapping[str, Tensor], name: str | None) -> Tensor | None:
        return None if name is None else params[name]

    def _site(self, layer: int) -> Site:
        return Site(
            name=f"layers.{layer}",
            units=self.sizes[layer + 1],
            weight=self.weights[layer],
            bias=self._bias(layer),
            outgoing_weight=self.weights[layer + 1],
            outgoing_bias=self._bias(layer + 1),
            fan_in=self.fan_ins[layer],
            fan_out=self.config.parts * self.sizes[layer + 2],
            norm=self._norm(layer),
            parts=self.config.parts,
            group=self.config.group,
        )


NETWORKS = {"mlp": MLP}
