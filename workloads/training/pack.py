"""A pack: trials of one shape, trained together. Members, tasks, diagnostics and checkpoints around the engine.

`run_pack` is a plain function of a pack: no Ray object, no tracking run, no global random state. It hands what it
measured to `report` as it goes, together with a checkpoint from which a later call continues to the same bits.
"""

from __future__ import annotations

import functools
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workloads import streams
from workloads.checks.streams import timetable
from workloads.data import front
from workloads.diagnostics import BINS, DIAGNOSTICS
from workloads.diagnostics.look import Look
from workloads.diagnostics.measure import measure
from workloads.engine import Engine, build
from workloads.engine.computing import computing
from workloads.engine.lanes import Lanes
from workloads.engine.layout import Tree, mapped, stacked
from workloads.engine.lifted import Lifted
from workloads.engine.online import Online
from workloads.engine.trace import NotLowered
from workloads.errors import CheckpointError, InputError
from workloads.extensions import load_code, owner
from workloads.learner import Learner
from workloads.methods.base import Params
from workloads.methods.config import METHODS, OPTIMIZERS
from workloads.networks.config import NETWORKS
from workloads.networks.implementations import IMPLEMENTATIONS as NETWORK_IMPLEMENTATIONS
from workloads.random import Draw
from workloads.registry import lookup
from workloads.streams.base import Stream, TaskStream, pictures_of, rows_of
from workloads.streams.on_device import batches_on
from workloads.training.held_out import HeldOut, evaluated

CHUNK_STEPS = 2000  # most steps of a stream held in memory at once
CHUNK_BYTES = 64 << 20  # most bytes of it
COMMIT_SECONDS = 20.0  # at least this long between two reports, so that checkpoints cost little

STEP_SIZES = ("step_size", "isometry_step_size")  # what a stream's schedule scales

# tf32: float32, whose products a GPU may compute from rounded factors; on a CPU the same as float32.
DTYPES = {"float32": torch.float32, "float64": torch.float64, "tf32": torch.float32}


class Member(Protocol):
    """A trial as a pack sees it."""

    @property
    def id(self) -> str:
        """The trial's id."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The trial's whole config."""


@dataclass(frozen=True, slots=True)
class PackMember:
    """A trial's id and config, as read back from a pack's description."""

    id: str
    config: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pack:
    """Trials that differ in seed and varying scalars alone, with the path and device they run on."""

    id: str
    members: Sequence[Member]
    path: str = "lifted"
    device: str = "cpu"
    code: Mapping[str, str] = field(default_factory=dict)  # user's files, name -> source

    def to_json(self) -> str:
        """The description a worker, or a resumed run, rebuilds the pack from."""
        members = [{"id": m.id, "config": dict(m.config)} for m in self.members]
        return json.dumps(
            {
                "id": self.id,
                "path": self.path,
                "device": self.device,
                "code": list(self.code.items()),  # in order, in which the methods of several files act
                "members": members,
            },
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str) -> Pack:
        """The inverse of `to_json`."""
        fields = json.loads(text)
        members = [PackMember(m["id"], m["config"]) for m in fields.pop("members")]
        return cls(members=members, code=dict(fields.pop("code")), **fields)


@dataclass(frozen=True, slots=True)
class Rows:
    """Measurements, one per index: member number, metric (index into `names`), task, step, value."""

    names: tuple[str, ...]
    member: NDArray[np.int32]
    metric: NDArray[np.int16]
    task: NDArray[np.int32]
    step: NDArray[np.int64]
    value: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a pack reports: rows since the last report, where every member stands, and how to continue."""

    tasks: int  # complete tasks
    step: int  # steps done
    rows: Rows
    statuses: list[str]  # per member: running, done or diverged
    ended: list[int]  # per member: the task it diverged in, else the complete tasks
    checkpoint: bytes | None  # None once finished
    weights: dict[str, bytes]  # file name -> torch.save of {"params", "config"}, as `keep` asks


Report = Callable[[Snapshot], None]
MakeStream = Callable[[int], Stream]
MakeParams = Callable[[int], Params]


class Table:
    """Rows as they come, column by column, until they are taken."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.parts: list[tuple[Any, ...]] = []

    def add(self, name: str, task: int, step: int, values: Tensor, keep: Tensor) -> None:
        """One value per member, for the members in the mask `keep`."""
        members = keep.nonzero().squeeze(-1).cpu().numpy().astype(np.int32)
        code = self.names.setdefault(name, len(self.names))
        picked = values.detach().to("cpu", torch.float64).numpy()[members]
        self.parts.append((members, code, task, step, picked))

    def take(self) -> Rows:
        """All rows since the last take."""
        sizes = [len(part[0]) for part in self.parts]

        def column(position: int, dtype: Any) -> Any:
            return np.repeat(np.array([part[position] for part in self.parts], dtype=dtype), sizes)

        rows = Rows(
            names=tuple(self.names),
            member=np.concatenate([part[0] for part in self.parts] or [np.empty(0, np.int32)]),
            metric=column(1, np.int16),
            task=column(2, np.int32),
            step=column(3, np.int64),
            value=np.concatenate([part[4] for part in self.parts] or [np.empty(0)]),
        )
        self.parts = []
        return rows


