"""Networks too large for SIMD lanes, trained online, whatever their method: loops made from the learner's own step.

The step is traced once (online_cut.py) and becomes C++ (online_text.py): products over the rows whose input is not
zero, a chain per weight that is read, small dense code for the rest. Rows that are not read sleep (online_sleep.py).
No method is known by name: what it does to a weight, asleep or awake, follows from its own torch code.

What happens rarely sees everything awake. A step in which a schedule acts (a period of RAREST steps or more) is lowered
as it stands, dense. The events that a step counted are compiled too, or else the learner's own torch on the one member
concerned.

What sleeping rows owe is kept under "path" in the state, as in online.py, where it cannot be paid without changing the
bits of what follows.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from workloads.data.entries import Bytes
from workloads.engine.lanes import Program
from workloads.engine.layout import Tree, flattened, mapped, unflattened
from workloads.engine.online_layers import Layer
from workloads.engine.online_layout import Shades, bits, inside, padded, pictures
from workloads.engine.online_sleep import Mode, Sleep, descent, pace
from workloads.engine.online_text import Emitted, emitted
from workloads.engine.plain import repaired
from workloads.engine.seated import Seated
from workloads.engine.trace import NotLowered
from workloads.learner import Learner
from workloads.native import compiled
from workloads.paths import RAREST
from workloads.random import Draw, Int64

NEAR = 1e-3  # of the largest sum: by how much rounding may have moved one
AT_ONCE = [float(Mode.PACED), float(Mode.OWED)]


def emit(learner: Learner, state: Tree, hyper: Tree, x: Tensor, y: Tensor) -> Emitted:
    """The C++ of a learner for batches like x (B, ...), y (B, ...). Raises NotLowered."""
    if x.ndim != 2:
        raise NotLowered("inputs that are no vectors")
    often = [period for period in learner.schedule.periods if period < RAREST]
    if often:
        raise NotLowered(f"a schedule that acts every {min(often)} steps")
    program = Program(learner, state, hyper, x, y)
    due = [program.leaf(("state", method, "due")) for method in learner.rare]
    return emitted(program, learner.schedule, due)


class TracedOnline(Seated):
    """Engine over members one at a time, all steps of a call in one compiled loop. See `workloads.engine.Engine`.

    Raises NotLowered, from the first batch on, for what cannot be cut so, NoCompiler where there is none.
    """

    takes: tuple[str, ...] = ("pictures",)
    owes = False

    def __init__(self, learner: Learner, hyper: Tree, seeds: Tensor) -> None:
        self.learner = learner
        self.step = 0  # the next one
        self.held: Tree | None = {}
        self.made: dict[int, tuple[Emitted, ctypes.CDLL, Tensor]] = {}  # by batch size
        self.seat(hyper, seeds)

    def seat(self, hyper: Tree, seeds: Tensor) -> None:
        """See Seated."""
        self.hyper = hyper
        self.seeds = seeds
        self.members = len(seeds)

    # ---- the program ----

    def prepare(self, x: Tensor, y: Tensor) -> tuple[Emitted, ctypes.CDLL, Tensor]:
        """The program for batches like x (B, ...), y (B, ...), with scratch memory."""
        if len(x) not in self.made:
            made = self._emitted(x, y)
            library = compiled(made.text)
            pointer, number = ctypes.c_void_p, ctypes.c_int64
            library.advance.argtypes = [pointer, pointer, pointer, pointer, number, number, number, number]
            library.advance_pictures.argtypes = [*[pointer] * 7, number, number]
            library.settle.argtypes = library.count.argtypes = [pointer, pointer, number]
            for k in range(len(made.acting)):
                getattr(library, f"whole{k}").argtypes = [pointer]
                getattr(library, f"whole{k}").restype = None
            library.advance.restype = library.advance_pictures.restype = number
            library.settle.restype = library.count.restype = None
            self.made[len(x)] = made, library, torch.zeros(made.size // 8 + 8, dtype=torch.float64)
        if self.held is not None:
            held, self.held = self.held, None
            self._fill(self.made[len(x)][0], held)
        return self.made[len(x)]

    def source(self, x: Tensor, y: Tensor) -> str:
        """The C++ for batches like x (B, ...), y (B, ...). Raises NotLowered."""
        return self._emitted(x, y).text

    def _emitted(self, x: Tensor, y: Tensor) -> Emitted:
        first = mapped(lambda v: v[0].clone(), {k: v for k, v in self.state().items() if k != "path"})
        return emit(self.learner, first, mapped(lambda v: v[0].clone(), self.hyper), x, y)

    @property
    def plan(self) -> Emitted:
        """How the state is laid out, alike for all batch sizes."""
        return next(iter(self.made.values()))[0]

    def pointers(self, leaves: list[Tensor], awake: list[Tensor], member: int) -> ctypes.Array[Any]:
        """The C++ structure Member of one member, over these buffers."""
        words = [
            v[member].data_ptr()
            for v in [*leaves, *self.numbers, *awake, *self.paces, *self.columns, *self.across, *self.rests]
        ]
        return (ctypes.c_int64 * (len(words) + 1))(*words, int(self.seeds[member]))

    # ---- the state, in and out ----

    def load(self, state: Tree) -> None:
        """Take the pack's state, every tensor (P, ...)."""
        self.held = state
        if self.made:
            held, self.held = self.held, None
            self._fill(self.plan, held)

    def _fill(self, plan: Emitted, state: Tree) -> None:
        """Buffers from a state; the hyperparameters are read anew."""
        given = flattened({k: v for k, v in state.items() if k != "path"})[0]
        self.wide = {k: number for number, layer in enumerate(plan.cut.layers) for k in layer.leaves}
        biases = enumerate(layer.bias for layer in plan.cut.layers)
        self.biases = {bias.weight: number for number, bias in biases if bias is not None}
        self.leaves = [self._inside(k, v) for k, v in enumerate(given)]
        self.numbers = [v.clone().contiguous() for v in flattened(self.hyper)[0]]
        self.paces = [self._paces(plan, number) for number in range(len(plan.cut.layers))]
        shapes = [plan.program.leaves[layer.weight].shape for layer in plan.cut.layers]
        self.awake = [torch.full((self.members, inputs), self.step, dtype=torch.int64) for _, inputs in shapes]
        self.summed = [k for k, layer in enumerate(plan.cut.layers) if layer.sums]

        def blank(axis: int) -> list[Tensor]:
            lengths = [padded(shape[axis]) if k in self.summed else 0 for k, shape in enumerate(shapes)]
            return [torch.zeros(self.members, length, dtype=torch.float64) for length in lengths]

        self.columns, self.across = blank(0), blank(1)
        self.rests = [
            torch.zeros(self.members, shape[0] if layer.bias is not None else 0, dtype=plan.program.dtype)
            for layer, shape in zip(plan.cut.layers, shapes, strict=True)
        ]
        path = state.get("path", {})
        same = self._resume(plan, path)
        for i in range(self.members):
            self._count(i, self.step)
        if "sums" in path:
            self._resume_sums(path["sums"], same)

    def _inside(self, number: int, value: Tensor) -> Tensor:
        """A leaf of the state, (P, ...), in the engine's layout, owned."""
        if number in self.wide:
            return inside(value, value.dtype)
        return -value.int() if value.dtype == torch.bool else value.clone().contiguous()

    def _paces(self, plan: Emitted, number: int) -> Tensor:
        """(P, 2 + slots² + 2) float64: how every member's rows of a layer sleep, and its bias descends."""
        layer, asleep = plan.cut.layers[number], plan.sleeps[number]
        hypers = plan.cut.placeholders[len(plan.program.leaves) :]
        rows: dict[tuple[float, ...], list[float]] = {}
        paces = []
        for i in range(self.members):
            values = dict(zip(hypers, (v[i].double() for v in self.numbers), strict=False))
            key = tuple(float(v) for v in values.values())
            if key not in rows:
                numbers = [plan.cut.small(n, values) for n in layer.scalars] if asleep.sleep != Sleep.DENSE else []
                rows[key] = [*pace(plan.cut, layer, asleep, numbers), *self._descent(plan, layer.bias, values)]
            paces.append(rows[key])
        return torch.tensor(paces, dtype=torch.float64)

    def _descent(self, plan: Emitted, bias: Layer | None, values: dict[fx.Node, Tensor]) -> tuple[float, float]:
        """(b, a) of a bias that descends, from hyperparameters in float64; (0, 1) where none does."""
        if bias is None:
            return 0.0, 1.0
        return descent(plan.cut, bias, [plan.cut.small(n, values) for n in bias.scalars])

    def state(self) -> Tree:
        """The pack's state, every tensor (P, ...)."""
        if self.held is not None:
            return mapped(torch.clone, self.held)
        tree = self._outside(self._settled())
        path = self._path()
        return {**tree, "path": path} if path else tree

    def _settled(self) -> list[Tensor]:
        """The leaves with all that is owed paid; the buffers stay as they are."""
        leaves = [v.clone() if k in self.wide else v for k, v in enumerate(self.leaves)]
        for i in range(self.members):
            self._settle(leaves, [v.clone() for v in self.awake], i, self.step)
        return leaves

    def _settle(self, leaves: list[Tensor], awake: list[Tensor], member: int, step: int) -> None:
        """Pay in these buffers what a member's rows owe before a step."""
        _, library, scratch = next(iter(self.made.values()))
        library.settle(self.pointers(leaves, awake, member), scratch.data_ptr(), step)

    def _outside(self, leaves: list[Tensor]) -> Tree:
        """The state from leaves in the engine's layout."""
        like = self.plan.program.leaves
        values = []
        for k, (value, one) in enumerate(zip(leaves, like, strict=True)):
            if k in self.wide:
                value = value[:, :, : one.shape[0]].transpose(1, 2)
            values.append(value != 0 if one.dtype == torch.bool else value.clone().contiguous())
        return unflattened(values, self.plan.program.spec)

    # ---- what is owed ----

    @property
    def _owing(self) -> list[int]:
        """Layers whose debts cannot be paid in two parts with the same bits: those paid for at once, and of biases."""
        at_once = [torch.isin(pace[:, 0], torch.tensor(AT_ONCE)) | (pace[:, -1] != 1) for pace in self.paces]
        return [k for k, owing in enumerate(at_once) if bool(owing.any())]

    def _path(self) -> Tree:
        """What readers need not know: what is stored of weights that owe, and for how long their rows have slept."""
        path: Tree = {}
        for k in self._owing:
            layer = self.plan.cut.layers[k]
            path[str(k)] = {
                "asleep": self.step - self.awake[k],
                "pace": self.paces[k].clone(),
                "stored": {str(leaf): self.leaves[leaf].clone() for leaf in layer.evolving},
                "rest": self.rests[k].clone(),
            }
        if self.summed:
            path["sums"] = {
                str(k): {"entering": self.columns[k].clone(), "leaving": self.across[k].clone()} for k in self.summed
            }
        return path

    def _count(self, member: int, step: int) -> None:
        """A member's sums of weights, anew, from those before `step`."""
        if self.summed:
            _, library, scratch = next(iter(self.made.values()))
            library.count(self.pointers(self.leaves, self.awake, member), scratch.data_ptr(), step)

    def _resume_sums(self, path: Tree, same: Tensor) -> None:
        """Go on from sums that were kept, of the `same` members, where but for rounding they are the weights' own."""
        for k in self.summed:
            for name, own in (("entering", self.columns[k]), ("leaving", self.across[k])):
                kept = path[str(k)][name]
                near = ((own - kept).abs() <= NEAR * own.abs().amax(1, keepdim=True)).all(1) & same
                own[near] = kept[near]

    def _resume(self, plan: Emitted, path: Tree) -> Tensor:
        """Go on from "path", member by member, where the weights given are those it stands for; else from them.

        Returns of which members they are, (P,), as far as what is owed can tell. From them, too, where an older version
        kept the path, whose paces are of another length: it owed by other rules.
        """
        fresh = [v.clone() for v in self.leaves], [v.clone() for v in self.awake]
        kept = {k: path[str(k)] for k in self._owing if str(k) in path}
        layers = {k: own for k, own in kept.items() if own["pace"].shape == self.paces[k].shape}
        for k, own in layers.items():
            self.awake[k] = self.step - own["asleep"]
            self.rests[k] = own["rest"].clone()
            for leaf, value in own["stored"].items():
                self.leaves[int(leaf)] = value.clone()
        settled = self._settled()
        same = torch.ones(self.members, dtype=torch.bool)
        for k, own in layers.items():
            same &= (own["pace"] == self.paces[k]).all(1)
            for leaf in plan.cut.layers[k].evolving:
                same &= (bits(settled[leaf]) == bits(fresh[0][leaf])).flatten(1).all(1)
        for k in layers:
            self.awake[k][~same] = fresh[1][k][~same]
            self.rests[k][~same] = 0
            for leaf in plan.cut.layers[k].evolving:
                self.leaves[leaf][~same] = fresh[0][leaf][~same]
        return same

    # ---- training ----

    def advance(self, x: Tensor, y: Tensor, which: Tensor, start: int) -> None:
        """Train on x (count, S, B, ...), y (count, S, B, ...); member i sees stream which[i]."""
        if not len(x):
            return
        dtype = self.hyper["optimizer"]["step_size"].dtype
        x = x.to(dtype).contiguous()
        y = (y if y.dtype == torch.int64 else y.to(dtype)).contiguous()
        _, library, scratch = self.prepare(x[0, 0], y[0, 0])
        strides = [v[0].numel() * size for v, size in ((x, 1), (y, y.element_size()))]

        def run(member: ctypes.Array[Any], stream: int, first: int, count: int) -> int:
            places = (v[first, stream].data_ptr() for v in (x, y))
            return int(library.advance(member, scratch.data_ptr(), *places, *strides, count, start + first))

        self._train(run, lambda stream, at: (x[at, stream], y[at, stream]), which, len(x), start)

    def advance_pictures(
        self, images: Bytes, labels: Int64, shades: Shades, shown: Tensor, pixels: Tensor, which: Tensor, start: int
    ) -> None:
        """The same bits from pictures: images (n, inputs) uint8, labels (n,) int64, shades (256,) float32.

        shown (S, count, B) int32 are numbers of images; pixel i of stream s is pixel pixels[s, i], a permutation of an
        image's, (S, inputs) int32.
        """
        if not shown.shape[1]:
            return
        dtype = self.hyper["optimizer"]["step_size"].dtype
        laid = pictures(images, labels, shades, shown, pixels, dtype)

        def example(stream: int, at: int) -> tuple[Tensor, Tensor]:
            own = laid.shown[stream, at].numpy()  # of images read from a file, which torch would not share unwarned
            flat = torch.from_numpy(laid.images[own].reshape(len(own), -1)).long()
            x = laid.shades[flat][:, pixels[stream].long()].contiguous()  # the same bits in torch too
            return x, torch.from_numpy(laid.labels[own])

        _, library, scratch = self.prepare(*example(0, 0))

        def run(member: ctypes.Array[Any], stream: int, first: int, count: int) -> int:
            seen = laid.seen(stream, first)
            return int(library.advance_pictures(member, scratch.data_ptr(), *seen, count, start + first))

        self._train(run, example, which, shown.shape[1], start)

    def _train(
        self,
        run: Callable[[ctypes.Array[Any], int, int, int], int],
        example: Callable[[int, int], tuple[Tensor, Tensor]],
        which: Tensor,
        count: int,
        start: int,
    ) -> None:
        """`run` (member, stream, first, count) -> steps done; `example` (stream, at) -> x, y of one step."""
        if start != self.step:  # a debt is a number of steps, wherever they are counted from
            for awake in self.awake:
                awake += start - self.step
        for i, stream in enumerate(which.tolist()):
            at = 0
            while at < count:
                until = int(min(count, self.learner.schedule.next_acting(start + at) - start))
                if until == at:
                    self._act(i, *example(stream, at), start + at)
                    at += 1
                else:
                    at += run(self.pointers(self.leaves, self.awake, i), stream, at, until - at)
                self._repair(i, start + at)
        self.step = start + count

    def _act(self, member: int, x: Tensor, y: Tensor, step: int) -> None:
        """A step in which a schedule acts: of the whole network, with all that is owed paid first."""
        self._settle(self.leaves, self.awake, member, step)
        made, library, _ = self.made[len(x)]
        whole = {k: outside(self.leaves[k][member], made.program.leaves[k]) for k in self.wide}
        leaves = [whole.get(k, value[member]) for k, value in enumerate(self.leaves)]
        now = torch.tensor(step)
        given = [*leaves, *(v[member] for v in self.numbers), self.seeds[member], now, x, y]
        number = made.acting.index(self.learner.acting(step))
        getattr(library, f"whole{number}")((ctypes.c_void_p * len(given))(*(v.data_ptr() for v in given)))
        for k, value in whole.items():
            self.leaves[k][member].copy_(inside(value[None], value.dtype)[0])
        for awake in self.awake:
            awake[member] = step + 1
        for rest in self.rests:
            rest[member] = 0
        self._count(member, step + 1)

    def _repair(self, member: int, step: int) -> None:
        """The events that the step before `step` counted."""
        if not any(bool((self.leaves[k][member] > 0).any()) for k in self.plan.due):
            return
        tree, hyper = self._taken(member, step)
        draw = Draw(self.seeds[member], torch.tensor(step - 1), self.numbers[0].dtype)
        params, state = repaired(self.learner, tree["params"], tree["state"], hyper, draw)
        self._put(member, {**tree, "params": params, "state": state}, step)

    def _taken(self, member: int, step: int) -> tuple[Tree, Tree]:
        """One member's state before `step` with everything awake, and its hyperparameters."""
        self._settle(self.leaves, self.awake, member, step)
        one = self._outside([v[member : member + 1] for v in self.leaves])
        return mapped(lambda v: v[0], one), mapped(lambda v: v[member], self.hyper)

    def _put(self, member: int, tree: Tree, step: int) -> None:
        """One member's state before `step`, as the learner left it."""
        like = unflattened(self.plan.program.leaves, self.plan.program.spec)
        for k, value in enumerate(flattened(mapped(lambda _, v: v, like, tree))[0]):
            own, new = self.leaves[k][member], self._inside(k, value[None])[0]
            if k in self.biases:  # of what an event sets nothing is kept
                self.rests[self.biases[k]][member][bits(new) != bits(own)] = 0
            own.copy_(new)
        for awake in self.awake:
            awake[member] = step
        self._count(member, step)


def outside(weight: Tensor, like: Tensor) -> Tensor:
    """(in, padded out) -> (out, in) as `like`."""
    return weight[:, : like.shape[0]].T.contiguous()
