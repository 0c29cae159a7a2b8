"""A turning line: y = w . x with a direction w that turns by an angle between tasks.

In a sweep file:

    code: [turning_line.py]
    workload: {name: turning_line, angle: 0.5, tasks: 20}
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge

from workloads.random import normal
from workloads.streams.base import EqualTasks


@dataclass(frozen=True, kw_only=True)
class Config:
    tasks: Annotated[int, Ge(1)] = 20
    steps: Annotated[int, Ge(1)] = 1000  # per task
    batch: Annotated[int, Ge(1)] = 1  # examples per step
    angle: float = 0.5  # between one task's direction and the next, in radians


class TurningLine(EqualTasks):
    """Tasks of equal length, from the examples of one task. TaskStream is for other lengths and for test examples.

    What it gives may depend on config, seed, task and step alone: a resumed pack asks for the same steps again.
    """

    Config = Config
    semantics = 1  # raise it when the examples change: it is part of every trial's name
    loss = "squared_error"  # cross_entropy where y is class numbers, int64 (count,)

    def __init__(self, config, seed):
        super().__init__(tasks=config.tasks, steps_per_task=config.steps, batch=config.batch, boundaries="hidden")
        self.inputs, self.outputs = 2, 1
        self.angle, self.seed = config.angle, seed

    def examples(self, task, first, count):
        """x (count, inputs) and y (count, outputs), float32."""
        x = normal(self.seed, f"x/{task}", first + np.arange(count), 2)
        turned = task * self.angle
        y = x @ np.array([np.cos(turned), np.sin(turned)])
        return x.astype(np.float32), y[:, None].astype(np.float32)


STREAMS = {"turning_line": TurningLine}
