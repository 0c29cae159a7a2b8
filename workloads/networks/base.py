"""What every network offers to methods, diagnostics and engines: a pure function of its parameters.

Parameters are a flat dict of tensors in forward order. A network with batch norm or online normalisation also has
*buffers*, its running statistics: state that no optimizer touches. They travel in the same dict where the network is
evaluated.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Generic, Literal, TypeVar

import torch
from torch import Tensor

from workloads.networks.config import Picture
from workloads.networks.initialisation import Distribution, initial_array, layer_distribution, redrawn_tensor
from workloads.random import Draw
from workloads.settings import Settings

C = TypeVar("C", bound=Settings, covariant=True)  # the dataclass of a network's settings
Activations = list[tuple[str, Tensor]]
TAP = "tap/"  # before a hidden layer's name: the key of what `tapped` adds


@dataclass(frozen=True, slots=True)
class Norm:
    """What normalises a layer's units before its nonlinearity, and the names of its tensors (units,), where it has any.

    `scale` and `shift` are parameters; `mean` and `variance`, running statistics, are buffers.
    """

    kind: Literal["batch", "layer", "online"]
    scale: str | None = None
    shift: str | None = None
    mean: str | None = None
    variance: str | None = None

    @property
    def parameters(self) -> tuple[str, ...]:
        """Those that an optimizer moves."""
        return tuple(name for name in (self.scale, self.shift) if name is not None)

    @property
    def fresh(self) -> dict[str, float]:
        """Name of a tensor -> its value for a fresh unit."""
        values = ((self.scale, 1.0), (self.shift, 0.0), (self.mean, 0.0), (self.variance, 1.0))
        return {name: value for name, value in values if name is not None}


@dataclass(frozen=True, slots=True)
class Site:
    """A hidden layer by its units: unit j is row j of `weight` and `bias`, and entry [:, j] of `outgoing_weight`.

    A unit of a convolution is a channel. Where a convolution's picture is flattened for a linear layer, a unit owns
    several neighbouring columns of the outgoing matrix, one per place of the picture. Where a unit has several
    `parts` (crelu's and fourier's two), it shows as many activations, number j, j + units, ... of the layer's, and what
    leaves it is entries [:, j], [:, j + units], ... of `outgoing_weight`.
    """

    name: str  # the layer, and the key of its activations
    units: int
    weight: str  # (units, ...)
    bias: str | None  # (units,)
    outgoing_weight: str  # (out, parts x units, ...), or (out, parts x units x places)
    outgoing_bias: str | None  # (out,)
    fan_in: int  # weights into one unit
    fan_out: int  # weights out of one unit
    norm: Norm | None = None
    parts: int = 1  # activations of one unit
    group: int = 1  # neighbouring units whose activations are sorted among them: then none is one unit's own
    scale: str | None = None  # (1,), which multiplies what `weight` makes of its inputs
    outgoing_scale: str | None = None  # likewise of `outgoing_weight`

    @property
    def activations(self) -> int:
        """How many the layer shows, (B, activations, ...)."""
        return self.parts * self.units


class Network(ABC, Generic[C]):
    """A network's shapes and choices, by its settings; never its tensors.

    `weights` names every weight matrix or kernel in forward order, `head` the last of them, `sites` the hidden layers
    whose units may be replaced, `buffers` the running statistics (none unless a norm has some).
    """

    liftable: ClassVar[bool] = True  # whether vmap can batch it over members
    pictures: ClassVar[bool] = False  # whether `inputs` is (channels, height, width)
    convolutional: ClassVar[bool] = False  # under vmap its layers become grouped convolutions

    sites: tuple[Site, ...] = ()
    buffers: tuple[str, ...] = ()

    inputs: int | Picture

    def __init__(self, config: C, inputs: int | Picture, outputs: int) -> None:
        """For `inputs` numbers, or pictures of (channels, height, width), and `outputs` values."""
        self.config, self.inputs, self.outputs = config, inputs, outputs

    @cached_property
    def weights(self) -> tuple[str, ...]:
        """Unless set: the parameters of two and more axes."""
        return tuple(name for name, shape in self.parameter_shapes().items() if len(shape) > 1)

    @cached_property
    def head(self) -> str:
        """Unless set: the last of `weights`."""
        return self.weights[-1]

    @cached_property
    def gains(self) -> frozenset[str]:
        """The gains of norms and the scales of layers: what begins at 1."""
        ones = Distribution("constant", 1.0)
        return frozenset(name for name in self.parameter_shapes() if self.distribution(name) == ones)

    @property
    def scales(self) -> tuple[str, ...]:
        """The scales of hidden layers, (1,) each, in forward order."""
        return tuple(site.scale for site in self.sites if site.scale is not None)

    @abstractmethod
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape, in forward order, each bias after its weight."""

    def parameter_count(self) -> int:
        """How many weights and biases there are."""
        return sum(map(math.prod, self.parameter_shapes().values()))

    def distribution(self, name: str) -> Distribution:
        """What a parameter is drawn from at initialisation.

        Unless overridden as torch.nn.Linear and Conv2d draw it, a bias by the weight before it.
        """
        shapes = self.parameter_shapes()
        before = list(shapes)[: list(shapes).index(name) + 1]
        weight = next(shapes[n] for n in reversed(before) if len(shapes[n]) > 1)
        return layer_distribution("default", "weight", math.prod(weight[1:]), weight[0], 1.0)

    def gain(self, name: str) -> float:
        """The factor that a weight needs for the activation after it to keep a signal's scale; 1 unless overridden."""
        return 1.0

    def init(self, seed: int, at: int = 0) -> dict[str, Tensor]:
        """Initial parameters, float64; a pure function of the seed, the config and `at`.

        `at` 0 is a trial's beginning; other numbers give other, independent networks of the same distribution.
        """
        return {
            name: torch.from_numpy(initial_array(seed, name, shape, self.distribution(name), at))
            for name, shape in self.parameter_shapes().items()
        }

    def redrawn(self, name: str, draw: Draw) -> Tensor:
        """A parameter drawn anew from its initial distribution, in torch, so that a pack can do it for all members."""
        return redrawn_tensor(draw, f"reset/{name}", self.parameter_shapes()[name], self.distribution(name))

    @abstractmethod
    def apply(self, params: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, Activations]:
        """x (B, inputs) -> output (B, outputs) and, per hidden layer, its name and activations (B, units, ...).

        `params` holds the buffers too, where there are any; norms use them.
        """

    def apply_training(
        self, params: Mapping[str, Tensor], x: Tensor, draw: Draw | None = None
    ) -> tuple[Tensor, Activations, dict[str, Tensor]]:
        """The same as in training, where batch norm uses the batch's statistics; also the buffers afterwards.

        `draw` is the step's, for what a network leaves to chance in training; None outside of steps, where it leaves
        nothing.
        """
        return *self.apply(params, x), {}

    def killed(self, site: Site) -> int:
        """How many units of a hidden layer, its first, a trial begins with silenced on purpose."""
        return 0

    @cached_property
    def activation_shapes(self) -> dict[str, tuple[int, ...]]:
        """Hidden layer -> the shape of one example's activations, (units, ...), in the order of `apply`."""
        return {name: tuple(hidden.shape[1:]) for name, hidden in self.apply(*self.blank())[1]}

    def blank(self) -> tuple[dict[str, Tensor], Tensor]:
        """Parameters with buffers, and one example: shapes without numbers, on torch's device of that kind."""
        params = {name: torch.empty(shape, device="meta") for name, shape in self.parameter_shapes().items()}
        inputs = self.inputs if isinstance(self.inputs, int) else math.prod(self.inputs)
        return params | self.initial_buffers(params[self.head]), torch.empty(1, inputs, device="meta")

    def layer(self, params: Mapping[str, Tensor], place: int, hidden: Tensor) -> Tensor:
        """Hidden layer `place`, from 0, by itself: its activations from those of the layer before, or from x.

        Offered where layers follow one another and are small enough for their Jacobians, which need it.
        """
        raise NotImplementedError

    def initial_buffers(self, like: Tensor) -> dict[str, Tensor]:
        """The buffers before the first step, of the type and on the device of `like`."""
        return {}

    def reinit_bound(self, site: Site) -> float:
        """The half-width B of the uniform distribution that a unit's fresh incoming weights are drawn from.

        It is the layer's own at initialisation. One row cannot be drawn orthonormal to trained others, so
        `orthogonal` uses the uniform distribution of the same variance.
        """
        distribution = self.distribution(site.weight)
        if distribution.kind == "uniform":
            return distribution.scale
        gain = distribution.scale if distribution.kind == "orthogonal" else 1.0
        return gain * math.sqrt(3 / max(site.fan_in, site.units))

    def fresh_incoming(self, site: Site, draw: Draw, unit: Tensor, *, bound: float | None = None) -> Tensor:
        """Fresh incoming weights (fan_in,) of one unit, drawn as the layer's were, or uniform in +-`bound`."""
        distribution = self.distribution(site.weight)
        if distribution.kind == "normal" and bound is None:
            return distribution.scale * draw.normal(f"reinit/{site.name}", site.fan_in, offset=unit)
        bound = self.reinit_bound(site) if bound is None else bound
        return bound * (2 * draw.uniform(f"reinit/{site.name}", site.fan_in, offset=unit) - 1)


