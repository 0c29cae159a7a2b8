"""The losses there are, and what their targets look like, without importing torch: files are checked before compute.

`implementations` has the half that computes. A loss is one class there, one line here and one there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workloads.paths import Paths

LossName = Literal["squared_error", "cross_entropy", "cross_entropy_of_seen"]


@dataclass(frozen=True, slots=True)
class LossSpec:
    """What targets a loss takes: float32 (..., outputs), or int64 class numbers, by themselves or beside a count.

    `paths` says where it may be trained by, as of methods (see `workloads.paths`).
    """

    classes: bool  # class numbers, so that there is an accuracy
    paths: Paths
    counted: bool = False  # (..., 2): the class, and how many classes there are so far


LOSSES: dict[str, LossSpec] = {
    "squared_error": LossSpec(classes=False, paths=Paths(lanes=True, online=True, written=True)),
    "cross_entropy": LossSpec(classes=True, paths=Paths(lanes=True, online=True, written=True)),
    "cross_entropy_of_seen": LossSpec(classes=True, counted=True, paths=Paths(lanes=True, online=False)),
}

# Those of learners that act, which are their workload's own (`workloads.reinforcement.ppo`): nobody else can have them.
OF_ACTING: dict[str, LossSpec] = {
    name: LossSpec(classes=False, paths=Paths(lanes=True, online=False)) for name in ("ppo_policy", "ppo_value")
}


def spec_of(loss: str) -> LossSpec:
    """What is declared of a loss, whoever has it."""
    return OF_ACTING[loss] if loss in OF_ACTING else LOSSES[loss]
