"""A multilayer perceptron as a pure function of its parameters: hidden layers and a linear head.

Parameters are a flat dict in forward order, "layers.0.weight" (out, in), "layers.0.bias" (out,), ... The last
layer is the head; with depth 0 it is all there is, the linear model. The class holds shapes and choices only,
never tensors.

Layer norm (Ba, Kiros, Hinton 2016) stands between a hidden layer's linear map and its nonlinearity, over its units:

    z <- (z - mean(z)) / sqrt(var(z) + 1e-5),    and with gain g and shift b per unit  z <- g z + b

Online normalisation stands there too, and works at batch 1: every unit by a running mean and variance of its own, as
they were before the step, which then moves them (d the decay, μ(z) and σ²(z) the batch's mean and variance):

    z ← g (z − m) / √(v + 1e-5) + b,    v ← d v + (1 − d) (σ²(z) + d (μ(z) − m)²),    m ← m + (1 − d) (μ(z) − m)

This is the forward pass of Chiley et al. (2019), arXiv 1905.05894. Its control of the gradient and its scaling of whole
layers are left out: the gradient takes m and v for constants. Which form the papers on plasticity mean is not known.

`layer_scale` gives every hidden layer, not the head, one more parameter, a scalar α that begins at 1:

    z = α W h + b,    before a norm, where there is one

Of hidden layers held at isometries none could otherwise change the scale of outputs, only the head. Source: public code
for reinforcement learning with AdamO (bordeauxred/rejax, "Scale-AdaMO"); at which place of a layer is not known. With a
positively homogeneous activation (relu, leaky_relu, groupsort, absolute, crelu) and no biases or norms, α > 0 does the
same before and after it; everywhere else the place is our choice. LayerScale elsewhere (Touvron et al. 2021, CaiT) is a
factor per channel of a residual branch.

Dropout (Srivastava et al. 2014) acts on hidden activations in training steps alone: each is 0 with probability p, else
divided by 1 - p. Which, is drawn by seed, layer and step: two arms of one seed drop the same activations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from workloads.errors import InputError
from workloads.networks.activations import ACTIVATIONS, GAINS
from workloads.networks.base import Activations, Network, Norm, Site, tapped
from workloads.networks.config import MLPConfig
from workloads.networks.initialisation import Distribution, layer_distribution
from workloads.networks.killed import with_killed
from workloads.random import Draw

EPS = 1e-5  # added to variances, as torch's
DECAY = 0.999  # of online normalisation's statistics, per step: the default of its released code


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
        norms = [site.norm for site in self.sites if site.norm is not None]
        self.buffers = tuple(name for norm in norms for name in (norm.mean, norm.variance) if name is not None)
        if self.trains_otherwise and type(self).apply is not MLP.apply:
            name = type(self).__name__
            raise InputError(
                f"{name} has an apply of its own, and dropout and normalisation: online act in that of MLP"
            )

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
            scale = self._scale(k)
            if scale is not None:
                shapes[scale] = (1,)
        return shapes

    def distribution(self, name: str) -> Distribution:
        """See Network: the scheme's, with the gain of the activation that follows, and 1 for the head."""
        layer, _, kind = name.removeprefix("layers.").partition(".")
        k = int(layer)
        if kind.startswith("norm.") or kind == "scale":
            return Distribution("constant", 1.0 if kind in ("norm.weight", "scale") else 0.0)
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

    def initial_buffers(self, like: Tensor) -> dict[str, Tensor]:
        """See Network: mean 0, variance 1."""
        norms = [(site.norm, site.units) for site in self.sites if site.norm is not None]
        fresh = {name: (units, norm.fresh[name]) for norm, units in norms for name in norm.fresh}
        return {name: like.new_full((fresh[name][0],), fresh[name][1]) for name in self.buffers}

    def apply(self, params: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, Activations]:
        """x (B, inputs) -> output (B, outputs) and, per hidden layer, its name and activations (B, parts x width)."""
        return self._applied(params, x, None)[:2]

    def apply_training(
        self, params: Mapping[str, Tensor], x: Tensor, draw: Draw | None = None
    ) -> tuple[Tensor, Activations, dict[str, Tensor]]:
        """See Network. Activations are those that dropout has left, which the next layer sees."""
        return self._applied(params, x, draw) if self.trains_otherwise else super().apply_training(params, x, draw)

    @property
    def trains_otherwise(self) -> bool:
        """Whether a step in training is more than `apply`."""
        return bool(self.config.dropout or self.buffers)

    def _applied(
        self, params: Mapping[str, Tensor], x: Tensor, draw: Draw | None
    ) -> tuple[Tensor, Activations, dict[str, Tensor]]:
        """Output, activations and the buffers afterwards; with dropout where a step's draw is given."""
        activations, buffers = [], dict[str, Tensor]()
        for site in self.sites:
            z = preactivation(params, site, x)
            buffers |= moved_statistics(params, site.norm, z.detach())
            x = self._activation(normalised(params, site.norm, z))
            if draw is not None and self.config.dropout:
                x = dropped(x, self.config.dropout, draw, site.name)
            x = tapped(params, site.name, x)
            activations.append((site.name, x))
        bias = value_of(params, self._bias(self.config.depth))
        return functional.linear(x, params[self.head], bias), activations, buffers

    def layer(self, params: Mapping[str, Tensor], place: int, hidden: Tensor) -> Tensor:
        """See Network."""
        site = self.sites[place]
        return self._activation(normalised(params, site.norm, preactivation(params, site, hidden)))

    def _activation(self, x: Tensor) -> Tensor:
        return ACTIVATIONS[self.config.activation or "linear"](x)

    def _bias(self, layer: int) -> str | None:
        return f"layers.{layer}.bias" if self.config.biases else None

    def _scale(self, layer: int) -> str | None:
        """The scale of a layer; the head has none."""
        return f"layers.{layer}.scale" if self.config.layer_scale and layer < self.config.depth else None

    def _norm(self, layer: int) -> Norm | None:
        """What normalises a layer's units; the head has none."""
        if layer == self.config.depth or self.config.normalisation == "none":
            return None
        names = [f"layers.{layer}.norm.{kind}" for kind in ("weight", "bias", "mean", "variance")]
        if self.config.normalisation == "online":
            return Norm("online", *names)
        return Norm("layer", *(names[:2] if self.config.normalisation == "layer" else ()))

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
            scale=self._scale(layer),
            outgoing_scale=self._scale(layer + 1),
        )


