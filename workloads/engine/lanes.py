"""A pack of tiny networks as emitted C++: members side by side in SIMD lanes, all steps of a chunk inside the kernel.

The learner's own step, written in torch for one network, is lowered (see `lowering`): so every optimizer and method,
a user's own among them, has one definition. A block of LANES members keeps its whole state in one stretch of memory
that fits the innermost cache, and is trained through all steps of a chunk before the next block begins. Each lane
reads its own stream. Rare events (a unit to replace) are counted by the step and carried out at once, for the one
member concerned, by the same lowering with one lane.

A lane's bits depend on its own numbers only: the last block is padded with copies of the last member.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor

from workloads import native
from workloads.engine.layout import Tree, flattened, in_order, mapped, unflattened
from workloads.engine.lowering import Lowering
from workloads.engine.schedule import array
from workloads.engine.seated import Seated
from workloads.engine.trace import MarkedDraw, NotLowered
from workloads.engine.values import KINDS, SCALARS
from workloads.learner import Learner
from workloads.paths import LANES
from workloads.periods import Acting

Flat = Callable[..., list[Tensor]]  # takes and returns tensors in a fixed order

ALIGNMENT = 64  # bytes


def stored(dtype: torch.dtype) -> torch.dtype:
    """The type of a tensor's numbers in a block: truth is kept as what masks are, 0 and -1."""
    return torch.int32 if dtype == torch.bool else dtype


def number(acting: Acting) -> int:
    """The number of the program for the steps in which these parts act: a bit for each period."""
    return sum(acts << k for k, acts in enumerate(acting))