def tapped(params: Mapping[str, Tensor], name: str, hidden: Tensor) -> Tensor:
    """What the next layer is given of a hidden layer's activations: with what is added at its tap, where there is one.

    Taps are zeros, in the same dict as parameters, by which the gradient with respect to activations is taken. A
    network whose `apply` passes all activations through here offers that gradient.
    """
    tap = params.get(TAP + name)
    return hidden if tap is None else hidden + tap


def offers_layers(kind: type[Network[Settings]]) -> bool:
    """Whether a class has a `layer` that tells of the same network as its `apply`, and not of one that it changed."""
    definer = {name: next(each for each in kind.__mro__ if name in vars(each)) for name in ("layer", "apply")}
    return definer["layer"] is not Network and issubclass(definer["layer"], definer["apply"])


def channels_inside(x: Tensor) -> Tensor:
    """The same pictures (B, C, H, W) with the channels innermost in memory, which a CPU's pooling is much faster at.

    By permutations, since asking for a memory format is not known under vmap.
    """
    return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def as_examples(hidden: Tensor) -> Tensor:
    """Activations (B, units, *places) of a layer as examples of its units, (B x places, units).

    Every place of a picture counts as an example, as in the statistics of convolutional continual backprop. `hidden`
    is (B, units) or (B, units, height, width).
    """
    return hidden if hidden.ndim == 2 else hidden.movedim(1, -1).flatten(0, -2)


def by_activation(outgoing: Tensor, site: Site) -> Tensor:
    """A site's outgoing weights as (out, activations, each): elements of a kernel, or places of a flattened picture."""
    return outgoing.reshape(outgoing.shape[0], site.activations, -1)
