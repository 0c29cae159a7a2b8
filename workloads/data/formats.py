"""Official files of colour images: CIFAR's python and binary versions, and the downsampled ImageNet 32x32.

Pickles are read without running what they name: only arrays of numbers, texts, lists and dicts can come out of one.

ImageNet 32x32 (Chrabaszcz et al. 2017) is read from its training pickles alone: of every class the first images in
file order, as many as `Entry.per_class` says, training images first. `val_data` is not used. The other form is one
array per class, as the code of the loss-of-plasticity paper reads it: 0.npy to 999.npy, the classes in their order.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from workloads.data.entries import Archive, Arrays, Bytes, Entry
from workloads.data.sums import damaged
from workloads.errors import DataError

CHUNK = 1 << 20  # bytes hashed at a time


def below(folder: Path, file: str) -> Iterator[Path]:
    """Whatever has this name in a folder or up to three folders below it."""
    return (path for depth in range(4) for path in sorted(folder.glob("*/" * depth + file)))


# CIFAR


def cifar_places(folder: Path, entry: Entry) -> Iterator[tuple[Path, Archive]]:
    """Official folders and archives in a folder or below it, the folders first."""
    for archive in entry.archives:
        yield from ((place, archive) for place in below(folder, archive.folder) if place.is_dir())
    for archive in entry.archives:
        yield from ((place, archive) for place in below(folder, archive.file) if place.is_file())


def read_cifar(place: Path, archive: Archive, name: str, entry: Entry) -> Arrays:
    """The four arrays from an official folder or .tar.gz, images (n, *shape). Raises DataError that names the file."""
    batches = batches_of_folder(place, archive) if place.is_dir() else batches_of_tar(place, archive, name)
    arrays = {}
    for key, files in (("train", archive.train), ("test", archive.test)):
        pairs = [read_cifar_batch(batches[file], f"{place}/{file}", archive, name, entry) for file in files]
        arrays[f"{key}_images"] = np.concatenate([images for images, _ in pairs])
        arrays[f"{key}_labels"] = np.concatenate([labels for _, labels in pairs])
    return arrays


def batches_of_folder(folder: Path, archive: Archive) -> dict[str, bytes]:
    """The bytes of every batch. Raises DataError where one is missing."""
    batches = {}
    for file in (*archive.train, *archive.test):
        try:
            batches[file] = (folder / file).read_bytes()
        except FileNotFoundError:
            raise DataError(
                f"{folder}: has no {file}.\nUnpack {archive.file} there again, or remove the folder"
            ) from None
        except OSError as error:
            raise DataError(f"{folder / file}: not readable ({error})") from error
    return batches


def batches_of_tar(path: Path, archive: Archive, name: str) -> dict[str, bytes]:
    """The bytes of every batch of a .tar.gz, read in place. Raises DataError where it is not the official one."""
    try:
        md5 = file_md5(path)
        if md5 != archive.md5:
            raise damaged(path, name, f"its MD5 is {md5}, not {archive.md5}")
        paths = {f"{archive.folder}/{file}": file for file in (*archive.train, *archive.test)}
        batches = {}
        with tarfile.open(path) as tar:
            for member in tar:
                file = paths.get(member.name.removeprefix("./"))
                data = tar.extractfile(member) if file is not None else None
                if file is not None and data is not None:
                    batches[file] = data.read()
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise damaged(path, name, f"not readable ({error})") from error
    missing = set(paths.values()) - set(batches)
    if missing:
        raise damaged(path, name, f"has no {', '.join(sorted(missing))}")
    return batches


def file_md5(path: Path) -> str:
    """MD5 of a file's bytes; guards against damage, not against malice."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def read_cifar_batch(data: bytes, where: str, archive: Archive, name: str, entry: Entry) -> tuple[Bytes, Bytes]:
    """One batch: images (n, *shape), their planes red, green and blue, and labels (n,). Raises DataError."""
    if archive.key is not None:
        held = read_pickle(io.BytesIO(data), where)
        images = rows_of(held.get(b"data"), where, entry)
        labels = labels_of(held.get(archive.key), len(images), where, archive.key.decode())
    else:
        size = archive.label_bytes + entry.pixels  # of a record
        if len(data) % size or not data:
            raise damaged(where, name, f"{len(data)} bytes are not whole images of {size} bytes")
        records = np.frombuffer(data, dtype=np.uint8).reshape(-1, size)
        images, labels = records[:, archive.label_bytes :], records[:, archive.label_bytes - 1].astype(np.int64)
    if labels.min() < 0 or labels.max() >= entry.classes:
        problem = f"labels from {labels.min()} to {labels.max()}, not 0 to {entry.classes - 1}"
        raise damaged(where, name, problem)
    return images.reshape(-1, *entry.shape), labels.astype(np.uint8)


