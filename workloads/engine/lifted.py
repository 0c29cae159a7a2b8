"""A whole pack as one program: the learner's step, batched over members by vmap, compiled by torch's compiler.

Two layouts, chosen by the size of a network. Small networks keep the member axis LAST and contiguous: every operation
is then elementwise over neighbouring members (SIMD lanes), and small matrix products are written out as multiply and
sum, so that they fuse with what follows. Large networks keep it first, and only outer products (one example, one row)
are written out, so that a gradient is never stored but goes straight into the update.

A call of the compiled program is one step of a block of members, in place. Several steps per call were tried: the
compiler then lays intermediate weights out member-first, and a step costs three times more. Rare events (a unit to
replace) are counted by the step and carried out by a second program, for the few members concerned.

A member's bits depend on its own tensors only: blocks are padded to whole SIMD vectors with copies of the last
member.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from workloads.engine.layout import Tree, flattened, in_order, mapped, unflattened
from workloads.engine.native import cache_folder
from workloads.learner import Learner
from workloads.networks.config import SMALL
from workloads.random import Draw

LANES = 16  # members are padded to a multiple of this in the member-last layout
BLOCK = 3072  # members trained by one call: its fixed cost is spread over them, while their state stays in cache
GATHER = 16  # steps whose examples are looked up by one call
REPAIRS = 8  # members repaired together; one at a time where copying a whole network is what it costs

aten = torch.ops.aten


def broadcast_product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b for (P, n, k) and (P, k, m), written as multiply and sum so that it fuses with its neighbours."""
    return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(-2)


