"""A module of torch beside our network of the same names and weights, and both trained step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from workloads.engine.plain import Trained, train
from workloads.learner import Learner
from workloads.networks.activations import crelu
from workloads.networks.base import Network
from workloads.networks.config import ConvNetConfig, MLPConfig, ResNet18Config
from workloads.networks.convnet import ConvNet
from workloads.networks.mlp import MLP
from workloads.networks.resnet import BLOCKS, ResNet18

Optimizer = torch.optim.Optimizer


class Layered(nn.Module):
    """As `MLP`, with the names of its parameters; activations are functions."""

    def __init__(self, network: MLP) -> None:
        super().__init__()
        pairs = zip(network.fan_ins, network.sizes[1:], strict=True)
        self.layers = nn.ModuleList([nn.Linear(a, b) for a, b in pairs])
        if network.config.normalisation == "layer":
            for layer in list(self.layers)[:-1]:
                layer.norm = nn.LayerNorm(layer.out_features)
        self.activation = {"relu": functional.relu, "tanh": torch.tanh, "crelu": crelu}[str(network.config.activation)]

    def forward(self, x: Tensor) -> Tensor:
        *hidden, head = self.layers
        for layer in hidden:
            x = layer(x)
            x = self.activation(layer.norm(x) if hasattr(layer, "norm") else x)
        return head(x)


class Convolutional(nn.Module):
    """As `ConvNet`: pooled convolutions, flattened for linear layers."""

    def __init__(self, network: ConvNet) -> None:
        super().__init__()
        shapes = network.parameter_shapes()
        weights = [shapes[f"convs.{k}.weight"] for k in range(3)]
        self.shape = network.shape
        self.convs = nn.ModuleList([nn.Conv2d(inp, out, kernel) for out, inp, kernel, _ in weights])
        self.layers = nn.ModuleList([nn.Linear(*reversed(shapes[f"layers.{k}.weight"])) for k in range(3)])
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(-1, *self.shape)
        for conv in self.convs:
            x = functional.max_pool2d(self.relu(conv(x)), 2)
        x = x.view(x.size(0), -1)
        return self.layers[2](functional.relu(self.layers[1](functional.relu(self.layers[0](x)))))


class Block(nn.Module):
    """A basic block of a ResNet."""

    def __init__(self, network: ResNet18, block: int) -> None:
        super().__init__()
        for name, shape in network.parameter_shapes().items():
            inside, kind = name.removeprefix(f"blocks.{block}.").rpartition(".")[::2]
            if not name.startswith(f"blocks.{block}.") or kind != "weight" or inside.endswith("_norm"):
                continue
            out, inp, kernel, _ = shape
            stride = 2 if out != inp and inside in ("conv1", "skip") else 1
            setattr(self, inside, nn.Conv2d(inp, out, kernel, stride, kernel // 2))
            setattr(self, f"{inside}_norm", nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.conv1_norm(self.conv1(x)))
        skip = self.skip_norm(self.skip(x)) if hasattr(self, "skip") else x
        return functional.relu(self.conv2_norm(self.conv2(inner)) + skip)


class Residual(nn.Module):
    """As `ResNet18`: batch norm and skip paths."""

    def __init__(self, network: ResNet18) -> None:
        super().__init__()
        self.shape = network.shape
        out, inp, *_ = network.parameter_shapes()["stem.weight"]
        self.stem, self.stem_norm = nn.Conv2d(inp, out, 3, padding=1), nn.BatchNorm2d(out)
        self.blocks = nn.ModuleList([Block(network, block) for block in range(BLOCKS)])
        self.head = nn.Linear(*reversed(network.parameter_shapes()["head.weight"]))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem_norm(self.stem(x.view(-1, *self.shape))))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))


def mlp(**settings: Any) -> Callable[[], tuple[Network[Any], nn.Module]]:
    def made() -> tuple[Network[Any], nn.Module]:
        network = MLP(MLPConfig(width=6, depth=2, **settings), 5, 3)
        return network, Layered(network)

    return made


def convnet() -> tuple[Network[Any], nn.Module]:
    network = ConvNet(ConvNetConfig(width=2, hidden=6), (1, 32, 32), 3)
    return network, Convolutional(network)


def resnet() -> tuple[Network[Any], nn.Module]:
    network = ResNet18(ResNet18Config(width=2), (1, 8, 8), 3)
    return network, Residual(network)


@dataclass
class Beside:
    """Our trial and a user's script on the same data."""

    network: Network[Any]
    model: nn.Module
    learner: Learner
    x: Tensor
    y: Tensor
    hyper: dict[str, dict[str, Tensor]]

    @classmethod
    def of(cls, made: Callable[[], tuple[Network[Any], nn.Module]], steps: int, optimizer: Any, methods: Any) -> Beside:
        """The same initial weights on both sides, float64, and `steps` batches of four examples."""
        network, model = made()
        generator = torch.Generator().manual_seed(1)
        inputs = network.inputs if isinstance(network.inputs, int) else torch.Size(network.inputs).numel()
        x = torch.randn(steps, 4, inputs, generator=generator, dtype=torch.float64)
        y = torch.randint(0, 3, (steps, 4), generator=generator)
        model.double()
        with torch.no_grad():
            for name, value in network.init(3).items():
                model.get_parameter(name).copy_(value)
        learner = Learner(network, "cross_entropy", optimizer, methods)
        numbers = learner.hyper_of(optimizer[1], methods)
        hyper = {who: {k: torch.tensor(v, dtype=torch.float64) for k, v in own.items()} for who, own in numbers.items()}
        return cls(network, model, learner, x, y, hyper)

    def ours(self, seed: int) -> Iterator[Trained]:
        """Where our trial stands after each step."""
        params = self.network.init(3)
        state = self.learner.init(params)
        for k in range(len(self.x)):
            trained = train(
                self.learner, params, state, self.hyper, self.x[k : k + 1], self.y[k : k + 1], torch.tensor(seed), k
            )
            params, state = trained.params, trained.state
            yield trained

    def backward(self, optimizer: Optimizer, k: int) -> None:
        """The script's gradient at step k."""
        optimizer.zero_grad()
        functional.cross_entropy(self.model(self.x[k]), self.y[k]).backward()

    def assert_same(self, trained: Trained, tolerance: float) -> None:
        """Parameters and buffers agree, relative to a tensor's largest element."""
        for name, value in {**trained.params, **trained.state.get("buffers", {})}.items():
            owner, _, leaf = name.rpartition(".")
            found = getattr(self.model.get_submodule(owner), leaf).detach()
            assert (found - value).abs().max() <= tolerance * max(1e-3, float(value.abs().max())), name
