"""One number per registry entry: what 20 steps of it give, in float64. `python tests/contracts/fingerprints.py` writes
them anew, for the day a result is meant to change; its `semantics` is then raised too, which changes the key.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from packs import OF_EVERY_NETWORK, TINY, Arm, Pack, PictureShape, Shape, data, leaves, takes

from sweep.trials import ENGINE_SEMANTICS
from workloads.diagnostics import DIAGNOSTICS
from workloads.diagnostics.look import Look
from workloads.diagnostics.measure import measure
from workloads.engine.layout import Tree, in_order
from workloads.losses.implementations import SquaredError
from workloads.methods.config import METHODS, OPTIMIZERS
from workloads.networks.config import NETWORKS, Initialisation, Killed, MLPActivation, MLPConfig
from workloads.networks.mlp import MLP
from workloads.reinforcement import CONTROLS
from workloads.streams import STREAMS
from workloads.training.loop import training_of
from workloads.training.pack import Pack as Trials
from workloads.training.pack import PackMember

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


@dataclass(frozen=True, kw_only=True)
class Case:
    """20 steps of one member, halfway through which a task may begin."""

    arm: Arm
    shape: Shape | PictureShape = TINY
    index: int = 0  # the member, and so its settings: those of member 0 make everything act
    task: bool = True

    def trained(self, path: str = "plain") -> Tree:
        """The member's state after the steps, in the order in which the plain path holds it."""
        x, y = data(self.shape, 20, streams=1, dtype=torch.float64)
        pack = Pack(self.arm, self.shape, [self.index], path=path, streams=1)
        order = {name: pack.state()[name] for name in ("params", "state", "loss", "correct")}
        pack.train(x[:10], y[:10])
        if self.task:
            pack.begin_task()
        held = pack.train(x[10:], y[10:]).state()
        return held if path == "plain" else in_order({name: held[name] for name in order}, order)

    def paths(self) -> list[str]:
        """The paths that take the case, beside the plain one."""
        return [path for path in ("lifted", "lanes", "online") if takes(path, self.arm, self.shape)]


def options(spec: Any) -> Iterator[dict[str, Any]]:
    """Every setting that is structure at every value but its default, one at a time, as far as a config takes it."""
    default = spec.config()
    for name, hint in get_type_hints(spec.config).items():
        for value in values_of(hint) if name not in {*spec.varies, *ELSEWHERE} else ():
            if value != getattr(default, name):
                with contextlib.suppress(ValueError):
                    spec.config(**{name: value})
                    yield {name: value}


