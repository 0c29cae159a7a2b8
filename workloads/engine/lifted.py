"""A whole pack as one program: the learner's step, batched over members by vmap, compiled by torch's compiler.

Two layouts, chosen by the size of a network. Small networks keep the member axis LAST and contiguous: every operation
is then elementwise over neighbouring members (SIMD lanes), and small matrix products are written out as multiply and
sum, so that they fuse with what follows. Large networks keep it first, and only outer products (one example, one row)
are written out, so that a gradient is never stored but goes straight into the update.

A call of the compiled program is one step of a block of members, in place. Several steps per call were tried: the
compiler then lays intermediate weights out member-first, and a step costs three times more. Rare events (a unit to
replace) are counted by the step and carried out by a second program, for the few members concerned.

On a GPU several steps are *replayed* together (see `replay`): their examples are laid ready, and the calls of all
these steps become one CUDA graph. Nothing in it may ask whether an event is due. So the second program follows every
step unasked, for as many members as is cheap, and leaves alone what is not due. Whether an event remained is asked
once after the replay. If one did, all members go back to where they were, and take the same steps one by one, each
until none is due, by the same programs: the same bits. A CPU can be told to go this way too, which is how it is
tested; with a GPU it has not been run yet.

A member's bits depend on its own tensors only: blocks are padded to whole SIMD vectors with copies of the last
member.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from workloads.engine.layout import Tree, flattened, in_order, mapped, unflattened
from workloads.engine.replay import Replayed, Shared
from workloads.learner import Learner
from workloads.native import cache_folder
from workloads.networks.config import SMALL
from workloads.random import Draw

LANES = 16  # members are padded to a multiple of this in the member-last layout
BLOCK = 3072  # members trained by one call: its fixed cost is spread over them, while their state stays in cache
GATHER = 16  # steps whose examples are looked up by one call
REPAIRS = 8  # members repaired together; one at a time where copying a whole network is what it costs
REPLAYED, REPLAYED_LARGE = 32, 8  # steps per replay on a GPU; a large network's kernels hide their starting
STAGED_BYTES = 1 << 30  # most bytes of examples laid ready for a replay
UNASKED = 8  # a replay repairs one in so many members of large networks after every step; of small ones all

aten = torch.ops.aten


def broadcast_product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b for (P, n, k) and (P, k, m), written as multiply and sum so that it fuses with its neighbours."""
    return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(-2)


