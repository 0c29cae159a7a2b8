"""Class-incremental CIFAR-100: classes arrive a few at a time and stay (Dohare et al. 2024, Nature 632:768).

In stage t (a task) the network is trained on all classes that have come so far, so there is nothing to forget: what
suffers is the learning of the new ones. The order of arrival is drawn from the seed. Outputs are numbered in that
order, and only those of the classes so far take part in loss and accuracy. Of each class the first images in file
order are kept for validation; a stage ends with the weights of its epoch with the best validation accuracy. Pixels are
standardised per channel before they are flipped, shifted and turned (see `augmentation`).

The published value of a stage is its best test accuracy over its epochs. The published diagnostics look at 1000
training images of the classes that come next: so the probe of a stage is training images, not augmented, of the classes
that the stage adds, in an order drawn from (seed, stage).

The schedule multiplies step sizes by 0.2 after 30 %, 60 % and 80 % of a stage: epochs 60, 120 and 160 of 200.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from workloads.data.entries import Bytes
from workloads.errors import InputError
from workloads.losses import LossName
from workloads.metrics import Headline
from workloads.random import Int64, permutation
from workloads.settings import Settings
from workloads.streams import image_sets
from workloads.streams.augmentation import moved, moves
from workloads.streams.base import Boundaries, Float32

SCHEDULE = ((3, 0.2), (6, 0.04), (8, 0.008))  # from so many tenths of a stage on, so much of the step size


@dataclass(frozen=True, kw_only=True, slots=True)
class IncrementalCIFARConfig:
    """The defaults are the paper's: 20 stages, 1,050,000 steps."""

    dataset: image_sets.Name = "cifar100"  # images
    classes: Annotated[int, Ge(1)] = 100  # the first so many of the data set, in the end
    classes_per_stage: Annotated[int, Ge(1)] = 5  # divides classes
    epochs: Annotated[int, Ge(1)] = 200  # per stage
    batch: Annotated[int, Ge(1)] = 90  # examples per step; divides what a stage adds
    validation_per_class: Annotated[int, Ge(0)] = 50  # the first so many training images of each class
    train_per_class: Annotated[int, Ge(1)] | None = None  # the next so many; null: as many as every class has left
    augment: bool = True  # images are cropped, flipped and turned anew whenever they are shown
    schedule: bool = True  # the step size falls during a stage
    reload: Literal["best_validation", "none"] = "best_validation"  # the weights that a stage ends with
    test_every: Annotated[int, Ge(1)] = 1  # epochs, and always after the last
    task_boundaries: Boundaries = "shown"  # whether methods are told when a task begins

    def __post_init__(self) -> None:
        image_sets.classes_of(self.dataset, self.classes)
        if self.classes % self.classes_per_stage:
            raise ValueError(f"classes_per_stage {self.classes_per_stage} must divide classes {self.classes}")
        most = image_sets.fewest(self.dataset)
        left = most - self.validation_per_class
        if left < 1:
            raise ValueError(f"validation_per_class {self.validation_per_class}: at most {most - 1} ({self.dataset})")
        if self.reload == "best_validation" and not self.validation_per_class:
            raise ValueError("validation_per_class 0 needs reload: none")
        object.__setattr__(self, "train_per_class", self.train_per_class or left)  # one meaning, one trial
        if self.per_class > left:
            raise ValueError(f"train_per_class {self.per_class}: at most {left} beside those for validation")
        image_sets.check_batch(
            self.batch, self.classes_per_stage * self.per_class, "the training images that a stage adds"
        )

    @property
    def per_class(self) -> int:
        """Training images of a class."""
        assert self.train_per_class is not None
        return self.train_per_class


