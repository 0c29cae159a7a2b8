"""The first steps of trials that use code of the user's own: one network at a time, members together, and traced.

The three are the same computation to rounding, or the code is not what the engine can batch: then a hook computed
something outside torch, and trials would be wrong without a word. A fraction of a second per way of learning; in
float64, with at most a few examples per batch, so that differences are not rounding.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from workloads.checks.networks import check_network
from workloads.checks.watch import Watched, acting_places, clocks_refused
from workloads.engine.layout import Tree, in_order, mapped, member, stacked
from workloads.errors import InputError
from workloads.extensions import owner, told
from workloads.learner import Learner
from workloads.methods.config import METHODS, OPTIMIZERS
from workloads.networks.config import NETWORKS
from workloads.periods import Acting
from workloads.random import Draw
from workloads.training.assembled import dtype_of, ways_of_learning
from workloads.training.loop import Training
from workloads.training.pack import Member, Pack

STEPS, STEPS_OF_LARGE = 6, 2  # in a row, from the first
LARGE = 100_000  # parameters from which fewer steps must do
LATER = (1000, 123_457)  # further steps, from the state after those
EXAMPLES = 8  # of a batch
TOLERANCE = 1e-8  # relative to a tensor's largest entry: float64 rounds to 1e-16, and few steps amplify little
SHAKEN = 1e3  # times what a change of the last bits does is no difference


def check_learning(members: Sequence[Member]) -> None:
    """Try the first steps of a few trials of one structure. Raises InputError that names file, line and the mend.

    What they print is not shown: these are steps of no trial.
    """
    try:
        with torch.no_grad(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # torch's, on what it batches slowly
            _Trial(members).check()
    except (Exception, SystemExit) as error:
        raise InputError(told(error)) from error


def gaps(one: Tree, other: Tree) -> dict[str, float]:
    """How far each tensor of a tree is from another's, by its largest entry; infinite where only one is NaN."""
    gap_of = {}
    left, right = (pytree.tree_flatten_with_path(tree)[0] for tree in (one, in_order(other, one)))
    for (path, a), (_, b) in zip(left, right, strict=True):
        a, b = a.double(), b.double()
        scale = a[torch.isfinite(a)].abs().max().item() if torch.isfinite(a).any() else 1.0
        gap = torch.where((a == b) | (a.isnan() & b.isnan()), 0, (a - b).abs() / (scale or 1.0))
        where = " ".join(str(getattr(part, "key", part)) for part in path)
        gap_of[where] = gap.nan_to_num(nan=math.inf).max().item() if gap.numel() else 0.0
    return gap_of


def apart(one: Tree, other: Tree, shaken: Mapping[str, float] = MappingProxyType({})) -> tuple[str, float]:
    """Where two trees differ most, and by how much; ("", 0.0) where nowhere by more than rounding.

    `shaken`: how far a change of the last bits of the weights moves each tensor. What is nothing but rounding, such as
    the gradient of a bias before batch norm, differs between any two ways to compute it.
    """
    beyond = {w: gap for w, gap in gaps(one, other).items() if gap > max(TOLERANCE, SHAKEN * shaken.get(w, 0.0))}
    return max(beyond.items(), key=lambda item: item[1], default=("", 0.0))


