"""A data set kept class by class: one file each, so that a task of two classes reads two files.

A file is a .npy of uint8 (images, pixels), its training images first, and behind the values their SHA-256, which
numpy does not look at. It is checked whenever it is read, and it appears whole or not at all: any number of
processes may make the same class at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from workloads.data.entries import Bytes

SUM = 32  # bytes of a SHA-256


def class_file(folder: Path, label: int) -> Path:
    """Where a class is kept."""
    return folder / f"class_{label:04}.npy"


def write_class(path: Path, images: Bytes) -> None:
    """Keep a class. Raises OSError."""
    with whole_file(path) as file:
        np.save(file, images, allow_pickle=False)
        file.write(hashlib.sha256(images.data).digest())


def read_class(path: Path, shape: tuple[int, int]) -> Bytes | None:
    """A class's images, checked, read-only; None where it is not kept. Raises ValueError that says what is wrong."""
    try:
        with path.open("rb") as file:
            images: Bytes = np.lib.format.read_array(file, allow_pickle=False)
            checksum = file.read(SUM + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # a damaged header makes numpy raise anything
        raise ValueError(f"not readable ({type(error).__name__}: {error})") from error
    if images.shape != shape or images.dtype != np.uint8 or not images.flags.c_contiguous:
        raise ValueError(f"holds {images.dtype} {images.shape}, not uint8 {shape}")
    if hashlib.sha256(images.data).digest() != checksum:
        raise ValueError("its values do not match their checksum")
    images.setflags(write=False)
    return images


def kept_sum(path: Path) -> str:
    """The SHA-256 that a class is kept with, its values unread. Raises OSError, also where the file is cut short."""
    with path.open("rb") as file:
        file.seek(-SUM, os.SEEK_END)
        return file.read().hex()


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes its place when done; a reader sees the whole file or none. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, 0o644)  # mkstemp's file is for its owner alone; a data folder may be shared
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        raise
