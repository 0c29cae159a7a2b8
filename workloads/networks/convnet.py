"""The network of continual ImageNet (Dohare et al. 2024): three convolutions with max-pooling, three linear layers.

    conv 5x5 - act - pool 2,  conv 3x3 - act - pool 2,  conv 3x3 - act - pool 2,  linear - act,  linear - act,  linear

No padding. For 32x32 pictures and width 32 the last picture is 128 x 2 x 2, so 512 inputs to the first linear layer,
channel by channel: a channel owns four neighbouring columns. Activations of a convolution are those after pooling, as
in the released code: what the next layer sees.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

from workloads.networks.activations import ACTIVATIONS, GAINS
from workloads.networks.base import Activations, Network, Site, channels_inside, tapped
from workloads.networks.config import CONV_KERNELS, ConvNetConfig, Picture
from workloads.networks.initialisation import Distribution, layer_distribution


class ConvNet(Network[ConvNetConfig]):
    """The network of `config` for pictures of `shape` (channels, height, width), given flat, and `outputs` values."""

    pictures = True
    convolutional = True

    def __init__(self, config: ConvNetConfig, shape: Picture, outputs: int) -> None:
        super().__init__(config, shape, outputs)
        self.shape = shape
        channels = [shape[0], *config.channels]
        sizes = [channels[-1] * math.prod(config.sides(shape)[-1]), config.hidden, config.hidden, outputs]
        self._shapes: dict[str, tuple[int, ...]] = {}
        for k, kernel in enumerate(CONV_KERNELS):
            self._shapes[f"convs.{k}.weight"] = (channels[k + 1], channels[k], kernel, kernel)
            self._shapes[f"convs.{k}.bias"] = (channels[k + 1],)
        for k in range(3):
            self._shapes[f"layers.{k}.weight"] = (sizes[k + 1], sizes[k])
            self._shapes[f"layers.{k}.bias"] = (sizes[k + 1],)
        self.weights = tuple(name for name in self._shapes if name.endswith("weight"))
        self.head = self.weights[-1]
        self.sites = tuple(self._site(k) for k in range(len(self.weights) - 1))

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """See Network."""
        return dict(self._shapes)

    def distribution(self, name: str) -> Distribution:
        """See Network: torch's defaults, unless the config names another scheme."""
        layer, _, kind = name.rpartition(".")
        shape = self._shapes[f"{layer}.weight"]
        gain = self.gain(f"{layer}.weight")
        places = math.prod(shape[2:])
        # fan_out counts a kernel's places, as torch.nn.init does.
        return layer_distribution(self.config.initialisation, kind, shape[1] * places, shape[0] * places, gain)

    def gain(self, name: str) -> float:
        """See Network: that of the activation, and of none for the head."""
        return GAINS["linear"] if name == self.head else GAINS[self.config.activation]

    def apply(self, params: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, Activations]:
        """x (B, channels x height x width) -> (B, outputs); activations (B, channels, h, w), then (B, hidden)."""
        act = ACTIVATIONS[self.config.activation]
        activations: Activations = []
        x = channels_inside(x.reshape(-1, *self.shape))
        for k in range(len(CONV_KERNELS)):
            x = functional.conv2d(x, params[f"convs.{k}.weight"], params[f"convs.{k}.bias"])
            # The largest of what rises with x is that of the largest x: the same numbers for a quarter of the work.
            rises = self.config.activation != "swish"
            x = act(functional.max_pool2d(x, 2)) if rises else functional.max_pool2d(act(x), 2)
            x = tapped(params, f"convs.{k}", x)
            activations.append((f"convs.{k}", x))
        x = x.flatten(1)
        for k in range(2):
            x = act(functional.linear(x, params[f"layers.{k}.weight"], params[f"layers.{k}.bias"]))
            x = tapped(params, f"layers.{k}", x)
            activations.append((f"layers.{k}", x))
        return functional.linear(x, params["layers.2.weight"], params["layers.2.bias"]), activations

    def _site(self, k: int) -> Site:
        weight, following = self.weights[k], self.weights[k + 1]
        units, *into = self._shapes[weight]
        return Site(
            name=weight.removesuffix(".weight"),
            units=units,
            weight=weight,
            bias=weight.replace("weight", "bias"),
            outgoing_weight=following,
            outgoing_bias=following.replace("weight", "bias"),
            fan_in=math.prod(into),
            fan_out=math.prod(self._shapes[following]) // units,
        )


NETWORKS = {"convnet": ConvNet}
