"""Members leave an engine: it is seated anew from the state of those who stay, which is all there is of them."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from workloads.engine.layout import Tree, mapped, member, stacked


class Seated(ABC):
    """What engines share: seats for members, who may leave. See `workloads.engine.Engine` for the promises."""

    @abstractmethod
    def seat(self, hyper: Tree, seeds: Tensor) -> None:
        """Make room for the members of these hyperparameters and seeds, (P, ...) each, to be loaded next."""

    @abstractmethod
    def load(self, state: Tree) -> None:
        """Take the members' state."""

    @abstractmethod
    def state(self) -> Tree:
        """The members' state."""

    def keep(self, mask: Tensor, hyper: Tree, seeds: Tensor) -> None:
        """Go on with the members in the mask (P,) alone; see Engine."""
        state = mapped(lambda value: value[mask], self.state())
        self.seat(hyper, seeds)
        self.load(state)


class OneByOne(Seated):
    """Engines that hold each member's state by itself, in `members`, and train one after the other."""

    def seat(self, hyper: Tree, seeds: Tensor) -> None:
        """Make room for the members of these hyperparameters and seeds."""
        self.hyper = hyper
        self.seeds = seeds
        self.members: list[Tree] = []

    def load(self, state: Tree) -> None:
        """Take the members' state, every tensor (P, ...)."""
        self.members = [member(state, i) for i in range(len(self.seeds))]

    def state(self) -> Tree:
        """The members' state, every tensor (P, ...)."""
        return stacked(self.members)
