"""Training a pack of supervised streams, and any pack to its end.

`run_pack` is a plain function of a pack: no Ray object, no tracking run, no global random state. It hands what it
measured to `report` as it goes, together with a checkpoint from which a later call continues to the same bits.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from workloads.checks.streams import timetable
from workloads.diagnostics import BINS
from workloads.engine import Engine, build
from workloads.engine.computing import computing
from workloads.engine.layout import Tree, mapped
from workloads.engine.tasks import task_begun
from workloads.engine.trace import NotLowered
from workloads.errors import InputError
from workloads.extensions import load_code, owner
from workloads.networks.config import NETWORKS
from workloads.reinforcement import CONTROLS
from workloads.streams.base import Stream, TaskStream
from workloads.training.assembled import (
    MakeParams,
    MakeStream,
    stream_of,
)
from workloads.training.feed import Feed
from workloads.training.held_out import HeldOut
from workloads.training.members import Members, shown_within
from workloads.training.pack import Pack, Report
from workloads.training.probes import Probes

COMMIT_SECONDS = 20.0  # at least this long between two reports, so that checkpoints cost little


class Training(Members[Stream, Engine]):
    """A pack of supervised streams: the engine, and what its members learn and are measured on."""

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
        """`stream`: seed -> Stream, and `initial`: seed -> parameters, in place of those of the config."""
        config = pack.members[0].config
        self.factor = 1.0  # of the step sizes, as the stream's schedule has it
        self.fresh: Engine | None = None  # newborn copies that learn the task at hand beside the members
        self.before_bin = torch.zeros(len(pack.members), dtype=torch.float64)  # the online sum when a bin began
        super().__init__(
            pack, stream or (lambda seed: stream_of(config, seed)), initial=initial, dtype=dtype, path=path
        )
        if stream or owner("STREAMS", config["workload"]["name"]):
            self.check_timetables()

    def seat(self, held: Tensor) -> None:
        """See Members."""
        super().seat(held)
        self.feed = Feed(self.streams, self.device, self.dtype)
        self.step_sizes = {n: self.hyper["optimizer"][n].clone() for n in self.learner.optimizer_spec.step_sizes}
        self.scale_step_sizes(self.factor)
        # Under vmap convolutions become grouped ones, which a CPU is slow at.
        alone = NETWORKS[self.config["network"]["name"]].convolutional and self.device.type == "cpu"
        self.probes = Probes(self.learner, self.hyper, self.feed, self.which, alone=alone)
        self.held_out: HeldOut | None = None
        if isinstance(self.stream, TaskStream) and self.stream.tested:
            tested = [stream for stream in self.streams if isinstance(stream, TaskStream)]
            self.held_out = HeldOut(self.learner, tested, self.which, self.feed.placed, self.hyper)

    def without_others(self, mask: Tensor) -> None:
        """See Members."""
        held_out = self.held_out.state() if self.held_out is not None else {}
        super().without_others(mask)
        self.before_bin = self.before_bin[mask]
        if self.held_out is not None:
            self.held_out.load(mapped(lambda v: v[mask.to(v.device)], held_out))

    def check_timetables(self) -> None:
        """What is asked of one stream holds for all. Raises InputError where tasks begin elsewhere for another seed."""
        if len({timetable(stream) for stream in self.stream_of_seed.values()}) > 1:
            seeds = ", ".join(map(str, self.stream_of_seed))
            raise InputError(
                f"the streams of seeds {seeds} change their tasks at other steps: give each a pack of its own"
            )

    @property
    def engines(self) -> list[Engine]:
        """The members', and the newborn copies' where there are any."""
        return [self.engine] if self.fresh is None else [self.engine, self.fresh]

    def new_engine(self) -> Engine:
        """An engine of the pack's path, without a state yet."""
        return build(self.path, self.learner, self.hyper, self.seeds, tf32=self.config["dtype"] == "tf32")

    def newborn(self, make_params: MakeParams) -> Tree:
        """The state of members that have learned nothing yet."""
        return self.untrained(self.learner, self.beginning(make_params))

    def beside(self) -> dict[str, Any]:
        """See Members."""
        held = {**super().beside(), "before_bin": self.before_bin}
        if self.held_out is not None:
            held["held_out"] = mapped(lambda v: v.cpu(), self.held_out.state())
        if self.fresh is not None:
            held["fresh"] = mapped(lambda v: v.cpu(), self.fresh.state())
        return held

    def resume(self, held: Mapping[str, Any], place: Tensor) -> None:
        """See Members."""
        self.follow()
        super().resume(held, place)
        self.before_bin = held["before_bin"][place]
        if self.held_out is not None:
            self.held_out.load(mapped(lambda v: v[place], held["held_out"]))
        if "fresh" in held:
            self.fresh = self.new_engine()
            self.fresh.load(mapped(lambda v: v[place].to(self.device), held["fresh"]))

    @computing()
    def begin_task(self, task: int) -> None:
        """What happens before a task's first step: the diagnostics, task-wise methods, a fresh copy where one is due.

        So the network is looked at as the tasks before left it, on examples of the coming one.
        """
        if self.due(task):
            self.diagnose(task)
        if task > 0 and self.stream.boundaries_shown and self.learner.acts_at_tasks:
            self.engine.load(task_begun(self.learner, self.engine.state(), self.hyper, self.seeds, self.step))
        self.before_bin = torch.zeros_like(self.before_bin)
        if self.held_out is not None:
            self.held_out.begin_task()
        if "plasticity_gap" in self.config["metrics"] and task % self.config["fresh_every"] == 0:
            self.fresh = self.new_engine()
            self.fresh.load(self.newborn(lambda seed: self.network.init(seed, task + 1)))

    def diagnosed(self, names: Sequence[str], task: int) -> dict[str, Tensor]:
        """See Members; on a probe of the coming task."""
        return self.probes.diagnosed(names, self.engine.state(), task, self.config["probe"], self.past)

    @computing()
    def train_chunk(self, until: int) -> None:
        """One chunk of steps, cut at `until`; steps may be cut anywhere without changing a bit."""
        task = self.stream.task_of(self.step)
        stops = self.stops(task)
        until = min([until, *(stop for stop in stops if stop > self.step)])
        count = min(self.feed.chunk, until - self.step)
        if self.follow():
            for engine in self.engines:
                engine.load(engine.state())  # which reads the step sizes anew
        try:
            self.advance(count)
        except NotLowered as error:  # raised before a step is made
            self.lift(f"its step has {error}")
            self.advance(count)
        self.step += count
        if self.step in stops:
            self.pause(task)

    def advance(self, count: int) -> None:
        """The coming steps, on every engine."""
        how, examples = self.feed.examples(self.engine, self.step, count)
        for engine in self.engines:
            getattr(engine, how)(*examples, self.which, self.step)

    def lift(self, why: str) -> None:
        """Go on lifted, where what was declared of the path was more than it can do: the same but for rounding."""
        warnings.warn(f"pack {self.pack.id} trains lifted, not {self.path}, since {why}", stacklevel=2)
        self.path = "lifted"
        states = [engine.state() for engine in self.engines]
        self.engine, self.fresh = self.new_engine(), None if self.fresh is None else self.new_engine()
        for engine, state in zip(self.engines, states, strict=True):
            engine.load({name: value for name, value in state.items() if name != "path"})

    def follow(self) -> bool:
        """Bring the step sizes to what the stream's schedule says for the coming step; whether that changed them."""
        if not isinstance(self.stream, TaskStream) or self.step == self.stream.task_start(self.stream.tasks):
            return False
        schedule = self.stream.step_sizes(self.stream.task_of(self.step))
        factor = [value for step, value in schedule if step <= self.step][-1]
        if factor == self.factor:
            return False
        self.scale_step_sizes(factor)
        return True

    def scale_step_sizes(self, factor: float) -> None:
        """Let the step sizes be the configured ones times `factor`."""
        for name, value in self.step_sizes.items():
            self.hyper["optimizer"][name].copy_(value * factor)
        self.factor = factor

    def stops(self, task: int) -> set[int]:
        """Steps of a task at which something happens: an evaluation, another step size, the end of a bin."""
        steps = set(self.bins(task))
        if isinstance(self.stream, TaskStream):
            steps |= {*self.stream.evaluations(task), *(step for step, _ in self.stream.step_sizes(task))}
        return steps

    def bins(self, task: int) -> list[int]:
        """The ends of a task's bins, where the curve within it is asked for."""
        if "within_task" not in self.config["metrics"] or not shown_within(task, self.stream.tasks):
            return []
        start, end = self.stream.task_start(task), self.stream.task_start(task + 1)
        return [start + (end - start) * (k + 1) // BINS for k in range(BINS)]

    def pause(self, task: int) -> None:
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
            self.add(f"within_task/{place + 1}", task, values)
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
        return {name: value for name, value in tree.items() if name != "path"} if self.engine.owes else tree

    def online_sums(self, tree: Tree) -> Tensor:
        """(P,) sums, since the task began, of what the stream's online metric is the mean of."""
        sums: Tensor = tree["correct" if self.stream.online_metric == "online_accuracy" else "loss"]
        return sums

    @computing()
    def end_task(self, task: int) -> None:
        """The task's measures, per member still in the field; those that are no longer finite are marked, and leave."""
        tree = self.engine.state()
        self.mark(tree["params"], task, tree["loss"])
        values = self.results(task, tree)
        if self.fresh is not None:
            values["plasticity_gap"] = self.gap(task, values)
        self.add_asked(task, values)
        if self.held_out is not None:
            tree = self.held_out.reloaded(tree)
        zero = torch.zeros_like(tree["loss"])
        state = dict(tree["state"])
        if self.learner.replaces:
            state["replaced"] = torch.zeros_like(state["replaced"])
        self.engine.load(self.committed({**tree, "state": state, "loss": zero, "correct": zero.clone()}))
        self.keep_weights(task + 1, tree)
        self.leave()

    def results(self, task: int, tree: Tree) -> dict[str, Tensor]:
        """The measures of a task that has just ended, (P,) each."""
        count = self.step - self.stream.task_start(task)
        values = {
            "online_error": tree["loss"] / count,
            "online_loss": tree["loss"] / count,
            "online_accuracy": tree["correct"] / count,
        }
        if self.learner.replaces:
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


def training_of(
    pack: Pack,
    *,
    initial: MakeParams | None = None,
    stream: MakeStream | None = None,
    dtype: torch.dtype | None = None,
    path: str | None = None,
) -> Members[Any, Any]:
    """The loop of a pack: that of its kind of workload; see `run_pack` for the arguments."""
    if stream is None and pack.members[0].config["workload"]["name"] in CONTROLS:
        from workloads.reinforcement.training import ActingTraining

        return ActingTraining(pack, initial=initial, dtype=dtype, path=path)
    return Training(pack, initial=initial, stream=stream, dtype=dtype, path=path)


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
        report: called with everything measured since the last call. What it raises stops the pack. It may answer with
            the ids of trials to stop: they leave the pack, censored, and the rest goes on to the same bits.
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
    training = training_of(pack, initial=initial, stream=stream, dtype=dtype, path=path)
    if resume is None:
        training.begin()
    else:
        training.restore(resume)
    reported = time.monotonic()

    def told(tasks: int) -> None:
        nonlocal reported
        stop = report(training.snapshot(tasks))
        reported = time.monotonic()
        if stop and tasks < training.stream.tasks and not training.over:
            training.stop(stop, tasks)
            if training.over:
                report(training.snapshot(tasks))

    for task in range(training.stream.task_of(training.step), training.stream.tasks):
        end = training.stream.task_start(task + 1)
        if training.step == training.stream.task_start(task):
            training.begin_task(task)
        while training.step < end:
            training.train_chunk(end)
            stepped(training.step)
            if training.step < end and time.monotonic() - reported > between:
                told(task)
                if training.over:
                    return
        training.end_task(task)
        if task + 1 == training.stream.tasks or training.over or time.monotonic() - reported > between:
            told(task + 1)
        if training.over:
            return
