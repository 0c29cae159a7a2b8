"""Some members' tensors as the lifted path lays them out and trains them together."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from workloads.engine.compiling import Program
from workloads.engine.layout import Tree
from workloads.engine.replay import Replayed
from workloads.periods import Acting


@dataclass(slots=True)
class Block:
    """Some members' tensors in the engine's layout. `step` counts along; `waiting` is the largest `due`.

    Where steps are replayed, all of these stay in place, and `staged` holds the examples of the steps at hand, `late`
    the largest `due` that a step left to the next, `kept` all that changes as it was before the steps.
    """

    tree: Tree  # params, state, loss, correct
    hyper: Tree
    seeds: Tensor  # (width,)
    which: Tensor  # (width,) stream of each member
    step: Tensor  # 0-d int64
    waiting: Tensor  # 0-d int32
    late: Tensor  # 0-d int32
    leaves: list[Tensor] = field(default_factory=list)  # what the training programs take before x and y
    train: dict[Acting, Program] = field(default_factory=dict)  # by the parts of the learner that act in a step
    staged: tuple[Tensor, Tensor] | None = None  # x (steps, ...), y (steps, ...)
    kept: list[Tensor] = field(default_factory=list)
    replays: dict[tuple[Acting, ...], Replayed] = field(default_factory=dict)  # by the parts that act in each step