def shown_within(task: int, tasks: int) -> bool:
    """Whether the curve within a task is recorded: in the 1st, 10th, 100th, ... and the last."""
    return task == tasks - 1 or task + 1 in {10**k for k in range(len(str(tasks)))}


def dtype_of(config: Mapping[str, Any]) -> torch.dtype:
    """The floating-point type a trial's config asks for."""
    return lookup(DTYPES, config["dtype"], "dtype")


def built(table: Mapping[str, Any], fields: Mapping[str, Any], kind: str) -> tuple[str, Any]:
    """(name, config object) from a config's {"name": ..., fields}."""
    arguments = dict(fields)
    name = arguments.pop("name")
    return name, lookup(table, name, kind).config(**arguments)


def ways_of_learning(config: Mapping[str, Any]) -> tuple[tuple[str, Any], dict[str, Any]]:
    """The optimizer's (name, config) and the methods' configs of one trial."""
    optimizer = built(OPTIMIZERS, config["optimizer"], "optimizer")
    asked = config["methods"]
    for name in asked:
        lookup(METHODS, name, "method")
    # In the registry's order, which is the order they act in: a trial's config is sorted by name for its hash.
    return optimizer, {name: spec.config(**asked[name]) for name, spec in METHODS.items() if name in asked}


def stream_of(config: Mapping[str, Any], seed: int) -> Stream:
    """The stream of a trial's config, for any seed."""
    return streams.made(config["workload"], seed)


def network_of(config: Mapping[str, Any], stream: Stream) -> Any:
    """The network of a trial's config, sized for its stream."""
    name, settings = built(NETWORKS, config["network"], "network")
    return NETWORK_IMPLEMENTATIONS[name](settings, NETWORKS[name].built_for(stream), stream.outputs)


def not_lowered(config: Mapping[str, Any]) -> str | None:
    """Why the step of trials like this one cannot be written as C++ for lanes; None where it can."""
    members = [PackMember("", config)]
    with computing():
        training = Training(Pack(id="", members=members, path="looped"))
        training.begin()
        # Not by `build`, which wants a compiler: what plans a sweep need not have one.
        lanes = Lanes(training.learner, training.hyper, training.seeds)
        lanes.load(training.engine.state())
        try:
            lanes.source(*(v[0, 0] for v in training.batches(0, 1)))
        except NotLowered as error:
            return f"its step has {error}"
        except Exception as error:  # a user's code may fail in any way, and lifted may be able to run it
            said = (str(error).splitlines() or [""])[0][:80]
            return f"tracing its step failed ({type(error).__name__}: {said})"
    return None


