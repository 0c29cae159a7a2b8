"""The loop everybody writes, which packs are measured against: torch.nn, torch.optim, one network, step by step.

Fair and usual: the optimizer does the weight decay, what is constant is made once, and nothing is compiled by hand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from workloads.streams.base import Stream

NOISE, SHRINK = 1e-5, 1e-4  # of shrink and perturb, as its config has them


class PlainLoop:
    """One trial of the bench: a network, its optimizer, and a Python loop over examples."""

    def __init__(self, config: Mapping[str, Any], stream: Stream) -> None:
        self.stream = stream
        if config["network"]["name"] == "convnet":
            self.hidden, self.head = plain_convnet(config["network"]["width"], stream.outputs)
        else:
            self.hidden, self.head = plain_mlp(stream.inputs, config["network"], stream.outputs)
        self.parameters = [*self.hidden.parameters(), *self.head.parameters()]
        optimizer, methods = config["optimizer"], config["methods"]
        self.perturbs = "shrink_and_perturb" in methods
        decay = SHRINK if self.perturbs else methods.get("l2", {}).get("strength", 0.0)
        kind = torch.optim.SGD if optimizer["name"] in ("sgd", "upgd") else torch.optim.Adam
        extra = {"momentum": optimizer["momentum"]} if optimizer.get("momentum") else {}
        self.optimizer = kind(self.parameters, lr=optimizer["step_size"], weight_decay=decay, **extra)
        self.loss = nn.MSELoss() if stream.loss == "squared_error" else nn.CrossEntropyLoss()
        self.losses: list[float] = []
        self.isometry: PlainIsometry | None = None
        if optimizer.get("isometry_strength"):
            strength = optimizer["isometry_strength"] * optimizer["step_size"]
            weights = [layer.weight for layer in [*self.hidden, self.head]]
            self.isometry = PlainIsometry(weights, strength, optimizer.get("every", 1))
        self.replacement: PlainReplacement | None = None
        if "continual_backprop" in methods:
            rate = methods["continual_backprop"]["replacement_rate"]
            self.replacement = PlainReplacement([*self.hidden, self.head], rate)

    def carry_on(self, state: Mapping[str, Any]) -> None:
        """Go on from a trial's state: "params", and "state" of its optimizer and methods, as the engine keeps it."""
        optimizer = state["state"]["optimizer"]
        # What this loop trains without.
        given = [name for name in state["params"] if ".norm." not in name and not name.endswith(".scale")]
        for name, value in zip(given, self.parameters, strict=True):
            value.data.copy_(state["params"][name])
            if isinstance(self.optimizer, torch.optim.SGD) and "momentum" in optimizer:
                self.optimizer.state[value]["momentum_buffer"] = optimizer["momentum"][name].clone()
            elif name in optimizer.get("mean", {}):
                self.optimizer.state[value] = {
                    "step": optimizer["steps"][name].max().cpu().clone(),  # where torch's Adam keeps it
                    "exp_avg": optimizer["mean"][name].clone(),
                    "exp_avg_sq": optimizer["square"][name].clone(),
                }
        if self.replacement:
            own = state["state"]["continual_backprop"]
            for name in ("utility", "mean", "age"):
                setattr(self.replacement, name, [value.clone() for value in own[name].values()])

    def run(self, start: int, count: int) -> None:
        """Train `count` steps, one bin of the online loss at the end."""
        device = self.head.weight.device
        inputs, targets = (torch.from_numpy(v).to(device) for v in self.stream.batches(start, count))
        total = 0.0
        for x, y in zip(inputs, targets, strict=True):
            activations = []
            for layer in self.hidden:
                x = torch.relu(layer(x))
                activations.append(x)
            loss = self.loss(self.head(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            if self.isometry:
                self.isometry.step()
            if self.perturbs:
                with torch.no_grad():
                    for value in self.parameters:
                        value.add_(torch.randn_like(value), alpha=NOISE)
            if self.replacement:
                self.replacement.step(activations)
            total += loss.item()
        self.losses.append(total / count)


def plain_mlp(inputs: int, network: Mapping[str, Any], outputs: int) -> tuple[nn.ModuleList, nn.Linear]:
    """Hidden layers, a relu behind each, and the head."""
    sizes = [inputs, *[network["width"]] * network["depth"]]
    hidden = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False))
    head = nn.Linear(sizes[-1], outputs)
    for layer in [*hidden, head]:
        nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear" if layer is head else "relu")
        nn.init.zeros_(layer.bias)
    return hidden, head


