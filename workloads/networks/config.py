"""What a network may be told, without importing torch: a sweep file is checked before compute is spent."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Protocol, cast, get_args

from annotated_types import Ge, Gt, Le, Lt

from workloads.paths import Paths, Takes
from workloads.settings import Settings, later

if TYPE_CHECKING:
    from workloads.kinds import Workload

CONV_KERNELS = (5, 3, 3)  # of the convnet's convolutions

WIDTH = 100  # of an MLP's hidden layers, where nobody says

Picture = tuple[int, int, int]  # channels, height, width
Activation = Literal["relu", "leaky_relu", "tanh", "sigmoid", "elu", "swish", "selu", "linear"]
MLPActivation = Literal[Activation, "crelu", "absolute", "fourier", "groupsort_2", "groupsort_4", "groupsort_8"]
Initialisation = Literal["kaiming", "lecun", "xavier", "default", "orthogonal", "orthogonal_gain"]
Killed = Literal["none", "flipped", "bias", "step", "zero_row", "far_bias"]


def group_of(activation: str | None) -> int:
    """How many neighbouring units an activation sorts among them: 4 of `groupsort_4`, 1 of all others."""
    kind, _, size = (activation or "").partition("_")
    return int(size) if kind == "groupsort" else 1


def in_training(dropout: object, normalisation: object) -> frozenset[str]:
    """What a network with these settings does in training that is as good as a method; of one that lacks a setting, or
    is beside others that have it (NaN), nothing.
    """
    drops = isinstance(dropout, int | float) and dropout > 0
    return frozenset({"dropout"} if drops else ()) | ({"online_normalisation"} if normalisation == "online" else set())


@dataclass(frozen=True, kw_only=True, slots=True)
class MLPConfig:
    """A multilayer perceptron; `depth: 0` is the linear model, where width and activation mean nothing.

    A unit of crelu shows two activations, [z]+ and [-z]+ (Abbas et al. 2023), one of fourier sin z and cos z (deep
    Fourier features): `width` counts units, so that the next layer has 2 x width inputs. Of equal parameters with relu
    is about width / sqrt(2) between hidden layers. groupsort_k puts every k neighbouring units in order (2: MaxMin),
    absolute is |z|: with `initialisation: orthogonal` such a network is an isometry wherever it does not widen.
    Layers of different widths are said by `widths`, "300-150", in the place of `width` and `depth`.
    """

    width: Annotated[int, Ge(1)] | None = WIDTH  # units per hidden layer
    depth: Annotated[int, Ge(0)] = 1  # hidden layers
    activation: MLPActivation | None = "relu"  # after every hidden layer; null: none
    initialisation: Initialisation = "kaiming"  # of weights
    biases: bool = True  # each unit has one
    # Of the units before the nonlinearity: layer norm, with a gain and a shift per unit or plain, without; or online,
    # with both, each unit by its own running mean and variance
    normalisation: Literal["none", "layer", "layer_plain", "online"] = later("none")
    dropout: Annotated[float, Ge(0), Lt(1)] = later(0.0)  # share of hidden activations that a training step makes 0
    # The first units of every layer begin silent on inputs in [0, 1], by one of the ways of `killed.py`
    killed: Killed = later("none")
    killed_fraction: Annotated[float, Gt(0), Le(1)] = later(0.5)  # so many of them
    widths: str | None = later(None)  # units of each hidden layer, where they differ: "300-150"
    # A learned scalar per hidden layer, at first 1, multiplies what its weights make of its inputs
    layer_scale: bool = later(False)

    def __post_init__(self) -> None:
        if self.depth == 0:
            # Axes over width and activation collapse to one linear model instead of many equal ones.
            for name in ("width", "activation", "widths"):
                object.__setattr__(self, name, None)
            object.__setattr__(self, "normalisation", "none")
            object.__setattr__(self, "killed", "none")
            object.__setattr__(self, "dropout", 0.0)
            object.__setattr__(self, "layer_scale", False)
        elif self.widths is not None:
            self._take_widths(self.widths)
        if self.depth > 0 and (self.activation is None or (self.width is None and self.widths is None)):
            raise ValueError("width and activation may be null only where depth is 0")
        if wrong := next((width for width in self.hidden if width % self.group), None):
            raise ValueError(f"{self.activation} sorts {self.group} units at a time: width {wrong} is no multiple")
        if self.activation == "selu":
            # Its fixed point needs lecun weights: other schemes would be the same trial by another name.
            object.__setattr__(self, "initialisation", "lecun")
        self._check_killed()

    def _check_killed(self) -> None:
        """Only a relu that no norm brings back can be silent for good."""
        if self.killed == "none":
            object.__setattr__(self, "killed_fraction", 0.5)
        elif self.activation != "relu" or self.normalisation != "none":
            raise ValueError("killed silences relu units without a norm: activation: relu, normalisation: none")
        elif self.killed.endswith("bias") and not self.biases:
            raise ValueError(f"killed: {self.killed} is done by biases, and this network has none")

    def _take_widths(self, said: str) -> None:
        """Width and depth as `widths` say them; equal widths become a width, so that they are one trial."""
        try:
            units = [int(part) for part in said.split("-")]
        except ValueError:
            units = []
        if not units or min(units) < 1:
            raise ValueError(f'widths {said!r}: must be whole numbers from 1 on, joined by "-", such as 300-150')
        if self.width not in (None, WIDTH) or self.depth not in (1, len(units)):
            raise ValueError(f"widths {said} say width and depth already: leave those out")
        alike = len(set(units)) == 1
        object.__setattr__(self, "width", units[0] if alike else None)
        object.__setattr__(self, "widths", None if alike else "-".join(map(str, units)))
        object.__setattr__(self, "depth", len(units))

    @property
    def hidden(self) -> tuple[int, ...]:
        """Units of every hidden layer, in forward order."""
        return tuple(map(int, self.widths.split("-"))) if self.widths else (self.width or 0,) * self.depth

    def parameters(self, inputs: int, outputs: int) -> int:
        """How many weights and biases such a network has; for memory and time before anything is built."""
        into, out = [inputs, *(self.parts * width for width in self.hidden)], [*self.hidden, outputs]
        norms = 2 * sum(self.hidden) if self.normalisation in ("layer", "online") else 0
        scales = self.depth * self.layer_scale
        return sum((a + self.biases) * b for a, b in zip(into, out, strict=True)) + norms + scales

    @property
    def parts(self) -> int:
        """Activations of one unit."""
        return 2 if self.activation in ("crelu", "fourier") else 1

    @property
    def group(self) -> int:
        """Neighbouring units whose activations are sorted among them; 1 where each has its own."""
        return group_of(self.activation)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvNetConfig:
    """Three convolutions (5x5, 3x3, 3x3, each with 2x2 max-pooling) and three linear layers (Dohare et al. 2024)."""

    width: Annotated[int, Ge(1)] = 32  # channels of the first convolution; the next have twice and four times as many
    hidden: Annotated[int, Ge(1)] = 128  # units of the two hidden linear layers
    activation: Activation = "relu"  # after every hidden layer
    initialisation: Initialisation = "default"  # of weights

    @property
    def channels(self) -> tuple[int, int, int]:
        """Of the three convolutions."""
        return self.width, 2 * self.width, 4 * self.width

    def sides(self, shape: Picture) -> tuple[tuple[int, int], ...]:
        """(height, width) after each convolution and its pooling. Raises ValueError where a picture is too small."""
        _, height, width = shape
        sizes = []
        for kernel in CONV_KERNELS:
            height, width = (height - kernel + 1) // 2, (width - kernel + 1) // 2
            sizes.append((height, width))
        if min(sizes[-1]) < 1:
            raise ValueError(f"convnet needs pictures of at least 24 x 24, not {shape[1]} x {shape[2]}")
        return tuple(sizes)

    def parameters(self, shape: Picture, outputs: int) -> int:
        """How many weights and biases such a network has. Raises ValueError where a picture is too small."""
        channels = [shape[0], *self.channels]
        convs = sum((a * k * k + 1) * b for a, b, k in zip(channels, channels[1:], CONV_KERNELS, strict=False))
        places = math.prod(self.sides(shape)[-1])
        sizes = [places * channels[-1], self.hidden, self.hidden, outputs]
        return convs + sum((a + 1) * b for a, b in zip(sizes, sizes[1:], strict=False))


@dataclass(frozen=True, kw_only=True, slots=True)
class ResNet18Config:
    """ResNet-18 for 32x32 pictures: 3x3 stem, no max-pool, biases in all convolutions (Dohare et al. 2024)."""

    width: Annotated[int, Ge(1)] = 64  # channels of the stem; the stages have 1, 2, 4 and 8 times as many

    def parameters(self, shape: Picture, outputs: int) -> int:
        """How many weights and biases, those of batch norm included."""
        total = self._conv(shape[0], self.width, 3)
        before = self.width
        for stage in range(4):
            channels = self.width << stage
            total += self._conv(before, channels, 3) + 3 * self._conv(channels, channels, 3)
            total += self._conv(before, channels, 1) if stage else 0
            before = channels
        return total + (before + 1) * outputs

    @staticmethod
    def _conv(inp: int, out: int, kernel: int) -> int:
        return (inp * kernel * kernel + 1) * out + 2 * out  # and its batch norm


class NetworkSettings(Settings, Protocol):
    """Settings that a network is built by, and counted before it is built."""

    @property
    def parameters(self) -> Callable[..., int]:
        """How many weights and biases: of (inputs, outputs), or of the shape of a picture and outputs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkSpec:
    """A network's place in the registry: its config and the number that changes when its meaning does."""

    config: type[NetworkSettings]
    semantics: int
    paths: Paths
    file: str | None = None  # where it is, if not in a file of its name
    pictures: bool = False  # whether it is built for (channels, height, width) rather than for a number of inputs
    layered: bool = False  # whether it offers its layers one by one (`Network.layer`)
    convolutional: bool = False  # under vmap its layers become grouped convolutions, which a CPU is slow at

    @property
    def liftable(self) -> bool:
        """Whether vmap can batch it over members."""
        return self.paths.lifted is not False

    def group(self, config: NetworkSettings) -> int:
        """How many units of a layer show their activations together, so that none is a unit's own; 1 where each is."""
        return config.group if isinstance(config, MLPConfig) else 1

    def scaled(self, config: NetworkSettings) -> bool:
        """Whether hidden layers have learned scales, which a settings class says by a field `layer_scale`."""
        return bool(getattr(config, "layer_scale", False))

    def built_for(self, stream: Workload) -> int | Picture:
        """What the network of a stream is built for: the shape of its pictures, or its number of inputs."""
        return cast("Picture", getattr(stream, "shape", ())) if self.pictures else stream.inputs


