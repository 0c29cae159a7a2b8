"""The IDX format of MNIST's files: two zero bytes, 8 for unsigned bytes, number of axes, each axis's length in 4
bytes, values.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from workloads.data.entries import FILES, Arrays, Bytes, Entry
from workloads.data.sums import check, damaged
from workloads.errors import DataError


def read_folder(folder: Path, name: str, entry: Entry) -> Arrays:
    """A folder's four official files, decoded and checked. Raises DataError that names the file at fault."""
    arrays = {}
    for key, part in entry.parts.items():
        path = find_file(folder, key)
        if path is None:
            raise DataError(f"{folder}: has no {FILES[key]}, plain or .gz")
        arrays[key] = read_idx(path, name, part.shape)
        check(path, name, part, arrays[key], what="decoded bytes")
    return arrays


def find_file(folder: Path, key: str) -> Path | None:
    """One of the official files in a folder, plain or compressed."""
    candidates = (folder / FILES[key], folder / f"{FILES[key]}.gz")
    return next((path for path in candidates if path.is_file()), None)


def read_idx(path: Path, name: str, shape: tuple[int, ...]) -> Bytes:
    """An IDX file of unsigned bytes, plain or gzip. Raises DataError where it is not one of this shape."""
    header = bytes([0, 0, 8, len(shape)]) + b"".join(length.to_bytes(4, "big") for length in shape)
    size = math.prod(shape)
    try:
        with path.open("rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if compressed else path.open("rb") as file:
            start = file.read(len(header))
            values = file.read(size + 1)  # one more than there should be: a longer file shows
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, name, f"not readable ({error})") from error
    if start[:4] != header[:4]:
        raise damaged(path, name, f"not the IDX file it is named as: starts with {start[:4].hex(' ')}")
    if start != header:
        lengths = [int.from_bytes(start[at : at + 4], "big") for at in range(4, len(start), 4)]
        raise damaged(path, name, f"holds {lengths} values, not {list(shape)}")
    if len(values) != size:
        raise damaged(path, name, "cut short" if len(values) < size else "longer than its header says")
    return np.frombuffer(values, dtype=np.uint8).reshape(shape)