class IncrementalCIFAR(image_sets.Pictured):
    """Cross-entropy over the classes so far: y is (place of the class in the order of arrival, classes so far)."""

    Config: ClassVar[type[Settings]] = IncrementalCIFARConfig
    name: ClassVar[str] = "incremental_cifar"
    label: ClassVar[str] = "Class-incremental CIFAR-100"
    semantics: ClassVar[int] = 1
    loss: ClassVar[LossName] = "cross_entropy_of_seen"
    tested: ClassVar[bool] = True
    headline: ClassVar[Headline | None] = "test_accuracy_max"

    config: IncrementalCIFARConfig

    def __init__(self, config: IncrementalCIFARConfig, seed: int) -> None:
        stages = config.classes // config.classes_per_stage
        added = config.classes_per_stage * config.per_class // config.batch  # steps per epoch, by every stage
        self.steps_per_epoch = added * np.arange(1, stages + 1)
        super().__init__(
            starts=np.append(0, np.cumsum(config.epochs * self.steps_per_epoch)),
            batch=config.batch,
            boundaries=config.task_boundaries,
        )
        self.config = config
        self.seed = seed
        self.inputs = image_sets.pixels_of(config.dataset)
        self.outputs = config.classes
        self.reloads = config.reload == "best_validation"
        self.order = permutation(seed, "stream/class_order", 0, config.classes)  # of arrival
        self.epochs = image_sets.Epochs(seed)

    def seen(self, task: int) -> int:
        """How many classes there are in a stage."""
        return (task + 1) * self.config.classes_per_stage

    def examples(self, task: int, first: int, count: int) -> tuple[Float32, NDArray[np.int64]]:
        """Examples of a stage: x (count, inputs), y (count, 2)."""
        shown = self.epochs.shown(task, first, count, self.seen(task) * self.config.per_class)
        place, images = self.training_images(shown)
        y = self.targets(place, task)
        if not self.config.augment:
            return self.scaled(images), y
        shape = image_sets.shape_of(self.config.dataset)
        images, inside = moved(images, moves(self.seed, (task << 32) + np.arange(first, first + count)), shape)
        x = self.scaled(images)
        np.copyto(x.reshape(count, shape[0], -1), 0, where=~inside[:, None])
        return x, y

    def training_images(self, number: Int64) -> tuple[Int64, Bytes]:
        """Training images by number, class by class in the order of arrival: each one's class place, and its pixels."""
        place, row = np.divmod(number, self.config.per_class)
        return place, self.images(place, self.config.validation_per_class + row)

    def images(self, place: Int64, row: Int64) -> Bytes:
        """(n, inputs): an image by the place of its class in the order of arrival, and its row in the class."""
        each = image_sets.fewest(self.config.dataset)
        held, _ = image_sets.first_images(self.config.dataset, "train", self.outputs, each * self.outputs)
        chosen: Bytes = held[self.order[place] * each + row]
        return chosen

    def scaled(self, images: Bytes) -> Float32:
        """Standardised per channel."""
        return image_sets.scaled(images, self.config.dataset, "standard")

    def targets(self, place: Int64, task: int) -> NDArray[np.int64]:
        """(n, 2): the class by its place in the order of arrival, and how many there are so far."""
        return np.stack([place, np.full_like(place, self.seen(task))], axis=-1)

    def probe(self, task: int, count: int) -> tuple[Float32, NDArray[np.int64]]:
        """Training images, as they are, of the classes that a stage adds; starting over where there are fewer."""
        if not 0 <= task < self.tasks:
            raise InputError(f"a probe of task {task} asked of a stream that has tasks 0 to {self.tasks - 1}")
        added = self.config.classes_per_stage * self.config.per_class
        order = permutation(self.seed, "stream/probe_order", task, added)
        place, images = self.training_images(task * added + order[np.arange(count) % added])
        return self.scaled(images), self.targets(place, task)

    def epoch_steps(self, task: int) -> int:
        """Steps of one of a task's epochs."""
        return int(self.steps_per_epoch[task])

    def test(self, task: int) -> tuple[Float32, NDArray[np.int64]]:
        """All test images of the classes so far."""
        images, labels = image_sets.first_images(self.config.dataset, "test", self.outputs)
        place = np.argsort(self.order)[labels]
        so_far = place < self.seen(task)
        return self.scaled(images[so_far]), self.targets(place[so_far], task)

    def validation(self, task: int) -> tuple[Float32, NDArray[np.int64]]:
        """The validation images of the classes so far."""
        place, row = np.divmod(
            np.arange(self.seen(task) * self.config.validation_per_class), self.config.validation_per_class
        )
        return self.scaled(self.images(place, row)), self.targets(place, task)

    def step_sizes(self, task: int) -> tuple[tuple[int, float], ...]:
        """The schedule of a stage; it starts again with every stage."""
        start, end = self.task_start(task), self.task_start(task + 1)
        later = [(start + -(-tenths * (end - start) // 10), factor) for tenths, factor in SCHEDULE]
        return ((start, 1.0), *[(step, factor) for step, factor in later if step < end and self.config.schedule])


STREAMS = {"incremental_cifar": IncrementalCIFAR}
