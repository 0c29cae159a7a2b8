"""The cache: a data set's four decoded arrays in one file, or a folder with a file for each class."""

from __future__ import annotations

import importlib.util
import logging
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from workloads.data.class_files import class_file, read_class, whole_file, write_class
from workloads.data.entries import FILES, Arrays, Bytes, Entry
from workloads.data.folder import data_folder
from workloads.data.formats import imagenet_place, read_class_array, split_batches
from workloads.data.sources import how_to_get
from workloads.data.sums import check_all, damaged
from workloads.errors import DataError
from workloads.machine import cpus

T = TypeVar("T")

logger = logging.getLogger(__name__)


def cache_of(name: str, entry: Entry) -> Path:
    """The file or the folder that the data set is kept in."""
    return class_folder(name, entry) if entry.by_class else cache_file(name)


def cache_file(name: str) -> Path:
    """Where the decoded data set is kept."""
    return data_folder() / f"{name}.npz"


def read_cache(name: str, entry: Entry) -> Arrays | None:
    """The cached arrays, checked; None where there is no cache."""
    path = cache_file(name)
    try:
        # Opened here: numpy leaves a file it cannot read open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            arrays = {key: held[key] for key in FILES}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise damaged(path, name, f"not readable ({error})") from error
    check_all(path, name, entry, arrays)
    return arrays


def write_cache(name: str, arrays: Arrays) -> None:
    """Keep the arrays; a reader sees the whole file or none. Raises OSError."""
    with whole_file(cache_file(name)) as file:
        np.savez(file, allow_pickle=False, **{key: arrays[key] for key in FILES})


def class_folder(name: str, entry: Entry) -> Path:
    """Where a data set is kept class by class."""
    return data_folder() / f"{name}-v{entry.version}"


def class_files(name: str, entry: Entry) -> list[Path]:
    """The file of every class, there or not."""
    return [class_file(class_folder(name, entry), label) for label in range(entry.classes)]


def class_images(name: str, entry: Entry, label: int) -> Bytes:
    """A class's images (training + test, pixels), kept or else made and then kept. Raises DataError."""
    held = read_kept(name, entry, label)
    if held is not None:
        return held
    images = one_class(name, entry, label)
    if images is None:
        make_classes(name, entry)
        return class_images(name, entry, label)
    try:
        write_class(class_file(class_folder(name, entry), label), images)
    except OSError as error:  # a read-only data folder costs time, not the run
        logger.warning("%s is not cached in %s: %s", name, class_folder(name, entry), error)
    images.setflags(write=False)
    return images


def read_kept(name: str, entry: Entry, label: int) -> Bytes | None:
    """A class from the cache, checked; None where it is not kept. Raises DataError."""
    path = class_file(class_folder(name, entry), label)
    try:
        return read_class(path, (sum(entry.images_per_class), entry.pixels))
    except ValueError as error:
        raise damaged(path, name, str(error)) from error


def one_class(name: str, entry: Entry, label: int) -> Bytes | None:
    """A class drawn, or read from its array; None where all classes come from the same files. Raises DataError."""
    if entry.draw is not None:
        return entry.draw(label)
    place = imagenet_place(data_folder(), entry)
    if place is None:
        raise DataError(f"dataset {name} is not on this machine.\n{how_to_get(name, entry)}")
    folder, arrays = place
    return read_class_array(folder, label, entry) if arrays else None


def make_classes(name: str, entry: Entry, *, force: bool = False) -> None:
    """Keep every class that is not kept yet, or with `force` every class. Raises DataError."""
    try:
        keep_classes(name, entry, force=force)
    except OSError as error:
        raise DataError(f"{class_folder(name, entry)}: cannot be written: {error}") from error


def keep_classes(name: str, entry: Entry, *, force: bool) -> None:
    """`make_classes`. Raises DataError, OSError where the cache cannot be written."""
    files = class_files(name, entry)
    absent = [label for label, file in enumerate(files) if force or not file.exists()]
    if not absent:
        return
    first = one_class(name, entry, absent[0])
    if first is None:
        place = imagenet_place(data_folder(), entry)
        assert place is not None
        files[0].parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".split-", dir=files[0].parent) as scratch:
            for label, images in split_batches(place[0], entry, Path(scratch), with_bar):
                write_class(files[label], images)
        return

    def make(label: int) -> None:
        images = one_class(name, entry, label)
        assert images is not None
        write_class(files[label], images)

    write_class(files[absent[0]], first)
    with ThreadPoolExecutor(max_workers=cpus()) as threads:  # numpy works outside the interpreter's lock
        for _ in with_bar(threads.map(make, absent[1:]), total=len(absent) - 1):
            pass


def verify_classes(name: str, entry: Entry) -> None:
    """Check every class that is kept; of a data set from files, else, every file. Raises DataError."""
    kept = [read_kept(name, entry, label) is not None for label in range(entry.classes)]
    if entry.draw is None and not all(kept):
        make_classes(name, entry)


def with_bar(items: Iterable[T], total: int | None = None) -> Iterable[T]:
    """The items, with a bar of progress where someone watches."""
    if not sys.stderr.isatty() or importlib.util.find_spec("tqdm") is None:
        return items
    bar: Iterable[T] = importlib.import_module("tqdm").tqdm(items, total=total)
    return bar
