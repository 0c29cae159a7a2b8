"""Engines and packs for the contract tests, over whatever the registries hold.

`lively` settings make things happen within tens of steps: units are replaced, weights shrink, noise is drawn. A new
registry entry is covered with its defaults, and by name with the settings below where it has such fields.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workloads.checks.contracts import Make, Members, distance, leaves, same_bits
from workloads.engine.layout import Tree
from workloads.learner import Learner
from workloads.losses import LOSSES
from workloads.methods.config import METHODS, OPTIMIZERS
from workloads.networks.config import NETWORKS, MLPConfig
from workloads.networks.implementations import IMPLEMENTATIONS as NETWORK_IMPLEMENTATIONS
from workloads.networks.mlp import MLP
from workloads.paths import SMALL, NoSettings, Part, refusal
from workloads.settings import LATER

__all__ = ["distance", "leaves", "same_bits"]  # beside what is defined here

Config = dict[str, Any]

# Field -> values that members take in turn; a field that may not vary inside a pack takes the first.
LIVELY: dict[str, list[Any]] = {
    "step_size": [0.01, 0.003, 0.02],
    "weight_decay": [0.01, 0.0, 0.1],
    "strength": [0.003, 0.03, 0.0],
    "perturb_scale": [0.001, 0.0, 0.01],
    "isometry_strength": [0.1, 0.0, 0.3],
    "isometry_step_size": [0.01, 0.02, 0.005],
    "replacement_rate": [0.05, 0.2, 0.0],
    "maturity_threshold": [4, 10, 2],
    "threshold": [0.6, 0.3, 0.9],
    "bound": [0.5, 1.0, 2.0],
    "period": [4],
    "noise": ["dense"],  # lazy noise is another draw on the online path than on all others
}


@dataclass(frozen=True)
class Arm:
    """One optimizer and any methods by name, with settings that differ from the lively ones."""

    optimizer: str
    methods: tuple[str, ...] = ()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # of any of them, by field name

    def __str__(self) -> str:
        extra = [f"{key}={value}" for key, value in self.settings.items()]
        return "-".join([self.optimizer, *self.methods, *extra])

    def configs(self, index: int) -> tuple[tuple[str, Any], dict[str, Any]]:
        """The optimizer's (name, config) and the methods' configs of member `index`."""
        return (self.optimizer, self._config(OPTIMIZERS[self.optimizer], index)), {
            name: self._config(METHODS[name], index) for name in METHODS if name in self.methods
        }

    def _config(self, spec: Any, index: int) -> Any:
        chosen = {}
        for field in dataclasses.fields(spec.config):
            if field.name in self.settings:
                chosen[field.name] = self.settings[field.name]
            elif field.name in LIVELY and LATER not in field.metadata:  # off in what was recorded before it came
                values = LIVELY[field.name]
                chosen[field.name] = values[index % len(values) if field.name in spec.varies else 0]
        return spec.config(**chosen)


def paired(optimizer: str, method: str) -> bool:
    """Muon's and UPGD's kernels take long to compile: they are paired with what touches their state."""
    return optimizer not in ("muon", "upgd") or METHODS[method].replaces


# Every optimizer alone, pairs of an optimizer and a method, all methods at once, and what changes the program.
ARMS = [
    *(Arm(optimizer) for optimizer in OPTIMIZERS),
    *(
        Arm(optimizer, (method,))
        for optimizer, method in itertools.product(OPTIMIZERS, METHODS)
        if paired(optimizer, method)
    ),
    *(Arm(optimizer, tuple(METHODS)) for optimizer in ("sgd", "adam")),
    Arm("sgd", ("continual_backprop",), {"momentum": 0.9, "step_size": 0.002}),
    Arm("adamo", ("continual_backprop",), {"every": 3, "order": "sequential", "penalty": "half"}),
    Arm("adamo", (), {"every": 2, "head": False, "scale_by_gram": True}),
    *(
        Arm("adam", ("continual_backprop",), {"utility": utility, "preset": "paper"})
        for utility in ("weight", "contribution", "adaptation", "zero_contribution", "feature_by_input", "random")
    ),
    Arm("adam", ("continual_backprop",), {"utility_decay": 0.0, "reset_optimizer": False}),
]


@dataclass(frozen=True)
class Shape:
    """A network, a loss and a batch size."""

    width: int
    depth: int
    inputs: int
    outputs: int
    loss: str
    batch: int
    activation: str = "relu"
    normalisation: str = "none"
    dropout: float = 0.0
    layer_scale: bool = False

    def __str__(self) -> str:
        sizes = [self.inputs, *[self.width] * self.depth, self.outputs]
        norm = "" if self.normalisation == "none" else f"-{self.normalisation}"
        drop = f"-dropout{self.dropout}" if self.dropout else ""
        scale = "-scaled" if self.layer_scale else ""
        return f"{'-'.join(map(str, sizes))}-{self.loss}-batch{self.batch}-{self.activation}{norm}{drop}{scale}"

    @property
    def network(self) -> MLP:
        """The network."""
        config = MLPConfig(
            width=self.width,
            depth=self.depth,
            activation=self.activation,
            normalisation=self.normalisation,
            dropout=self.dropout,
            layer_scale=self.layer_scale,
        )
        return MLP(config, self.inputs, self.outputs)

    @property
    def member_last(self) -> bool:
        """Whether the lifted path keeps such networks in the layout of small ones."""
        return self.network.config.parameters(self.inputs, self.outputs) <= SMALL


TINY = Shape(width=5, depth=1, inputs=7, outputs=1, loss="squared_error", batch=1)
SMALL_CLASSES = Shape(width=6, depth=2, inputs=9, outputs=4, loss="cross_entropy", batch=4)
LARGE = Shape(width=40, depth=1, inputs=101, outputs=2, loss="squared_error", batch=1)
LARGE_CLASSES = Shape(width=40, depth=2, inputs=70, outputs=3, loss="cross_entropy", batch=4)
SHAPES = [TINY, SMALL_CLASSES, LARGE, LARGE_CLASSES]


@dataclass(frozen=True)
class PictureShape:
    """A network of pictures by its name in the registry, with its settings; the same offers as a Shape."""

    name: str
    settings: Mapping[str, Any]
    picture: tuple[int, int, int]
    outputs: int = 3
    loss: str = "cross_entropy"
    batch: int = 3

    def __str__(self) -> str:
        return f"{self.name}-{'x'.join(map(str, self.picture))}"

    @property
    def inputs(self) -> int:
        """Numbers in a picture."""
        return math.prod(self.picture)

    @property
    def network(self) -> Any:
        """The network."""
        config = NETWORKS[self.name].config(**self.settings)
        return NETWORK_IMPLEMENTATIONS[self.name](config, self.picture, self.outputs)


# One for every network: the convnet keeps four places per channel at its end, and is small enough for member last.
CONVNET = PictureShape("convnet", {"width": 2, "hidden": 4}, (1, 30, 30))
# Batch norm over a handful of values enlarges rounding tenfold per step: so not the very smallest.
RESNET = PictureShape("resnet18", {"width": 2}, (2, 12, 12), batch=4)
OF_EVERY_NETWORK: dict[str, Shape | PictureShape] = {"mlp": SMALL_CLASSES, "convnet": CONVNET, "resnet18": RESNET}


def takes(path: str, arm: Arm, shape: Shape | PictureShape) -> bool:
    """Whether a path declares that it takes this arm."""
    (optimizer, settings), methods = arm.configs(0)
    name = shape.name if isinstance(shape, PictureShape) else "mlp"
    parts = [
        Part(name, NETWORKS[name].paths, shape.network.config),
        Part(shape.loss, LOSSES[shape.loss].paths, NoSettings()),
        Part(optimizer, OPTIMIZERS[optimizer].paths, settings),
        *(Part(method, METHODS[method].paths, config) for method, config in methods.items()),
    ]
    return refusal(path, parts) is None


def taken(arms: Iterable[Arm], shape: Shape, *paths: str) -> list[tuple[str, Arm]]:
    """(path, arm) wherever the path takes the arm."""
    return [(path, arm) for path in paths for arm in arms if takes(path, arm, shape)]


def data(
    shape: Shape | PictureShape, steps: int, *, streams: int, dtype: torch.dtype, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """x (steps, S, B, inputs), y (steps, S, B, ...) for `streams` streams: bits, and a noisy target."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 2, (steps, streams, shape.batch, shape.inputs), generator=generator).to(dtype)
    if shape.loss == "cross_entropy":
        return x, (x[..., :4].sum(-1).long() + torch.randint(0, 2, x.shape[:-1], generator=generator)) % shape.outputs
    noise = torch.randn(*x.shape[:-1], shape.outputs, generator=generator, dtype=torch.float64)
    return x, (x[..., : shape.outputs] + 0.1 * noise).to(dtype)


