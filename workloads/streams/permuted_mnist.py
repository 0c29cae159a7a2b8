"""Online permuted MNIST: the pixels are permuted anew in every task (Dohare et al. 2024, Nature 632:768).

Task t shows the training images once, in a fresh order and with their pixels in a fresh order, both drawn
from (seed, t). The first task is permuted too. The test images are never shown. With `gradual` a task turns
into the next over some steps (see `gradual`); in the paper it is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt
from numpy.typing import NDArray

from workloads.data import front
from workloads.data.catalogue import DATASETS
from workloads.losses import LossName
from workloads.random import Int64, permutation
from workloads.settings import Settings, later
from workloads.streams import image_sets
from workloads.streams.base import Boundaries, EqualTasks, Float32, Pictures
from workloads.streams.gradual import check_gradual, still_old


@dataclass(frozen=True, kw_only=True, slots=True)
class PermutedMNISTConfig:
    """The defaults are the paper's.

    The rate of change is an axis of `examples_per_task` under a fixed number of `examples` in all. A task longer than
    the data set begins the same order again; a shorter one shows its first part.
    """

    dataset: Literal["mnist", "fashion_mnist", "digits"] = "mnist"  # images
    tasks: Annotated[int, Ge(1)] = 800  # permutations
    examples_per_task: Annotated[int, Gt(0)] = 60_000  # images shown of each permutation, an epoch or part of one
    examples: Annotated[int, Ge(1)] | None = None  # in all; where given, it sets `tasks`
    batch: Annotated[int, Ge(1)] = 1  # examples per step; divides examples_per_task
    gradual: Annotated[int, Ge(0)] = 0  # steps over which a task turns into the next
    task_boundaries: Boundaries = "hidden"  # whether methods are told when a task begins
    scale: image_sets.Scale = later("unit")  # pixels from 0 to 1; symmetric: from -1 to 1

    def __post_init__(self) -> None:
        if self.examples_per_task % self.batch:
            raise ValueError(f"batch {self.batch} must divide examples_per_task {self.examples_per_task}")
        check_gradual(self.gradual, self.examples_per_task // self.batch)
        if self.examples is not None:
            if self.examples % self.examples_per_task:
                raise ValueError(f"examples_per_task {self.examples_per_task} must divide examples {self.examples}")
            object.__setattr__(self, "tasks", self.examples // self.examples_per_task)


class PermutedMNIST(EqualTasks):
    """Cross-entropy on the class; the images are read when first asked for and shared by all seeds."""

    Config: ClassVar[type[Settings]] = PermutedMNISTConfig
    name: ClassVar[str] = "permuted_mnist"
    label: ClassVar[str] = "Online permuted MNIST"
    semantics: ClassVar[int] = 1
    loss: ClassVar[LossName] = "cross_entropy"
    default_probe: ClassVar[int] = 2000

    def __init__(self, config: PermutedMNISTConfig, seed: int) -> None:
        super().__init__(
            tasks=config.tasks,
            steps_per_task=config.examples_per_task // config.batch,
            batch=config.batch,
            boundaries=config.task_boundaries,
        )
        entry = DATASETS[config.dataset]
        self.config = config
        self.seed = seed
        self.inputs = entry.pixels
        self.outputs = entry.classes
        self.orders = lru_cache(maxsize=2)(self._drawn_orders)

    def _drawn_orders(self, task: int) -> tuple[Int64, Int64]:
        """A task's order of the images (n,) and of the pixels (inputs,)."""
        images = permutation(self.seed, "stream/image_order", task, DATASETS[self.config.dataset].examples)
        return images, permutation(self.seed, "stream/pixel_order", task, self.inputs)

    def examples(self, task: int, first: int, count: int) -> tuple[Float32, NDArray[np.int64]]:
        """Examples of a task: x (count, inputs), y (count,) class numbers."""
        dataset = front.load(self.config.dataset)
        images, pixels = self.orders(task)
        shown = images[np.arange(first, first + count) % len(images)]
        # Bytes are permuted before they become floats: a quarter of the memory traffic.
        permuted = np.take(np.take(dataset.images, shown, axis=0), pixels, axis=1)
        old = still_old(self.seed, task, first, count, batch=self.batch, gradual=self.config.gradual)
        if len(old):
            permuted[old] = np.take(dataset.images[shown[old]], self.orders(task - 1)[1], axis=1)
        return image_sets.scaled(permuted, self.config.dataset, self.config.scale), dataset.labels[shown]

    def pictures(self, start: int, count: int) -> Pictures | None:
        """Steps of one task as pictures; None where they lie in several tasks, or where two tasks mix."""
        task = self.only_task(start, count)
        if task is None:
            return None
        first = start - self.task_start(task)
        if task and first < self.config.gradual:
            return None
        images, pixels = self.orders(task)
        shown = images[np.arange(first * self.batch, (first + count) * self.batch) % len(images)]
        shades = image_sets.shades(self.config.dataset, self.config.scale)
        numbers = shown.astype(np.int32).reshape(count, self.batch)
        return Pictures(self.config.dataset, numbers, pixels.astype(np.int32), shades)


STREAMS = {"permuted_mnist": PermutedMNIST}
