"""What all members' networks say of what each of them sees, at once: for acting and for values.

The last bits of a sum depend on where in memory a member's numbers begin, and in which order they lie. So a member
keeps its place in a vector when others leave, as in the lifted path, and weights are put in one order: engines hand
them out in orders of their own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from workloads.engine.layout import Tree, mapped, member
from workloads.engine.lifted import kept_places
from workloads.learner import Learner
from workloads.training.held_out import evaluated

ROWS = 4096  # observations of a member that go through its network at once


class Forward:
    """The networks of members who began as `numbers` (P,) of their pack, together or, `alone`, one after the other."""

    def __init__(self, learner: Learner, numbers: Tensor, *, alone: bool) -> None:
        self.learner = learner
        self.alone = alone
        self.place = kept_places(numbers)
        # One matrix is multiplied by other code than several, which may sum in another order: nobody is alone.
        owner = torch.zeros(max(2, int(self.place.max()) + 1), dtype=torch.int64)
        owner[self.place] = torch.arange(len(numbers))
        self.owner = None if torch.equal(owner, torch.arange(len(numbers))) else owner

    def of(self, tree: Tree, hyper: Tree) -> Callable[[Tensor], Tensor]:
        """x (P, N, inputs) -> (P, N, outputs) by members' networks, an engine's state, as in evaluation."""
        inputs = {name: tree["state"][name] for name in self.learner.smoothing}
        held = mapped(torch.Tensor.contiguous, {"params": evaluated(tree), "inputs": inputs, "hyper": hyper})

        def one(held: Tree, x: Tensor) -> Tensor:
            shown = self.learner.shown(x, held["inputs"], held["hyper"])
            return self.learner.network.apply(held["params"], shown)[0]

        if self.alone:
            members = [member(held, i) for i in range(len(self.place))]
            # Each from a vector's beginning: where in x a member's numbers begin would depend on who is before it.
            return in_parts(lambda x: torch.stack([one(own, x[i].clone()) for i, own in enumerate(members)]))
        together: Callable[..., Tensor] = torch.func.vmap(one)
        if self.owner is None:
            return in_parts(lambda x: together(held, x))
        device = pytree.tree_leaves(held["params"])[0].device
        owner, place = self.owner.to(device), self.place.to(device)
        seated = mapped(lambda v: v[owner], held)
        return in_parts(lambda x: together(seated, x[owner])[place])


def in_parts(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same of (P, N, ...), at most so many of each member's observations at a time."""

    def parts(x: Tensor) -> Tensor:
        return forward(x) if x.shape[1] <= ROWS else torch.cat([forward(part) for part in torch.split(x, ROWS, 1)], 1)

    return parts