# ImageNet 32x32: pickles of all classes, or an array for each class


def imagenet_place(folder: Path, entry: Entry) -> tuple[Path, bool] | None:
    """The first folder with the arrays of classes or else the pickles, and whether it has arrays."""
    for file, arrays in (("0.npy", True), (entry.batches[0], False)):
        path = next(below(folder, file), None)
        if path is not None:
            return path.parent, arrays
    return None


def read_class_array(folder: Path, label: int, entry: Entry) -> Bytes:
    """One class from its array, (training + test, pixels), in its order.

    Floats are taken to be from 0 to 1 where none is above 1, else from 0 to 255; they are rounded. Raises DataError.
    """
    path = folder / f"{label}.npy"
    try:
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError:
        files = f"0.npy to {entry.classes - 1}.npy"
        raise DataError(f"{folder}: has no {label}.npy.\nOne array per class is needed: {files}") from None
    except Exception as error:  # a damaged header makes numpy raise anything
        said = f"{type(error).__name__}: {error}"
        raise DataError(f"{path}: not readable as an array of images ({said}).\nReplace the file") from error
    images = sum(entry.images_per_class)
    allowed = ((images, *entry.shape), (images, entry.pixels))
    if array.shape not in allowed:
        shapes = " or ".join(map(str, allowed))
        raise DataError(f"{path}: its shape is {array.shape}, not {shapes}.\nReplace the file")
    if array.dtype != np.uint8:
        low, high = (array.min(), array.max()) if array.dtype.kind in "iuf" else (-1, -1)
        if not (0 <= low and high <= 255):  # NaN fails too
            values = f"{array.dtype} from {low} to {high}" if array.dtype.kind in "iuf" else f"{array.dtype}"
            raise DataError(f"{path}: holds {values}, not uint8 or numbers from 0 to 255 or 1.\nReplace the file")
        scale = 255 if array.dtype.kind == "f" and high <= 1 else 1
        array = np.rint(array * scale).astype(np.uint8)
    rows: Bytes = np.ascontiguousarray(array.reshape(images, entry.pixels))  # an array may lie in Fortran's order
    return rows


def split_batches(
    folder: Path, entry: Entry, scratch: Path, watch: Callable[[Any], Any] = iter
) -> Iterator[tuple[int, Bytes]]:
    """Every class of the pickles in `folder`, as (label, images); `scratch` takes them in between.

    Memory holds one pickle at a time, and the classes grow in files. `watch` may draw a bar over the pickles. Raises
    DataError that names the file, OSError where scratch cannot be written.
    """
    missing = [file for file in entry.batches if not (folder / file).is_file()]
    if missing:
        raise DataError(f"{folder}: has no {', '.join(missing)}.\nAll training batches are needed")
    count = sum(entry.images_per_class)
    held = np.zeros(entry.classes, dtype=np.int64)  # images of each class so far
    for file in watch(entry.batches):
        images, labels = read_imagenet_batch(folder / file, entry)
        for label in range(entry.classes):
            first = np.flatnonzero(labels == label)[: count - held[label]]
            held[label] += len(first)
            with (scratch / str(label)).open("ab") as grown:
                grown.write(images[first].tobytes())
    if held.min() < count:
        label = int(held.argmin())
        problem = f"{held[label]} images have the label {label + 1}; every class needs {count}"
        raise DataError(f"{folder}: {problem}.\nReplace {entry.batches[0]} to {entry.batches[-1]}")
    for label in range(entry.classes):
        path = scratch / str(label)
        yield label, np.fromfile(path, dtype=np.uint8).reshape(count, entry.pixels)
        os.unlink(path)


