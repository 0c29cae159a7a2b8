"""The members of a pack in training, whatever kind of workload they learn: who they are, who left, what is kept.

A kind of workload brings its own loop, a subclass: `workloads.training.loop.Training` for supervised streams,
`workloads.reinforcement.training.ActingTraining` for learners that act.
"""

from __future__ import annotations

import io
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from workloads.diagnostics import DIAGNOSTICS, OF_THE_LAST_LOOK, parts_of
from workloads.engine.computing import computing
from workloads.engine.layout import Tree, mapped, shapes, stacked
from workloads.errors import CheckpointError, InputError
from workloads.kinds import Workload
from workloads.learner import Learner
from workloads.training.assembled import MakeParams, dtype_of, loss_of, network_of, ways_of_learning
from workloads.training.held_out import evaluated
from workloads.training.pack import Pack, Snapshot
from workloads.training.probes import Past
from workloads.training.rows import Table


def shown_within(task: int, tasks: int) -> bool:
    """Whether the curve within a task is recorded: in the 1st, 10th, 100th, ... and the last."""
    return task == tasks - 1 or task + 1 in {10**k for k in range(len(str(tasks)))}


class Holder(Protocol):
    """What holds the members' state, every tensor (P, ...), and trains them: an engine, or what acts."""

    def load(self, state: Tree) -> None:
        """Take the members' state."""

    def state(self) -> Tree:
        """The members' state."""

    def keep(self, mask: Tensor, hyper: Tree, seeds: Tensor) -> None:
        """Go on with the members in the mask (P,) alone, to the same bits."""


W = TypeVar("W", bound=Workload)
H = TypeVar("H", bound=Holder)