def plain_convnet(width: int, outputs: int) -> tuple[nn.ModuleList, nn.Linear]:
    """The network of continual ImageNet for pictures of 3 x 32 x 32, as it is usually written: relu, then pooling.

    The last relu of all is the loop's own, behind the last of the hidden modules.
    """
    channels = [3, width, 2 * width, 4 * width]
    layers: list[nn.Module] = [nn.Unflatten(-1, (3, 32, 32))]
    for a, b, kernel in zip(channels, channels[1:], (5, 3, 3), strict=False):
        layers += [nn.Conv2d(a, b, kernel), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Flatten(), nn.Linear(16 * width, 128), nn.ReLU(), nn.Linear(128, 128)]
    return nn.ModuleList([nn.Sequential(*layers)]), nn.Linear(128, outputs)


class PlainIsometry:
    """AdamO's decoupled pull of every weight matrix, after the Adam step as in the authors' code."""

    def __init__(self, weights: list[Tensor], strength: float, every: int) -> None:
        self.weights, self.strength, self.every = weights, strength, every
        self.identities = [torch.eye(min(weight.shape)) for weight in weights]
        self.now = 0

    def step(self) -> None:
        """Pull, at every `every`-th step with `every` times the strength."""
        self.now += 1
        if self.now % self.every:
            return
        with torch.no_grad():
            for weight, identity in zip(self.weights, self.identities, strict=True):
                out, inp = weight.shape
                if out >= inp:
                    gradient = weight @ (weight.T @ weight - identity)
                else:
                    gradient = (weight @ weight.T - identity) @ weight
                weight.sub_(gradient, alpha=4 * self.every * self.strength)


class PlainReplacement:
    """Continual backprop beside the plain loop, layer by layer, in the usual eager style."""

    def __init__(self, layers: list[Any], rate: float) -> None:
        self.layers, self.rate = layers, rate
        self.utility = [torch.zeros(layer.out_features) for layer in self.layers[:-1]]
        self.mean = [torch.zeros(layer.out_features) for layer in self.layers[:-1]]
        self.age = [torch.zeros(layer.out_features) for layer in self.layers[:-1]]
        self.replaced = 0

    def step(self, activations: list[Tensor]) -> None:
        """Utilities, then replacement with probability rate x eligible."""
        decay, maturity = 0.99, 100
        with torch.no_grad():
            for k, hidden in enumerate(activations):
                layer, after = self.layers[k], self.layers[k + 1]
                self.age[k] += 1
                self.utility[k] *= decay
                self.mean[k] = decay * self.mean[k] + (1 - decay) * hidden.mean(0)
                correction = 1 - decay ** self.age[k]
                incoming, outgoing = layer.weight.abs().mean(1), after.weight.abs().mean(0)
                contribution = outgoing * (hidden - self.mean[k] / correction).abs().mean(0)
                self.utility[k] += (1 - decay) * contribution / incoming
                eligible = torch.where(self.age[k] > maturity)[0]
                if len(eligible) == 0 or torch.rand(1).item() >= self.rate * len(eligible):
                    continue
                unit = eligible[torch.argmin((self.utility[k] / correction)[eligible])]
                bound = math.sqrt(6 / layer.in_features)
                layer.weight[unit] = torch.empty(layer.in_features).uniform_(-bound, bound)
                layer.bias[unit] = 0
                after.weight[:, unit] = 0
                self.utility[k][unit] = self.mean[k][unit] = self.age[k][unit] = 0
                self.replaced += 1
