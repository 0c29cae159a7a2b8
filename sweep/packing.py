"""Trials to packs: what has one shape is trained together, capped by memory, split so that every worker has some.

Pure: the same trials, workers and device give the same packs, in the same order. A pack's path is a function of its
network, methods, batch, dtype and device, never of a timer, so that two runs of a trial agree.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweep.trials import Trial, structure_key
from workloads import streams
from workloads.extensions import owner
from workloads.networks.config import NETWORKS, SMALL
from workloads.registry import lookup

MEMORY = 2 << 30  # bytes a pack may need for its members' weights, optimizer state and streams
MOST = 3072  # members: beyond this a pack of the smallest networks gains nothing on a CPU
MOST_ON_GPU = 32_768  # there it is bound by starting kernels up to about this many
MOST_INPUTS = 16_384  # numbers in a batch up to which lanes, which hold one for every member, keep it in cache
LANES = 16  # members of the lanes path that cost as much as one
FEWEST = {"lanes": 64, "online": 1, "looped": 1, "lifted": 64}  # members not to be split further for more workers
PACKS_PER_WORKER = 4  # so that the last pack to end is not long alone

ONLINE: dict[str, Any] = {  # what the online path has loops for, and up to which batch it is the faster one
    "batch": 32,
    "networks": ("mlp",),
    "losses": ("squared_error", "cross_entropy"),
    "optimizers": ("sgd", "adam", "adamw", "adamo"),
    "methods": ("l2", "shrink_and_perturb", "reset", "continual_backprop"),
}

# Copies of the weights that a pack holds: the weights, the optimizer's moments, and work space for one update.
WEIGHT_COPIES = {"sgd": 3, "adam": 6, "adamw": 6, "adamo": 7}

# What a step costs beside plain SGD's, roughly, so that packs take about equally long and the longest begin first.
COSTS = {"adam": 4.0, "adamw": 4.0, "adamo": 6.0, "l2": 0.2, "shrink_and_perturb": 6.0}
COMPILED = ("lanes", "online", "lifted")  # paths that want a C++ compiler on a CPU


@dataclass(frozen=True, slots=True)
class Shape:
    """What planning needs to know of a trial's config, without building it."""

    inputs: int
    outputs: int
    batch: int
    steps: int
    tasks: int
    parameters: int
    loss: str
    boundaries_shown: bool


@dataclass(frozen=True, slots=True)
class PlannedPack:
    """Trials to be trained as one program."""

    id: str
    trials: Sequence[Trial]
    structure: str  # key of what they share
    path: str
    reason: str  # why this path
    device: str
    shape: Shape
    memory: int  # bytes, estimated
    resumes: bool = False  # continues from a checkpoint


def shape_of(config: Mapping[str, Any]) -> Shape:
    """Sizes of a trial, from its config alone."""
    stream = streams.made(config["workload"], config["seed"])
    network = dict(config["network"])
    known = lookup(NETWORKS, network.pop("name"), "network")
    settings = known.config(**network)
    return Shape(
        inputs=stream.inputs,
        outputs=stream.outputs,
        batch=stream.batch,
        steps=stream.task_start(stream.tasks),
        tasks=stream.tasks,
        parameters=settings.parameters(known.built_for(stream), stream.outputs),
        loss=stream.loss,
        boundaries_shown=stream.boundaries_shown,
    )


def own_timetable(config: Mapping[str, Any]) -> str:
    """Of a user's stream, whose tasks may begin elsewhere for another seed: such seeds cannot share a pack. Else ""."""
    if owner("STREAMS", config["workload"]["name"]) is None:
        return ""
    from workloads.checks.streams import timetable

    return ":" + timetable(streams.made(config["workload"], config["seed"]))


def path_of(config: Mapping[str, Any], device: str) -> tuple[str, str]:
    """(path, why) for trials like this one on this kind of device."""
    network = lookup(NETWORKS, config["network"]["name"], "network")
    if not network.liftable:
        return "looped", "the network says that it cannot be batched over members"
    if device != "cpu":
        return "lifted", "one vmapped program on the GPU for all members"
    if network.convolutional:
        return "looped", "one network after the other: the fastest for convolutions on a CPU"
    shape = shape_of(config)
    if shape.parameters > SMALL:
        refused = not_online(config, shape)
        if refused is None:
            return "online", "one compiled loop over steps that skips silent rows"
        return "lifted", f"one vmapped, compiled program for all members: not online, since {refused}"
    if shape.batch * shape.inputs > MOST_INPUTS:
        return "lifted", "one vmapped, compiled program: no lanes, since batches are large"
    refused = not_lowered(config) if config.get("code") else None
    if refused:
        return "lifted", f"one vmapped, compiled program: no lanes, since {refused}"
    return "lanes", "members as SIMD lanes of one compiled kernel"


