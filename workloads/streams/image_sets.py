"""What the streams of pictures have in common: which images, in which order, at which scale, tested when.

Images come class by class, the first so many of each in file order, and stay bytes until they are shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from workloads.data import front
from workloads.data.catalogue import DATASETS
from workloads.data.entries import Bytes
from workloads.random import Int64, permutation
from workloads.streams.base import Float32, Pictures, TaskStream

Name = Literal["mnist", "fashion_mnist", "digits", "cifar10", "cifar100", "imagenet32", "glyphs"]
Part = Literal["train", "test"]
Scale = Literal["unit", "standard", "symmetric"]

UNEVEN: dict[Name, tuple[int, int]] = {"mnist": (5421, 892), "digits": (146, 27)}  # images of the smallest class
# Mean and standard deviation of each channel, of pixels from 0 to 1. CIFAR-100's are those of the released code of
# Dohare et al. (2024); those of glyphs are round numbers; the others are what is customary.
STANDARD: dict[Name, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "mnist": ((0.1307,), (0.3081,)),
    "fashion_mnist": ((0.2860,), (0.3530,)),
    "digits": ((0.3051,), (0.3750,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "imagenet32": ((0.4811, 0.4575, 0.4079), (0.2605, 0.2533, 0.2683)),
    "glyphs": ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
}


def classes_of(dataset: Name, count: int | None) -> int:
    """How many classes are used, the first ones; None: all. Raises ValueError where there are fewer."""
    most = DATASETS[dataset].classes
    if count is not None and count > most:
        raise ValueError(f"classes {count}: {dataset} has {most}")
    return most if count is None else count


def fewest(dataset: Name, part: Part = "train") -> int:
    """Images of the class that has fewest."""
    counts = DATASETS[dataset].per_class or UNEVEN[dataset]
    return counts[0] if part == "train" else counts[1]


def examples_of(dataset: Name, classes: int, count: int | None, part: Part = "train") -> int:
    """How many images are used, equally many of each class; None: all that every class has.

    Raises ValueError where that is impossible.
    """
    most = fewest(dataset, part) * classes
    if count is None:
        return most
    if count % classes or not 0 < count <= most:
        kind = "examples" if part == "train" else "test_examples"
        raise ValueError(f"{kind} {count}: must be a multiple of the {classes} classes and at most {most} ({dataset})")
    return count


def check_batch(batch: int, examples: int, what: str) -> None:
    """Raises ValueError unless an epoch is a whole number of batches."""
    if examples % batch:
        raise ValueError(f"batch {batch} must divide {what}, which are {examples}")


def shape_of(dataset: Name) -> tuple[int, int, int]:
    """(channels, height, width) of a picture; known without the images."""
    return DATASETS[dataset].shape


def pixels_of(dataset: Name) -> int:
    """Numbers in a picture."""
    return DATASETS[dataset].pixels


def images_of(
    dataset: Name, part: Part, labels: Iterable[int], rows: slice = slice(None)
) -> tuple[Bytes, NDArray[np.int64]]:
    """Some images of each of these classes, class after class: (n, pixels), and each one's place in `labels`."""
    image_set = front.image_set(dataset)
    parts = [(image_set.train(label) if part == "train" else image_set.test(label))[rows] for label in labels]
    return np.concatenate(parts), np.repeat(np.arange(len(parts)), [len(images) for images in parts])


@lru_cache(maxsize=4)
def first_images(
    dataset: Name, part: Part, classes: int, examples: int | None = None
) -> tuple[Bytes, NDArray[np.int64]]:
    """The first images of each of the first classes, and their labels; read-only, since all seeds share them."""
    rows = slice(None if examples is None else examples // classes)
    images, labels = images_of(dataset, part, range(classes), rows)
    images.setflags(write=False)
    labels.setflags(write=False)
    return images, labels


def scaled(images: Bytes, dataset: Name, scale: Scale) -> Float32:
    """(n, pixels) float32: from 0 to 1, from -1 to 1, or each channel's mean taken off, over its standard deviation."""
    x: Float32 = np.divide(images, DATASETS[dataset].maximum, dtype=np.float32)
    if scale == "standard":
        mean, deviation = (np.array(values, dtype=np.float32)[:, None] for values in STANDARD[dataset])
        by_channel = x.reshape(len(x), len(mean), -1)
        by_channel -= mean
        by_channel /= deviation
    elif scale == "symmetric":
        x *= 2
        x -= 1
    return x


@lru_cache(maxsize=4)
def shades(dataset: Name, scale: Scale) -> Float32:
    """(256,) float32: each value of a byte as an input, for pictures of one channel; read-only, since all share it."""
    values = scaled(np.arange(256, dtype=np.uint8)[:, None], dataset, scale)[:, 0]
    values.setflags(write=False)
    return values


def one_table(dataset: Name, scale: Scale) -> bool:
    """Whether all channels are scaled alike, by one table of `shades`."""
    return scale != "standard" or shape_of(dataset)[0] == 1


def as_pictures(
    dataset: Name, scale: Scale, shown: Int64, images: Bytes, labels: Int64, pixels: NDArray[np.int32] | None = None
) -> Pictures:
    """Steps that show numbers `shown` (count, B) of a task's own images (n, pixels), labelled (n,); see `one_table`."""
    return Pictures(dataset, shown.astype(np.int32), pixels, shades(dataset, scale), images, labels[shown])


class Epochs:
    """Places in a set of examples that is gone through again and again, each time in a fresh order.

    The order is drawn from (seed, task, epoch), so it does not depend on how many epochs there are.
    """

    def __init__(self, seed: int) -> None:
        self.order = lru_cache(maxsize=2)(self._order)
        self._seed = seed

    def _order(self, task: int, epoch: int, examples: int) -> Int64:
        return permutation(self._seed, "stream/epoch_order", (task << 32) + epoch, examples)

    def shown(self, task: int, first: int, count: int, examples: int) -> Int64:
        """(count,) places of a task's examples number `first` and following, among `examples`."""
        parts, at, end = [], first, first + count
        while at < end:
            epoch, skip = divmod(at, examples)
            parts.append(self.order(task, epoch, examples)[skip : skip + end - at])
            at += len(parts[-1])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def epoch_ends(start: int, steps: int, epochs: int, every: int | None) -> tuple[int, ...]:
    """The steps after every `every`-th epoch of `steps` steps each, and always after the last; None: only that."""
    counted = range(every, epochs, every) if every else ()
    return tuple(start + steps * epoch for epoch in (*counted, epochs))


class OfPictures(Protocol):
    """What every config of such a stream says; a tested one's `test_every` too: epochs, or None, after the last."""

    @property
    def dataset(self) -> Name: ...

    @property
    def epochs(self) -> int: ...


class Pictured(TaskStream):
    """A stream of pictures of the data set that its config names; a tested one is tested after epochs."""

    config: OfPictures

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, height, width)."""
        return shape_of(self.config.dataset)

    def epoch_steps(self, task: int) -> int:
        """Steps of one of a task's epochs."""
        raise NotImplementedError

    def evaluations(self, task: int) -> tuple[int, ...]:
        """After every `test_every` epochs and after the last."""
        if not self.tested:
            return ()
        every: int | None = getattr(self.config, "test_every", None)
        return epoch_ends(self.task_start(task), self.epoch_steps(task), self.config.epochs, every)
