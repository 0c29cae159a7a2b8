"""Regression on functions that are nonlinear everywhere and have one slope: distances to the nearest of a few points.

    y = slope min_k |x − c_k|,    x uniform in [−1, 1)^inputs,    c_k too, drawn anew for every task

Almost everywhere the gradient has length `slope`, which is the function's Lipschitz constant: a network that can do no
more than keep lengths has to keep them all to fit it. Norm-constrained networks of relu cannot, those of sorted
activations can (Anil, Lucas, Grosse 2019, arXiv 1811.05381, who fit |x| and cones for the same reason). The stream is
ours: a test of what isometric networks (Rosseau, Müller, Nowé 2026, arXiv 2606.09762) can express.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt
from numpy.typing import NDArray

from workloads.losses import LossName
from workloads.random import uniform
from workloads.settings import Settings
from workloads.streams.base import Boundaries, EqualTasks, Float32

Float64 = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class LipschitzRegressionConfig:
    """A function per task; examples never repeat."""

    tasks: Annotated[int, Ge(1)] = 20  # functions, one after the other
    period: Annotated[int, Ge(1)] = 2_000  # steps per task
    inputs: Annotated[int, Ge(1)] = 4  # numbers that a function takes
    points: Annotated[int, Ge(1)] = 8  # whose nearest counts: 1 is a cone, more have ridges between them
    slope: Annotated[float, Gt(0)] = 1.0  # the functions' Lipschitz constant
    batch: Annotated[int, Ge(1)] = 32  # examples per step
    task_boundaries: Boundaries = "hidden"  # whether methods are told when a task begins


class LipschitzRegression(EqualTasks):
    """Squared error on the distance to the nearest point."""

    Config: ClassVar[type[Settings]] = LipschitzRegressionConfig
    name: ClassVar[str] = "lipschitz_regression"
    label: ClassVar[str] = "Lipschitz regression"
    semantics: ClassVar[int] = 1
    loss: ClassVar[LossName] = "squared_error"
    default_probe: ClassVar[int] = 256

    def __init__(self, config: LipschitzRegressionConfig, seed: int) -> None:
        super().__init__(
            tasks=config.tasks, steps_per_task=config.period, batch=config.batch, boundaries=config.task_boundaries
        )
        self.config = config
        self.seed = seed
        self.inputs = config.inputs
        self.outputs = 1

    def points(self, task: int) -> Float64:
        """The points of a task's function, (points, inputs)."""
        drawn = uniform(self.seed, "stream/points", task, self.config.points * self.inputs)
        return 2 * drawn.reshape(self.config.points, self.inputs) - 1

    def examples(self, task: int, first: int, count: int) -> tuple[Float32, Float32]:
        """Examples of a task: x (count, inputs), y (count, 1)."""
        at = self.task_start(task) * self.batch + np.arange(first, first + count, dtype=np.int64)
        x = 2 * uniform(self.seed, "stream/x", at, self.inputs) - 1
        distances = np.linalg.norm(x[:, None] - self.points(task), axis=-1)  # (count, points)
        y = self.config.slope * distances.min(1, keepdims=True)
        return x.astype(np.float32), y.astype(np.float32)


STREAMS = {"lipschitz_regression": LipschitzRegression}