class Members(ABC, Generic[W, H]):
    """A pack on its way, its place and its members; `run_pack` drives it.

    What computes is `computing()`, so that whoever drives it gets the same numbers.
    """

    @computing()
    def __init__(
        self,
        pack: Pack,
        make: Callable[[int], W],
        *,
        initial: MakeParams | None = None,
        dtype: torch.dtype | None = None,
        path: str | None = None,
    ) -> None:
        """`make`: seed -> the workload of a member."""
        self.pack = pack
        config = pack.members[0].config
        self.config = config
        self.device = torch.device(pack.device)
        self.dtype = dtype or dtype_of(config)
        seeds = [m.config["seed"] for m in pack.members]
        self.stream_of_seed = {seed: make(seed) for seed in sorted(set(seeds))}
        self.stream = self.stream_of_seed[min(seeds)]
        self.network = network_of(config, self.stream)
        self.make_params = initial or self.network.init
        optimizer, methods = ways_of_learning(config)
        self.learner = Learner(self.network, loss_of(self.stream), optimizer, methods)
        member_hyper = [self.learner.hyper_of(o[1], m) for o, m in (ways_of_learning(m.config) for m in pack.members)]
        as_tensors = [mapped(lambda v: torch.tensor(v, dtype=self.dtype), h) for h in member_hyper]
        self.given = mapped(lambda v: v.to(self.device), stacked(as_tensors))  # the hyperparameters of all members
        self.path = path or pack.path
        self.table = Table()
        self.weights: dict[str, bytes] = {}
        self.step = 0
        self.ended = torch.full((len(seeds),), -1, dtype=torch.int64)  # by member of the pack: the task it diverged in
        self.stopped = torch.full((len(seeds),), -1, dtype=torch.int64)  # the complete tasks when it was stopped
        self.read = parts_of(config["metrics"])
        self.before: Tree = {}  # the members' networks when they were last looked at, where a diagnostic compares
        self.seat(torch.arange(len(seeds)))
        self.engine = self.new_engine()

    # What a kind of workload does in its own way

    @abstractmethod
    def new_engine(self) -> H:
        """What is to hold the members, without a state yet."""

    @abstractmethod
    def newborn(self, make_params: MakeParams) -> Tree:
        """The state of members that have learned nothing yet."""

    @abstractmethod
    def begin_task(self, task: int) -> None:
        """What happens before a task's first step."""

    @abstractmethod
    def diagnosed(self, names: Sequence[str], task: int) -> dict[str, Tensor]:
        """(P,) each: these diagnostics of the members' networks, on what they are probed with before a task."""

    @abstractmethod
    def train_chunk(self, until: int) -> None:
        """Some steps, at most up to `until`, in the task at hand; they may be cut anywhere without changing a bit.

        Where a kind of workload has a smallest piece, an agent's iteration, it is done to its end.
        """

    @abstractmethod
    def end_task(self, task: int) -> None:
        """The task's measures, per member still in the field; those that are no longer finite are marked, and leave."""

    # Who is there

    def seat(self, held: Tensor) -> None:
        """From now on the members are those of these numbers in the pack, (n,); all that has one place per member."""
        self.held = held
        seeds = [self.pack.members[i].config["seed"] for i in held.tolist()]
        self.distinct = sorted(set(seeds))
        places = {seed: place for place, seed in enumerate(self.distinct)}
        self.which = torch.tensor([places[seed] for seed in seeds], device=self.device)
        self.seeds = torch.tensor(seeds, dtype=torch.int64, device=self.device)
        self.streams = [self.stream_of_seed[seed] for seed in self.distinct]
        self.hyper = mapped(lambda v: v[held.to(self.device)], self.given)
        self.initial = self.beginning(self.make_params) if "initial_weights" in self.read else {}

    def beginning(self, make_params: MakeParams) -> Tree:
        """The parameters that the members begin with, (P, ...) each: one draw per seed, shared by all of that seed."""
        per_seed = stacked([dict(make_params(seed)) for seed in self.distinct])
        return mapped(lambda v: v.to(self.device, self.dtype)[self.which], per_seed)

    def untrained(self, learner: Learner, params: Tree) -> Tree:
        """An engine's state of networks of these parameters, (P, ...) each."""
        states = torch.func.vmap(learner.init, randomness="error")(params)
        zero = torch.zeros(len(self.seeds), dtype=torch.float64, device=self.device)
        return {"params": params, "state": states, "loss": zero, "correct": zero.clone()}

    @property
    def engines(self) -> list[H]:
        """All that trains."""
        return [self.engine]

    def keep(self, mask: Tensor) -> None:
        """Go on with those of the members held that are in the mask, at least one, to the same bits as before.

        Diagnostics are the same but for the last bits of sums, which depend on how members lie beside each other.
        """
        if not bool(mask.all()):
            self.without_others(mask)

    def without_others(self, mask: Tensor) -> None:
        """Take new seats for the members in the mask, with all that there is of each."""
        self.seat(self.held[mask])
        self.before = mapped(lambda v: v[mask.to(v.device)], self.before)
        for engine in self.engines:
            engine.keep(mask.to(self.device), self.hyper, self.seeds)

    def leave(self) -> None:
        """Those who diverged or were stopped leave, unless nobody would be left: then all is over."""
        if not self.over:
            self.keep(self.alive[self.held])

    def stop(self, ids: Collection[str], tasks: int) -> None:
        """End the members of these trials, after `tasks` complete tasks. Raises InputError for one not in the pack."""
        places = {member.id: i for i, member in enumerate(self.pack.members)}
        for id in ids:
            if id not in places:
                raise InputError(f"trial {id} is to stop, and is none of pack {self.pack.id}")
            if self.alive[places[id]]:
                self.stopped[places[id]] = tasks
        self.leave()

    @property
    def alive(self) -> Tensor:
        """Mask of the pack's members that have neither diverged nor been stopped."""
        return (self.ended < 0) & (self.stopped < 0)

    @property
    def over(self) -> bool:
        """Whether nobody is left to train."""
        return not bool(self.alive.any())

    def mark(self, params: Tree, task: int, more: Tensor | None = None) -> None:
        """Who diverged in a task: whose parameters (P, ...), or numbers `more` (P,), are no longer finite."""
        numbers = [value.flatten(1) for value in params.values()] + ([more[:, None]] if more is not None else [])
        finite = torch.stack([torch.isfinite(value).all(1).cpu() for value in numbers]).all(0)
        self.ended[self.held[self.alive[self.held] & ~finite]] = task

    def train(self, until: int) -> None:
        """Train up to step `until`, which must lie in the task at hand or at its end."""
        while self.step < until:
            self.train_chunk(until)

    # What is measured of them

    def due(self, task: int) -> bool:
        """Whether diagnostics are asked for before a task: before every so many, and before the last."""
        return task % self.config["every"] == 0 or task == self.stream.tasks - 1

    @computing()
    def diagnose(self, task: int) -> None:
        """The configured diagnostics, before training on a task: of the networks as the tasks before left them."""
        names = [name for name in self.config["metrics"] if name in DIAGNOSTICS]
        for name, values in (self.diagnosed(names, task) if names else {}).items():
            self.add(name, task, values)
        self.remember()

    def remember(self) -> None:
        """Keep what the members' networks are now for the next look, where a diagnostic compares them with it."""
        if not OF_THE_LAST_LOOK.isdisjoint(self.read):
            self.before = mapped(torch.clone, self.applied(self.engine.state()))

    @property
    def past(self) -> Past:
        """What the members' networks were."""
        return Past(self.before, self.initial)

    def applied(self, tree: Tree) -> Tree:
        """What it takes to apply the members' networks: all they are evaluated with, what methods know of inputs."""
        inputs = {name: tree["state"][name] for name in self.learner.smoothing}
        return {"params": evaluated(tree), "inputs": inputs}

    def add_asked(self, task: int, values: Mapping[str, Tensor]) -> None:
        """Of these measurements, (n,) each, those that the trials ask for, in the order they do."""
        for name in self.config["metrics"]:
            if name in values:
                self.add(name, task, values[name])

    def add(self, name: str, task: int, values: Tensor) -> None:
        """Measurements of the members held, (n,), for those still in the field."""
        alive = self.alive[self.held]
        self.table.add(name, task, self.step, values[alive.to(values.device)], self.held[alive])

    # What is kept of them

    @computing()
    def begin(self) -> None:
        """Initial weights and state."""
        self.engine.load(self.newborn(self.make_params))
        self.remember()

    def save(self) -> bytes:
        """Everything a later call needs to continue to the same bits."""
        buffer = io.BytesIO()
        held = {
            "pack": self.pack.id,
            "step": self.step,
            "held": self.held,
            "ended": self.ended,
            "stopped": self.stopped,
            "engine": mapped(lambda v: v.cpu(), self.engine.state()),
            **self.beside(),
        }
        torch.save(held, buffer)
        return buffer.getvalue()

    def beside(self) -> dict[str, Any]:
        """What a checkpoint holds beside the members' state."""
        return {"before": mapped(lambda v: v.cpu(), self.before)} if self.before else {}

    @computing()
    def restore(self, saved: bytes) -> None:
        """Continue from what `save` returned. Raises CheckpointError where it is another pack's or version's."""
        held = torch.load(io.BytesIO(saved), weights_only=True)
        if held["pack"] != self.pack.id:
            raise CheckpointError(f"the checkpoint belongs to pack {held['pack']}, not to {self.pack.id}")
        self.check_parts(held["engine"])
        self.step = held["step"]
        self.ended = held["ended"]
        self.stopped = held.get("stopped", self.stopped)  # checkpoints of older versions are of all members
        stayed = torch.zeros(len(self.held), dtype=torch.bool)
        stayed[held.get("held", self.held)] = True
        # Engines begin with all members, of whom some leave, as they did: so they settle on what they had settled on.
        self.resume(held, torch.where(stayed, stayed.cumsum(0) - 1, 0))
        self.keep(stayed)

    def check_parts(self, saved: Tree) -> None:
        """Raises CheckpointError where a state has other parts than the members', as other versions' states may."""
        own = shapes(self.newborn(self.make_params))
        found = {name: shape for name, shape in shapes(saved).items() if "['path']" not in name}
        if own != found:
            names = sorted({name for name, _ in own.items() ^ found.items()})
            raise CheckpointError(f"the checkpoint is of another version, whose state differs in {', '.join(names)}")

    def resume(self, held: Mapping[str, Any], place: Tensor) -> None:
        """Take up a checkpoint's content for all members: of each, what is at its `place` (P,) there."""
        self.engine.load(mapped(lambda v: v[place].to(self.device), held["engine"]))
        self.before = mapped(lambda v: v[place].to(self.device), held.get("before", {}))

    def keep_weights(self, tasks: int, tree: Tree) -> None:
        """Weights after `tasks` tasks, where the trial's `keep` asks for them."""
        keep = self.config["keep"]
        final = tasks == self.stream.tasks
        if keep == "none" or not (final or (isinstance(keep, dict) and tasks % keep["every"] == 0)):
            return
        kept = {name: part for name, part in self.applied(tree).items() if part}
        label = "final" if final else f"task{tasks:05d}"
        for i, number in enumerate(self.held.tolist()):
            if self.alive[number]:
                member = self.pack.members[number]
                buffer = io.BytesIO()
                own = mapped(lambda value, i=i: value[i].cpu().clone(), kept)
                torch.save({**own, "config": json.dumps(dict(member.config))}, buffer)
                self.weights[f"{member.id}-{label}.pt"] = buffer.getvalue()

    def snapshot(self, tasks: int) -> Snapshot:
        """What there is to report, taken out of the pack."""
        finished = tasks == self.stream.tasks or self.over
        ends = list(zip(self.ended.tolist(), self.stopped.tolist(), strict=True))
        left = "done" if finished else "running"
        weights, self.weights = self.weights, {}
        return Snapshot(
            tasks=tasks,
            step=self.step,
            rows=self.table.take(),
            statuses=["diverged" if d >= 0 else "censored" if s >= 0 else left for d, s in ends],
            ended=[d if d >= 0 else s if s >= 0 else tasks for d, s in ends],
            checkpoint=None if finished else self.save(),
            weights=weights,
        )
