"""Online by hand: Adam's kin, UPGD, and noise on every weight in every step. All else has a loop made from its step.

Adam's moments move every weight in every step, and no step of one weight tells that a polynomial pays for many of them
at once; AdamO multiplies matrices; UPGD divides by the largest of all utilities; noise is a draw for every weight.
`online_traced.py` takes the rest.

At batch 1 a relu network is exactly sparse: with weights stored [in][out], a row whose input is zero adds nothing
forward, gets no gradient backward and does not change. `online.cpp` reads the other rows only. What would change an
unread row all the same is owed to it: weight decay as a power, which stays a factor of the row for some hundred steps
(in float32 the weak decay of single steps would be lost in rounding), and the noise of shrink and perturb as one draw
of the summed variance when the row is next read (`noise: lazy`, equal in distribution, not in bits). The weights'
absolute values, which continual backprop ranks units by, are summed in every step, since each changes. Adam's
moments move every weight in every step: a row without gradient owes all its steps, and pays for many at once (see
`online_adam.h`); with weight decay or unit replacement its pass is dense.

What is owed is kept under "path" in the state, beside the weights as they are stored. Readers see weights with all
debts paid. `load` goes on from "path" where the weights it is given are, to the bit, those that "path" stands for, and
from the weights alone where somebody has changed them.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable

import torch
from torch import Tensor

from workloads.data.entries import Bytes
from workloads.engine.layout import Tree
from workloads.engine.online_layout import Shades, bits, inside, padded, pictures
from workloads.engine.online_source import SCALARS, Plan, Shared, member_structure, of_kind
from workloads.engine.parts import parts_of
from workloads.engine.seated import Seated
from workloads.errors import InputError
from workloads.learner import Learner
from workloads.methods.adam import Adam
from workloads.methods.continual_backprop import ContinualBackprop
from workloads.methods.shrink_and_perturb import ShrinkAndPerturb
from workloads.methods.upgd import UPGD
from workloads.native import compiled
from workloads.networks.mlp import MLP
from workloads.random import Int64

PACE = ("step_size", "decay", "weight_decay", "noise")  # what decides how much a step asleep is


def refusal(learner: Learner) -> str | None:
    """Why the loop that is written by hand does not take this learner, in a short phrase, or None."""
    if refused := next(filter(None, (part.refusal("written") for part in parts_of(learner))), None):
        return f"no loop is written for {refused}"
    noise = of_kind(learner, ShrinkAndPerturb)
    if not isinstance(learner.optimizer, Adam | UPGD) and (noise is None or noise[1].when != "step"):
        return "rows that only descend have a loop that is made from their step"
    kinds = [type(method) for method in learner.methods.values()]
    if ContinualBackprop in kinds and ShrinkAndPerturb in kinds[kinds.index(ContinualBackprop) :]:
        return "online perturbs before it replaces units"  # as the registry has them act
    return None


class Online(Seated):
    """Engine over members one at a time, all steps of a call in one compiled loop. See `workloads.engine.Engine`.

    Raises InputError for what `refusal` names, NoCompiler where there is none.
    """

    takes: tuple[str, ...] = ("pictures",)

    def __init__(self, learner: Learner, hyper: Tree, seeds: Tensor) -> None:
        refused = refusal(learner)
        if refused:
            raise InputError(refused)
        self.learner = learner
        assert isinstance(learner.network, MLP)
        self.network = learner.network
        self.dtype: torch.dtype = hyper["optimizer"]["step_size"].dtype
        self.plan = Plan(learner, self.dtype)
        self.owes = self.plan.lazy
        self.layers = self.plan.layers
        self.slots = self.plan.slots
        self.units = self.plan.units
        self.seat(hyper, seeds)
        self.tables = self.plan.tables()
        decays = not self.slots and bool((self.scalars["step_size"] * self.scalars["decay"] != 0).any())
        self.naps = self.plan.naps and bool((self.scalars["decay"] == 0).any())
        self.sleeps = self.naps or decays or (self.plan.lazy and bool((self.scalars["noise"] != 0).any()))
        self.step = 0  # the next one
        self.libraries: dict[int, ctypes.CDLL] = {}  # by batch size
        self.buffers: dict[str, list[Tensor]] = {}  # one tensor (P, ...) per layer
        self.single: dict[str, Tensor] = {}
        self.library(1)  # finds out now whether there is a compiler

    def seat(self, hyper: Tree, seeds: Tensor) -> None:
        """Make room for the members of these hyperparameters and seeds.

        Who sleeps stays as it was found for the members of the beginning: their state says what they owe.
        """
        self.hyper = hyper
        self.seeds = seeds
        self.members = len(seeds)
        self.scalars = self.plan.scalars(hyper)

    def library(self, batch: int) -> ctypes.CDLL:
        """The compiled program for batches of this size."""
        if batch not in self.libraries:
            library = compiled(self.plan.source(batch))
            pointer, number = ctypes.c_void_p, ctypes.c_int64
            library.scratch_bytes.restype = number
            library.scratch_bytes.argtypes = []
            library.advance.argtypes = [pointer, pointer, pointer, pointer, number, number, number, number]
            library.settle.argtypes = [*[pointer] * 5, number]
            library.advance_pictures.argtypes = [*[pointer] * 7, number, number]
            for function in (library.advance, library.advance_pictures, library.settle):
                function.restype = None
            self.libraries[batch] = library
        return self.libraries[batch]

    def shared(self, library: ctypes.CDLL) -> tuple[Shared, Tensor]:
        """What all members share, and the scratch memory it points into."""
        scratch = torch.empty(library.scratch_bytes() // 8 + 1, dtype=torch.float64)
        tables = self.tables
        filled = Shared(
            *(tables[kind].data_ptr() for kind in ("unit", "first", "second")),
            *(len(tables[kind]) for kind in ("unit", "first", "second")),
            scratch.data_ptr(),
        )
        return filled, scratch

    def structures(self) -> list[ctypes.Structure]:
        """Every member's C++ structure, pointing into the buffers."""
        kind = member_structure(self.layers)
        made = []
        for i in range(self.members):
            structure = kind(seed=int(self.seeds[i]), **{name: float(self.scalars[name][i]) for name in SCALARS})
            for name, values in self.buffers.items():
                for layer, value in enumerate(values):
                    getattr(structure, name)[layer] = value[i].data_ptr()
            for name, value in self.single.items():
                setattr(structure, name, value[i].data_ptr())
            made.append(structure)
        return made

    # ---- the state, in and out ----

    def load(self, state: Tree) -> None:
        """Take the pack's state, every tensor (P, ...)."""
        self.scalars = self.plan.scalars(self.hyper)
        self.given: Tree = state["state"]
        self.single = {name: state[name].double().clone() for name in ("loss", "correct")}
        self.buffers = self._weights(state["params"])
        self.buffers["biases"] = self._biases(state["params"])
        self._load_optimizer(state["state"]["optimizer"])
        self._load_units(state["state"])
        self._load_path(state)

    def state(self) -> Tree:
        """The pack's state, every tensor (P, ...)."""
        settled = self._settled()
        params = self.outside(settled["weights"], self.buffers["biases"])
        state = dict(self.given)
        if self.slots:
            state["optimizer"] = self._optimizer_state(settled)
        if self.units is not None:
            state.update(self._units_state())
        tree: Tree = {"params": params, "state": state}
        tree |= {name: self.single[name].clone() for name in ("loss", "correct")}
        path = self._path()
        return {**tree, "path": path} if path else tree

    def widened(self, vector: Tensor) -> Tensor:
        """(P, units) -> (P, padded units), zero in the padding."""
        wide = vector.new_zeros(len(vector), padded(vector.shape[1]), dtype=self.dtype)
        wide[:, : vector.shape[1]] = vector
        return wide

    def outside(self, weights: list[Tensor], biases: list[Tensor]) -> Tree:
        """Parameters by name from tensors in the engine's layout."""
        tree = {}
        for k, name in enumerate(self.network.weights):
            out = self.network.sizes[k + 1]
            tree[name] = weights[k][:, :, :out].transpose(1, 2).contiguous()
            if self.network.config.biases:
                tree[f"layers.{k}.bias"] = biases[k][:, :out].clone()
        return tree

    def _weights(self, params: Tree) -> dict[str, list[Tensor]]:
        """Buffers of weights that owe nothing."""
        sizes = self.network.sizes[:-1]
        return {
            "weights": [inside(params[name], self.dtype) for name in self.network.weights],
            "rests": [torch.zeros(self.members, padded(n), dtype=self.dtype) for n in self.network.sizes[1:]],
            "awake": [torch.zeros(self.members, size, dtype=torch.int64) for size in sizes],
            "quiet": [torch.zeros(self.members, size, dtype=torch.int64) for size in sizes],
        }

    def _biases(self, params: Tree) -> list[Tensor]:
        """Biases of every layer, zero where the network has none."""
        if self.network.config.biases:
            return [self.widened(params[f"layers.{k}.bias"]) for k in range(self.layers)]
        return [torch.zeros(self.members, padded(size), dtype=self.dtype) for size in self.network.sizes[1:]]

    def _load_optimizer(self, state: Tree) -> None:
        """The optimizer's slots; the steps of single weights as the smaller of a row's and a column's."""
        if not self.slots:
            return
        for slot, name in self.slots.items():
            self.buffers[name] = [inside(state[slot][weight], self.dtype) for weight in self.network.weights]
            self.buffers[f"bias_{name}"] = self._biases(state[slot])
        rows, columns, biases = [], [], []
        for k, name in enumerate(self.network.weights):
            steps = state["steps"][name].to(self.dtype)
            out = self.network.sizes[k + 1]
            if self.learner.rare:
                row, column = steps.amax(1), steps.amax(2)
                if not torch.equal(torch.minimum(row[:, None, :], column[:, :, None]), steps):
                    raise InputError(f"the optimizer's steps of {name} are not those of units that were replaced")
            else:
                # No row is younger than its columns: a weight's t is then its column's.
                row = torch.full((self.members, self.network.sizes[k]), math.inf, dtype=self.dtype)
                column = steps[:, None].expand(-1, out)
            rows.append(row.contiguous())
            columns.append(self.widened(column))
            if self.network.config.biases:
                own = state["steps"][f"layers.{k}.bias"].to(self.dtype)
                biases.append(self.widened(own if self.learner.rare else own[:, None].expand(-1, out)))
            else:
                biases.append(torch.zeros(self.members, padded(out), dtype=self.dtype))
        self.buffers |= {"row_steps": rows, "column_steps": columns, "bias_steps": biases}

    def _optimizer_state(self, settled: dict[str, list[Tensor]]) -> Tree:
        """The inverse of `_load_optimizer`, from what `_settled` gives."""
        buffers, steps = self.buffers, {}
        for k, name in enumerate(self.network.weights):
            out = self.network.sizes[k + 1]
            row, column, bias = (buffers[f"{kind}_steps"][k] for kind in ("row", "column", "bias"))
            if self.learner.rare:
                steps[name] = torch.minimum(row[:, None, :], column[:, :out, None])
            else:
                steps[name] = column[:, 0].clone()
            if self.network.config.biases:
                steps[f"layers.{k}.bias"] = bias[:, :out].clone() if self.learner.rare else bias[:, 0].clone()
        slots = {slot: self.outside(settled[own], buffers[f"bias_{own}"]) for slot, own in self.slots.items()}
        return {**slots, "steps": steps}

    def _load_units(self, state: Tree) -> None:
        """Continual backprop's statistics."""
        method = of_kind(self.learner, ContinualBackprop)
        if self.units is None or method is None:
            return
        own = state[method[0]]
        for key in ("utility", "mean", "age"):
            self.buffers[key] = [self.widened(own[key][site.name]) for site in self.network.sites]
        self.single["counter"] = own["counter"].double().clone()
        self.single["replaced"] = state["replaced"].clone()

    def _units_state(self) -> Tree:
        """The inverse of `_load_units`."""
        method = of_kind(self.learner, ContinualBackprop)
        assert method is not None
        own = dict(self.given[method[0]])
        for key in ("utility", "mean", "age"):
            own[key] = {
                site.name: value[:, : site.units].clone()
                for site, value in zip(self.network.sites, self.buffers[key], strict=True)
            }
        own["counter"] = self.single["counter"].clone()
        own["due"] = torch.zeros_like(own["due"])
        return {method[0]: own, "replaced": self.single["replaced"].clone()}

    # ---- what is owed ----

    @property
    def owing(self) -> tuple[str, ...]:
        """The buffers of numbers that sleeping rows owe something to."""
        return ("weights", "first", "second") if self.naps else ("weights",) if self.sleeps else ()

    def _settled(self) -> dict[str, list[Tensor]]:
        """Weights and moments with all that is owed paid, in the engine's layout; the buffers stay as they are."""
        kinds = ("weights", "first", "second")
        if not self.sleeps:
            return {kind: self.buffers.get(kind, []) for kind in kinds}
        library = self.library(1)
        shared, scratch = self.shared(library)
        paid = {
            kind: [torch.empty_like(v) for v in self.buffers[kind]]
            if kind in self.owing
            else self.buffers.get(kind, [])
            for kind in kinds
        }
        for i, structure in enumerate(self.structures()):
            places = [(ctypes.c_void_p * self.layers)(*(v[i].data_ptr() for v in paid[kind])) for kind in kinds]
            library.settle(ctypes.byref(structure), ctypes.byref(shared), *places, self.step)
        del scratch
        return paid

    def _path(self) -> Tree:
        """What readers need not know: what is stored of weights that owe, and how long rows have slept."""
        if not self.sleeps:
            return {}
        names = self.network.weights
        path: Tree = {"step": torch.full((self.members,), self.step, dtype=torch.int64)}
        path["scalars"] = {name: self.scalars[name].clone() for name in PACE}
        for kind in self.owing:
            path[kind] = {
                name: value[:, :, : self.network.sizes[k + 1]].clone()
                for k, (name, value) in enumerate(zip(names, self.buffers[kind], strict=True))
            }
        for key in ("awake", "quiet"):
            path[key] = {n: self.step - v for n, v in zip(names, self.buffers[key], strict=True)}
        path["rests"] = {n: v.clone() for n, v in zip(names, self.buffers["rests"], strict=True)}
        return path

    def _load_path(self, state: Tree) -> None:
        """Go on from "path", member by member, where the numbers given are those it stands for; else from them."""
        self.step = 0
        path, names = state.get("path", {}), self.network.weights
        same = torch.zeros(self.members, dtype=torch.bool)
        fresh = dict(self.buffers)
        if self.sleeps and all(key in path for key in ("step", "scalars", *self.owing, "rests", "awake", "quiet")):
            self.step = int(path["step"].max())
            for kind in self.owing:
                self.buffers[kind] = [inside(path[kind][n].transpose(1, 2), self.dtype) for n in names]
            self.buffers["rests"] = [path["rests"][n].clone() for n in names]
            for key in ("awake", "quiet"):
                self.buffers[key] = [self.step - path[key][n] for n in names]
            same = ~same
            for name in PACE:  # what was owed at another pace was paid at that one, in the numbers given
                same &= path["scalars"][name] == self.scalars[name]
            settled = self._settled()
            for kind in self.owing:
                for ours, given, out in zip(settled[kind], fresh[kind], self.network.sizes[1:], strict=True):
                    same &= (bits(ours[..., :out]) == bits(given[..., :out])).flatten(1).all(1)
        for key in ("awake", "quiet"):
            fresh[key] = [torch.full_like(value, self.step) for value in fresh[key]]
        for key in {"weights", *self.owing, "rests", "awake", "quiet"}:
            for ours, given in zip(self.buffers[key], fresh[key], strict=True):
                ours[~same] = given[~same]

    # ---- training ----

    def advance(self, x: Tensor, y: Tensor, which: Tensor, start: int) -> None:
        """Train on x (count, S, B, ...), y (count, S, B, ...); member i sees stream which[i]."""
        count, streams, batch, inputs = x.shape
        x = x.to(self.dtype).contiguous()
        y = y.to(torch.int64 if self.learner.loss.name == "cross_entropy" else self.dtype).contiguous()
        x_stride, y_stride = batch * inputs, y[0, 0].numel() if count else 0

        def seen(stream: int) -> tuple[int, ...]:
            return (
                x.data_ptr() + stream * x_stride * x.element_size(),
                y.data_ptr() + stream * y_stride * y.element_size(),
                streams * x_stride,
                streams * y_stride * y.element_size(),
            )

        self._train(self.library(batch), "advance", seen, which, count, start)

    def advance_pictures(
        self, images: Bytes, labels: Int64, shades: Shades, shown: Tensor, pixels: Tensor, which: Tensor, start: int
    ) -> None:
        """The same bits from pictures: images (n, inputs) uint8, labels (n,) int64, shades (256,) float32.

        shown (S, count, B) int32 are numbers of images; pixel i of stream s is pixel pixels[s, i], a permutation of an
        image's, (S, inputs) int32.
        """
        count, batch = shown.shape[1:]
        laid = pictures(images, labels, shades, shown, pixels, self.dtype)
        self._train(self.library(batch), "advance_pictures", laid.seen, which, count, start)

    def _train(
        self,
        library: ctypes.CDLL,
        function: str,
        seen: Callable[[int], tuple[int, ...]],
        which: Tensor,
        count: int,
        start: int,
    ) -> None:
        """Call a function of the library for every member, with what says which examples its stream shows."""
        if start != self.step:  # a debt is a number of steps, wherever they are counted from
            for key in ("awake", "quiet"):
                for value in self.buffers[key]:
                    value += start - self.step
        shared, scratch = self.shared(library)
        train = getattr(library, function)
        for structure, stream in zip(self.structures(), which.tolist(), strict=True):
            train(ctypes.byref(structure), ctypes.byref(shared), *seen(stream), count, start)
        del scratch
        self.step = start + count
