"""ResNet-18 for small pictures, as in class-incremental CIFAR-100 (Dohare et al. 2024; He et al. 2016).

A 3x3 stem of stride 1 without max-pooling, four stages of two basic blocks, every convolution with a bias and followed
by batch norm, 1x1 convolutions on the skip paths where the picture shrinks, global average pooling, a linear head.
`width` scales the channels; 64 is the published size.

Weights are normal, variance 2 / fan_in (the head's 1 / fan_in), biases 0, batch norm 1 and 0. Batch norm's running
statistics are buffers: in training the batch's own statistics normalise, and move the running ones by a tenth.

The units that continual backprop may replace are the channels of the stem and of the two convolutions of every block
(17 layers), not those of the skip paths. As in the released code the layer after the next relu is a channel's only
consumer: what reaches further through a skip path is neither counted nor cut. Activations are those after each relu;
a block's second are its output, after the addition, and the last block's are pooled: the 512 features of the head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from workloads.networks.activations import GAINS
from workloads.networks.base import Activations, Network, Norm, Site, channels_inside, tapped
from workloads.networks.config import Picture, ResNet18Config
from workloads.networks.initialisation import Distribution
from workloads.random import Draw

Normalise = Callable[[Tensor, str], Tensor]  # (activations, name of the batch norm) -> normalised

MOMENTUM = 0.1  # of the running statistics, as torch.nn.BatchNorm2d
EPS = 1e-5
BLOCKS = 8


class ResNet18(Network[ResNet18Config]):
    """The network of `config` for pictures of `shape` (channels, height, width), given flat, and `outputs` values."""

    pictures = True
    convolutional = True

    def __init__(self, config: ResNet18Config, shape: Picture, outputs: int) -> None:
        super().__init__(config, shape, outputs)
        self.shape = shape
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._conv("stem", shape[0], config.width, 3)
        before = config.width
        for block in range(BLOCKS):
            channels = config.width << (block // 2)
            self._conv(f"blocks.{block}.conv1", before, channels, 3)
            self._conv(f"blocks.{block}.conv2", channels, channels, 3)
            if channels != before:
                self._conv(f"blocks.{block}.skip", before, channels, 1)
            before = channels
        self._shapes |= {"head.weight": (outputs, before), "head.bias": (outputs,)}
        self.weights = tuple(n for n in self._shapes if n.endswith(".weight") and not n.endswith("_norm.weight"))
        self.head = "head.weight"
        norms = [n.removesuffix(".weight") for n in self._shapes if n.endswith("_norm.weight")]
        self.buffers = tuple(f"{norm}.{kind}" for norm in norms for kind in ("running_mean", "running_var"))
        chain = [n for n in self.weights if "skip" not in n]
        self.sites = tuple(self._site(a, b) for a, b in zip(chain, chain[1:], strict=False))

    def _conv(self, name: str, inp: int, out: int, kernel: int) -> None:
        self._shapes |= {
            f"{name}.weight": (out, inp, kernel, kernel),
            f"{name}.bias": (out,),
            f"{name}_norm.weight": (out,),
            f"{name}_norm.bias": (out,),
        }

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """See Network."""
        return dict(self._shapes)

    def distribution(self, name: str) -> Distribution:
        """See Network."""
        if name.endswith(".bias"):
            return Distribution("constant", 0.0)
        if name.endswith("_norm.weight"):
            return Distribution("constant", 1.0)
        fan_in = math.prod(self._shapes[name][1:])
        return Distribution("normal", math.sqrt((1 if name == self.head else 2) / fan_in))

    def gain(self, name: str) -> float:
        """See Network: that of relu, and of none for the head; of skip paths too, as they are drawn."""
        return GAINS["linear" if name == self.head else "relu"]

    def initial_buffers(self, like: Tensor) -> dict[str, Tensor]:
        """See Network: mean 0, variance 1."""
        return {
            name: like.new_full(self._shapes[name.rpartition(".")[0] + ".weight"], float(name.endswith("var")))
            for name in self.buffers
        }

    def apply(self, params: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, Activations]:
        """x (B, channels x height x width) -> (B, outputs); and 17 activations, the last (B, features)."""

        def norm(x: Tensor, name: str) -> Tensor:
            scale = params[f"{name}.weight"] * torch.rsqrt(params[f"{name}.running_var"] + EPS)
            shift = params[f"{name}.bias"] - params[f"{name}.running_mean"] * scale
            return x * scale[:, None, None] + shift[:, None, None]

        return self._forward(params, x, norm)

    def apply_training(
        self, params: Mapping[str, Tensor], x: Tensor, draw: Draw | None = None
    ) -> tuple[Tensor, Activations, dict[str, Tensor]]:
        """The same by the batch's statistics, and the running ones afterwards."""
        buffers: dict[str, Tensor] = {}

        def norm(x: Tensor, name: str) -> Tensor:
            scale, shift = params[f"{name}.weight"], params[f"{name}.bias"]
            normalised, mean, spread = torch.native_batch_norm(x, scale, shift, None, None, True, MOMENTUM, EPS)
            count = x.shape[0] * x.shape[2] * x.shape[3]
            # The running variance is of the unbiased kind, the one that normalises is not: as torch does it.
            variance = (spread**-2 - EPS) * (count / max(count - 1, 1))
            for kind, seen in (("running_mean", mean), ("running_var", variance)):
                buffers[f"{name}.{kind}"] = (1 - MOMENTUM) * params[f"{name}.{kind}"] + MOMENTUM * seen.detach()
            return normalised

        output, activations = self._forward(params, x, norm)
        return output, activations, {name: buffers[name] for name in self.buffers}

    def _forward(self, params: Mapping[str, Tensor], x: Tensor, norm: Normalise) -> tuple[Tensor, Activations]:
        def conv(name: str, x: Tensor, stride: int = 1) -> Tensor:
            weight = params[f"{name}.weight"]
            x = functional.conv2d(x, weight, params[f"{name}.bias"], stride, padding=weight.shape[-1] // 2)
            return norm(x, f"{name}_norm")

        x = tapped(params, "stem", functional.relu(conv("stem", channels_inside(x.reshape(-1, *self.shape)))))
        activations = [("stem", x)]
        for block in range(BLOCKS):
            name = f"blocks.{block}"
            shrinks = f"{name}.skip.weight" in self._shapes
            stride = 2 if shrinks else 1
            inner = tapped(params, f"{name}.conv1", functional.relu(conv(f"{name}.conv1", x, stride)))
            activations.append((f"{name}.conv1", inner))
            skip = conv(f"{name}.skip", x, stride) if shrinks else x
            x = functional.relu(conv(f"{name}.conv2", inner) + skip)
            if block == BLOCKS - 1:
                x = x.mean((2, 3))
            x = tapped(params, f"{name}.conv2", x)
            activations.append((f"{name}.conv2", x))
        return functional.linear(x, params["head.weight"], params["head.bias"]), activations

    def _site(self, weight: str, following: str) -> Site:
        name, units = weight.removesuffix(".weight"), self._shapes[weight][0]
        return Site(
            name=name,
            units=units,
            weight=weight,
            bias=f"{name}.bias",
            outgoing_weight=following,
            outgoing_bias=following.replace(".weight", ".bias"),
            fan_in=math.prod(self._shapes[weight][1:]),
            fan_out=math.prod(self._shapes[following]) // units,
            norm=Norm("batch", *(f"{name}_norm.{kind}" for kind in ("weight", "bias", "running_mean", "running_var"))),
        )


NETWORKS = {"resnet18": ResNet18}