MLP_WRITTEN: Mapping[str, Literal[True] | Collection[object]] = {
    "width": True,
    "depth": True,
    "activation": ("relu", "leaky_relu", "tanh", "sigmoid", "elu", "swish", "selu", "linear", None),  # None: depth 0
    "initialisation": True,
    "biases": True,
    "normalisation": ("none",),
    "dropout": (0.0,),
    "killed": True,  # of the first weights alone
    "killed_fraction": True,
    "widths": True,
    "layer_scale": (False,),
}
MLP_ONLINE: Takes = {
    **MLP_WRITTEN,
    "activation": (*get_args(MLPActivation), None),
    "normalisation": ("none", "layer", "layer_plain", "online"),
    "dropout": True,
    "layer_scale": (True, False),
}

NETWORKS: dict[str, NetworkSpec] = {
    "mlp": NetworkSpec(
        config=MLPConfig, semantics=1, paths=Paths(lanes=True, online=MLP_ONLINE, written=MLP_WRITTEN), layered=True
    ),
    "convnet": NetworkSpec(
        config=ConvNetConfig, semantics=1, paths=Paths(lanes=False, online=False), pictures=True, convolutional=True
    ),
    "resnet18": NetworkSpec(
        config=ResNet18Config,
        file="resnet",
        semantics=1,
        paths=Paths(lanes=False, online=False),
        pictures=True,
        convolutional=True,
    ),
}
