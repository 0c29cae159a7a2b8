"""The engine's promises, as questions: asked by the tests of everything that ships, and by `sweep check` of a file.

Whoever asks says how to make members (`Make`): some of them, by their numbers, around the engine of a path.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from workloads.engine import build
from workloads.engine.computing import computing
from workloads.engine.layout import Tree, flattened, in_order, mapped, member, stacked
from workloads.engine.lifted import Lifted
from workloads.engine.tasks import task_begun
from workloads.learner import Learner
from workloads.methods.base import Params
from workloads.training.assembled import ways_of_learning
from workloads.training.loop import Training
from workloads.training.pack import Member, Pack


class Members:
    """Members of one learner around an engine, newborn. `indices` are the numbers they go by."""

    def __init__(
        self,
        learner: Learner,
        indices: Sequence[int],
        *,
        hypers: Sequence[Tree],
        seeds: Sequence[int],
        params: Sequence[Params],
        which: Sequence[int],
        dtype: torch.dtype = torch.float64,
        path: str = "lifted",
        compiled: bool = False,
        device: str = "cpu",
    ) -> None:
        """Of each member: the scalars that vary (plain numbers), seed, weights, and the number of its stream."""
        self.indices = list(indices)
        self.learner = learner
        held = torch.tensor(seeds, device=device)
        self.seeds = held
        self.hyper = hyper = stacked(
            [mapped(lambda v: torch.tensor(v, dtype=dtype, device=device), own) for own in hypers]
        )
        lifted = path == "lifted"
        self.engine = Lifted(learner, hyper, held, compiled=compiled) if lifted else build(path, learner, hyper, held)
        weights = stacked([mapped(lambda v: v.to(device, dtype), dict(own)) for own in params])
        zero = torch.zeros(len(held), dtype=torch.float64, device=device)
        state = torch.func.vmap(learner.init)(weights)
        self.engine.load({"params": weights, "state": state, "loss": zero, "correct": zero.clone()})
        self.which = torch.tensor(which, device=device)
        self.step = 0

    def train(self, x: Tensor, y: Tensor) -> Members:
        """Train on all of x (count, S, B, ...), y (count, S, B, ...)."""
        with computing():
            self.engine.advance(x, y, self.which, self.step)
        self.step += len(x)
        return self

    def begin_task(self) -> Members:
        """What the methods do as a task begins, at the next step."""
        with computing():
            self.engine.load(task_begun(self.learner, self.engine.state(), self.hyper, self.seeds, self.step))
        return self

    def state(self) -> Tree:
        """All members' state."""
        return self.engine.state()

    def member(self, index: int) -> Tree:
        """The state of the member that goes by this number."""
        return member(self.engine.state(), self.indices.index(index))


Make = Callable[[Sequence[int], str], Members]  # newborn members by their numbers, on a path


def of_trials(trials: Sequence[Member], dtype: torch.dtype = torch.float64) -> tuple[Make, Training]:
    """How to make members of a pack's trials, and the pack, whose streams have their examples."""
    training = Training(Pack(id="", members=trials, path="looped"), dtype=dtype)

    def make(indices: Sequence[int], path: str) -> Members:
        ways = [ways_of_learning(trials[i].config) for i in indices]
        learner = Learner(training.network, training.stream.loss, *ways[0])
        return Members(
            learner,
            indices,
            hypers=[learner.hyper_of(optimizer[1], methods) for optimizer, methods in ways],
            seeds=[trials[i].config["seed"] for i in indices],
            params=[training.make_params(trials[i].config["seed"]) for i in indices],
            which=[int(training.which[i]) for i in indices],
            dtype=dtype,
            path=path,
        )

    return make, training


def disagreement(make: Make, x: Tensor, y: Tensor, path: str, indices: Sequence[int]) -> float:
    """The distance between members on a path and one after the other, after training on x, y."""
    there, here = (make(indices, way).train(x, y).state() for way in (path, "looped"))
    return distance(here, {name: there[name] for name in here})  # not what a path keeps beside, under "path"


def resumes(make: Make, x: Tensor, y: Tensor, path: str, indices: Sequence[int]) -> bool:
    """Whether steps split over calls, loaded anew between them by this engine or another, come to the same bits."""
    whole, pieces = make(indices, path).train(x, y), make(indices, path)
    cuts = sorted({0, min(1, len(x)), len(x) // 3, 2 * len(x) // 3, len(x)})
    for first, last in zip(cuts, cuts[1:], strict=False):
        pieces.train(x[first:last], y[first:last])
        held, step = pieces.state(), pieces.step
        if last == len(x) // 3:
            pieces = make(indices, path)
            pieces.step = step
        pieces.engine.load(held)
    return same_bits(whole.state(), pieces.state())


def apart_from_neighbours(make: Make, x: Tensor, y: Tensor, path: str, indices: Sequence[int], index: int) -> float:
    """How far member `index` among `indices` is from what it is alone; 0 where it is the same to the bit."""
    alone, together = make([index], path).train(x, y), make(indices, path).train(x, y)
    one, other = alone.member(index), together.member(index)
    return 0.0 if same_bits(one, other) else distance(one, other) or math.ulp(0)


def leaves(tree: Tree) -> list[Tensor]:
    """The tensors of a tree."""
    return flattened(tree)[0]


def same_bits(left: Tree, right: Tree) -> bool:
    """Whether two trees agree in structure and in every bit (NaN equals itself)."""
    one, other = flattened(left), flattened(right)
    return one[1] == other[1] and all(
        a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes() for a, b in zip(one[0], other[0], strict=True)
    )


def distance(left: Tree, right: Tree) -> float:
    """Largest difference of two trees' tensors, each relative to its largest entry."""
    worst = 0.0
    for a, b in zip(leaves(left), leaves(in_order(right, left)), strict=True):
        scale = a.double().abs().max().item() or 1.0
        worst = max(worst, (a.double() - b.double()).abs().max().item() / scale)
    return worst
