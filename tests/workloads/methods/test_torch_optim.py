"""The plain path against torch.nn and torch.optim: the same network, data and settings, 1,000 steps in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from workloads.engine.plain import Trained, train
from workloads.learner import Learner
from workloads.methods.config import (
    AdamConfig,
    AdamOConfig,
    AdamWConfig,
    ContinualBackpropConfig,
    L2Config,
    SGDConfig,
    ShrinkAndPerturbConfig,
)
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP

STEPS = 1000
TOLERANCE = 1e-10  # largest difference over a tensor, relative to its largest element

SGD, ADAM, ADAMW = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW
ADAM_PLAIN = ("adam", AdamConfig(step_size=2e-3))

# name: our optimizer, our methods, torch's optimizer and its settings
ARMS: dict[str, tuple[tuple[str, Any], dict[str, Any], Any, dict[str, Any]]] = {
    "sgd": (("sgd", SGDConfig(step_size=0.01)), {}, SGD, {"lr": 0.01}),
    "sgd momentum": (
        ("sgd", SGDConfig(step_size=0.003, momentum=0.9)),
        {},
        SGD,
        {"lr": 0.003, "momentum": 0.9},
    ),
    "sgd momentum and decay": (
        ("sgd", SGDConfig(step_size=0.003, momentum=0.9, weight_decay=0.01)),
        {},
        SGD,
        {"lr": 0.003, "momentum": 0.9, "weight_decay": 0.01},
    ),
    "sgd and l2": (
        ("sgd", SGDConfig(step_size=0.01, momentum=0.9)),
        {"l2": L2Config(strength=0.02)},
        SGD,
        {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.02},
    ),
    "adam": (ADAM_PLAIN, {}, ADAM, {"lr": 2e-3}),
    "adam settings and decay": (
        ("adam", AdamConfig(step_size=2e-3, beta1=0.8, beta2=0.99, eps=1e-4, weight_decay=0.01)),
        {},
        ADAM,
        {"lr": 2e-3, "betas": (0.8, 0.99), "eps": 1e-4, "weight_decay": 0.01},
    ),
    "adam and shrink": (
        ADAM_PLAIN,
        {"shrink_and_perturb": ShrinkAndPerturbConfig(strength=0.01, perturb_scale=0.0)},
        ADAM,
        {"lr": 2e-3, "weight_decay": 0.01},
    ),
    # With step counts per weight instead of per matrix.
    "adam per weight": (
        ADAM_PLAIN,
        {"continual_backprop": ContinualBackpropConfig(replacement_rate=0.0)},
        ADAM,
        {"lr": 2e-3},
    ),
    "adamw": (
        ("adamw", AdamWConfig(step_size=2e-3, weight_decay=0.05)),
        {},
        ADAMW,
        {"lr": 2e-3, "weight_decay": 0.05},
    ),
    "adamo at 0": (("adamo", AdamOConfig(step_size=2e-3, isometry_strength=0.0)), {}, ADAM, {"lr": 2e-3}),
}


def regression() -> tuple[MLP, str, Tensor, Tensor]:
    """20-5-1 on random bits, one example a step."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 2, (STEPS, 1, 20), generator=generator).double()
    y = torch.randn(STEPS, 1, 1, generator=generator, dtype=torch.float64)
    return MLP(MLPConfig(width=5, depth=1), 20, 1), "squared_error", x, y


def classification() -> tuple[MLP, str, Tensor, Tensor]:
    """12-8-8-3 on random points, four examples a step."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(STEPS, 4, 12, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 3, (STEPS, 4), generator=generator)
    return MLP(MLPConfig(width=8, depth=2), 12, 3), "cross_entropy", x, y


def ours(network: MLP, loss: str, x: Tensor, y: Tensor, optimizer: Any, methods: Any) -> Trained:
    learner = Learner(network, loss, optimizer, methods)
    numbers = learner.hyper_of(optimizer[1], methods)
    hyper = {who: {k: torch.tensor(v, dtype=torch.float64) for k, v in own.items()} for who, own in numbers.items()}
    params = network.init(3)
    return train(learner, params, learner.init(params), hyper, x, y, torch.tensor(3), 0)


def theirs(network: MLP, loss: str, x: Tensor, y: Tensor, optimizer: Any, settings: Any) -> tuple[Any, float]:
    """The loop the way everybody writes it; parameters under our names, and the summed online loss."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip(network.sizes, network.sizes[1:], strict=False):
        layers += [nn.Linear(inputs, outputs, dtype=torch.float64), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    names = list(network.parameter_shapes())
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), network.init(3).values(), strict=True):
            parameter.copy_(value)
    stepper = optimizer(model.parameters(), **settings)
    total = 0.0
    for k in range(STEPS):
        output = model(x[k])
        if loss == "squared_error":
            value = ((output - y[k]) ** 2).sum(-1).mean()
        else:
            value = functional.cross_entropy(output, y[k])
        stepper.zero_grad()
        value.backward()
        stepper.step()
        total += value.item()
    return {n: p.detach() for n, p in zip(names, model.parameters(), strict=True)}, total


# Every optimizer on both problems; what only shifts the gradient on one.
CASES = [
    *[(arm, problem) for arm in ("sgd", "adam", "adamw") for problem in (regression, classification)],
    ("sgd momentum", regression),
    ("sgd momentum and decay", classification),
    ("sgd and l2", regression),
    ("adam settings and decay", classification),
    ("adam and shrink", regression),
    ("adam per weight", classification),
    ("adamo at 0", regression),
]


@pytest.mark.parametrize(("arm", "problem"), CASES, ids=lambda p: getattr(p, "__name__", p))
def test_a_thousand_steps_agree_with_torch(arm: str, problem: Any) -> None:
    optimizer, methods, torch_optimizer, settings = ARMS[arm]
    network, loss, x, y = problem()
    trained = ours(network, loss, x, y, optimizer, methods)
    expected, total = theirs(network, loss, x, y, torch_optimizer, settings)
    initial = network.init(3)
    for name, value in expected.items():
        assert trained.params[name].dtype == torch.float64
        assert (value - initial[name]).abs().max() > 1e-3  # it did train
        assert (trained.params[name] - value).abs().max() <= TOLERANCE * value.abs().max(), name
    assert trained.loss == pytest.approx(total, rel=TOLERANCE)
