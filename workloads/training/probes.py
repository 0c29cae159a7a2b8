"""Diagnostics of a pack's members on the probes of their streams, as many members at once as memory allows."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workloads.diagnostics import FINDING, OF_THE_LAST_LOOK, QUADRATURE_STEPS, TANGENTS, by_probe, parts_of
from workloads.diagnostics.look import Look
from workloads.diagnostics.measure import measure
from workloads.engine.layout import Tree, mapped
from workloads.learner import Learner
from workloads.methods.base import Params
from workloads.training.feed import CHUNK_BYTES, Feed
from workloads.training.held_out import evaluated


@dataclass(frozen=True, slots=True)
class Past:
    """Members as they were, every tensor (P, ...): empty where no diagnostic compares them with it."""

    before: Tree  # what their networks were when they were last looked at; see `Members.applied`
    initial: Tree  # the parameters they began with


class Probes:
    """What a pack looks at before a task: every stream's probe once, and each member on its own."""

    def __init__(self, learner: Learner, hyper: Tree, feed: Feed, which: Tensor, *, alone: bool) -> None:
        """`which` (P,): each member's stream; `alone`: members are looked at one at a time."""
        self.learner = learner
        self.network = learner.network
        self.hyper = hyper
        self.feed = feed
        self.stream = feed.streams[0]
        self.which = which
        self.alone = alone

    def diagnosed(self, names: Sequence[str], tree: Tree, task: int, count: int, past: Past) -> dict[str, Tensor]:
        """(P,) each: diagnostics of members' networks, an engine's state, on the first examples of a task.

        `count` of them, or as many as a diagnostic asks for itself; those of one probe share their looks.
        """
        values: dict[str, Tensor] = {}
        for size, alike in by_probe(names, count).items():
            values |= self.looked_at(alike, tree, task, size, past)
        return values

    def looked_at(self, names: Sequence[str], tree: Tree, task: int, count: int, past: Past) -> dict[str, Tensor]:
        """Those of them that look at `count` examples."""
        order = torch.argsort(self.which, stable=True)  # by stream, so that a probe is made once and few are held
        probes: dict[int, tuple[Tensor, Tensor]] = {}
        measured: dict[str, list[Tensor]] = {}
        most = self.together(names, count)
        parts = list(torch.split(order, most))
        if len(parts[-1]) == 1 < most:
            # One matrix is multiplied by other code than several, which may sum in another order: nobody is alone.
            parts[-1] = parts[-1].repeat(2)
        for part in parts:
            which = self.which[part]
            shown = range(int(which[0]), int(which[-1]) + 1)
            probes = {number: probes.get(number) or self.probe(number, task, count) for number in shown}
            x, y = (v[0][None] if len(v) == 1 else torch.stack(v) for v in zip(*probes.values(), strict=True))
            if len(shown) < len(part):  # else each has a stream of its own
                x, y = x[which - shown[0]], y[which - shown[0]]
            look = self.look(names, tree, x, y, part, past)
            for name, value in measure(names, look).items():
                measured.setdefault(name, []).append(value)
        place = torch.argsort(order)
        return {name: torch.cat(values)[: len(order)][place] for name, values in measured.items()}

    def probe(self, number: int, task: int, count: int) -> tuple[Tensor, Tensor]:
        """The first examples of a task of one of the streams, on the device."""
        x, y = self.feed.streams[number].probe(task, count)
        return self.feed.placed(x), self.feed.placed(y)

    def together(self, names: Sequence[str], count: int) -> int:
        """How many members' looks at a probe fit the chunk's memory, and are fast, at once."""
        if self.alone:
            return 1
        needs = parts_of(names)
        numbers = count * (self.stream.inputs + self.hidden)
        if "layer_jacobian_spectra" in needs:  # of one layer after the other, each as large as its matrix
            numbers += count * self.network.parameter_count()
        if "input_output_jacobian_spectra" in needs:
            numbers += count * self.stream.inputs * self.stream.outputs
        rows = {
            "tangent_kernel_spectrum": count * self.stream.outputs,
            "gradient_covariance_spectrum": count,
            "hessian_spectrum": 4,
            "hessian_sums": FINDING + QUADRATURE_STEPS + 4,
            "losses_of_fit": 5,
        }
        if most_rows := max((rows.get(part, 0) for part in needs), default=0):  # of parameters, in float64
            width = self.network.parameter_count()
            numbers += 2 * min(most_rows * width, TANGENTS + width)
        # A CPU reads them again and again: what has left its caches costs it more than a call.
        most = CHUNK_BYTES // 4 if self.feed.device.type == "cpu" else 4 * CHUNK_BYTES
        return max(1, most // (numbers * self.feed.dtype.itemsize))

    def look(self, names: Sequence[str], tree: Tree, x: Tensor, y: Tensor, part: Tensor, past: Past) -> Look:
        """At the members `part` on their probes x, y (len(part), N, ...), with what these diagnostics need of it.

        `tree` is an engine's state, of all members, and `past` what they were.
        """
        needs = parts_of(names)
        # What the loss reads: of the optimizer nothing.
        read = {"params": tree["params"], "state": {n: v for n, v in tree["state"].items() if n != "optimizer"}}
        tree, hyper = (mapped(lambda v: v[part], given) for given in (read, self.hyper))
        params, shown = evaluated(tree), self.shown(x, tree["state"], hyper)
        before: Look | None = None
        initial: Look | None = None
        if not OF_THE_LAST_LOOK.isdisjoint(needs):
            then = mapped(lambda v: v[part], past.before)
            before = Look(self.network, then["params"], self.shown(x, then["inputs"], hyper))
        if "initial_weights" in needs:
            initial = Look(self.network, mapped(lambda v: v[part], past.initial), shown)
        grads: Params | None = None
        hidden: dict[str, Tensor] | None = None

        def gradients(tree: Tree, hyper: Tree, x: Tensor, y: Tensor) -> tuple[Params, dict[str, Tensor]]:
            acting = self.learner.acting(0)  # every part
            of_step = self.learner.gradients(tree["params"], tree["state"], hyper, x, y, acting=acting)
            return of_step.grads, of_step.activations

        if "gradients" in needs:
            grads, hidden = torch.func.vmap(gradients)(tree, hyper, x, y)
        return Look(
            self.network,
            params,
            shown,
            gradients=grads,
            # Of evaluation, while the gradient is that of training: the same unless there is batch norm.
            activations=None if self.network.buffers else hidden,
            targets=y,
            loss=self.learner.loss,
            before=before,
            initial=initial,
            ages=self.learner.ages(tree["state"]),
        )

    def shown(self, x: Tensor, state: Tree, hyper: Tree) -> Tensor:
        """What members' networks are shown of x, (P, N, ...), by what their methods know of inputs."""
        if not self.learner.smoothing:
            return x
        shown: Tensor = torch.func.vmap(self.learner.shown)(x, state, hyper)
        return shown

    @functools.cached_property
    def hidden(self) -> int:
        """How many activations the network has for one example; asked where there are diagnostics."""
        return sum(map(math.prod, self.network.activation_shapes.values()))
