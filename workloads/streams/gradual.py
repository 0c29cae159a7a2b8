"""Tasks that turn into each other: for some steps, some examples are still those of the task before.

There is nothing halfway between two pixel orders or two ways of naming classes: a blend would be a kind of example that
neither task has. So a change is spread out by mixing whole examples, and all that varies is how abrupt it is. In a
task's steps s = 0, 1, ... each example is of the old task with probability

    1 - (s + 1) / (gradual + 1)

which falls linearly from 1 in the old task's last step to 0 in step `gradual`; gradual = 0 is the sudden change.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workloads.random import uniform


def check_gradual(gradual: int, steps: int) -> None:
    """Raises ValueError unless a change is over before the next one."""
    if gradual > steps:
        raise ValueError(f"gradual {gradual}: at most the {steps} steps of a task")


def still_old(seed: int, task: int, first: int, count: int, *, batch: int, gradual: int) -> NDArray[np.intp]:
    """Which of a task's examples `first` to `first + count - 1` are the old task's, as places from 0."""
    mixed = min(first + count, gradual * batch) if task else 0
    if first >= mixed:
        return np.empty(0, dtype=np.intp)
    example = np.arange(first, mixed)
    chance = 1 - (example // batch + 1) / (gradual + 1)
    return np.flatnonzero(uniform(seed, "stream/gradual", (task << 32) + example, 1)[:, 0] < chance)
