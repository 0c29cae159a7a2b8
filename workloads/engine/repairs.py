"""Rare events on the lifted path: carried out by programs of their own, for the few members concerned.

The step counts them in `due`. Where steps go one by one the host asks whether any is due; within a replay nobody may
ask, so the program follows every step unasked and leaves alone what is not due.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from workloads.engine.block import Block
from workloads.engine.compiling import Programs
from workloads.engine.layout import Tree, flattened, mapped, unflattened, written
from workloads.learner import Learner
from workloads.random import Draw

REPAIRS = 8  # members repaired together; one at a time where copying a whole network is what it costs
UNASKED = 8  # a replay repairs one in so many members of large networks after every step; of small ones all


class Repairs:
    """The rare events of one learner, on blocks whose member axis is last where `last`, else first."""

    def __init__(self, learner: Learner, programs: Programs, *, last: bool) -> None:
        self.learner = learner
        self.programs = programs
        self.last = last
        self.axis = -1 if last else 0

    def asked(self, block: Block) -> None:
        """Carry out the rare events that the last step counted, for the few members that have any."""
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
        self.programs.run(("repair",), mend, [*leaves, chosen, at])

    def unasked_until_none(self, block: Block) -> None:
        """The same by the program that replays use."""
        while block.waiting.item():
            self.unasked(block)

    def unasked(self, block: Block) -> None:
        """The same whatever is due, for all members of small networks, else for the few with the most."""
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

        self.programs.run(("repair unasked",), mend, [*leaves, block.step, block.waiting, block.late])

    def repairable(self, block: Block) -> tuple[list[Tensor], Any]:
        """What `mend` takes, flattened."""
        tree = {"params": block.tree["params"], "state": block.tree["state"]}
        return flattened({**tree, "hyper": block.hyper, "seeds": block.seeds})

    def mend(self, tree: Tree, chosen: Tensor | None, at: Tensor) -> None:
        """At most one event of step `at` per place for the members `chosen`, or all, in place; none where not due."""
        dtype = tree["params"][self.learner.network.head].dtype
        axis = self.axis

        writes: list[bool] = []  # per tensor; what no repair touches is left alone

        def one(before: Tree, hyper: Tree, seed: Tensor) -> Tree:
            tree, draw = before, Draw(seed, at, dtype)
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
                    tree = mapped(
                        lambda old, new, needed=needed: old if new is old else torch.where(needed, new, old), tree, new
                    )
            writes[:] = written(tree, before)
            return tree

        part = tree if chosen is None else mapped(lambda v: v.index_select(axis, chosen), tree)
        old, new = ({"params": t["params"], "state": t["state"]} for t in (tree, part))
        new = torch.func.vmap(one, in_dims=(axis, axis, 0), out_dims=axis)(new, part["hyper"], part["seeds"])
        for writes_it, place, value in zip(writes, flattened(old)[0], flattened(new)[0], strict=True):
            if not writes_it:
                continue
            if chosen is None:
                place.copy_(value)
            else:
                place.index_copy_(axis, chosen, value)
