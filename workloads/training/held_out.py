"""Test accuracy of a pack's members on what their streams hold out, and the weights that validation chooses.

Tested at the steps that the stream names, in evaluation mode. A task's `test_accuracy` is that of its end,
`test_accuracy_max` the best of its evaluations, which is what the figures of class-incremental CIFAR-100 show. Where
the stream reloads, a task ends with the parameters and batch norm's statistics of the first evaluation that had its
best validation accuracy; the optimizer's state is not rewound (Dohare et al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from workloads.engine.layout import Tree, mapped
from workloads.learner import Learner
from workloads.streams.base import TaskStream

EXAMPLES = 500  # that go through a network at once


def evaluated(tree: Tree) -> dict[str, Tensor]:
    """What a network is evaluated with: its parameters and buffers, (P, ...) each, from an engine's state."""
    return {**tree["params"], **tree["state"].get("buffers", {})}


class HeldOut:
    """The members' results in the task at hand. `look` is called at every evaluation."""

    def __init__(
        self,
        learner: Learner,
        streams: Sequence[TaskStream],
        which: Tensor,
        placed: Callable[[NDArray[Any]], Tensor],
        hyper: Tree,
    ) -> None:
        """`which` (P,): each member's stream; `placed` puts an array where the networks are; `hyper` (P,) each."""
        self.learner = learner
        self.streams = streams
        self.which = which
        self.placed = placed
        self.hyper = hyper
        self.begin_task()

    def begin_task(self) -> None:
        """Forget the last task's results."""
        nothing = torch.full((len(self.which),), -1.0, dtype=torch.float64)
        self.last, self.best, self.validated = nothing, nothing.clone(), nothing.clone()
        self.chosen: dict[str, Tensor] = {}

    def state(self) -> Tree:
        """What a checkpoint needs."""
        return {"last": self.last, "best": self.best, "validated": self.validated, "chosen": self.chosen}

    def load(self, state: Tree) -> None:
        """The inverse of `state`."""
        self.last, self.best, self.validated = state["last"], state["best"], state["validated"]
        self.chosen = {name: value.to(self.which.device) for name, value in state["chosen"].items()}

    def look(self, tree: Tree, task: int) -> None:
        """Test every member as it is now, and remember those that validate best so far."""
        self.last = self.tested(tree, task)
        self.best = torch.maximum(self.best, self.last)
        if not self.streams[0].reloads:
            return
        given = evaluated(tree)
        accuracy = self.accuracy(tree, lambda stream: stream.validation(task))
        better = (accuracy > self.validated).to(self.which.device)
        self.validated = torch.maximum(self.validated, accuracy)
        if not self.chosen:
            self.chosen = given
        self.chosen = {
            name: torch.where(better.view(-1, *[1] * (value.ndim - 1)), value, self.chosen[name])
            for name, value in given.items()
        }

    def reloaded(self, tree: Tree) -> Tree:
        """An engine's state with the weights that validation chose."""
        if not self.chosen:
            return tree
        state = dict(tree["state"])
        if "buffers" in state:
            state["buffers"] = {name: self.chosen[name] for name in state["buffers"]}
        return {**tree, "params": {name: self.chosen[name] for name in tree["params"]}, "state": state}

    def tested(self, tree: Tree, task: int) -> Tensor:
        """(P,) float64 test accuracy of an engine's state."""
        return self.accuracy(tree, lambda stream: stream.test(task))

    def accuracy(self, tree: Tree, examples: Callable[[TaskStream], tuple[Any, Any]]) -> Tensor:
        """(P,) float64 share of its stream's examples whose class each member names, from an engine's state."""
        given = evaluated(tree), {name: tree["state"][name] for name in self.learner.smoothing}, self.hyper
        result = torch.zeros(len(self.which), dtype=torch.float64)
        for number, stream in enumerate(self.streams):
            x, y = (self.placed(part) for part in examples(stream))
            for member in (self.which == number).nonzero().flatten().tolist():
                own, state, hyper = (mapped(lambda v, member=member: v[member], tree) for tree in given)
                hits = [
                    self.hits(own, self.learner.shown(part, state, hyper), target)
                    for part, target in zip(torch.split(x, EXAMPLES), torch.split(y, EXAMPLES), strict=True)
                ]
                result[member] = torch.stack(hits).sum().item() / len(x)
        return result

    def hits(self, params: dict[str, Tensor], x: Tensor, target: Tensor) -> Tensor:
        """How many of the examples x (N, ...) one network names the class of, 0-d."""
        return self.learner.loss.example_hits(self.learner.network.apply(params, x)[0], target).sum()
