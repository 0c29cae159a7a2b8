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
until none is due, by the same programs: the same bits. A CPU can be told to go this way too: so
it is tested where there is no GPU.

A member's bits depend on its own tensors only: blocks are padded to whole SIMD vectors with copies of the first
member.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from workloads.engine.block import Block
from workloads.engine.compiling import Program, Programs
from workloads.engine.layout import Tree, flattened, in_order, mapped, unflattened, written
from workloads.engine.repairs import Repairs
from workloads.engine.replay import Replayed, Shared
from workloads.engine.seated import Seated
from workloads.learner import Learner
from workloads.paths import LANES, SMALL
from workloads.periods import Acting
from workloads.random import Draw

BLOCK = 3072  # members trained by one call: its fixed cost is spread over them, while their state stays in cache
GATHER = 16  # steps whose examples are looked up by one call
REPLAYED, REPLAYED_LARGE = 32, 8  # steps per replay on a GPU; a large network's kernels hide their starting
MOST_REPLAYS = 32  # graphs a block keeps: a rare part acts at another place of its replay each time
STAGED_BYTES = 1 << 30  # most bytes of examples laid ready for a replay


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


def kept_places(numbers: Tensor) -> Tensor:
    """(n,) places of members that began as these numbers, where each lies in a vector of LANES as it did before."""
    rest = numbers % LANES
    order = torch.argsort(rest, stable=True)
    ranks = torch.arange(len(order)) - torch.searchsorted(rest[order], rest[order])
    place = torch.empty_like(order)
    place[order] = rest[order] + LANES * ranks
    return place


Own = Callable[[slice, Tensor], tuple[Tensor, Tensor]]  # some steps' examples x, y of each member, by its stream


