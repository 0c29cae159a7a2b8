"""A pack member after member, each by the plain path: for what is bound by compute rather than by calls."""

from __future__ import annotations

from torch import Tensor

from workloads.engine.layout import Tree, member
from workloads.engine.plain import train
from workloads.engine.seated import OneByOne
from workloads.learner import Learner


class Looped(OneByOne):
    """Engine over members one at a time. See `workloads.engine.Engine` for the promises."""

    takes: tuple[str, ...] = ()
    owes = False

    def __init__(self, learner: Learner, hyper: Tree, seeds: Tensor) -> None:
        self.learner = learner
        self.seat(hyper, seeds)

    def advance(self, x: Tensor, y: Tensor, which: Tensor, start: int) -> None:
        """Train on x (count, S, B, ...), y (count, S, B, ...); member i sees stream which[i]."""
        for i, own in enumerate(self.members):
            trained = train(
                self.learner,
                own["params"],
                own["state"],
                member(self.hyper, i),
                x[:, which[i]],
                y[:, which[i]],
                self.seeds[i],
                start,
                loss=float(own["loss"]),
                correct=float(own["correct"]),
            )
            own["params"], own["state"] = trained.params, trained.state
            own["loss"] = own["loss"].new_tensor(trained.loss)
            own["correct"] = own["correct"].new_tensor(trained.correct)