def not_online(config: Mapping[str, Any], shape: Shape) -> str | None:
    """Why trials like this one cannot run online; None where they can. `workloads.engine.online.refusal` agrees."""
    if shape.batch > ONLINE["batch"]:
        return f"batches are larger than {ONLINE['batch']}"
    if shape.loss not in ONLINE["losses"]:
        return f"the loss {shape.loss} has no such loop"
    if config["network"]["name"] not in ONLINE["networks"]:
        return f"the network is not one of {', '.join(ONLINE['networks'])}"
    if config["optimizer"]["name"] not in ONLINE["optimizers"]:
        return f"the optimizer {config['optimizer']['name']} has no such loop"
    if config["optimizer"].get("momentum"):
        return "momentum moves every weight"
    units = config["methods"].get("continual_backprop")
    if units and (units["share_of"], units["magnitudes"]) != ("eligible", "decaying"):
        return "the released convolutional codes' continual backprop has no such loop"
    others = sorted(set(config["methods"]).difference(ONLINE["methods"]))
    return f"the method {others[0]} has no such loop" if others else None


def not_lowered(config: Mapping[str, Any]) -> str | None:
    """Why the step of a trial with a user's own code has no C++; None where it has. Imports torch: it must be traced.

    Everything that ships with Pliant can be lowered, which the contract tests see to.
    """
    from workloads.training.lowerable import not_lowered as traced

    with contextlib.redirect_stdout(io.StringIO()):  # what a step prints as it is traced is of no trial
        return traced(config)


def member_bytes(config: Mapping[str, Any], shape: Shape) -> int:
    """Memory of one member: weights, optimizer state, work space."""
    width = 8 if config["dtype"] == "float64" else 4
    return shape.parameters * width * WEIGHT_COPIES.get(config["optimizer"]["name"], 7)


def cost_of(config: Mapping[str, Any], shape: Shape) -> float:
    """How long a trial takes beside others, in no particular unit."""
    parts = [config["optimizer"]["name"], *config["methods"]]
    return shape.steps * shape.parameters * sum(COSTS.get(part, 1.0) for part in parts)


def plan_packs(trials: Sequence[Trial], *, workers: int, device: str = "cpu") -> list[PlannedPack]:
    """Packs for these trials, longest first. `workers` is how many run at once."""
    structures: dict[str, list[Trial]] = {}
    keys: dict[str, str] = {}  # by group: its trials have one structure
    tables: dict[tuple[str, int], str] = {}  # by structure and seed
    for trial in trials:
        if trial.group not in keys:
            keys[trial.group] = structure_key(trial.config)
        key = keys[trial.group]
        if (key, trial.config["seed"]) not in tables:
            tables[key, trial.config["seed"]] = own_timetable(trial.config)
        structures.setdefault(key + tables[key, trial.config["seed"]], []).append(trial)
    shapes = {key: shape_of(members[0].config) for key, members in structures.items()}
    work = {key: cost_of(members[0].config, shapes[key]) * len(members) for key, members in structures.items()}
    share = sum(work.values()) / (PACKS_PER_WORKER * workers) if work else 0
    packs = []
    for key, members in structures.items():
        shape = shapes[key]
        config = members[0].config
        each = member_bytes(config, shape)
        path, reason = path_of(config, device)
        most = MOST if device == "cpu" else MOST_ON_GPU
        wanted = math.ceil(work[key] / share) if workers > 1 else 1
        pieces = max(
            math.ceil(len(members) / most),
            math.ceil(len(members) * each / MEMORY),
            min(wanted, len(members) // FEWEST[path]),
            1,
        )
        # Neighbours share a seed, so that their look-ups of the stream share cache lines.
        members = sorted(members, key=lambda t: (t.config["seed"], t.id))
        size = math.ceil(len(members) / pieces)
        if path == "lanes":
            size = min(math.ceil(size / LANES) * LANES, max(size, MEMORY // each), MOST)
        for first in range(0, len(members), size):
            part = members[first : first + size]
            packs.append(
                PlannedPack(
                    id=pack_id([t.id for t in part], path, device),
                    trials=part,
                    structure=key,
                    path=path,
                    reason=reason,
                    device=device,
                    shape=shape,
                    memory=len(part) * each,
                )
            )
    packs.sort(key=lambda p: (-cost_of(p.trials[0].config, p.shape) * len(p.trials), p.id))
    return packs


def pack_id(trial_ids: Sequence[str], path: str, device: str) -> str:
    """A pack's name: a hash of its members in order, its path and its kind of device."""
    text = "\n".join([path, device.split(":")[0], *trial_ids])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