class Lifted(Seated):
    """Engine over all members at once. See `workloads.engine.Engine` for the promises."""

    owes = False

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
        self.device = seeds.device
        # To a GPU a table and the numbers of its rows are far less to send than the examples.
        self.takes: tuple[str, ...] = ("rows",) if self.device.type == "cuda" else ()
        self.last = learner.network.parameter_count() <= SMALL
        self.axis = -1 if self.last else 0
        self.compiled = compiled
        on_gpu = self.device.type == "cuda"
        self.tf32 = tf32
        self.shared = Shared(self.device) if on_gpu else None
        usual = (REPLAYED if self.last else REPLAYED_LARGE) if on_gpu else 0
        self.replayed = usual if replayed is None else replayed
        self.replayed = self.fitting(self.replayed)
        settle_products(self.device, tf32=tf32)
        self.width = 0  # places in a block
        self.begun = len(seeds)
        self.numbers = torch.arange(self.begun)  # of the members, as they began; on the host, which decides by them
        self.seat(hyper, seeds)

    def seat(self, hyper: Tree, seeds: Tensor) -> None:
        """Give the members `numbers`, of these hyperparameters and seeds, their places, in blocks of one width.

        Programs are compiled for one width, which takes seconds: a block gets narrower by halves. Places and width
        follow from who is left alone, so that a pack that was resumed has those of one that was not.
        """
        self.hyper = hyper
        self.seeds = seeds
        width, place = self.places()
        if width != self.width:
            self.width = width
            self.programs = Programs(small=self.last, compiled=self.compiled)
            self.repairs = Repairs(self.learner, self.programs, last=self.last)
        self.place = place.to(self.device)
        blocks = int(place.max()) // width + 1
        owner = torch.zeros(blocks * width, dtype=torch.int64)
        owner[place] = torch.arange(len(place))
        self.parts = torch.split(owner.to(self.device), width)
        self.blocks: list[Block] = []

    def places(self) -> tuple[int, Tensor]:
        """The width of a block, and the place of every member, (P,), counted through the blocks."""
        lanes = LANES if self.last else 1
        most = -(-self.begun // BLOCK) if self.last and self.device.type == "cpu" else 1
        widest = -(-self.begun // (most * lanes)) * lanes
        if self.last:
            place = torch.arange(len(self.numbers))
        else:
            # In front, the bits of a sum depend on where in a vector a member's numbers begin: that place is kept.
            place = kept_places(self.numbers)
        need = int(place.max()) + 1
        width = widest
        while (half := -(-width // (2 * LANES)) * LANES) < width and half >= need:
            width = half
        return (width, place) if self.last or width < widest else (width, self.numbers)

    def keep(self, mask: Tensor, hyper: Tree, seeds: Tensor) -> None:
        """Go on with the members in the mask (P,) alone; see Engine."""
        self.numbers = self.numbers[mask.to("cpu")]
        super().keep(mask, hyper, seeds)

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
            held = flattened({"tree": block.tree, "step": block.step, "waiting": block.waiting})[0]
            block.leaves = [*held, *flattened({"hyper": block.hyper, "seeds": block.seeds})[0]]

    def state(self) -> Tree:
        """The pack's state, every tensor (P, ...)."""
        outside = [mapped(lambda v: v.movedim(self.axis, 0), block.tree) for block in self.blocks]
        return mapped(lambda *v: torch.cat(v)[self.place], outside[0], *outside[1:])

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
            self.one_step(block, self.learner.acting(at + k), own_x, own_y)
            if self.learner.rare and block.waiting.item():
                (self.repairs.unasked_until_none if self.replayed else self.repairs.asked)(block)

    def one_step(self, block: Block, acting: Acting, x: Tensor, y: Tensor) -> None:
        """One step of a block, in place, in which these parts of the learner act; steps that agree there share it."""
        if acting not in block.train:
            block.train[acting] = self.training(block, acting)
        self.programs.run(("train", acting), block.train[acting], [*block.leaves, x, y])

    def training(self, block: Block, acting: Acting) -> Program:
        """The function that takes (a block's tensors, x, y) and trains one step in place."""
        held, spec = flattened({"tree": block.tree, "step": block.step, "waiting": block.waiting})
        _, fixed_spec = flattened({"hyper": block.hyper, "seeds": block.seeds})
        dtype = block.tree["params"][self.learner.network.head].dtype
        over = self.axis
        writes: list[bool] = []  # per tensor: what no step changes, such as initial weights, is not written

        def train(*flat: Tensor) -> list[Tensor]:
            old = unflattened(list(flat[: len(held)]), spec)
            given = unflattened(list(flat[len(held) : -2]), fixed_spec)

            def one(tree: Tree, hyper: Tree, seed: Tensor, x: Tensor, y: Tensor) -> Tree:
                draw = Draw(seed, old["step"], dtype)
                params, state, online = self.learner.step(
                    tree["params"], tree["state"], hyper, x, y, draw, acting=acting
                )
                loss, correct = tree["loss"] + online.loss.double(), tree["correct"] + online.correct.double()
                new = {"params": params, "state": state, "loss": loss, "correct": correct}
                writes[:] = [*written(new, tree), True, True]
                return new

            tree = torch.func.vmap(one, in_dims=(over, over, 0, over, over), out_dims=over)(
                old["tree"], given["hyper"], given["seeds"], flat[-2], flat[-1]
            )
            due = [tree["state"][method]["due"].amax() for method in self.learner.rare]
            waiting = torch.stack(due).amax() if due else old["waiting"].clone()
            new = {"tree": tree, "step": old["step"] + 1, "waiting": waiting}
            for writes_it, place, value in zip(
                writes, flat[: len(held)], flattened(in_order(new, old))[0], strict=True
            ):
                if writes_it:
                    place.copy_(value)
            return []

        return train

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
        self.programs.run(("gather", *x.shape[:2]), look_up, [x, y, which, to_x, to_y])
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

    def fitting(self, steps: int) -> int:
        """At most so many steps per replay, a multiple of all periods that fit: most replays then act alike."""
        whole = 1
        for period in self.learner.schedule.periods:
            if math.lcm(whole, period) <= steps:
                whole = math.lcm(whole, period)
        return steps - steps % whole

    def replay(self, block: Block, at: int) -> None:
        """Train a block through the staged steps, the first of which is step `at`."""
        assert block.staged is not None
        acting = tuple(self.learner.acting(at + k) for k in range(self.replayed))
        if acting not in block.replays:
            if len(block.replays) == MOST_REPLAYS:
                self.step_by_step(block, *block.staged, at)
                return
            block.replays[acting] = Replayed(lambda: self.steps(block, acting), self.changing(block), self.shared)
        block.replays[acting]()
        if self.learner.rare and block.late.item():
            copied(block.kept, self.changing(block))
            self.step_by_step(block, *block.staged, at)

    def steps(self, block: Block, acting: Sequence[Acting]) -> None:
        """What is replayed: staged steps, of the parts that act in each, in which nothing is read by the host."""
        assert block.staged is not None
        if self.learner.rare:
            copied(self.changing(block), block.kept)
        block.late.zero_()
        for parts, x, y in zip(acting, *(v.unbind() for v in block.staged), strict=True):
            self.one_step(block, parts, x, y)
            if self.learner.rare:
                self.repairs.unasked(block)

    def changing(self, block: Block) -> list[Tensor]:
        """The tensors of a block that training changes."""
        return flattened({"tree": block.tree, "step": block.step, "waiting": block.waiting})[0]
