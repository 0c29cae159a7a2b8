"""Continual ImageNet: one binary classification after the other (Dohare et al. 2024, Nature 632:768).

A task is two classes, their training images shown for `epochs` epochs in a fresh order each, and what counts is the
accuracy on the two classes' test images after the last epoch. Task t takes entries 2t and 2t + 1 of an order of the
classes, which get labels 0 and 1.

Where the released material leaves a choice:
- `pairs`: the released code reads its orders from a table that is not available. Where a row of it has an entry per
  class, the same pairs come back every classes / 2 tasks, since the row is repeated end to end: "recur". "fresh" has a
  new order for every sweep through the classes, and so new pairs; the first sweep is the same. Of an odd number of
  classes each sweep leaves one out.
- `scale`: the released code takes its arrays as they are, and their range is not known. "unit" has pixels from 0 to 1,
  which needs no constants that belong to one data set; "standard" has each channel at mean 0 and variance 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from workloads.data.entries import Bytes
from workloads.losses import LossName
from workloads.metrics import Headline
from workloads.random import permutation
from workloads.settings import Settings
from workloads.streams import image_sets
from workloads.streams.base import Boundaries, EqualTasks, Float32, Pictures


@dataclass(frozen=True, kw_only=True, slots=True)
class ContinualImageNetConfig:
    """The defaults are the paper's, whose plain network sees 2000 tasks and whose other methods see 5000."""

    dataset: image_sets.Name = "imagenet32"  # images
    classes: Annotated[int, Ge(2)] | None = None  # the first so many; null: all the data set has
    tasks: Annotated[int, Ge(1)] = 2000  # pairs of classes
    epochs: Annotated[int, Ge(1)] = 250  # per task
    batch: Annotated[int, Ge(1)] = 100  # examples per step; divides a task's training images
    train_per_class: Annotated[int, Ge(1)] | None = None  # the first so many images; null: as many as every class has
    pairs: Literal["recur", "fresh"] = "recur"  # classes come back in other pairs, or every pair is of new ones
    scale: image_sets.Scale = "unit"  # pixels from 0 to 1, from -1 to 1, or less their mean over their deviation
    test_every: Annotated[int, Ge(1)] | None = None  # epochs, and always after the last; null: only then
    task_boundaries: Boundaries = "shown"  # whether methods are told when a task begins

    def __post_init__(self) -> None:
        most = image_sets.fewest(self.dataset)
        # Numbers in place of null: one meaning, one trial.
        object.__setattr__(self, "classes", image_sets.classes_of(self.dataset, self.classes))
        object.__setattr__(self, "train_per_class", self.train_per_class or most)
        if self.per_class > most:
            raise ValueError(f"train_per_class {self.per_class}: at most {most} ({self.dataset})")
        image_sets.check_batch(self.batch, 2 * self.per_class, "the training images of two classes")

    @property
    def per_class(self) -> int:
        """Training images of a class."""
        assert self.train_per_class is not None
        return self.train_per_class


class ContinualImageNet(image_sets.Pictured, EqualTasks):
    """Cross-entropy on which of the two classes it is; a fresh head for every task is a method's business."""

    Config: ClassVar[type[Settings]] = ContinualImageNetConfig
    name: ClassVar[str] = "continual_imagenet"
    label: ClassVar[str] = "Continual ImageNet"
    semantics: ClassVar[int] = 1
    loss: ClassVar[LossName] = "cross_entropy"
    default_every: ClassVar[int] = 10
    default_probe: ClassVar[int] = 200
    tested: ClassVar[bool] = True
    headline: ClassVar[Headline | None] = "test_accuracy"

    config: ContinualImageNetConfig

    def __init__(self, config: ContinualImageNetConfig, seed: int) -> None:
        self.steps_per_epoch = 2 * config.per_class // config.batch
        super().__init__(
            tasks=config.tasks,
            steps_per_task=config.epochs * self.steps_per_epoch,
            batch=config.batch,
            boundaries=config.task_boundaries,
        )
        self.config = config
        self.seed = seed
        self.inputs = image_sets.pixels_of(config.dataset)
        self.outputs = 2
        self.epochs = image_sets.Epochs(seed)
        self._order = lru_cache(maxsize=1)(self._drawn_order)
        self._train = lru_cache(maxsize=1)(self._read_train)

    def pair(self, task: int) -> tuple[int, int]:
        """The classes of a task that are labelled 0 and 1."""
        assert self.config.classes is not None
        sweep, place = divmod(task, self.config.classes // 2)
        first, second = self._order(sweep if self.config.pairs == "fresh" else 0)[2 * place : 2 * place + 2]
        return int(first), int(second)

    def _drawn_order(self, sweep: int) -> NDArray[np.int64]:
        assert self.config.classes is not None
        return permutation(self.seed, "stream/class_order", sweep, self.config.classes)

    def _read_train(self, task: int) -> tuple[Bytes, NDArray[np.int64]]:
        return image_sets.images_of(self.config.dataset, "train", self.pair(task), slice(self.config.per_class))

    def examples(self, task: int, first: int, count: int) -> tuple[Float32, NDArray[np.int64]]:
        """Examples of a task: x (count, inputs), y (count,) zeros and ones."""
        images, labels = self._train(task)
        shown = self.epochs.shown(task, first, count, len(images))
        return image_sets.scaled(images[shown], self.config.dataset, self.config.scale), labels[shown]

    def pictures(self, start: int, count: int) -> Pictures | None:
        """Steps of one task as pictures; None where they are of several, or each channel is scaled in its own way."""
        task = self.only_task(start, count)
        if task is None or not image_sets.one_table(self.config.dataset, self.config.scale):
            return None
        images, labels = self._train(task)
        first = (start - self.task_start(task)) * self.batch
        shown = self.epochs.shown(task, first, count * self.batch, len(images)).reshape(count, self.batch)
        return image_sets.as_pictures(self.config.dataset, self.config.scale, shown, images, labels)

    def epoch_steps(self, task: int) -> int:
        """Steps of one of a task's epochs."""
        return self.steps_per_epoch

    def test(self, task: int) -> tuple[Float32, NDArray[np.int64]]:
        """All test images of the two classes."""
        images, labels = image_sets.images_of(self.config.dataset, "test", self.pair(task))
        return image_sets.scaled(images, self.config.dataset, self.config.scale), labels


STREAMS = {"continual_imagenet": ContinualImageNet}
