"""Trials to packs: what has one shape is trained together, capped by memory, split so that every worker has some.

Pure: the same trials, workers and device give the same packs, in the same order. Which path a pack takes, and why, is
decided by `workloads.paths`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sweep.trials import Trial, structure_key
from workloads import kinds, streams
from workloads.diagnostics import OF_THE_LAST_LOOK, parts_of
from workloads.diagnostics.costs import Sizes, look_cost
from workloads.extensions import owner
from workloads.losses import spec_of
from workloads.methods.config import METHODS, OPTIMIZERS, MethodSpec
from workloads.networks.config import NETWORKS, NetworkSettings
from workloads.paths import LANES, Case, NoSettings, Part, choice
from workloads.registry import fields_of, lookup

MEMORY = 2 << 30  # bytes a pack may need for its members' weights, optimizer state and streams
MOST = 3072  # members: beyond this a pack of the smallest networks gains nothing on a CPU
MOST_ON_GPU = 32_768  # there it is bound by starting kernels up to about this many
FEWEST = {"lanes": 64, "online": 1, "looped": 1, "lifted": 64}  # members not to be split further for more workers
PACKS_PER_WORKER = 4  # so that the last pack to end is not long alone

WORKED_ON = 3  # copies of the weights in any step: they, their gradient, what they become


@dataclass(frozen=True, slots=True)
class Shape:
    """What planning needs to know of a trial's config, without building it."""

    inputs: int
    outputs: int
    batch: int
    steps: int
    updates: int  # of a network: one a step, unless steps are those of an environment
    buffer: int  # numbers that a member gathers before it learns from them
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
    stream = kinds.made(config["workload"], config["seed"])
    network, _ = declared(config)
    settings = cast("NetworkSettings", network.config)
    built_for = NETWORKS[network.name].built_for(stream)
    return Shape(
        inputs=stream.inputs,
        outputs=stream.outputs,
        batch=stream.batch,
        steps=stream.task_start(stream.tasks),
        updates=getattr(stream, "updates", stream.task_start(stream.tasks)),
        buffer=getattr(stream, "buffer", 0),
        tasks=stream.tasks,
        parameters=sum(settings.parameters(built_for, outputs) for outputs in kinds.outputs_of(stream)),
        loss=stream.loss,
        boundaries_shown=stream.boundaries_shown,
    )


class Shapes:
    """Shapes of many trials: of each workload with each network one is made."""

    def __init__(self) -> None:
        self.made: dict[str, Shape] = {}

    def of(self, config: Mapping[str, Any]) -> Shape:
        """As `shape_of`."""
        key = repr((config["workload"], config["network"]))
        if key not in self.made:
            self.made[key] = shape_of(config)
        return self.made[key]


def own_timetable(config: Mapping[str, Any]) -> str:
    """Of a user's stream, whose tasks may begin elsewhere for another seed: such seeds cannot share a pack. Else ""."""
    if owner("STREAMS", config["workload"]["name"]) is None:
        return ""
    from workloads.checks.streams import timetable

    return ":" + timetable(streams.made(config["workload"], config["seed"]))


def declared(config: Mapping[str, Any]) -> tuple[Part, list[tuple[Part, MethodSpec]]]:
    """A trial's network at its settings, and its optimizer and methods, each with its registry entry."""
    name, settings = fields_of(config["network"])
    network = lookup(NETWORKS, name, "network")
    learning = []
    for registry, kind, own in (
        (OPTIMIZERS, "optimizer", [fields_of(config["optimizer"])]),
        (METHODS, "method", list(config["methods"].items())),
    ):
        for each, fields in own:
            entry = lookup(registry, each, kind)
            learning.append((Part(each, entry.paths, entry.config(**fields)), entry))
    return Part(name, network.paths, network.config(**settings)), learning


def path_of(config: Mapping[str, Any], device: str) -> tuple[str, str]:
    """(path, why) for trials like this one on this kind of device."""
    shape = shape_of(config)
    network, learning = declared(config)
    loss = Part(f"the loss {shape.loss}", spec_of(shape.loss).paths, NoSettings())
    case = Case(
        parts=[network, loss, *(part for part, _ in learning)],
        batch=shape.batch,
        inputs=shape.inputs,
        parameters=shape.parameters,
        convolutional=NETWORKS[config["network"]["name"]].convolutional,
        device=device,
    )
    return choice(case, lambda path: not_lowered(config, path))


def not_lowered(config: Mapping[str, Any], path: str) -> str | None:
    """Why the step of a trial has no C++ for a path; None where it has. Imports torch: it is traced."""
    from workloads.training.lowerable import not_lowered as traced

    with contextlib.redirect_stdout(io.StringIO()):  # what a step prints as it is traced is of no trial
        return traced(config, path)


def member_bytes(config: Mapping[str, Any], shape: Shape) -> int:
    """Memory of one member: weights, state of the optimizer and the methods, what it was, work space."""
    width = 8 if config["dtype"] == "float64" else 4
    read = parts_of(config["metrics"])
    copies = WORKED_ON + sum(entry.held(part.config) for part, entry in declared(config)[1])
    copies += (not OF_THE_LAST_LOOK.isdisjoint(read)) + ("initial_weights" in read)
    return math.ceil((shape.parameters * copies + shape.buffer) * width)


def cost_of(config: Mapping[str, Any], shape: Shape) -> float:
    """How long a trial takes beside others, in no particular unit."""
    width = sizes_of(config, shape).width
    step = sum(entry.steps(part.config, width=width, batch=shape.batch) for part, entry in declared(config)[1])
    return shape.parameters * (shape.updates * step + looking(config, shape))


def step_cost(config: Mapping[str, Any]) -> float:
    """How many steps of plain SGD a step takes as long as, but for products of matrices."""
    return sum(entry.cost for _, entry in declared(config)[1])


def multiplied(config: Mapping[str, Any], shape: Shape) -> float:
    """How many multiply-adds for every weight an update takes in products of weight matrices."""
    products = sum(entry.multiplied(part.config) for part, entry in declared(config)[1])
    return products * sizes_of(config, shape).width


def looks_at(config: Mapping[str, Any], shape: Shape) -> int:
    """How many times a trial's network is looked at: before every n-th task, and the last."""
    return len({*range(0, shape.tasks, config["every"]), shape.tasks - 1})


def sizes_of(config: Mapping[str, Any], shape: Shape) -> Sizes:
    """What the cost of a trial's looks depends on."""
    convolutional = NETWORKS[config["network"]["name"]].convolutional
    hidden = getattr(declared(config)[0].config, "hidden", None)  # an MLP's layers; elsewhere as if it were one matrix
    return Sizes(
        examples=config["probe"],
        outputs=shape.outputs,
        parameters=shape.parameters,
        width=max(hidden) if isinstance(hidden, tuple) and hidden else math.sqrt(shape.parameters),
        convolutional=convolutional,
    )


def looking(config: Mapping[str, Any], shape: Shape) -> float:
    """How many steps of plain SGD take as long as all looks of a trial, roughly: a step is three forward passes."""
    return looks_at(config, shape) * look_cost(config["metrics"], sizes_of(config, shape)) / (3 * shape.batch)


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