class Program:
    """The C++ of one learner on inputs of one shape: its source, and where each tensor lies in a block."""

    def __init__(self, learner: Learner, state: Tree, hyper: Tree, x: Tensor, y: Tensor) -> None:
        """`state` {"params", "state", "loss", "correct"} and `hyper` of one member, one batch `x`, `y` as examples."""
        self.learner = learner
        self.leaves, self.spec = flattened(state)
        self.hypers, self.hyper_spec = flattened(hyper)
        self.dtype = state["params"][learner.network.head].dtype
        self.x, self.y = x, y
        self.offsets: list[int] = []
        size = 0
        for leaf in [*self.leaves, *self.hypers]:
            self.offsets.append(size)
            size += -(-leaf.numel() * stored(leaf.dtype).itemsize * LANES // ALIGNMENT) * ALIGNMENT
        self.block_bytes = size

    def source(self) -> str:
        """The whole C++ file. Raises NotLowered."""
        states = [f"p{k}" for k in range(len(self.leaves))]
        hypers = [f"h{k}" for k in range(len(self.hypers))]
        scalars = [torch.zeros((), dtype=torch.int64)] * 2
        wide, single = [], []
        inputs = [*self.leaves, *self.hypers, *scalars, self.x, self.y]
        for acting in self.learner.schedule.met():
            lowering = Lowering(self.step(acting), inputs, [*states, *hypers, "seed", "step", "x", "y"])
            wide += [f"static void step{number(acting)}({self._parameters()}) {{", *lowering.code(), "}"]
        events = []
        for rank, method in enumerate(self.learner.rare):
            for place in range(len(self.learner.network.sites)):
                lowering = Lowering(self.event(method, place), inputs[:-2], [*states, *hypers, "seed", "step"])
                name = f"repair{rank}_{place}"
                single += [f"static void {name}({self._parameters(inputs=False)}) {{", *lowering.code(), "}"]
                due = self.leaf(("state", method, "due"))
                if self.leaves[due].dtype != torch.int32:
                    raise NotLowered(f"counts of {method}'s events as {self.leaves[due].dtype}, not torch.int32")
                events.append((due, place, name))
        return self._file(wide, single, events)

    def step(self, acting: Acting) -> Flat:
        """A step as a function of the flat state, hyperparameters, seed, step, x and y, to the flat state."""

        def step(*flat: Tensor) -> list[Tensor]:
            tree = unflattened(list(flat[: len(self.leaves)]), self.spec)
            hyper = unflattened(list(flat[len(self.leaves) : -4]), self.hyper_spec)
            seed, at, x, y = flat[-4:]
            params, state, online = self.learner.step(
                tree["params"], tree["state"], hyper, x, y, MarkedDraw(seed, at, self.dtype), acting=acting
            )
            loss, correct = tree["loss"] + online.loss.double(), tree["correct"] + online.correct.double()
            new = {"params": params, "state": state, "loss": loss, "correct": correct}
            return flattened(in_order(new, tree))[0]

        return step

    def event(self, method: str, place: int) -> Flat:
        """A rare event as a function of the flat state, hyperparameters, seed and step, to the flat state."""

        def repair(*flat: Tensor) -> list[Tensor]:
            tree = unflattened(list(flat[: len(self.leaves)]), self.spec)
            hyper = unflattened(list(flat[len(self.leaves) : -2]), self.hyper_spec)
            draw = MarkedDraw(flat[-2], flat[-1], self.dtype)
            params, state = self.learner.repair(tree["params"], tree["state"], hyper, draw, method=method, place=place)
            return flattened(in_order({**tree, "params": params, "state": state}, tree))[0]

        return repair

    def leaf(self, path: Sequence[str]) -> int:
        """The number of a tensor of the state."""
        marked: Any = unflattened([torch.tensor(k) for k in range(len(self.leaves))], self.spec)
        for name in path:
            marked = marked[name]
        return int(marked)

    def _parameters(self, *, inputs: bool = True) -> str:
        kinds = [KINDS[leaf.dtype] for leaf in [*self.leaves, *self.hypers]]
        names = [f"p{k}" for k in range(len(self.leaves))] + [f"h{k}" for k in range(len(self.hypers))]
        slots = [f"const slot<{kind}v> {name}" for kind, name in zip(kinds, names, strict=True)]
        ends = ["const i64v* seed", "const i64v* step"]
        if inputs:
            ends += [f"const {KINDS[self.x.dtype]}v* x", f"const {KINDS[self.y.dtype]}v* y"]
        return ", ".join([*slots, *ends])

    def _file(
        self,
        wide: list[str],
        single: list[str],
        events: list[tuple[int, int, str]],
    ) -> str:
        prelude = files("workloads.engine").joinpath("lanes.h").read_text()

        def slots(lane: str) -> str:
            return ", ".join(
                f"{{block+{offset}+{lane}*{stored(leaf.dtype).itemsize}}}"
                for offset, leaf in zip(self.offsets, [*self.leaves, *self.hypers], strict=True)
            )

        x, y = SCALARS[KINDS[self.x.dtype]], SCALARS[KINDS[self.y.dtype]]
        steps = "\n".join(
            f"case {number(acting)}: wide::step{number(acting)}({slots('0')}, &seed, &now, xs, ys); break;"
            for acting in self.learner.schedule.met()
        )
        periods = self.learner.schedule.periods
        repairs = "\n".join(
            f"for(int32_t* due=(int32_t*)(block+{self.offsets[leaf]})+{place * LANES}+lane; *due>0;) "
            f"single::{name}({slots('lane')}, &seed, &now);"
            for leaf, place, name in events
        )
        due = " || ".join(f"some((const wide::i32v*)(block+{self.offsets[leaf]})+{place})" for leaf, place, _ in events)
        rare = f"""
      if ({due}) {{
        for (int lane = 0; lane < {LANES}; ++lane) {{
          const single::i64v seed = {{seeds[b * {LANES} + lane]}}, now = {{start + t}};
          {repairs}
        }}
      }}"""
        return "\n".join(
            [
                "#include <cmath>\n#include <cstdint>\n#include <cstring>",
                "#ifdef __AVX512F__\n#include <immintrin.h>\n#endif",
                f"namespace wide {{\n#define W {LANES}\n#define STRIDE {LANES}",
                prelude,
                *wide,
                "#undef W\n#undef STRIDE\n}",
                f"namespace single {{\n#define W 1\n#define STRIDE {LANES}" if events else "",
                prelude if events else "",
                *single,
                "#undef W\n#undef STRIDE\n}" if events else "",
                KERNEL % {
                    "lanes": LANES,
                    "x": x, "y": y,
                    "xs": array(f"wide::{KINDS[self.x.dtype]}v", "xs", self.x.numel()),
                    "ys": array(f"wide::{KINDS[self.y.dtype]}v", "ys", self.y.numel()),
                    "batch": len(self.x), "inputs": self.x[0].numel(), "targets": self.y[0].numel(),
                    "bytes": self.block_bytes,
                    "acting": "+".join(f"(at % {period} == 0) * {1 << k}" for k, period in enumerate(periods)) or "0",
                    "steps": steps, "rare": rare if events else "",
                },
            ]
        )  # fmt: skip


KERNEL = """
// The streams that a block's lanes see, each with the lanes that see it. Neighbours usually share one.
struct sources {
  int distinct;
  int64_t stream[%(lanes)d];
  wide::maskv lanes[%(lanes)d];
};

// Example `at` of every lane's stream: row index[stream][at] of its table, or row `at` where there is no index.
template <int N, class V, class S> static inline void spread(
    V* to, const S* tables, int64_t rows, const int32_t* index, int64_t examples, int64_t at, const sources& from) {
  int64_t stream = from.stream[0];
  const S* row = tables + (stream * rows + (index ? index[stream * examples + at] : at)) * N;
  for (int j = 0; j < N; ++j) to[j] = wide::all(row[j]);
  for (int d = 1; d < from.distinct; ++d) {
    stream = from.stream[d];
    row = tables + (stream * rows + (index ? index[stream * examples + at] : at)) * N;
    const wide::maskv mask = from.lanes[d];
    for (int j = 0; j < N; ++j) to[j] = wide::chosen(mask, wide::all(row[j]), to[j]);
  }
}

static inline bool some(const wide::i32v* due) {
  int32_t any = 0;
  for (int l = 0; l < %(lanes)d; ++l) any |= (*due)[l];
  return any != 0;
}

// Train `blocks` blocks of members, each through all steps. Tables x (streams, rows, inputs), y (streams, rows,
// targets); index (streams, count, batch) names the rows of a step, or is null where row follows row.
extern "C" void advance(
    char* arena, int64_t blocks, const int64_t* seeds, const int64_t* which, const %(x)s* x, const %(y)s* y,
    const int32_t* index, int64_t rows, int64_t count, int64_t start) {
  for (int64_t b = 0; b < blocks; ++b) {
    char* block = arena + b * %(bytes)d;
    sources from;
    from.distinct = 0;
    wide::i64v seed;
    for (int l = 0; l < %(lanes)d; ++l) {
      seed[l] = seeds[b * %(lanes)d + l];
      const int64_t stream = which[b * %(lanes)d + l];
      int d = 0;
      while (d < from.distinct && from.stream[d] != stream) ++d;
      if (d == from.distinct) {
        from.stream[from.distinct++] = stream;
        from.lanes[d] = wide::maskv{};
      }
      from.lanes[d][l] = -1;
    }
    for (int64_t t = 0; t < count; ++t) {
      const wide::i64v now = wide::i64v{} + (start + t);
      %(xs)s
      %(ys)s
      for (int i = 0; i < %(batch)d; ++i) {
        const int64_t at = t * %(batch)d + i;
        spread<%(inputs)d>(xs + i * %(inputs)d, x, rows, index, count * %(batch)d, at, from);
        spread<%(targets)d>(ys + i * %(targets)d, y, rows, index, count * %(batch)d, at, from);
      }
      [[maybe_unused]] const int64_t at = start + t;
      switch (%(acting)s) {
        %(steps)s
      }%(rare)s
    }
  }
}
"""


class Lanes(Seated):
    """Engine over all members at once, as emitted C++. See `workloads.engine.Engine` for the promises."""

    takes: tuple[str, ...] = ("rows",)
    owes = False

    def __init__(self, learner: Learner, hyper: Tree, seeds: Tensor) -> None:
        self.learner = learner
        self.seat(hyper, seeds)
        self.program: Program | None = None
        self.library: ctypes.CDLL | None = None
        self.held: Tree = {}
        self.arena = torch.empty(0, dtype=torch.uint8)

    def seat(self, hyper: Tree, seeds: Tensor) -> None:
        """Make room for the members of these hyperparameters and seeds; what is compiled serves any number."""
        self.hyper = hyper
        self.members = len(seeds)
        self.blocks = -(-self.members // LANES)
        self.owner = torch.arange(self.blocks * LANES).clamp(max=self.members - 1)
        self.seeds = seeds[self.owner].contiguous()

    def load(self, state: Tree) -> None:
        """Take the pack's state, every tensor (P, ...)."""
        self.held = state
        if self.program is not None:
            self._fill()

    def state(self) -> Tree:
        """The pack's state, every tensor (P, ...)."""
        if self.program is None:
            return mapped(torch.clone, self.held)
        leaves = [
            self._view(k).transpose(1, 2).reshape(self.blocks * LANES, *leaf.shape)[: self.members].clone()
            for k, leaf in enumerate(self.program.leaves)
        ]
        pairs = zip(leaves, self.program.leaves, strict=True)
        return unflattened([v != 0 if like.dtype == torch.bool else v for v, like in pairs], self.program.spec)

    def advance(self, x: Tensor, y: Tensor, which: Tensor, start: int) -> None:
        """Train on x (count, S, B, ...), y (count, S, B, ...); member i sees stream which[i]."""
        self._prepare(x[0, 0], y[0, 0])
        table_x, table_y = (v.movedim(1, 0).flatten(1, 2).contiguous() for v in (x, y))
        self._run(table_x, table_y, None, which, len(x), start)

    def advance_rows(self, x: Tensor, y: Tensor, index: Tensor, which: Tensor, start: int) -> None:
        """The same from tables x (S, K, ...), y (S, K, ...) and the rows of each step, index (S, count, B), int32."""
        first = index[0, 0].long()
        self._prepare(x[0, first], y[0, first])
        self._run(x.contiguous(), y.contiguous(), index.contiguous(), which, index.shape[1], start)

    def _prepare(self, x: Tensor, y: Tensor) -> None:
        """The program, once the first batch x (B, ...), y (B, ...) shows what it is to be made for."""
        if self.program is None:
            program = self._program(x, y)
            self.library = native.compiled(program.source())
            self.program = program
            self._fill()

    def _program(self, x: Tensor, y: Tensor) -> Program:
        first, hyper = (mapped(lambda v: v[0].clone(), tree) for tree in (self.held, self.hyper))
        return Program(self.learner, first, hyper, x, y)

    def source(self, x: Tensor, y: Tensor) -> str:
        """The C++ for batches like x (B, ...), y (B, ...). Raises NotLowered."""
        return self._program(x, y).source()

    def _run(self, x: Tensor, y: Tensor, index: Tensor | None, which: Tensor, count: int, start: int) -> None:
        assert self.library is not None
        streams = which[self.owner].contiguous()
        pointers = (t.data_ptr() for t in (self.seeds, streams, x, y))
        self.library.advance(
            ctypes.c_void_p(self.base),
            ctypes.c_int64(self.blocks),
            *map(ctypes.c_void_p, pointers),
            ctypes.c_void_p(None if index is None else index.data_ptr()),
            *map(ctypes.c_int64, (x.shape[1], count, start)),
        )

    def _fill(self) -> None:
        """Write the state and the hyperparameters into a fresh arena."""
        assert self.program is not None
        self.arena = torch.zeros(self.blocks * self.program.block_bytes + ALIGNMENT, dtype=torch.uint8)
        self.shift = -self.arena.data_ptr() % ALIGNMENT
        self.base = self.arena.data_ptr() + self.shift
        leaves = [*flattened(self.held)[0], *flattened(self.hyper)[0]]
        for k, leaf in enumerate(leaves):
            padded = leaf[self.owner].reshape(self.blocks, LANES, leaf[0].numel())
            padded = -padded.int() if padded.dtype == torch.bool else padded
            self._view(k).copy_(padded.transpose(1, 2))
        self.held = {}

    def _view(self, number: int) -> Tensor:
        """Tensor `number` of the arena, (blocks, elements, LANES)."""
        assert self.program is not None
        example = [*self.program.leaves, *self.program.hypers][number]
        first = self.shift + self.program.offsets[number]
        dtype = stored(example.dtype)
        size = example.numel() * dtype.itemsize * LANES
        rows = self.arena[self.shift : self.shift + self.blocks * self.program.block_bytes].view(self.blocks, -1)
        part = rows[:, first - self.shift : first - self.shift + size]
        return part.view(dtype).view(self.blocks, math.prod(example.shape), LANES)