class Pack(Members):
    """Members of one arm and shape around an engine: `indices` number the members, and so their settings and seeds."""

    def __init__(
        self,
        arm: Arm,
        shape: Shape | PictureShape,
        indices: Iterable[int],
        *,
        dtype: torch.dtype = torch.float64,
        path: str = "lifted",
        compiled: bool = False,
        streams: int = 2,
        device: str = "cpu",
        change: Callable[[int, Tree], Tree] | None = None,
    ) -> None:
        """`change` may alter a member's hyperparameters by its index."""
        indices = list(indices)
        learner = Learner(shape.network, shape.loss, *arm.configs(0))  # type: ignore[arg-type]
        hypers = []
        for i in indices:
            optimizer, methods = arm.configs(i)
            numbers = learner.hyper_of(optimizer[1], methods)
            hypers.append(change(i, numbers) if change else numbers)
        super().__init__(
            learner,
            indices,
            hypers=hypers,
            seeds=[100 + i for i in indices],
            params=[shape.network.init(i) for i in indices],
            which=[i % streams for i in indices],
            dtype=dtype,
            path=path,
            compiled=compiled,
            device=device,
        )


def making(arm: Arm, shape: Shape | PictureShape, **options: Any) -> Make:
    """How to make members of an arm and shape, as the contracts ask for them."""
    return lambda indices, path: Pack(arm, shape, indices, path=path, **options)