class Training:
    """A pack on its way: the engine, the streams and the place in them. `run_pack` drives it.

    What computes is `computing()`, so that whoever drives it gets the same numbers.
    """

    @computing()
    def __init__(
        self,
        pack: Pack,
        *,
        initial: MakeParams | None = None,
        stream: MakeStream | None = None,
        dtype: torch.dtype | None = None,
        path: str | None = None,
    ) -> None:
        self.pack = pack
        config = pack.members[0].config
        self.config = config
        self.device = torch.device(pack.device)
        self.dtype = dtype or dtype_of(config)
        seeds = [m.config["seed"] for m in pack.members]
        self.distinct = sorted(set(seeds))
        make_stream = stream or (lambda seed: stream_of(config, seed))
        self.streams = [make_stream(seed) for seed in self.distinct]
        if stream or owner("STREAMS", config["workload"]["name"]):
            self.check_timetables()
        places = {seed: place for place, seed in enumerate(self.distinct)}
        self.which = torch.tensor([places[seed] for seed in seeds], device=self.device)
        self.stream = self.streams[0]
        self.network = network_of(config, self.stream)
        self.make_params = initial or self.network.init
        optimizer, methods = ways_of_learning(config)
        self.learner = Learner(self.network, self.stream.loss, optimizer, methods)
        member_hyper = [self.learner.hyper_of(o[1], m) for o, m in (ways_of_learning(m.config) for m in pack.members)]
        as_tensors = [mapped(lambda v: torch.tensor(v, dtype=self.dtype), h) for h in member_hyper]
        self.hyper = mapped(lambda v: v.to(self.device), stacked(as_tensors))
        self.step_sizes = {n: v.clone() for n, v in self.hyper["optimizer"].items() if n in STEP_SIZES}
        self.seeds = torch.tensor(seeds, dtype=torch.int64, device=self.device)
        self.path = path or pack.path
        self.engine = self.new_engine()
        self.table = Table()
        self.weights: dict[str, bytes] = {}
        self.step = 0
        self.factor = 1.0  # of the step sizes, as the stream's schedule has it
        self.held_out: HeldOut | None = None
        if isinstance(self.stream, TaskStream) and self.stream.tested:
            tested = [stream for stream in self.streams if isinstance(stream, TaskStream)]
            self.held_out = HeldOut(self.learner, tested, self.which, self.placed)
        self.fresh: Engine | None = None  # newborn copies that learn the task at hand beside the members
        self.before_bin = torch.zeros(len(seeds), dtype=torch.float64)  # the online sum when a bin began
        self.ended = torch.full((len(seeds),), -1, dtype=torch.int64)  # the task a member diverged in
        # Under vmap convolutions become grouped ones, which a CPU is slow at.
        self.alone = NETWORKS[config["network"]["name"]].convolutional and self.device.type == "cpu"
        per_step = sum(v[:1].nbytes for v in self.stream.batches(0, 1)) * len(self.streams)
        self.chunk = max(1, min(CHUNK_STEPS, CHUNK_BYTES // per_step))

    def check_timetables(self) -> None:
        """What is asked of one stream holds for all. Raises InputError where tasks begin elsewhere for another seed."""
        if len({timetable(stream) for stream in self.streams}) > 1:
            seeds = ", ".join(map(str, self.distinct))
            raise InputError(
                f"the streams of seeds {seeds} change their tasks at other steps: give each a pack of its own"
            )

    @property
    def alive(self) -> Tensor:
        """Mask of the members that have not diverged."""
        return self.ended < 0

    @functools.cached_property
    def hidden(self) -> int:
        """How many activations the network has for one example; asked where there are diagnostics."""
        blank = {n: torch.empty(s, device="meta") for n, s in self.network.parameter_shapes().items()}
        blank |= self.network.initial_buffers(blank[self.network.head])
        shown = self.network.apply(blank, torch.empty(1, self.stream.inputs, device="meta"))[1]
        return sum(features.numel() for _, features in shown)

    @property
    def engines(self) -> list[Engine]:
        """The members', and the newborn copies' where there are any."""
        return [self.engine] if self.fresh is None else [self.engine, self.fresh]

    @computing()
    def begin(self) -> None:
        """Initial weights (one draw per seed, shared by all members of that seed) and state."""
        self.engine.load(self.newborn(self.make_params))

    def new_engine(self) -> Engine:
        """An engine of the pack's path, without a state yet."""
        return build(self.path, self.learner, self.hyper, self.seeds, tf32=self.config["dtype"] == "tf32")

    def newborn(self, make_params: MakeParams) -> Tree:
        """The state of members that have learned nothing yet."""
        per_seed = stacked([dict(make_params(seed)) for seed in self.distinct])
        params = mapped(lambda v: v.to(self.device, self.dtype)[self.which], per_seed)
        count = len(self.seeds)
        states = torch.func.vmap(self.learner.init, randomness="error")(params)
        zero = torch.zeros(count, dtype=torch.float64, device=self.device)
        return {"params": params, "state": states, "loss": zero, "correct": zero.clone()}

    def save(self) -> bytes:
        """Everything a later call needs to continue to the same bits."""
        buffer = io.BytesIO()
        held = {
            "pack": self.pack.id,
            "step": self.step,
            "ended": self.ended,
            "engine": mapped(lambda v: v.cpu(), self.engine.state()),
            "before_bin": self.before_bin,
        }
        if self.held_out is not None:
            held["held_out"] = mapped(lambda v: v.cpu(), self.held_out.state())
        if self.fresh is not None:
            held["fresh"] = mapped(lambda v: v.cpu(), self.fresh.state())
        torch.save(held, buffer)
        return buffer.getvalue()

    @computing()
    def restore(self, saved: bytes) -> None:
        """Continue from what `save` returned. Raises CheckpointError where it is another pack's."""
        held = torch.load(io.BytesIO(saved), weights_only=True)
        if held["pack"] != self.pack.id:
            raise CheckpointError(f"the checkpoint belongs to pack {held['pack']}, not to {self.pack.id}")
        self.step = held["step"]
        self.ended = held["ended"]
        self.follow()
        self.engine.load(mapped(lambda v: v.to(self.device), held["engine"]))
        self.before_bin = held["before_bin"]
        if self.held_out is not None:
            self.held_out.load(held["held_out"])
        if "fresh" in held:
            self.fresh = self.new_engine()
            self.fresh.load(mapped(lambda v: v.to(self.device), held["fresh"]))

    def batches(self, start: int, count: int) -> tuple[Tensor, Tensor]:
        """x (count, S, B, ...), y (count, S, B, ...) of all distinct streams."""
        if self.device.type == "cuda":
            made = batches_on(self.device, self.streams, start, count)
            if made is not None:
                return made[0].to(self.dtype), made[1]
        drawn = [stream.batches(start, count) for stream in self.streams]
        return tuple(self.placed(np.stack([d[i] for d in drawn], axis=1)) for i in (0, 1))  # type: ignore[return-value]

    def tables(self, start: int, count: int) -> tuple[Tensor, Tensor, Tensor] | None:
        """The same as rows of small tables: x (S, K, ...), y (S, K, ...), index (S, count, B); None where it cannot."""
        found = [rows_of(stream, start, count) for stream in self.streams]
        known = [rows for rows in found if rows is not None]
        if len(known) < len(found) or len({len(rows.x) for rows in known}) > 1:
            return None
        x, y, index = (np.stack([getattr(rows, name) for rows in known]) for name in ("x", "y", "index"))
        return self.placed(x), self.placed(y), self.placed(index)

    def placed(self, values: NDArray[Any]) -> Tensor:
        """An array on the device, floating-point values in the trial's type."""
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        if self.device.type == "cuda":  # the host does not wait for it to arrive
            tensor = tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor

    @computing()
    def begin_task(self, task: int) -> None:
        """What happens before a task's first step: the diagnostics, task-wise methods, a fresh copy where one is due.

        So the network is looked at as the tasks before left it, on examples of the coming one.
        """
        if task % self.config["every"] == 0 or task == self.stream.tasks - 1:
            self.diagnose(task)
        if task > 0 and self.stream.boundaries_shown and self.learner.acts_at_tasks:
            tree = self.engine.state()
            at = torch.tensor(self.step, device=self.device)

            def one(params: Params, state: Tree, hyper: Tree, seed: Tensor) -> tuple[Params, Tree]:
                return self.learner.at_task(params, state, hyper, Draw(seed, at, self.dtype))

            params, state = torch.func.vmap(one)(tree["params"], tree["state"], self.hyper, self.seeds)
            self.engine.load({**tree, "params": params, "state": state})
        self.before_bin = torch.zeros_like(self.before_bin)
        if self.held_out is not None:
            self.held_out.begin_task()
        if "plasticity_gap" in self.config["metrics"] and task % self.config["fresh_every"] == 0:
            self.fresh = self.new_engine()
            self.fresh.load(self.newborn(lambda seed: self.network.init(seed, task + 1)))

    @computing()
    def diagnose(self, task: int) -> None:
        """The configured diagnostics on a probe of the coming task, before training on it."""
        names = [name for name in self.config["metrics"] if name in DIAGNOSTICS]
        if not names:
            return
        params = evaluated(self.engine.state())
        order = torch.argsort(self.which, stable=True)  # by stream, so that a probe is made once and few are held
        probes: dict[int, tuple[Tensor, Tensor]] = {}
        measured: dict[str, list[Tensor]] = {}
        parts = list(torch.split(order, self.probe_members()))
        if len(parts[-1]) == 1 < self.probe_members():
            # One matrix is multiplied by other code than several, which may sum in another order: nobody is alone.
            parts[-1] = parts[-1].repeat(2)
        for part in parts:
            which = self.which[part]
            shown = range(int(which[0]), int(which[-1]) + 1)
            probes = {number: probes.get(number) or self.probe(number, task) for number in shown}
            x, y = (v[0][None] if len(v) == 1 else torch.stack(v) for v in zip(*probes.values(), strict=True))
            if len(shown) < len(part):  # else each has a stream of its own
                x, y = x[which - shown[0]], y[which - shown[0]]
            values = self.measured(names, mapped(lambda v, part=part: v[part], params), x, y, part)
            for name, value in values.items():
                measured.setdefault(name, []).append(value)
        place = torch.argsort(order)
        for name, values_of in measured.items():
            self.table.add(name, task, self.step, torch.cat(values_of)[: len(order)][place], self.alive)

    def probe(self, number: int, task: int) -> tuple[Tensor, Tensor]:
        """The first examples of a task of one of the streams, on the device."""
        x, y = self.streams[number].probe(task, self.config["probe"])
        return self.placed(x), self.placed(y)

    def probe_members(self) -> int:
        """How many members' activations of the probe fit the chunk's memory, and are fast, at once."""
        if self.alone:
            return 1
        numbers: int = self.config["probe"] * (self.stream.inputs + self.hidden)
        # A CPU reads them again and again: what has left its caches costs it more than a call.
        most = CHUNK_BYTES // 4 if self.device.type == "cpu" else 4 * CHUNK_BYTES
        return max(1, most // (numbers * self.dtype.itemsize))

    def measured(self, names: list[str], params: Params, x: Tensor, y: Tensor, part: Tensor) -> dict[str, Tensor]:
        """Diagnostics of the members `part`, (len(part),) each, on their probes x, y (len(part), N, ...)."""
        look = Look(self.network, params, x)
        if any("gradients" in DIAGNOSTICS[name].needs for name in names):

            def gradients(params: Params, hyper: Tree, x: Tensor, y: Tensor) -> tuple[Params, dict[str, Tensor]]:
                buffers = {name: params.pop(name) for name in self.network.buffers}
                found, _, _, activations, _ = self.learner.gradients(params, hyper, x, y, buffers)
                return found, activations

            hyper = mapped(lambda v: v[part], self.hyper)
            grads, hidden = torch.func.vmap(gradients)(params, hyper, x, y)
            # Activations are those of evaluation, the gradient that of training: the same unless there is batch norm.
            look = Look(self.network, params, x, gradients=grads, activations=None if self.network.buffers else hidden)
        return measure(names, look)

    def train(self, until: int) -> None:
        """Train up to step `until`, which must lie in the task at hand or at its end."""
        while self.step < until:
            self.train_chunk(until)

    @computing()
    def train_chunk(self, until: int) -> None:
        """One chunk of steps, cut at `until`; steps may be cut anywhere without changing a bit."""
        task = self.stream.task_of(self.step)
        stops = self.stops(task)
        until = min([until, *(stop for stop in stops if stop > self.step)])
        count = min(self.chunk, until - self.step)
        if self.follow():
            for engine in self.engines:
                engine.load(engine.state())  # which reads the step sizes anew
        how, examples = self.examples(count)
        for engine in self.engines:
            getattr(engine, how)(*examples, self.which, self.step)
        self.step += count
        if self.step in stops:
            self.stopped(task)

    def examples(self, count: int) -> tuple[str, tuple[Any, ...]]:
        """The next steps in the shortest form that the engine takes: its method for it, and what that is given."""
        # To a GPU a table and the numbers of its rows are far less to send than the examples.
        kinds = (Lanes, Lifted) if self.device.type == "cuda" else (Lanes,)
        if isinstance(self.engine, kinds) and (tables := self.tables(self.step, count)) is not None:
            return "advance_rows", tables
        if isinstance(self.engine, Online) and (pictures := self.pictures(count)) is not None:
            return "advance_pictures", pictures
        return "advance", self.batches(self.step, count)

    def pictures(self, count: int) -> tuple[Any, ...] | None:
        """The next steps as pictures of one data set, as Online takes them, or None.

        None where a stream does not know them so, where they are of several data sets, or where their pixels are not
        all of an image's, in some order.
        """
        found = [pictures_of(stream, self.step, count) for stream in self.streams]
        known = [pictures for pictures in found if pictures is not None and pictures.pixels is not None]
        if len(known) < len(found) or len({pictures.dataset for pictures in known}) > 1:
            return None
        dataset = front.load(known[0].dataset)
        shown, pixels = (np.stack([getattr(k, name) for k in known]).astype(np.int32) for name in ("shown", "pixels"))
        every = np.arange(dataset.images.shape[1])
        whole = pixels.shape[1] == len(every) and bool((np.sort(pixels) == every).all())
        if not whole or self.stream.loss != "cross_entropy":
            return None
        return dataset.images, dataset.labels, dataset.maximum, torch.from_numpy(shown), torch.from_numpy(pixels)

    def follow(self) -> bool:
        """Bring the step sizes to what the stream's schedule says for the coming step; whether that changed them."""
        if not isinstance(self.stream, TaskStream) or self.step == self.stream.task_start(self.stream.tasks):
            return False
        schedule = self.stream.step_sizes(self.stream.task_of(self.step))
        factor = [value for step, value in schedule if step <= self.step][-1]
        if factor == self.factor:
            return False
        for name, value in self.step_sizes.items():
            self.hyper["optimizer"][name].copy_(value * factor)
        self.factor = factor
        return True

    def stops(self, task: int) -> set[int]:
        """Steps of a task at which something happens: an evaluation, another step size, the end of a bin."""
        found = set(self.bins(task))
        if isinstance(self.stream, TaskStream):
            found |= {*self.stream.evaluations(task), *(step for step, _ in self.stream.step_sizes(task))}
        return found

    def bins(self, task: int) -> list[int]:
        """The ends of a task's bins, where the curve within it is asked for."""
        if "within_task" not in self.config["metrics"] or not shown_within(task, self.stream.tasks):
            return []
        start, end = self.stream.task_start(task), self.stream.task_start(task + 1)
        return [start + (end - start) * (k + 1) // BINS for k in range(BINS)]

    def stopped(self, task: int) -> None:
        """What happens at one of the stops, after its step."""
        bins = self.bins(task)
        looked_at = self.held_out is not None and self.step in self.held_out.streams[0].evaluations(task)
        if self.step not in bins and not looked_at:
            return
        tree = self.engine.state()
        if self.step in bins:
            place = bins.index(self.step)
            began = bins[place - 1] if place else self.stream.task_start(task)
            sums = self.online_sums(tree).cpu()
            values = (sums - self.before_bin) / (self.step - began)
            self.table.add(f"within_task/{place + 1}", task, self.step, values, self.alive)
            self.before_bin = sums
        if self.held_out is not None and looked_at:
            self.held_out.look(tree, task)
            self.engine.load(self.committed(tree))

    def committed(self, tree: Tree) -> Tree:
        """A state that was read, to go on from as it was measured: what a reading drew is not drawn anew.

        Lazy noise of weights that sleep is drawn when they are read, and otherwise in every reading by itself, each
        right and none on the way to the next. Checkpoints are no measurements and leave it owed: when they are taken,
        which a clock decides, changes no bit.
        """
        drawn = isinstance(self.engine, Online) and self.engine.plan.lazy
        return {name: value for name, value in tree.items() if name != "path"} if drawn else tree

    def online_sums(self, tree: Tree) -> Tensor:
        """(P,) sums, since the task began, of what the stream's online metric is the mean of."""
        sums: Tensor = tree["correct" if self.stream.online_metric == "online_accuracy" else "loss"]
        return sums

    @computing()
    def end_task(self, task: int) -> None:
        """The task's measures, per member still in the field; marks those that are no longer finite."""
        tree = self.engine.state()
        finite = torch.isfinite(tree["loss"]).cpu()
        for value in tree["params"].values():
            finite &= torch.isfinite(value).flatten(1).all(1).cpu()
        self.ended[self.alive & ~finite] = task
        values = self.results(task, tree)
        if self.fresh is not None:
            values["plasticity_gap"] = self.gap(task, values)
        for name in self.config["metrics"]:
            if name in values:
                self.table.add(name, task, self.step, values[name], self.alive)
        if self.held_out is not None:
            tree = self.held_out.reloaded(tree)
        zero = torch.zeros_like(tree["loss"])
        state = dict(tree["state"])
        if self.learner.rare:
            state["replaced"] = torch.zeros_like(state["replaced"])
        self.engine.load(self.committed({**tree, "state": state, "loss": zero, "correct": zero.clone()}))
        self.keep_weights(task + 1, evaluated(tree))

    def results(self, task: int, tree: Tree) -> dict[str, Tensor]:
        """The measures of a task that has just ended, (P,) each."""
        count = self.step - self.stream.task_start(task)
        values = {
            "online_error": tree["loss"] / count,
            "online_loss": tree["loss"] / count,
            "online_accuracy": tree["correct"] / count,
        }
        if self.learner.rare:
            values["units_replaced"] = tree["state"]["replaced"]
        if self.held_out is not None:
            values |= {"test_accuracy": self.held_out.last, "test_accuracy_max": self.held_out.best}
        return values

    def gap(self, task: int, aged: Mapping[str, Tensor]) -> Tensor:
        """What the members reached in this task minus what newborn copies reached on the same examples, (P,)."""
        assert self.fresh is not None
        tree = self.fresh.state()
        self.fresh = None
        if self.held_out is not None:
            return aged["test_accuracy"] - self.held_out.tested(tree, task)
        steps = self.step - self.stream.task_start(task)
        return aged[self.stream.online_metric] - self.online_sums(tree) / steps

    def keep_weights(self, tasks: int, params: Params) -> None:
        """Weights after `tasks` tasks, where the trial's `keep` asks for them."""
        keep = self.config["keep"]
        final = tasks == self.stream.tasks
        if keep == "none" or not (final or (isinstance(keep, dict) and tasks % keep["every"] == 0)):
            return
        label = "final" if final else f"task{tasks:05d}"
        for i, member in enumerate(self.pack.members):
            if self.alive[i]:
                buffer = io.BytesIO()
                own = {name: value[i].cpu().clone() for name, value in params.items()}
                torch.save({"params": own, "config": json.dumps(dict(member.config))}, buffer)
                self.weights[f"{member.id}-{label}.pt"] = buffer.getvalue()

    def snapshot(self, tasks: int) -> Snapshot:
        """What there is to report, taken out of the pack."""
        finished = tasks == self.stream.tasks
        statuses = ["diverged" if t >= 0 else ("done" if finished else "running") for t in self.ended.tolist()]
        weights, self.weights = self.weights, {}
        return Snapshot(
            tasks=tasks,
            step=self.step,
            rows=self.table.take(),
            statuses=statuses,
            ended=[t if t >= 0 else tasks for t in self.ended.tolist()],
            checkpoint=None if finished else self.save(),
            weights=weights,
        )


def run_pack(
    pack: Pack,
    report: Report,
    resume: bytes | None = None,
    *,
    initial: MakeParams | None = None,
    stream: MakeStream | None = None,
    dtype: torch.dtype | None = None,
    path: str | None = None,
    commit_seconds: float | None = None,
    stepped: Callable[[int], None] = lambda step: None,
) -> None:
    """Train a pack to the end of its streams, reporting a Snapshot now and then and at the end.

    Args:
        report: called with everything measured since the last call. What it raises stops the pack.
        resume: the checkpoint of an earlier snapshot of this pack; the rest then comes out to the same bits.
        initial: seed -> parameters, to hand in weights instead of the network's own.
        stream: seed -> Stream, to hand in data instead of the config's stream.
        dtype: overrides the config's.
        path: overrides the pack's (see `workloads.engine`).
        commit_seconds: at least this long between two reports; COMMIT_SECONDS unless given.
        stepped: called with the step reached, every few steps, for whoever watches.

    Raises: InputError for names that do not exist; CheckpointError for another pack's checkpoint.
    """
    load_code(pack.code)
    between = COMMIT_SECONDS if commit_seconds is None else commit_seconds
    training = Training(pack, initial=initial, stream=stream, dtype=dtype, path=path)
    if resume is None:
        training.begin()
    else:
        training.restore(resume)
    reported = time.monotonic()
    for task in range(training.stream.task_of(training.step), training.stream.tasks):
        end = training.stream.task_start(task + 1)
        if training.step == training.stream.task_start(task):
            training.begin_task(task)
        while training.step < end:
            training.train_chunk(end)
            stepped(training.step)
            if training.step < end and time.monotonic() - reported > between:
                report(training.snapshot(task))
                reported = time.monotonic()
        training.end_task(task)
        if task + 1 == training.stream.tasks or time.monotonic() - reported > between:
            report(training.snapshot(task + 1))
            reported = time.monotonic()
