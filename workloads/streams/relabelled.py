"""The same pictures in every task, by other names: random labels, shuffled labels or permuted pixels.

The supervised streams of the isometry paper (Rosseau, Mueller, Nowe 2026, arXiv 2606.09762): random-label CIFAR-10,
label-shuffled CIFAR-100, permuted MNIST and permuted CIFAR-10. All are drawn from (seed, task), that of the first task
too:

- random_labels: every picture gets a label of its own; there is nothing to learn but the pictures themselves
- shuffled_labels: the classes swap their names
- permuted_pixels: all numbers of a picture, channels among them, are put in another order

What counts is the accuracy on each batch before it is learned from, over all epochs of a task: how fast the task is
learned. The paper's numbers of images, epochs and tasks are not known to us: the defaults are our own, chosen to be
moderate. With `gradual` a task turns into the next over some steps (see `gradual`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from workloads.losses import LossName
from workloads.random import Int64, integers, permutation
from workloads.settings import Settings
from workloads.streams import image_sets
from workloads.streams.base import Boundaries, EqualTasks, Float32, Pictures
from workloads.streams.gradual import check_gradual, still_old


@dataclass(frozen=True, kw_only=True, slots=True)
class RelabelledConfig:
    """The defaults are ours."""

    dataset: image_sets.Name = "mnist"  # images
    # What every task has of its own
    change: Literal["random_labels", "shuffled_labels", "permuted_pixels"] = "random_labels"
    classes: Annotated[int, Ge(2)] | None = None  # the first so many; null: all the data set has
    examples: Annotated[int, Ge(1)] | None = 1200  # images, the first of each class; null: as many as every class has
    tasks: Annotated[int, Ge(1)] = 50  # labellings or permutations
    epochs: Annotated[int, Ge(1)] = 50  # per task
    batch: Annotated[int, Ge(1)] = 16  # examples per step; divides examples
    gradual: Annotated[int, Ge(0)] = 0  # steps over which a task turns into the next
    scale: image_sets.Scale = "unit"  # pixels from 0 to 1, from -1 to 1, or less their mean over their deviation
    task_boundaries: Boundaries = "hidden"  # whether methods are told when a task begins

    def __post_init__(self) -> None:
        # Numbers in place of null: one meaning, one trial.
        object.__setattr__(self, "classes", image_sets.classes_of(self.dataset, self.classes))
        assert self.classes is not None
        object.__setattr__(self, "examples", image_sets.examples_of(self.dataset, self.classes, self.examples))
        assert self.examples is not None
        image_sets.check_batch(self.batch, self.examples, "examples")
        check_gradual(self.gradual, self.epochs * (self.examples // self.batch))


class Relabelled(image_sets.Pictured, EqualTasks):
    """Cross-entropy on the label of the task at hand; the images are shared by all seeds."""

    Config: ClassVar[type[Settings]] = RelabelledConfig
    name: ClassVar[str] = "relabelled"
    label: ClassVar[str] = "Relabelled images"
    semantics: ClassVar[int] = 1
    loss: ClassVar[LossName] = "cross_entropy"

    config: RelabelledConfig

    def __init__(self, config: RelabelledConfig, seed: int) -> None:
        assert config.classes is not None and config.examples is not None
        super().__init__(
            tasks=config.tasks,
            steps_per_task=config.epochs * (config.examples // config.batch),
            batch=config.batch,
            boundaries=config.task_boundaries,
        )
        self.config = config
        self.seed = seed
        self.count = config.examples
        self.inputs = image_sets.pixels_of(config.dataset)
        self.outputs = config.classes
        self.epochs = image_sets.Epochs(seed)
        self.labels = lru_cache(maxsize=2)(self._drawn_labels)
        self.pixels = lru_cache(maxsize=2)(self._drawn_pixels)

    def _drawn_labels(self, task: int) -> Int64:
        """The label of every image in a task, (examples,)."""
        if self.config.change == "random_labels":
            return integers(self.seed, "stream/labels", task, self.count, self.outputs)
        labels = np.repeat(np.arange(self.outputs), self.count // self.outputs)
        if self.config.change == "shuffled_labels":
            return permutation(self.seed, "stream/label_order", task, self.outputs)[labels]
        return labels

    def _drawn_pixels(self, task: int) -> Int64:
        """The order of the pixels in a task, (inputs,)."""
        return permutation(self.seed, "stream/pixel_order", task, self.inputs)

    def examples(self, task: int, first: int, count: int) -> tuple[Float32, NDArray[np.int64]]:
        """Examples of a task: x (count, inputs), y (count,) labels."""
        shown = self.epochs.shown(task, first, count, self.count)
        x, y = self.as_in(task, shown)
        old = still_old(self.seed, task, first, count, batch=self.batch, gradual=self.config.gradual)
        if len(old):
            x[old], y[old] = self.as_in(task - 1, shown[old])
        return x, y

    def pictures(self, start: int, count: int) -> Pictures | None:
        """Steps of one task as pictures; None where tasks mix, or where each channel is scaled in its own way."""
        config, task = self.config, self.only_task(start, count)
        if task is None or not image_sets.one_table(config.dataset, config.scale):
            return None
        first = start - self.task_start(task)
        if task and first < config.gradual:
            return None
        shown = self.epochs.shown(task, first * self.batch, count * self.batch, self.count).reshape(count, self.batch)
        images, _ = image_sets.first_images(config.dataset, "train", self.outputs, self.count)
        pixels = self.pixels(task).astype(np.int32) if config.change == "permuted_pixels" else None
        return image_sets.as_pictures(config.dataset, config.scale, shown, images, self.labels(task), pixels)

    def as_in(self, task: int, shown: Int64) -> tuple[Float32, NDArray[np.int64]]:
        """These images as a task shows them."""
        images, _ = image_sets.first_images(self.config.dataset, "train", self.outputs, self.count)
        x = image_sets.scaled(images[shown], self.config.dataset, self.config.scale)
        if self.config.change == "permuted_pixels":
            x = np.take(x, self.pixels(task), axis=1)
        return x, self.labels(task)[shown]


STREAMS = {"relabelled": Relabelled}
