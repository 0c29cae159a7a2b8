"""Packs around an engine of the online path, on data with dark pixels: what its tests have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from workloads.engine import Engine, build
from workloads.engine.layout import Tree, flattened, mapped, stacked
from workloads.learner import Learner
from workloads.methods.config import METHODS, OPTIMIZERS
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP


@dataclass(frozen=True)
class Case:
    """An optimizer and methods by name with their fields, a network, a loss and a batch size."""

    optimizer: str = "sgd"
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the optimizer
    inputs: int = 23
    width: int = 20
    depth: int = 2
    outputs: int = 3
    loss: str = "cross_entropy"
    batch: int = 1
    activation: str = "relu"
    biases: bool = True
    normalisation: str = "none"
    widths: str | None = None  # in the place of width and depth
    dropout: float = 0.0

    def __str__(self) -> str:
        fields = [f"{name}({', '.join(map(str, values.values()))})" for name, values in self.methods.items()]
        hidden = self.widths or f"{self.width}x{self.depth}"
        sizes = f"{self.inputs}-{hidden}-{self.outputs}-batch{self.batch}"
        extra = [str(value) for value in self.settings.values()]
        return " ".join(
            [
                *(self.optimizer, *extra, *fields, sizes, self.activation, self.loss),
                *(["bare"] * (not self.biases) + [self.normalisation] * (self.normalisation != "none")),
                *[f"dropout {self.dropout}"] * (self.dropout > 0),
            ]
        )

    @property
    def network(self) -> MLP:
        sizes: dict[str, Any] = {"width": self.width, "depth": self.depth}
        config = MLPConfig(
            **({"widths": self.widths} if self.widths else sizes),
            activation=self.activation,  # type: ignore[arg-type]
            biases=self.biases,
            normalisation=self.normalisation,  # type: ignore[arg-type]
            dropout=self.dropout,
        )
        return MLP(config, self.inputs, self.outputs)

    def configs(self, **changes: Any) -> tuple[tuple[str, Any], dict[str, Any]]:
        """The configs of a member, where fields of `changes` replace the case's."""

        def made(spec: Any, fields: Mapping[str, Any]) -> Any:
            own = {name: value for name, value in changes.items() if name in spec.config.__dataclass_fields__}
            return spec.config(**{**fields, **own})

        optimizer = made(OPTIMIZERS[self.optimizer], {"step_size": 0.01, **self.settings})
        methods = {name: made(METHODS[name], self.methods[name]) for name in METHODS if name in self.methods}
        return (self.optimizer, optimizer), methods

    @property
    def learner(self) -> Learner:
        return Learner(self.network, self.loss, *self.configs())  # type: ignore[arg-type]


def online(learner: Learner, hyper: Tree, seeds: Tensor) -> Engine:
    """The engine that the online path takes for a learner."""
    return build("online", learner, hyper, seeds)


@dataclass
class Run:
    """Members around an engine. Member i has seed 100 + i, weights of seed i, and the changes of `members[i]`."""

    case: Case
    members: Mapping[int, Mapping[str, Any]]
    kind: Callable[[Learner, Tree, Tensor], Any] = online
    dtype: torch.dtype = torch.float64
    step: int = 0

    def __post_init__(self) -> None:
        learner = self.case.learner
        numbers = []
        for changes in self.members.values():
            optimizer, methods = self.case.configs(**changes)
            numbers.append(mapped(lambda v: torch.tensor(v, dtype=self.dtype), learner.hyper_of(optimizer[1], methods)))
        seeds = torch.tensor([100 + i for i in self.members])
        self.make: Callable[[], Any] = lambda: self.kind(learner, stacked(numbers), seeds)
        self.engine = self.make()
        params = stacked([mapped(lambda v: v.to(self.dtype), self.case.network.init(i)) for i in self.members])
        zero = torch.zeros(len(seeds), dtype=torch.float64)
        state = torch.func.vmap(learner.init)(params)
        self.engine.load({"params": params, "state": state, "loss": zero, "correct": zero.clone()})

    def train(self, x: Tensor, y: Tensor) -> Run:
        which = torch.tensor([i % x.shape[1] for i in self.members])
        with torch.no_grad():
            self.engine.advance(x.to(self.dtype), y if y.dtype == torch.int64 else y.to(self.dtype), which, self.step)
        self.step += len(x)
        return self

    def again(self) -> None:
        """A new engine goes on from this one's state, as after a restart."""
        state = self.engine.state()
        self.engine = self.make()
        self.engine.load(state)

    @property
    def state(self) -> Tree:
        return self.engine.state()

    def member(self, index: int) -> Tree:
        return mapped(lambda v: v[list(self.members).index(index)], self.state)


THREE: Mapping[int, Mapping[str, Any]] = {0: {}, 1: {"step_size": 0.003}, 2: {"step_size": 0.02, "strength": 0.0}}


def data(case: Case, steps: int, *, streams: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images with dark pixels, some always dark, some images dark altogether; a noisy target that can be learned."""
    # Not all of a batch is dark: where the gradients of its examples cancel, Adam takes their rounding for a direction.
    generator = torch.Generator().manual_seed(seed)
    shape = (steps, streams, case.batch, case.inputs)
    x = torch.rand(shape, generator=generator, dtype=torch.float64)
    x = x * (torch.rand(shape, generator=generator) < 0.3)
    x[..., : case.inputs // 8] = 0
    x[::7, :, 0] = 0
    target = torch.stack([x[..., k :: case.outputs].sum(-1) for k in range(case.outputs)], -1)
    noise = 0.1 * torch.randn(target.shape, generator=generator, dtype=torch.float64)
    return x, (target + noise).argmax(-1) if case.loss == "cross_entropy" else target + noise


def public(state: Tree) -> Tree:
    """What every path has of a state."""
    return {key: value for key, value in state.items() if key != "path"}


def distance(left: Tree, right: Tree) -> float:
    """Largest difference of two trees' tensors, each relative to its largest entry."""
    one, other = flattened(public(left)), flattened(public(right))
    assert one[1] == other[1]
    assert [a.dtype for a in one[0]] == [b.dtype for b in other[0]]
    gaps = []
    for a, b in zip(one[0], other[0], strict=True):
        assert a.shape == b.shape
        scale = a.double().abs().max().item() if a.numel() else 0.0
        gaps.append((a.double() - b.double()).abs().max().item() / (scale or 1.0) if a.numel() else 0.0)
    assert not any(map(math.isnan, gaps))
    return max(gaps)