class _Trial:
    """A pack of few members, whose learner's own parts are watched."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.config = members[0].config
        self.check_scalars(members)
        self.training = training = Training(Pack(id="", members=members, path="looped"), dtype=torch.float64)
        self.learner = training.learner
        self.own = [self.learner_of(member) for member in members]
        self.watched: list[Watched] = []
        self.shaken: dict[str, float] = {}
        if file := owner("OPTIMIZERS", self.config["optimizer"]["name"]):
            self.learner.optimizer = self.watch(self.learner.optimizer, self.config["optimizer"]["name"], file)
        for name, method in self.learner.methods.items():
            if file := owner("METHODS", name):
                self.learner.methods[name] = self.watch(method, name, file)
        network = self.config["network"]["name"]
        files = {part.file for part in self.watched} or {owner("NETWORKS", network) or network}
        self.whom = f"{', '.join(sorted(files))}: {', '.join(part.name for part in self.watched) or network}"
        length = training.stream.task_start(training.stream.tasks)
        x, y = (v[:, :, :EXAMPLES] for v in training.feed.batches(0, min(STEPS, length)))
        if file := owner("NETWORKS", network):
            check_network(file, network, training.network, training.stream, x[0, 0])
        self.steps = min(STEPS_OF_LARGE if training.network.parameter_count() > LARGE else STEPS, length)
        self.x, self.y = x[: self.steps], y[: self.steps]
        self.liftable = NETWORKS[self.config["network"]["name"]].liftable

    def learner_of(self, member: Member) -> Learner:
        """A member's own, as it has it alone: in a pack all share the first one's."""
        return Learner(self.training.network, self.training.stream.loss, *ways_of_learning(member.config))

    def watch(self, method: Any, name: str, file: str) -> Any:
        """A part of the learner, watched."""
        acting_places(method)
        watched = Watched(method, name, file)
        self.watched.append(watched)
        return watched

    @staticmethod
    def check_scalars(members: Sequence[Member]) -> None:
        """What varies inside a pack are numbers."""
        config = members[0].config
        parts = [(config["optimizer"]["name"], config["optimizer"], OPTIMIZERS)]
        parts += [(name, fields, METHODS) for name, fields in config["methods"].items()]
        for name, fields, table in parts:
            for varying in table[name].varies:
                value = fields.get(varying, 0)  # numbers by default, where the config was written by hand
                if not isinstance(value, int | float) and not (value is None and varying in table[name].follows):
                    raise InputError(
                        f"{name}: varies names {varying}, which is {value!r}: only numbers may vary in a pack"
                    )

    def check(self) -> None:
        """Every promise in turn."""
        self.check_needs()
        start = self.newborn()
        self.check_type(start[0])
        self.shaken = gaps(self.shake(start[0], 0), self.shake(start[0], 2.0**-48))
        alone = [self.alone(start, i) for i in range(len(start))]
        self.check_scalars_used(start, alone)
        if self.liftable:
            self.compare(alone, self.together(stacked(start)), f"after {self.steps} steps members trained together")
            self.check_trace(alone)
        self.check_task(alone)
        self.check_repairs(alone)

    def check_needs(self) -> None:
        """Methods get what they need: units that the network shows, and tasks that the stream does."""
        network, stream = self.training.network, self.training.stream
        for name in self.learner.methods:
            units = name in self.learner.rare or "units" in METHODS[name].needs(self.learner.methods[name].config)
            if units and not network.sites and len(network.weights) > 1:
                raise InputError(
                    f"{name} replaces units, and {self.config['network']['name']} has hidden layers but shows none of "
                    "their units: list them in its `sites` (workloads.networks.base.Site)"
                )
        for part in self.watched:
            if "at_task" in part.acts and not stream.boundaries_shown:
                raise part.wrong(
                    "at_task",
                    "is called as a task begins, and the workload hides that: set workload.task_boundaries to shown",
                )

    def newborn(self) -> list[Tree]:
        """Every member before its first step; `init` is called for one network, as it is written."""
        states = []
        training = self.training
        for i, seed in enumerate(training.seeds.tolist()):
            params = mapped(lambda v: v.to(torch.float64), dict(training.make_params(seed)))
            with self.strictly(i == 0):
                state = self.learner.init(params)
            states.append({"params": params, "state": state})
        return states

    @contextlib.contextmanager
    def strictly(self, on: bool) -> Iterator[None]:
        """Watch what hooks do beside computing, while this lasts."""
        for part in self.watched:
            part.strict = on
        try:
            with clocks_refused({part.file for part in self.watched if on}):
                yield
        finally:
            for part in self.watched:
                part.strict = False

    def one(self, tree: Tree, hyper: Tree, seed: Tensor, at: int, x: Tensor, y: Tensor) -> Tree:
        """One step of one member, and nothing rare."""
        draw = Draw(seed, torch.tensor(at), torch.float64)
        acting = self.learner.acting(at)
        params, state, _ = self.learner.step(tree["params"], tree["state"], hyper, x, y, draw, acting=acting)
        return {"params": params, "state": state}

    def batch(self, index: int, at: int) -> tuple[Tensor, Tensor]:
        """What a member sees in a step; later ones see the first again."""
        which = int(self.training.which[index])
        return self.x[at % self.steps, which], self.y[at % self.steps, which]

    def alone(self, start: list[Tree], index: int) -> Tree:
        """A member after its first steps by itself, twice the same."""
        ends = []
        for again in (False, True):
            with self.strictly(not again):
                ends.append(self.walked(start[index], index))
        where, gap = max(gaps(*ends).items(), key=lambda item: item[1])
        if gap:
            raise InputError(
                f"{self.whom}: the same steps taken twice give other numbers ({where}): something in them is drawn or "
                "read from outside; draws come from `draw`, e.g. draw.normal(what, count)"
            )
        return ends[0]

    def walked(self, tree: Tree, index: int) -> Tree:
        """A member after its first steps."""
        hyper, seed = member(self.training.hyper, index), self.training.seeds[index]
        for at in range(self.steps):
            tree = self.one(mapped(torch.clone, tree), hyper, seed, at, *self.batch(index, at))
        return tree

    def shake(self, tree: Tree, by: float) -> Tree:
        """The first member after its first steps from weights that are changed by so much of themselves."""
        return self.walked({**tree, "params": mapped(lambda v: v * (1 + by), tree["params"])}, 0)

    def check_type(self, tree: Tree) -> None:
        """In the trial's own type of numbers a step keeps it: what the float64 of the other questions would hide."""
        dtype = dtype_of(self.config)

        def cast(value: Tensor) -> Tensor:
            return value.to(dtype) if value.is_floating_point() else value

        params, hyper = mapped(cast, tree["params"]), mapped(cast, member(self.training.hyper, 0))
        x, y = map(cast, self.batch(0, 0))
        draw = Draw(self.training.seeds[0], torch.tensor(0), dtype)
        self.learner.step(params, self.learner.init(params), hyper, x, y, draw, acting=self.learner.acting(0))

    def check_scalars_used(self, start: list[Tree], alone: list[Tree]) -> None:
        """A member alone is what it is under the first member's learner, with its own scalars in `hyper`."""
        for index, learner in enumerate(self.own):
            tree, hyper = start[index], member(self.training.hyper, index)
            for at in range(self.steps):
                draw = Draw(self.training.seeds[index], torch.tensor(at), torch.float64)
                params, state, _ = learner.step(
                    tree["params"], tree["state"], hyper, *self.batch(index, at), draw, acting=learner.acting(at)
                )
                tree = {"params": params, "state": state}
            where, gap = apart(tree, alone[index], self.shaken)
            if gap:
                names = ", ".join(name for part in self.watched for name in getattr(part, "varies", ()))
                raise InputError(
                    f"{self.whom}: made with the settings of another member it comes out {percent(gap)} off ({where}): "
                    f"what `varies` names ({names}) arrives in hyper; self.config holds the first member's"
                    if index
                    else f"{self.whom}: made anew it comes out {percent(gap)} off ({where}): what __init__ sets may "
                    "depend on its config and network alone"
                )

    def together(self, start: Tree) -> list[Tree]:
        """The same steps of all members at once, as the engine batches them."""
        training, tree = self.training, start
        count = len(training.seeds)
        for at in range(self.steps):
            batches = [self.batch(i, at) for i in range(count)]
            x, y = (torch.stack(part) for part in zip(*batches, strict=True))

            def one(tree: Tree, hyper: Tree, seed: Tensor, x: Tensor, y: Tensor, at: int = at) -> Tree:
                return self.one(tree, hyper, seed, at, x, y)

            tree = torch.func.vmap(one)(tree, training.hyper, training.seeds, x, y)
        return [member(tree, i) for i in range(count)]

    def compare(self, alone: list[Tree], other: list[Tree], what: str) -> None:
        """Raise where members come out otherwise than one network at a time."""
        for one, also in zip(alone, other, strict=True):
            where, gap = apart(one, also, self.shaken)
            if gap:
                raise InputError(f"{self.whom}: {what} are {percent(gap)} off ({where}) from one at a time; {OUTSIDE}")

    def check_trace(self, alone: list[Tree]) -> None:
        """A step traced for one member is the step of all, at any time at which the same parts act."""
        programs: dict[Acting, Any] = {}
        for number, at in enumerate([*self.learner.schedule.met().values(), *LATER]):
            index = number % len(alone)
            tree, seed, x_y = alone[index], self.training.seeds[index], self.batch(index, at)
            hyper = member(self.training.hyper, index)
            arguments = (tree, hyper, seed, torch.tensor(at), *x_y)
            acting = self.learner.acting(at)
            if acting not in programs:
                programs[acting] = self.traced(acting, arguments)
            where, gap = apart(self.one(tree, hyper, seed, at, *x_y), programs[acting](*arguments), self.shaken)
            if gap:
                raise InputError(
                    f"{self.whom}: the step as traced is {percent(gap)} off at step {at} ({where}); {OUTSIDE}"
                )

    def traced(self, acting: Acting, arguments: tuple[Any, ...]) -> Any:
        """One step as a program, traced once."""

        def step(tree: Tree, hyper: Tree, seed: Tensor, at: Tensor, x: Tensor, y: Tensor) -> Tree:
            draw = Draw(seed, at, torch.float64)
            params, state, _ = self.learner.step(tree["params"], tree["state"], hyper, x, y, draw, acting=acting)
            return {"params": params, "state": state}

        return make_fx(step)(*arguments)

    def check_task(self, alone: list[Tree]) -> None:
        """What happens as a task begins is the same for members together."""
        if not any("at_task" in part.acts for part in self.watched):
            return

        def begun(tree: Tree, hyper: Tree, seed: Tensor) -> Tree:
            draw = Draw(seed, torch.tensor(self.steps), torch.float64)
            params, state = self.learner.at_task(tree["params"], tree["state"], hyper, draw)
            return {"params": params, "state": state}

        hyper, seeds = self.training.hyper, self.training.seeds
        with self.strictly(True):
            one = [begun(tree, member(hyper, i), seeds[i]) for i, tree in enumerate(alone)]
        together = torch.func.vmap(begun)(stacked(alone), hyper, seeds)
        self.compare(one, [member(together, i) for i in range(len(one))], "members beginning a task together")

    def check_repairs(self, alone: list[Tree]) -> None:
        """A rare event is the same for members together, and is one less to come."""
        sites = self.training.network.sites
        for part in self.watched:
            if part.name not in self.learner.rare:
                continue
            due = alone[0]["state"][part.name].get("due")
            if due is None or due.shape != (len(sites),) or due.dtype not in (torch.int32, torch.int64):
                raise part.wrong(
                    "repair",
                    f"is called where state['due'] counts events: int32 ({len(sites)},), one per hidden layer",
                )
            for place in range(len(sites)):
                self.check_repair(part, place, alone)

    def check_repair(self, part: Watched, place: int, alone: list[Tree]) -> None:
        """One place's."""

        def mended(tree: Tree, hyper: Tree, seed: Tensor) -> Tree:
            draw = Draw(seed, torch.tensor(self.steps - 1), torch.float64)
            params, state = self.learner.repair(
                tree["params"], tree["state"], hyper, draw, method=part.name, place=place
            )
            return {"params": params, "state": state}

        hyper, seeds = self.training.hyper, self.training.seeds
        waiting = [self.with_one_due(tree, part.name, place) for tree in alone]
        with self.strictly(True):
            one = [mended(tree, member(hyper, i), seeds[i]) for i, tree in enumerate(waiting)]
        if int(one[0]["state"][part.name]["due"][place]) != 0:
            raise part.wrong("repair", f"must lower state['due'][{place}] by one, or it is called for ever")
        if self.liftable:
            together = torch.func.vmap(mended)(stacked(waiting), hyper, seeds)
            self.compare(one, [member(together, i) for i in range(len(one))], "members repaired together")

    @staticmethod
    def with_one_due(tree: Tree, method: str, place: int) -> Tree:
        """A member with one event of a method waiting."""
        due = torch.zeros_like(tree["state"][method]["due"])
        due[place] = 1
        return {**tree, "state": {**tree["state"], method: {**tree["state"][method], "due": due}}}


OUTSIDE = (
    "something is computed outside torch (numpy, float(), a counter), and would stay what it was in the first step: "
    "keep such values in the state, as tensors"
)


def percent(gap: float) -> str:
    """12 %, or 3e-06."""
    return f"{100 * gap:.3g} %" if math.isfinite(gap) else "infinitely"
