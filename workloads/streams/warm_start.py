"""Warm starts: a network trained on part of the data, then on all of it (Ash and Adams 2020, NeurIPS 33).

Task 0 trains for `epochs` epochs on a share of the training images, drawn from the seed; task 1 as many epochs on all
of them, that share included. What counts is the accuracy on the test images after task 1: a network that has seen half
of the data first ends below one that starts fresh. The fresh start is the same sweep with `reset: {what: all}`.
The lengths are our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from workloads.losses import LossName
from workloads.metrics import Headline
from workloads.random import Int64, permutation
from workloads.settings import Settings
from workloads.streams import image_sets
from workloads.streams.base import Boundaries, Float32


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmStartConfig:
    """The defaults are ours."""

    dataset: image_sets.Name = "cifar10"  # images
    classes: Annotated[int, Ge(2)] | None = None  # the first so many; null: all the data set has
    examples: Annotated[int, Ge(1)] | None = None  # training images, the first of each class; null: all that each has
    test_examples: Annotated[int, Ge(1)] | None = None  # the first of each class; null: all
    share: Annotated[float, Gt(0), Le(1)] = 0.5  # of the examples, in task 0
    epochs: Annotated[int, Ge(1)] = 100  # per task
    batch: Annotated[int, Ge(1)] = 100  # examples per step; divides both sets
    scale: image_sets.Scale = "standard"  # pixels from 0 to 1, from -1 to 1, or less their mean over their deviation
    test_every: Annotated[int, Ge(1)] | None = 1  # epochs, and always after the last; null: only then
    task_boundaries: Boundaries = "shown"  # whether methods are told when a task begins

    def __post_init__(self) -> None:
        # Numbers in place of null: one meaning, one trial.
        object.__setattr__(self, "classes", image_sets.classes_of(self.dataset, self.classes))
        assert self.classes is not None
        object.__setattr__(self, "examples", image_sets.examples_of(self.dataset, self.classes, self.examples))
        if self.test_examples is not None:
            image_sets.examples_of(self.dataset, self.classes, self.test_examples, "test")
        if not self.sizes[0]:
            raise ValueError(f"share {self.share} of {self.examples} examples is none")
        image_sets.check_batch(self.batch, self.sizes[1], "examples")
        image_sets.check_batch(self.batch, self.sizes[0], f"share {self.share} of the examples")

    @property
    def sizes(self) -> tuple[int, int]:
        """Training images of the two tasks."""
        assert self.examples is not None
        return round(self.share * self.examples), self.examples


class WarmStart(image_sets.Pictured):
    """Cross-entropy on the class; the images are shared by all seeds."""

    Config: ClassVar[type[Settings]] = WarmStartConfig
    name: ClassVar[str] = "warm_start"
    label: ClassVar[str] = "Warm start"
    semantics: ClassVar[int] = 1
    loss: ClassVar[LossName] = "cross_entropy"
    tested: ClassVar[bool] = True
    headline: ClassVar[Headline | None] = "test_accuracy"

    config: WarmStartConfig

    def __init__(self, config: WarmStartConfig, seed: int) -> None:
        assert config.classes is not None
        self.steps_per_epoch = tuple(size // config.batch for size in config.sizes)
        super().__init__(
            starts=np.append(0, np.cumsum([config.epochs * steps for steps in self.steps_per_epoch])),
            batch=config.batch,
            boundaries=config.task_boundaries,
        )
        self.config = config
        self.seed = seed
        self.inputs = image_sets.pixels_of(config.dataset)
        self.outputs = config.classes
        self.epochs = image_sets.Epochs(seed)

    @cached_property
    def order(self) -> Int64:
        """An order of all images whose beginning is what task 0 sees."""
        return permutation(self.seed, "stream/share", 0, self.config.sizes[1])

    def examples(self, task: int, first: int, count: int) -> tuple[Float32, NDArray[np.int64]]:
        """Examples of a task: x (count, inputs), y (count,) class numbers."""
        images, labels = image_sets.first_images(self.config.dataset, "train", self.outputs, self.config.examples)
        shown = self.order[self.epochs.shown(task, first, count, self.config.sizes[task])]
        return image_sets.scaled(images[shown], self.config.dataset, self.config.scale), labels[shown]

    def epoch_steps(self, task: int) -> int:
        """Steps of one of a task's epochs."""
        return self.steps_per_epoch[task]

    def test(self, task: int) -> tuple[Float32, NDArray[np.int64]]:
        """The test images, in both tasks."""
        images, labels = image_sets.first_images(self.config.dataset, "test", self.outputs, self.config.test_examples)
        return image_sets.scaled(images, self.config.dataset, self.config.scale), labels.copy()


STREAMS = {"warm_start": WarmStart}