def outer_product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b written out where the summed axis has length one (the gradient of one example's layer), else left alone."""
    return a * b if a.shape[-1] == 1 else NotImplemented


Program = Callable[..., Any]


@dataclass(slots=True)
class Block:
    """Some members' tensors in the engine's layout. `step` counts along; `waiting` is the largest `due`."""

    tree: Tree  # params, state, loss, correct
    hyper: Tree
    seeds: Tensor  # (width,)
    which: Tensor  # (width,) stream of each member
    step: Tensor  # 0-d int64
    waiting: Tensor  # 0-d int32


class Lifted:
    """Engine over all members at once. See `workloads.engine.Engine` for the promises.

    Without a working C++ compiler the same programs run uncompiled, many times slower; a warning says so once.
    """

    def __init__(self, learner: Learner, hyper: Tree, seeds: Tensor, *, compiled: bool = True) -> None:
        self.learner = learner
        self.hyper = hyper
        self.seeds = seeds
        self.device = seeds.device
        self.compiled = compiled
        self.last = sum(map(math.prod, learner.network.parameter_shapes().values())) <= SMALL
        self.axis = -1 if self.last else 0
        self.members = len(seeds)
        blocks = -(-self.members // BLOCK) if self.last else 1
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
        """Take the pack's state, every tensor (P, ...)."""
        self.blocks = [
            Block(
                tree=self.inside(state, part),
                hyper=self.inside(self.hyper, part),
                seeds=self.seeds[part],
                which=torch.empty(0),
                step=torch.zeros((), dtype=torch.int64, device=self.device),
                waiting=torch.zeros((), dtype=torch.int32, device=self.device),
            )
            for part in self.parts
        ]

    def state(self) -> Tree:
        """The pack's state, every tensor (P, ...)."""
        outside = [mapped(lambda v: v.movedim(self.axis, 0), block.tree) for block in self.blocks]
        return mapped(lambda *v: torch.cat(v)[: self.members].contiguous(), outside[0], *outside[1:])

    def advance(self, x: Tensor, y: Tensor, which: Tensor, start: int) -> None:
        """Train on x (count, S, B, ...), y (count, S, B, ...); member i sees stream which[i]."""
        for block, part in zip(self.blocks, self.parts, strict=True):
            block.which = which[part]
            block.step.fill_(start)
            leaves, train = self.training(block)
            for first in range(0, len(x), GATHER):
                now = slice(first, first + GATHER)
                gathered = self.gather(x[now], y[now], block.which)
                for k, (own_x, own_y) in enumerate(zip(*gathered, strict=True)):
                    phase = (start + first + k) % self.learner.period
                    # Phases that act alike share a program: a schedule of period 16 has two, not sixteen.
                    key = ("train", self.learner.acting(phase))
                    self.run(key, train[phase], [*leaves, own_x, own_y])
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

    def gather(self, x: Tensor, y: Tensor, which: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Each member's own stream, step by step: (steps, S, B, ...) to steps x (B, ..., P) or (P, B, ...).

        A program of its own: fused into the training program, the look-ups would be repeated at every use of x.
        """
        if not self.last:
            alone = len(which) == x.shape[1] and bool((which == torch.arange(len(which), device=self.device)).all())
            return (x.unbind(), y.unbind()) if alone else (x[:, which].unbind(), y[:, which].unbind())

        def look_up(x: Tensor, y: Tensor, which: Tensor, to_x: Tensor, to_y: Tensor) -> list[Tensor]:
            to_x.copy_(x[:, which].movedim(1, -1))
            to_y.copy_(y[:, which].movedim(1, -1))
            return []

        to_x, to_y = (v.new_empty((len(v), *v.shape[2:], len(which))) for v in (x, y))
        self.run(("gather", len(x)), look_up, [x, y, which, to_x, to_y])
        return to_x.unbind(), to_y.unbind()

    def repair(self, block: Block) -> None:
        """Carry out the rare events that the last step counted, for the few members that have any."""
        while True:
            counts = [block.tree["state"][m]["due"].movedim(self.axis, 0).amax(-1) for m in self.learner.rare]
            due = torch.stack(counts).amax(0).nonzero().squeeze(-1)
            if not len(due):
                return
            together = REPAIRS if self.last else 1
            for chunk in torch.split(due, together):
                # Padded with copies of the last one: equal values are written to the same place.
                chosen = torch.cat([chunk, chunk[-1:].expand(together - len(chunk))])
                self.repair_members(block, chosen)

    def repair_members(self, block: Block, chosen: Tensor) -> None:
        """At most one event per place for the members `chosen` of a block, in place."""
        leaves, spec = flattened({"params": block.tree["params"], "state": block.tree["state"]})
        fixed, fixed_spec = flattened(block.hyper)
        dtype = block.tree["params"][self.learner.network.head].dtype

        def one(tree: Tree, hyper: Tree, seed: Tensor, at: Tensor) -> Tree:
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

        def mend(*flat: Tensor) -> list[Tensor]:
            seeds, chosen, step = flat[-3:]
            axis = self.axis
            pick = [v.index_select(axis, chosen) for v in flat[:-3]]
            tree = unflattened(pick[: len(leaves)], spec)
            hyper = unflattened(pick[len(leaves) :], fixed_spec)
            mended = torch.func.vmap(one, in_dims=(axis, axis, 0, None), out_dims=axis)(
                tree, hyper, seeds.index_select(0, chosen), step
            )
            for old, new in zip(flat[: len(leaves)], flattened(mended)[0], strict=True):
                old.index_copy_(axis, chosen, new)
            return []

        at = block.step - 1  # the step that has just been trained
        self.run(("repair",), mend, [*leaves, *fixed, block.seeds, chosen, at])

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
    return graph


def compiled_program(function: Program, arguments: list[Tensor], *, small: bool) -> Program:
    """`function` traced and compiled."""
    # Before anything is traced: torch then settles on a folder in /tmp for the rest of the process.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder()))
    graph = traced(function, arguments, small=small)
    from torch._inductor import compile as inductor_compile

    program: Program = inductor_compile(graph, list(arguments), options={"cpp.threads": 1, "size_asserts": False})
    return program