def values_of(hint: Any) -> list[Any]:
    """Values of a setting's type: all of a Literal, also beside null; of a number one that is far from defaults."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    some: dict[Any, list[Any]] = {bool: [True, False], float: [0.5], int: [3]}
    return some.get(hint, []) + [value for part in get_args(hint) for value in values_of(part)]


# Act on moments, kernels, scales, biases that do not begin at 0, or online alone; redo's score is its preset's.
ELSEWHERE = ("reset_optimizer", "optimizer", "fresh_kernels", "bias", "noise", "score", "kernels", "scale_penalty")
OF_MOMENTS = [{"what": "optimizer"}]  # what acts on nothing else, and so beside an optimizer that has some
TOGETHER = ("l2", "shrink_and_perturb", "coupled_isometry", "reset", "continual_backprop")  # what the engine orders


def cases() -> dict[str, Case]:
    """What is trained, by kind, name and semantics."""
    found: dict[str, Case] = {f"engine {ENGINE_SEMANTICS}": Case(arm=Arm("adamo", TOGETHER))}
    for kind, registry in (("optimizer", OPTIMIZERS), ("method", METHODS)):
        for name, spec in registry.items():
            for option in ({}, *options(spec)):
                base = "adam" if option in OF_MOMENTS else "sgd"
                arm = Arm(name, (), option) if kind == "optimizer" else Arm(base, (name,), option)
                text = "".join(f" {field}={value}" for field, value in option.items())
                found[f"{kind} {name} {spec.semantics}{text}"] = Case(arm=arm)
    version = NETWORKS["mlp"].semantics
    for activation in get_args(MLPActivation):
        width = 8 if activation.startswith("groupsort") else 5  # a whole number of groups
        shape = Shape(width, 2, 7, 3, "cross_entropy", 2, activation)
        found[f"network mlp {version} {activation}"] = Case(arm=Arm("sgd"), shape=shape, index=1, task=False)
    settings: list[dict[str, Any]] = [{"normalisation": kind} for kind in ("layer", "layer_plain", "online")]
    for setting in (*settings, {"dropout": 0.4}):
        shape, name = Shape(5, 2, 7, 3, "cross_entropy", 2, **setting), setting.get("normalisation", "dropout")
        found[f"network mlp {version} {name}"] = Case(arm=Arm("sgd"), shape=shape, index=1, task=False)
    scaled, penalised = Shape(5, 2, 7, 3, "cross_entropy", 2, layer_scale=True), {"scale_penalty": 0.5}
    for kind, name, entry, arm in (
        ("network", "mlp", NETWORKS["mlp"], Arm("sgd")),
        ("optimizer", "adamo", OPTIMIZERS["adamo"], Arm("adamo", (), penalised)),
        ("method", "coupled_isometry", METHODS["coupled_isometry"], Arm("sgd", ("coupled_isometry",), penalised)),
    ):
        found[f"{kind} {name} {entry.semantics} layer_scale"] = Case(arm=arm, shape=scaled, task=False)
    for name, spec in NETWORKS.items():
        if name != "mlp":
            shape = OF_EVERY_NETWORK[name]
            found[f"network {name} {spec.semantics}"] = Case(arm=Arm("sgd"), shape=shape, index=1, task=False)
    return found


@functools.cache
def computed() -> dict[str, float]:
    """Every entry's fingerprint, by kind, name and semantics."""
    found = {name: digits(leaves(case.trained())) for name, case in cases().items()}
    version = NETWORKS["mlp"].semantics
    for initialisation in get_args(Initialisation):
        network = MLP(MLPConfig(width=5, depth=2, initialisation=initialisation), 7, 3)
        found[f"network mlp {version} {initialisation}"] = digits(list(network.init(3).values()))
    for way in get_args(Killed):
        if way != "none":
            found[f"network mlp {version} killed={way}"] = digits(
                list(MLP(MLPConfig(killed=way), 7, 3).init(3).values())
            )
    for name, spec in NETWORKS.items():
        if name != "mlp":
            start = list(OF_EVERY_NETWORK[name].network.init(3).values())
            found[f"network {name} {spec.semantics} initial"] = digits(start)
    for name, kind in STREAMS.items():
        stream = kind(kind.Config(**SMALL_STREAMS.get(name, {})), 7)
        x, y = (torch.from_numpy(v) for v in stream.batches(0, min(20, stream.task_start(stream.tasks))))
        found[f"stream {name} {kind.semantics}"] = digits([x, y])
    for name, control in CONTROLS.items():
        found[f"control {name} {control.semantics}"] = digits(acted(name))
    for name, diagnostic in DIAGNOSTICS.items():
        found[f"diagnostic {name} {diagnostic.semantics}"] = measured(name)
    return found


def acted(control: str) -> list[torch.Tensor]:
    """Both networks and the world after two iterations, of 20 steps in all."""
    trial = {
        "workload": {"name": control, "envs": 2, "rollout": 5, "minibatches": 2, "steps_per_task": 10_000},
        "network": {"name": "mlp", "width": 5, "depth": 1},
        "optimizer": {"name": "adam", "step_size": 0.01},
        "methods": {"l2": {"strength": 0.01}},
        **{"seed": 7, "metrics": [], "every": 1, "probe": 8, "dtype": "float64", "keep": "none"},
    }
    training = training_of(Trials(id="", members=[PackMember("", trial)], path="looped"))
    training.begin()
    training.train(20)
    tree = training.engine.state()
    return [*tree["params"].values(), *tree["critic"]["params"].values(), *tree["world"].values()]


def measured(diagnostic: str) -> float:
    """What a diagnostic reads off a small network: one where it does not read 0."""
    kernel = diagnostic.startswith("ntk")
    activation = "tanh" if kernel or diagnostic.endswith("jacobian_min") else "relu"  # which a silent unit makes 0
    revived = diagnostic == "revived_fraction"  # which is 0 as a trial begins
    network = MLP(MLPConfig(width=5, depth=2, activation=activation, killed="bias" if revived else "none"), 7, 3)
    params = {k: v[None] for k, v in network.init(3, at=int(revived)).items()}
    if silent := {"dead_fraction": 2, "rarely_active_fraction": 3, "dormant_fraction_1": 4}.get(diagnostic):
        params["layers.0.bias"][:, :silent] = -100
    count = 5 if kernel else 30  # of more rows than parameters a kernel has eigenvalues of 0
    probe = data(TINY, count, streams=1, dtype=torch.float64)[0][:, 0, 0]
    before, initial = ({k: scale * v for k, v in params.items()} for scale in (0.9, 0.5))
    past = {"before": Look(network, before, probe[None]), "initial": Look(network, initial, probe[None])}
    ages = {f"layers.{k}": torch.arange(k, k + 5)[None] for k in range(2)}
    known = {"gradients": params, "targets": probe[None, :, :3], "loss": SquaredError(), "ages": ages, **past}
    return digits(list(measure([diagnostic], Look(network, params, probe[None], **known)).values()))


if __name__ == "__main__":
    assert all(map(math.isfinite, computed().values()))
    FILE.write_text(json.dumps(computed(), indent=1, sort_keys=True) + "\n")