def outer_product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b written out where the summed axis has length one (the gradient of one example's layer), else left alone."""
    return a * b if a.shape[-1] == 1 else NotImplemented


def settle_products(device: torch.device, *, tf32: bool) -> None:
    """Torch's settings of this process that decide what products and convolutions of float32 on a GPU are."""
    if device.type == "cuda":
        # By the older of torch's two ways: its compiler reads those, and reading raises once the newer was used.
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32  # which torch has on unless told
        torch.backends.cudnn.deterministic = True


def copied(values: list[Tensor], to: list[Tensor]) -> None:
    """Copy each tensor into its place."""
    for value, place in zip(values, to, strict=True):
        place.copy_(value)


Program = Callable[..., Any]
Own = Callable[[slice, Tensor], tuple[Tensor, Tensor]]  # some steps' examples x, y of each member, by its stream


@dataclass(slots=True)
class Block:
    """Some members' tensors in the engine's layout. `step` counts along; `waiting` is the largest `due`.

    Where steps are replayed, all of these stay in place, and `staged` holds the examples of the steps at hand, `late`
    the largest `due` that a step left to the next, `kept` all that changes as it was before the steps.
    """

    tree: Tree  # params, state, loss, correct
    hyper: Tree
    seeds: Tensor  # (width,)
    which: Tensor  # (width,) stream of each member
    step: Tensor  # 0-d int64
    waiting: Tensor  # 0-d int32
    late: Tensor  # 0-d int32
    leaves: list[Tensor] = field(default_factory=list)  # what the training programs take before x and y
    train: list[Program] = field(default_factory=list)  # per phase
    staged: tuple[Tensor, Tensor] | None = None  # x (steps, ...), y (steps, ...)
    kept: list[Tensor] = field(default_factory=list)
    replays: dict[Any, Replayed] = field(default_factory=dict)  # by which parts of the learner act in which step


class Lifted:
    """Engine over all members at once. See `workloads.engine.Engine` for the promises.

    Without a working C++ compiler the same programs run uncompiled, many times slower; a warning says so once.
    """

    def __init__(
        self,
        learner: Learner,
        hyper: Tree,
        seeds: Tensor,
        *,
        compiled: bool = True,
        tf32: bool = False,
        replayed: int | None = None,
    ) -> None:
        """`tf32`: products of float32 on a GPU may be of rounded factors. `replayed`: steps per replay, 0 for none."""
        self.learner = learner
        self.hyper = hyper
        self.seeds = seeds
        self.device = seeds.device
        self.compiled = compiled
        self.last = sum(map(math.prod, learner.network.parameter_shapes().values())) <= SMALL
        self.axis = -1 if self.last else 0
        self.members = len(seeds)
        on_gpu = self.device.type == "cuda"
        self.tf32 = tf32
        self.shared = Shared(self.device) if on_gpu else None
        usual = (REPLAYED if self.last else REPLAYED_LARGE) if on_gpu else 0
        self.replayed = usual if replayed is None else replayed
        if self.learner.period <= self.replayed:
            self.replayed -= self.replayed % self.learner.period  # so that most replays are of the same phases
        settle_products(self.device, tf32=tf32)
        blocks = -(-self.members // BLOCK) if self.last and not on_gpu else 1
        lanes = LANES if self.last else 1
        width = -(-self.members // (blocks * lanes)) * lanes  # members per block, padding included
        owner = torch.arange(blocks * width, device=self.device).clamp(max=self.members - 1)
        self.parts = torch.split(owner, width)
        self.blocks: list[Block] = []
        self.programs: dict[Any, Program] = {}

    def inside(self, tree: Tree, part: Tensor) -> Tree:
        """Members `part` of a tree of (P, ...) tensors, in this engine's layout, owned and contiguous."""

        def placed(value: Tensor) -> Tensor:
            chosen = value[part]
            return (chosen.movedim(0, -1) if self.last else chosen).clone(memory_format=torch.contiguous_format)

        return mapped(placed, tree)

    def load(self, state: Tree) -> None:
        """Take the pack's state, every tensor (P, ...), and look at the hyperparameters anew."""
        if self.replayed and self.blocks:  # where replays look for it
            for block, part in zip(self.blocks, self.parts, strict=True):
                for own, new in ((block.tree, in_order(state, block.tree)), (block.hyper, self.hyper)):
                    copied(flattened(self.inside(new, part))[0], flattened(own)[0])
            return
        self.blocks = [
            Block(
                tree=self.inside(state, part),
                hyper=self.inside(self.hyper, part),
                seeds=self.seeds[part],
                which=torch.empty(0),
                step=torch.zeros((), dtype=torch.int64, device=self.device),
                waiting=torch.zeros((), dtype=torch.int32, device=self.device),
                late=torch.zeros((), dtype=torch.int32, device=self.device),
            )
            for part in self.parts
        ]
        for block in self.blocks:
            block.leaves, block.train = self.training(block)

    def state(self) -> Tree:
        """The pack's state, every tensor (P, ...)."""
        outside = [mapped(lambda v: v.movedim(self.axis, 0), block.tree) for block in self.blocks]
        return mapped(lambda *v: torch.cat(v)[: self.members].contiguous(), outside[0], *outside[1:])

    def advance(self, x: Tensor, y: Tensor, which: Tensor, start: int) -> None:
        """Train on x (count, S, B, ...), y (count, S, B, ...); member i sees stream which[i]."""
        self.train(len(x), lambda now, which: self.gather(x[now], y[now], which), which, start)

    def advance_rows(self, x: Tensor, y: Tensor, index: Tensor, which: Tensor, start: int) -> None:
        """The same from tables x (S, K, ...), y (S, K, ...) and the rows of each step, index (S, count, B), int32."""
        x, y, index = (v.to(self.device, non_blocking=True) for v in (x, y, index))

        def own(now: slice, which: Tensor) -> tuple[Tensor, Tensor]:
            rows = index[:, now][which].movedim(1, 0).long()  # (steps, P, B)
            return self.placed(x[which[:, None], rows]), self.placed(y[which[:, None], rows])

        self.train(index.shape[1], own, which, start)

    def train(self, count: int, own: Own, which: Tensor, start: int) -> None:
        """`count` steps from step `start`, member i on stream which[i]."""
        settle_products(self.device, tf32=self.tf32)
        for block, part in zip(self.blocks, self.parts, strict=True):
            block.which = which[part]
            block.step.fill_(start)
            first = 0
            while first < count:
                x, y = own(slice(first, first + (self.replayed or GATHER)), block.which)
                if self.replayed:
                    x, y = self.stage(block, x, y)
                if len(x) == self.replayed:
                    self.replay(block, start + first)
                else:
                    self.step_by_step(block, x, y, start + first)
                first += len(x)

    def step_by_step(self, block: Block, x: Tensor, y: Tensor, at: int) -> None:
        """Train a block on x (steps, ...), y (steps, ...), in its layout, from step `at`."""
        for k, (own_x, own_y) in enumerate(zip(x.unbind(), y.unbind(), strict=True)):
            phase = (at + k) % self.learner.period
            # Phases that act alike share a program: a schedule of period 16 has two, not sixteen.
            self.run(("train", self.learner.acting(phase)), block.train[phase], [*block.leaves, own_x, own_y])
            if self.learner.rare and block.waiting.item():
                self.repair(block)

    def training(self, block: Block) -> tuple[list[Tensor], list[Program]]:
        """A block's tensors, and per phase the function that takes (tensors, x, y) and trains one step in place."""
        held = {"tree": block.tree, "step": block.step, "waiting": block.waiting}
        leaves, spec = flattened(held)
        fixed, fixed_spec = flattened({"hyper": block.hyper, "seeds": block.seeds})
        dtype = block.tree["params"][self.learner.network.head].dtype
        over = self.axis

        def program(phase: int) -> Program:
            def train(*flat: Tensor) -> list[Tensor]:
                old = unflattened(list(flat[: len(leaves)]), spec)
                given = unflattened(list(flat[len(leaves) : -2]), fixed_spec)

                def one(tree: Tree, hyper: Tree, seed: Tensor, x: Tensor, y: Tensor) -> Tree:
                    draw = Draw(seed, old["step"], dtype)
                    params, state, online = self.learner.step(
                        tree["params"], tree["state"], hyper, x, y, draw, phase=phase
                    )
                    return {
                        "params": params,
                        "state": state,
                        "loss": tree["loss"] + online.loss.double(),
                        "correct": tree["correct"] + online.correct.double(),
                    }

                tree = torch.func.vmap(one, in_dims=(over, over, 0, over, over), out_dims=over)(
                    old["tree"], given["hyper"], given["seeds"], flat[-2], flat[-1]
                )
                due = [tree["state"][method]["due"].amax() for method in self.learner.rare]
                waiting = torch.stack(due).amax() if due else old["waiting"].clone()
                new = {"tree": tree, "step": old["step"] + 1, "waiting": waiting}
                for place, value in zip(flat[: len(leaves)], flattened(in_order(new, old))[0], strict=True):
                    place.copy_(value)
                return []

            return train

        return [*leaves, *fixed], [program(phase) for phase in range(self.learner.period)]

    def gather(self, x: Tensor, y: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """Each member's own stream, step by step: (steps, S, B, ...) to (steps, B, ..., P) or (steps, P, B, ...).

        A program of its own: fused into the training program, the look-ups would be repeated at every use of x.
        """
        if self.replayed:
            x, y = (v.to(self.device, non_blocking=True) for v in (x, y))
            return self.placed(x[:, which]), self.placed(y[:, which])
        if not self.last:
            alone = len(which) == x.shape[1] and bool((which == torch.arange(len(which), device=self.device)).all())
            return (x, y) if alone else (x[:, which], y[:, which])

        def look_up(x: Tensor, y: Tensor, which: Tensor, to_x: Tensor, to_y: Tensor) -> list[Tensor]:
            to_x.copy_(x[:, which].movedim(1, -1))
            to_y.copy_(y[:, which].movedim(1, -1))
            return []

        to_x, to_y = (v.new_empty((len(v), *v.shape[2:], len(which))) for v in (x, y))
        self.run(("gather", len(x)), look_up, [x, y, which, to_x, to_y])
        return to_x, to_y

    def placed(self, values: Tensor) -> Tensor:
        """(steps, P, B, ...) in this engine's layout, (steps, B, ..., P) or as it is."""
        return values.movedim(1, -1) if self.last else values

    # ---- several steps at once ----

    def stage(self, block: Block, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Lay examples of up to `replayed` steps where replays look for them; they come back as lying there."""
        if block.staged is None:
            step = x[0].nbytes + y[0].nbytes
            self.replayed = max(1, min(self.replayed, STAGED_BYTES // step))
            to_x, to_y = (v.new_empty((self.replayed, *v.shape[1:])) for v in (x, y))
            block.staged = to_x, to_y
            block.kept = [v.clone() for v in self.changing(block)] if self.learner.rare else []
        count = min(len(x), self.replayed)
        for staged, values in zip(block.staged, (x, y), strict=True):
            staged[:count].copy_(values[:count], non_blocking=True)
        return block.staged[0][:count], block.staged[1][:count]

    def replay(self, block: Block, at: int) -> None:
        """Train a block through the staged steps, the first of which is step `at`."""
        phases = [(at + k) % self.learner.period for k in range(self.replayed)]
        key = tuple(self.learner.acting(phase) for phase in phases)
        if key not in block.replays:
            block.replays[key] = Replayed(lambda: self.steps(block, phases), self.changing(block), self.shared)
        block.replays[key]()
        if self.learner.rare and block.late.item():
            copied(block.kept, self.changing(block))
            assert block.staged is not None
            self.step_by_step(block, *block.staged, at)

    def steps(self, block: Block, phases: list[int]) -> None:
        """What is replayed: staged steps of these phases, in which nothing is read by the host."""
        assert block.staged is not None
        if self.learner.rare:
            copied(self.changing(block), block.kept)
        block.late.zero_()
        for phase, x, y in zip(phases, *(v.unbind() for v in block.staged), strict=True):
            self.run(("train", self.learner.acting(phase)), block.train[phase], [*block.leaves, x, y])
            if self.learner.rare:
                self.repair_unasked(block)

    def changing(self, block: Block) -> list[Tensor]:
        """The tensors of a block that training changes."""
        return flattened({"tree": block.tree, "step": block.step, "waiting": block.waiting})[0]

    # ---- rare events ----

    def repair(self, block: Block) -> None:
        """Carry out the rare events that the last step counted, for the few members that have any."""
        if self.replayed:  # by the program that replays use
            while block.waiting.item():
                self.repair_unasked(block)
            return
        while True:
            due = self.most_due(block.tree["state"]).nonzero().squeeze(-1)
            if not len(due):
                return
            together = REPAIRS if self.last else 1
            for chunk in torch.split(due, together):
                # Padded with copies of the last one: equal values are written to the same place.
                chosen = torch.cat([chunk, chunk[-1:].expand(together - len(chunk))])
                self.repair_members(block, chosen)

    def most_due(self, state: Tree) -> Tensor:
        """Each member's largest count of events due, (P,)."""
        counts = [state[method]["due"].movedim(self.axis, 0).amax(-1) for method in self.learner.rare]
        return torch.stack(counts).amax(0)

    def repair_members(self, block: Block, chosen: Tensor) -> None:
        """At most one event per place for the members `chosen` of a block, in place."""
        leaves, spec = self.repairable(block)

        def mend(*flat: Tensor) -> list[Tensor]:
            chosen, step = flat[-2:]
            self.mend(unflattened(list(flat[:-2]), spec), chosen, step)
            return []

        at = block.step - 1  # the step that has just been trained
        self.run(("repair",), mend, [*leaves, chosen, at])

    def repair_unasked(self, block: Block) -> None:
        """The same, whatever is due, for all members of small networks, else for the few with the most."""
        leaves, spec = self.repairable(block)
        width = len(block.seeds)
        few = width if self.last else -(-width // UNASKED)

        def mend(*flat: Tensor) -> list[Tensor]:
            tree = unflattened(list(flat[:-3]), spec)
            step, waiting, late = flat[-3:]
            chosen = self.most_due(tree["state"]).topk(few).indices if few < width else None
            self.mend(tree, chosen, step - 1)
            waiting.copy_(self.most_due(tree["state"]).amax())
            late.copy_(torch.maximum(late, waiting))
            return []

        self.run(("repair unasked",), mend, [*leaves, block.step, block.waiting, block.late])

    def repairable(self, block: Block) -> tuple[list[Tensor], Any]:
        """What `mend` takes, flattened."""
        tree = {"params": block.tree["params"], "state": block.tree["state"]}
        return flattened({**tree, "hyper": block.hyper, "seeds": block.seeds})

    def mend(self, tree: Tree, chosen: Tensor | None, at: Tensor) -> None:
        """At most one event of step `at` per place for the members `chosen`, or all, in place; none where not due."""
        dtype = tree["params"][self.learner.network.head].dtype
        axis = self.axis

        def one(tree: Tree, hyper: Tree, seed: Tensor) -> Tree:
            draw = Draw(seed, at, dtype)
            for rank, method in enumerate(self.learner.rare):
                # As the plain path does: method by method, from input to output, a place only once those before it
                # have no event left; otherwise a second event of one layer would touch a newborn of the next.
                for place in range(len(self.learner.network.sites)):
                    due = tree["state"][method]["due"]
                    earlier = [tree["state"][other]["due"] for other in self.learner.rare[:rank]]
                    waits = torch.cat([*earlier, due[:place], due.new_zeros(1)]).amax() > 0
                    needed = (due[place] > 0) & ~waits
                    params, state = self.learner.repair(
                        tree["params"], tree["state"], hyper, draw, method=method, place=place
                    )
                    new = {"params": params, "state": state}
                    tree = mapped(lambda old, new, needed=needed: torch.where(needed, new, old), tree, new)
            return tree

        part = tree if chosen is None else mapped(lambda v: v.index_select(axis, chosen), tree)
        old, new = ({"params": t["params"], "state": t["state"]} for t in (tree, part))
        new = torch.func.vmap(one, in_dims=(axis, axis, 0), out_dims=axis)(new, part["hyper"], part["seeds"])
        for place, value in zip(flattened(old)[0], flattened(new)[0], strict=True):
            if chosen is None:
                place.copy_(value)
            else:
                place.index_copy_(axis, chosen, value)

    def run(self, key: Any, function: Program, arguments: list[Tensor]) -> None:
        """Run `function`, which writes into its arguments, as the compiled program called `key`."""
        if self.compiled and key not in self.programs:
            self.compile(key, function, arguments)
        if self.compiled:
            self.programs[key](*arguments)
        else:
            function(*arguments)

    def compile(self, key: Any, function: Program, arguments: list[Tensor]) -> None:
        """Trace and compile; where the machine has no working compiler, go on without, saying so."""
        from torch._inductor.exc import InductorError

        try:
            self.programs[key] = compiled_program(function, arguments, small=self.last)
        except InductorError as error:
            reason = str(error).strip().splitlines()[0][:200]
            warnings.warn(
                f"no working C++ compiler, so packs train uncompiled, many times slower: {reason}",
                stacklevel=2,
            )
            self.compiled = False


def traced(function: Program, arguments: list[Tensor], *, small: bool) -> torch.fx.GraphModule:
    """`function` as a graph of core operations on arguments like these; shapes are fixed from then on."""
    product = broadcast_product if small else outer_product
    table = {aten.bmm.default: product, aten.mm.default: product}
    graph: torch.fx.GraphModule = make_fx(function, decomposition_table=table)(*[a.clone() for a in arguments])
    if arguments[0].device.type != "cpu":
        numbers_placed(graph, arguments[0].device)
    return graph


def numbers_placed(graph: torch.fx.GraphModule, device: torch.device) -> None:
    """Plain numbers that were traced as tensors of the host become tensors of the device: a replay copies none."""
    for node in graph.graph.find_nodes(op="call_function", target=aten._to_copy.default):
        if isinstance(node.args[0], int | float):
            with graph.graph.inserting_before(node):
                number = graph.graph.call_function(
                    aten.full.default, ((), node.args[0]), {"dtype": node.kwargs["dtype"], "device": device}
                )
            node.replace_all_uses_with(number)
            graph.graph.erase_node(node)
    graph.recompile()


def compiled_program(function: Program, arguments: list[Tensor], *, small: bool) -> Program:
    """`function` traced and compiled."""
    # Before anything is traced: torch then settles on a folder in /tmp for the rest of the process.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder()))
    graph = traced(function, arguments, small=small)
    from torch._inductor import compile as inductor_compile
    from torch._inductor import config

    options: dict[str, Any] = {"cpp.threads": 1, "size_asserts": False}
    if arguments[0].device.type != "cpu":
        # Replays capture these programs themselves; and no stopwatch may decide in which order a sum is taken.
        options = {"size_asserts": False, "triton.cudagraphs": False, "deterministic": True}
        options = {name: value for name, value in options.items() if name in config.get_config_copy()}
    program: Program = inductor_compile(graph, list(arguments), options=options)
    return program