def read_imagenet_batch(path: Path, entry: Entry) -> tuple[Bytes, NDArray[np.int64]]:
    """A pickle of training images (n, pixels) and their labels (n,), which it counts from 1, counted from 0."""
    try:
        with path.open("rb") as file:
            held = read_pickle(file, path)
    except OSError as error:
        raise DataError(f"{path}: not readable ({error})") from error
    images = rows_of(held.get(b"data"), path, entry)
    labels = labels_of(held.get(b"labels"), len(images), path, "labels")
    if labels.min() < 1 or labels.max() > entry.classes:
        problem = f"labels from {labels.min()} to {labels.max()}, not 1 to {entry.classes}"
        raise DataError(f"{path}: {problem}.\nReplace the file")
    return images, labels - 1


# Pickles


def rows_of(value: object, where: Path | str, entry: Entry) -> Bytes:
    """What a pickle calls its data: (n, pixels) uint8. Raises DataError."""
    if (
        not isinstance(value, np.ndarray)
        or value.dtype != np.uint8
        or value.shape[1:] != (entry.pixels,)
        or not len(value)
    ):
        kind = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise DataError(f"{where}: its data is {kind}, not uint8 (images, {entry.pixels}).\nReplace the file")
    return value


def labels_of(value: object, count: int, where: Path | str, key: str) -> NDArray[np.int64]:
    """What a pickle calls its labels: one integer for each image. Raises DataError."""
    try:
        labels = np.asarray(value)
    except ValueError:
        labels = np.empty(0)
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise DataError(f"{where}: has no {key} for its {count} images, one integer each.\nReplace the file")
    return labels.astype(np.int64)


def read_pickle(file: IO[bytes], where: Path | str) -> Mapping[bytes, Any]:
    """A pickled dict with its keys as bytes, as Python 2 wrote them. Raises DataError; runs nothing of the file's."""
    try:
        held = ArraysOnly(file, encoding="bytes").load()
    except Forbidden as error:
        raise DataError(f"{where}: asks for {error}, which no file of images needs.\nDo not trust this file") from error
    except Exception as error:  # damaged bytes make the unpickler, or numpy, raise anything
        said = f"{type(error).__name__}: {error}"
        raise DataError(f"{where}: not readable as a pickle ({said}).\nReplace the file") from error
    if not isinstance(held, dict):
        raise DataError(f"{where}: holds a {type(held).__name__}, not a dict of data and labels.\nReplace the file")
    return {key.encode() if isinstance(key, str) else key: value for key, value in held.items()}


class Forbidden(Exception):
    """A pickle names something other than an array."""


def latin1(text: str, encoding: str) -> bytes:
    """Stands for `_codecs.encode`, by which Python 3 writes bytes into a pickle that Python 2 can read."""
    if encoding != "latin1":
        raise Forbidden(f"the encoding {encoding!r}")
    return text.encode("latin1")


# numpy's functions have moved between modules; a file may name any of them.
REBUILD = {
    "_reconstruct": np.empty(0).__reduce__()[0],
    "scalar": np.int64(0).__reduce__()[0],
    "_frombuffer": np.empty(0).__reduce_ex__(5)[0],
}
ALLOWED: Mapping[tuple[str, str], Any] = {
    **{
        (f"numpy.{core}.{module}", word): REBUILD[word]
        for core in ("core", "_core")
        for module, word in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
    },
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): latin1,
    ("builtins", "bytes"): bytes,
}


class ArraysOnly(pickle.Unpickler):
    """Finds what arrays are made of, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """The one allowed thing of that name. Raises Forbidden."""
        if (module, name) not in ALLOWED:
            raise Forbidden(f"{module}.{name}")
        return ALLOWED[module, name]
