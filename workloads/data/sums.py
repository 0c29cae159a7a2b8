"""Whether bytes are a data set's: by their sums where these are known, else by their shapes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from workloads.data.entries import Arrays, Bytes, Entry, Part
from workloads.errors import DataError


def damaged(path: Path | str, name: str, what: str) -> DataError:
    """The error for bytes that are not what they should be."""
    return DataError(f"{path}: damaged, {what}.\nReplace it with: sweep data fetch {name} --force")


def check_all(path: Path | str, name: str, entry: Entry, arrays: Arrays) -> None:
    """Raise DataError unless the four arrays are the data set's."""
    for key, part in entry.parts.items():
        check(path, name, part, arrays[key], what=key)
    if entry.sha256 is None and entry.per_class is not None:
        for key, count in zip(("train_labels", "test_labels"), entry.per_class, strict=True):
            counts = np.bincount(arrays[key], minlength=entry.classes)
            if counts.shape != (entry.classes,) or (counts != count).any():
                raise damaged(path, name, f"its classes have {counts.min()} to {counts.max()} {key}, not {count}")


def check(path: Path | str, name: str, part: Part, array: Bytes, *, what: str) -> None:
    """Raise DataError unless the array is the part's: byte for byte where its sum is known, else by its shape."""
    if part.sha256 is None:
        if array.shape != part.shape or array.dtype != np.uint8:
            raise damaged(path, name, f"{what} are {array.dtype} {array.shape}, not uint8 {part.shape}")
    elif array.shape != part.shape or array.dtype != np.uint8 or sha256(array) != part.sha256:
        raise damaged(path, name, f"{what} do not match their checksum")


def sha256(array: Bytes) -> str:
    """SHA-256 of the values in C order."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