def value_of(params: Mapping[str, Tensor], name: str | None) -> Tensor | None:
    """A tensor that there may not be."""
    return None if name is None else params[name]


def preactivation(params: Mapping[str, Tensor], site: Site, x: Tensor) -> Tensor:
    """z (B, units) that a hidden layer makes of x (B, fan_in)."""
    bias = value_of(params, site.bias)
    if site.scale is None:
        return functional.linear(x, params[site.weight], bias)
    # α (W x) rather than W (α x): the derivative by α then needs no product of its own where x is the input.
    z = params[site.scale] * functional.linear(x, params[site.weight])
    return z if bias is None else z + bias


def normalised(params: Mapping[str, Tensor], norm: Norm | None, z: Tensor) -> Tensor:
    """Units z (B, units) as a norm shows them to the nonlinearity; `params` holds its buffers too."""
    if norm is None:
        return z
    scale, shift = value_of(params, norm.scale), value_of(params, norm.shift)
    if norm.kind == "layer":
        return functional.layer_norm(z, z.shape[-1:], scale, shift, EPS)
    assert norm.mean and norm.variance and scale is not None and shift is not None
    return scale * ((z - params[norm.mean]) / torch.sqrt(params[norm.variance] + EPS)) + shift


def moved_statistics(params: Mapping[str, Tensor], norm: Norm | None, z: Tensor) -> dict[str, Tensor]:
    """The running statistics of a norm after it has seen units z (B, units); nothing where it has none."""
    if norm is None or norm.mean is None or norm.variance is None:
        return {}
    mean, variance = params[norm.mean], params[norm.variance]
    apart = z.mean(0) - mean
    spread = (z - z.mean(0)).square().mean(0)
    return {
        norm.mean: mean + (1 - DECAY) * apart,
        norm.variance: DECAY * variance + (1 - DECAY) * (spread + DECAY * apart.square()),
    }


def dropped(hidden: Tensor, rate: float, draw: Draw, layer: str) -> Tensor:
    """Activations (B, D) of which each is 0 with probability `rate`, by itself, and the others stand in for it."""
    kept = draw.uniform(f"dropout/{layer}", hidden.numel()).view(hidden.shape) >= rate
    return torch.where(kept, hidden / (1 - rate), hidden.new_zeros(()))


NETWORKS = {"mlp": MLP}
