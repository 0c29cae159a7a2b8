"""One number per registry entry: what 20 steps of it give, in float64. `python tests/contracts/fingerprints.py` writes
them anew, for the day a result is meant to change; its `semantics` is then raised too, which changes the key.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, get_args

import torch
from packs import OF_EVERY_NETWORK, TINY, Arm, Pack, PictureShape, Shape, data, leaves

from sweep.trials import ENGINE_SEMANTICS
from workloads.diagnostics import DIAGNOSTICS
from workloads.diagnostics.look import Look
from workloads.diagnostics.measure import measure
from workloads.methods.config import METHODS, OPTIMIZERS
from workloads.networks.config import NETWORKS, Activation, Initialisation, MLPConfig
from workloads.networks.mlp import MLP
from workloads.streams import STREAMS

GLYPHS = {"dataset": "glyphs", "classes": 4, "batch": 8}
SMALL: dict[str, dict[str, Any]] = {  # streams whose defaults need files, or a while
    "permuted_mnist": {"dataset": "digits", "tasks": 3, "examples_per_task": 10},
    "continual_imagenet": {**GLYPHS, "tasks": 3, "epochs": 2, "train_per_class": 8},
    "incremental_cifar": {**GLYPHS, "classes_per_stage": 2, "epochs": 1, "train_per_class": 40}
    | {"validation_per_class": 4},
    "relabelled": {**GLYPHS, "examples": 32, "tasks": 3, "epochs": 2},
    "warm_start": {**GLYPHS, "examples": 80, "test_examples": 8, "epochs": 2},
}

# Methods that act together in the engine's fingerprint; another method is no other engine.
OF_THE_ENGINE = ("l2", "shrink_and_perturb", "coupled_isometry", "reset", "continual_backprop")

FILE = Path(__file__).with_name("fingerprints.json")


SMALL_STREAMS: dict[str, dict[str, Any]] = {  # 20 steps and more of each, from images that need no download
    "permuted_mnist": {"dataset": "digits", "tasks": 3, "examples_per_task": 10},
    "continual_imagenet": {"dataset": "digits", "epochs": 2, "batch": 10, "train_per_class": 20, "tasks": 5},
    "incremental_cifar": {
        "dataset": "digits",
        "classes": 4,
        "classes_per_stage": 2,
        "epochs": 2,
        "batch": 10,
        "train_per_class": 20,
        "validation_per_class": 5,
    },
    "relabelled": {"dataset": "digits", "examples": 20, "batch": 5, "epochs": 2, "tasks": 3},
    "warm_start": {"dataset": "digits", "examples": 40, "batch": 10, "epochs": 4},
}


def digits(values: list[torch.Tensor]) -> float:
    """A number that any change of any value changes, to ten digits."""
    flat = torch.cat([v.detach().double().flatten() for v in values])
    weights = 1 + torch.arange(len(flat), dtype=torch.float64).mul(0.618).frac()
    return float(f"{(flat * weights).sum().item():.9e}")


def trained(arm: Arm, shape: Shape | PictureShape = TINY) -> float:
    """20 steps of one member."""
    x, y = data(shape, 20, streams=1, dtype=torch.float64)
    return digits(leaves(Pack(arm, shape, [1], path="plain", streams=1).train(x, y).state()))


def computed() -> dict[str, float]:
    """Every entry's fingerprint, by kind, name and semantics."""
    found: dict[str, float] = {}
    for name, spec in OPTIMIZERS.items():
        found[f"optimizer {name} {spec.semantics}"] = trained(Arm(name))
    for name, spec in METHODS.items():
        found[f"method {name} {spec.semantics}"] = trained(Arm("sgd", (name,)))
    found[f"engine {ENGINE_SEMANTICS}"] = trained(Arm("adamo", OF_THE_ENGINE))
    version = NETWORKS["mlp"].semantics
    for activation in get_args(Activation):
        shape = Shape(5, 2, 7, 3, "cross_entropy", 2, activation)
        found[f"network mlp {version} {activation}"] = trained(Arm("sgd"), shape)
    for initialisation in get_args(Initialisation):
        network = MLP(MLPConfig(width=5, depth=2, initialisation=initialisation), 7, 3)
        found[f"network mlp {version} {initialisation}"] = digits(list(network.init(3).values()))
    for name, spec in NETWORKS.items():
        if name != "mlp":
            found[f"network {name} {spec.semantics}"] = trained(Arm("sgd"), OF_EVERY_NETWORK[name])
            start = list(OF_EVERY_NETWORK[name].network.init(3).values())
            found[f"network {name} {spec.semantics} initial"] = digits(start)
    for name, kind in STREAMS.items():
        stream = kind(kind.Config(**SMALL_STREAMS.get(name, {})), 7)
        x, y = (torch.from_numpy(v) for v in stream.batches(0, min(20, stream.task_start(stream.tasks))))
        found[f"stream {name} {kind.semantics}"] = digits([x, y])
    network = MLP(MLPConfig(width=5, depth=2), 7, 3)
    params = {k: v[None] for k, v in network.init(3).items()}
    probe = data(TINY, 30, streams=1, dtype=torch.float64)[0][:, 0, 0]
    for name, diagnostic in DIAGNOSTICS.items():
        values = measure([name], Look(network, params, probe[None], gradients=params))
        found[f"diagnostic {name} {diagnostic.semantics}"] = digits(list(values.values()))
    return found


if __name__ == "__main__":
    assert all(map(math.isfinite, computed().values()))
    FILE.write_text(json.dumps(computed(), indent=1, sort_keys=True) + "\n")
