"""Official files of colour images that this test writes, whole and spoilt; nothing leaves the machine."""

from __future__ import annotations

import copyreg
import gzip
import json
import os
import pickle
import struct
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep.cli import commands
from workloads.data import front
from workloads.data.catalogue import DATASETS
from workloads.data.class_files import kept_sum, read_class, write_class
from workloads.data.entries import Entry, Part
from workloads.data.formats import file_md5, read_pickle
from workloads.errors import DataError, InputError

PIXELS = 12  # of an image: red, green and blue planes of 2 x 2
PLANE = {"red": slice(0, 4), "green": slice(4, 8), "blue": slice(8, 12)}
CLASSES = {"cifar10": 2, "cifar100": 3, "imagenet32": 3}
TRAIN = {"cifar10": [1, 0, 0, 1, 1, 0, 1, 0, 0, 1], "cifar100": [2, 0, 1, 1, 0, 2]}
TEST = {"cifar10": [0, 1, 1, 0], "cifar100": [1, 2, 0]}
CIFAR = ("cifar10", "cifar100")
FORMS = ("python", "binary")
NEXT_STEPS = ("sweep data fetch", "Replace", "Unpack", "Do not trust", "is needed", "are needed")


def pictures(first: int, count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Images `first` on, (count, PIXELS): red is 0 to 79, green 80 to 159, blue 160 to 239, no two images alike."""
    image, pixel = np.arange(first, first + count)[:, None], np.arange(PIXELS)[None, :]
    return (image * 4 % 80 + pixel // 4 * 80 + pixel % 4).astype(np.uint8)


def toy(name: str) -> Entry:
    """The data set with a handful of 2 x 2 images; cannot be fetched."""
    entry = replace(DATASETS[name], shape=(3, 2, 2), classes=CLASSES[name], mirrors=())
    if name == "imagenet32":
        return replace(entry, per_class=(2, 1), batches=("train_data_batch_1", "train_data_batch_2"))
    train, test = len(TRAIN[name]), len(TEST[name])
    parts = {
        "train_images": Part(shape=(train, 3, 2, 2)),
        "train_labels": Part(shape=(train,)),
        "test_images": Part(shape=(test, 3, 2, 2)),
        "test_labels": Part(shape=(test,)),
    }
    return replace(entry, parts=parts, per_class=(train // CLASSES[name], test // CLASSES[name]))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty data folder, and toys in place of the data sets."""
    toys = {name: toy(name) for name in CLASSES}
    for name, entry in toys.items():
        monkeypatch.setitem(DATASETS, name, entry)
    monkeypatch.setenv("PLIANT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (tmp_path / "data").mkdir()
    forget()
    yield tmp_path / "data"
    forget()


def forget() -> None:
    """As in a new process."""
    front._loaded.cache_clear()
    front._of_class.cache_clear()


# Writers of official files


class Python2(pickle._Pickler):
    """Writes texts and bytes alike as Python 2's `str`, and numpy's functions where they were in 2009."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_text(self, value: str | bytes) -> None:
        raw = value.encode() if isinstance(value, str) else value
        self.write(b"U" + bytes([len(raw)]) + raw if len(raw) < 256 else b"T" + struct.pack("<i", len(raw)) + raw)  # type: ignore[attr-defined]
        self.memoize(value)  # type: ignore[attr-defined]

    dispatch[str] = dispatch[bytes] = save_text  # type: ignore[assignment]


def python2(value: object) -> bytes:
    """A protocol 2 pickle of Python 2."""
    file = BytesIO()
    Python2(file, protocol=2).dump(value)
    return file.getvalue().replace(b"cnumpy._core.", b"cnumpy.core.")


def batches_of(name: str, form: str) -> dict[str, tuple[np.ndarray[Any, np.dtype[np.uint8]], list[int]]]:
    """File name -> its images and labels, for an archive of the data set."""
    archive = DATASETS[name].archives[FORMS.index(form)]
    each = len(TRAIN[name]) // len(archive.train)
    found = {
        file: (pictures(k * each, each), TRAIN[name][k * each : (k + 1) * each]) for k, file in enumerate(archive.train)
    }
    return {**found, archive.test[0]: (pictures(len(TRAIN[name]), len(TEST[name])), TEST[name])}


def cifar_bytes(
    name: str, form: str, rows: np.ndarray[Any, np.dtype[np.uint8]], labels: list[int], /, **changes: object
) -> bytes:
    """A batch as its official file has it."""
    if form == "binary":
        coarse = [bytes([19 - label]) for label in labels] if name == "cifar100" else [b""] * len(labels)
        return b"".join(c + bytes([label]) + row.tobytes() for c, label, row in zip(coarse, labels, rows, strict=True))
    key = "labels" if name == "cifar10" else "fine_labels"
    held = {
        "batch_label": "batch 1 of 5",
        "data": rows,
        key: labels,
        "filenames": [f"s_{k}.png" for k in range(len(labels))],
    }
    if name == "cifar100":
        held["coarse_labels"] = [19 - label for label in labels]
    return python2({**held, **changes})


def write_cifar(folder: Path, name: str, form: str) -> Path:
    """The official folder."""
    place = folder / DATASETS[name].archives[FORMS.index(form)].folder
    place.mkdir(parents=True)
    for file, (rows, labels) in batches_of(name, form).items():
        (place / file).write_bytes(cifar_bytes(name, form, rows, labels))
    (place / "batches.meta").write_bytes(b"not read")
    return place


def pack(place: Path, into: Path, name: str, form: str) -> Path:
    """The official archive of a folder, its sum noted as the official one."""
    into.mkdir(parents=True, exist_ok=True)
    entry = DATASETS[name]
    at = FORMS.index(form)
    path = into / entry.archives[at].file
    with tarfile.open(path, "w:gz") as tar:
        tar.add(place, arcname=entry.archives[at].folder)
    note_sum(name, form, path)
    return path


def note_sum(name: str, form: str, path: Path) -> None:
    archives = list(DATASETS[name].archives)
    archives[FORMS.index(form)] = replace(archives[FORMS.index(form)], md5=file_md5(path))
    DATASETS[name] = replace(DATASETS[name], archives=tuple(archives))


IMAGENET = {"train_data_batch_1": [3, 1, 2, 1], "train_data_batch_2": [2, 3, 1, 2, 3, 1]}  # labels, from 1
OF_CLASS = {0: [1, 3, 6], 1: [2, 4, 7], 2: [0, 5, 8]}  # the first three images of each, in the order of the files


def write_imagenet(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    first = 0
    for file, labels in IMAGENET.items():
        held = {"data": pictures(first, len(labels)), "labels": labels, "mean": np.full(PIXELS, 7.5)}
        (folder / file).write_bytes(pickle.dumps(held, protocol=4))
        first += len(labels)
    return folder


def write_arrays(folder: Path, shape: tuple[int, ...] = (3, 3, 2, 2)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for label, images in OF_CLASS.items():
        np.save(folder / f"{label}.npy", pictures(0, 10)[images].reshape(shape))
    return folder


def assert_is_cifar(name: str) -> None:
    train, test = pictures(0, len(TRAIN[name])), pictures(len(TRAIN[name]), len(TEST[name]))
    dataset = front.load(name)
    assert dataset.images.tolist() == train.tolist() and dataset.labels.tolist() == TRAIN[name]
    assert dataset.test_images.tolist() == test.tolist() and dataset.test_labels.tolist() == TEST[name]
    assert dataset.images.dtype == np.uint8 and dataset.labels.dtype == np.int64
    assert dataset.images[:, PLANE["red"]].max() < 80 <= dataset.images[:, PLANE["green"]].min()
    assert dataset.images[:, PLANE["green"]].max() < 160 <= dataset.images[:, PLANE["blue"]].min()
    images = front.image_set(name)
    assert (images.shape, images.classes, images.maximum) == ((3, 2, 2), CLASSES[name], 255)
    for label in range(images.classes):
        assert images.train(label).tolist() == train[[k for k, a in enumerate(TRAIN[name]) if a == label]].tolist()
        assert images.test(label).tolist() == test[[k for k, a in enumerate(TEST[name]) if a == label]].tolist()
        assert not images.train(label).flags.writeable and not images.test(label).flags.writeable


def assert_is_imagenet() -> None:
    images = front.image_set("imagenet32")
    assert (images.shape, images.classes) == ((3, 2, 2), 3)
    for label in (2, 0, 1):
        rows = pictures(0, 10)[OF_CLASS[label]]
        assert images.train(label).tolist() == rows[:2].tolist()
        assert images.test(label).tolist() == rows[2:].tolist()
        assert not images.train(label).flags.writeable


def assert_says(error: BaseException, *parts: str) -> None:
    """An error of one screen that has these parts, and says what to do."""
    text = str(error)
    assert len(text.splitlines()) <= 8, text
    assert any(step in text for step in NEXT_STEPS), text
    for part in parts:
        assert part in text, text


# CIFAR


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CIFAR)
def test_cifar_is_found_decoded_and_cached(folder: Path, tmp_path: Path, name: str, form: str, packed: bool) -> None:
    assert front.status(name).source == "absent"
    place = write_cifar((tmp_path if packed else folder) / "a", name, form)
    if packed:
        place = pack(place, folder / "b" / "c", name, form)
    assert front.status(name) == front.Status(name=name, source="files", path=place, advice="")
    assert front.verify(name).path == place
    assert_is_cifar(name)
    assert front.status(name).path == folder / f"{name}.npz"
    place.rename(tmp_path / "gone")
    forget()
    assert_is_cifar(name)
    assert front.verify(name).source == "cache"
    assert front.checksum(name) == front.load(name).sha256 and len(front.load(name).sha256) == 64


@pytest.mark.parametrize("name", CIFAR)
def test_both_versions_of_cifar_have_one_sum(folder: Path, tmp_path: Path, name: str) -> None:
    place = write_cifar(folder, name, "python")
    first = front.checksum(name)
    place.rename(tmp_path / "gone")
    (folder / f"{name}.npz").unlink()
    forget()
    write_cifar(folder, name, "binary")
    assert front.checksum(name) == first


def test_a_class_that_does_not_exist(folder: Path) -> None:
    for label in (-1, 2):
        with pytest.raises(InputError, match=f"dataset cifar10 has the classes 0 to 1, not {label}"):
            front.image_set("cifar10").train(label)


Spoil = Callable[[str, np.ndarray[Any, np.dtype[np.uint8]], list[int]], bytes]

PYTHON_DAMAGE: dict[str, tuple[Spoil, str]] = {
    "wrong shape": (lambda n, r, a: cifar_bytes(n, "python", r[:, :-1], a), "its data is uint8 (2, 11), not uint8"),
    "floats": (lambda n, r, a: cifar_bytes(n, "python", r, a, data=r / 255), "its data is float64"),
    "no images": (lambda n, r, a: cifar_bytes(n, "python", r, a, data=[1, 2]), "its data is list"),
    "none left": (lambda n, r, a: cifar_bytes(n, "python", r[:0], []), "its data is uint8 (0, 12)"),
    "labels short": (lambda n, r, a: cifar_bytes(n, "python", r, a[:-1]), "has no labels for its 2 images"),
    "labels ragged": (lambda n, r, a: cifar_bytes(n, "python", r, a, labels=[[1], [1, 2]]), "has no labels for its 2"),
    "labels text": (lambda n, r, a: cifar_bytes(n, "python", r, a, labels=["a", "b"]), "has no labels for its 2"),
    "label too large": (lambda n, r, a: cifar_bytes(n, "python", r, [0, 2]), "labels from 0 to 2, not 0 to 1"),
    "label below 0": (lambda n, r, a: cifar_bytes(n, "python", r, [-1, 0]), "labels from -1 to 0, not 0 to 1"),
    "label huge": (lambda n, r, a: cifar_bytes(n, "python", r, [0, 256]), "labels from 0 to 256, not 0 to 1"),
    "truncated": (lambda n, r, a: cifar_bytes(n, "python", r, a)[:-20], "not readable as a pickle"),
    "empty": (lambda n, r, a: b"", "not readable as a pickle"),
    "text": (lambda n, r, a: b"<html>not found</html>", "not readable as a pickle"),
    "a list": (lambda n, r, a: python2([1, 2]), "holds a list, not a dict"),
}


@pytest.mark.parametrize("kind", PYTHON_DAMAGE)
def test_a_damaged_pickle_is_named(folder: Path, kind: str) -> None:
    spoil, message = PYTHON_DAMAGE[kind]
    place = write_cifar(folder / "mine", "cifar10", "python")
    rows, labels = batches_of("cifar10", "python")["data_batch_3"]
    (place / "data_batch_3").write_bytes(spoil("cifar10", rows, labels))
    for ask in (front.load, front.verify, front.fetch):
        with pytest.raises(DataError) as error:
            ask("cifar10")
        assert_says(error.value, str(place / "data_batch_3"), message)
    assert not (folder / "cifar10.npz").exists()


@pytest.mark.parametrize("name", CIFAR)
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda whole, size: whole[:-1], "bytes are not whole images of"),
        (lambda whole, size: b"", "0 bytes are not whole images of"),
        (lambda whole, size: whole + b"\0", "bytes are not whole images of"),
        (lambda whole, size: whole[:-13] + b"\x63" + whole[-12:], "to 99, not 0 to"),
        (lambda whole, size: whole[:-size], "test_images are uint8"),
        (lambda whole, size: whole[size:] + whole[size : 2 * size], "test_labels, not"),
    ],
)
def test_a_damaged_binary_is_named(folder: Path, name: str, spoil: Callable[[bytes, int], bytes], message: str) -> None:
    place = write_cifar(folder, name, "binary")
    path = place / DATASETS[name].archives[1].test[0]
    path.write_bytes(spoil(path.read_bytes(), 13 if name == "cifar10" else 14))
    with pytest.raises(DataError) as error:
        front.load(name)
    assert_says(error.value, str(place), message, f"sweep data fetch {name} --force")


def test_a_missing_batch_is_named(folder: Path) -> None:
    place = write_cifar(folder, "cifar10", "binary")
    (place / "data_batch_4.bin").unlink()
    with pytest.raises(DataError) as error:
        front.load("cifar10")
    assert_says(error.value, f"{place}: has no data_batch_4.bin", "Unpack cifar-10-binary.tar.gz there again")


def test_a_good_archive_stands_in_for_a_damaged_folder(folder: Path, tmp_path: Path) -> None:
    (write_cifar(folder, "cifar10", "python") / "test_batch").unlink()
    pack(write_cifar(tmp_path / "other", "cifar10", "binary"), folder, "cifar10", "binary")
    assert_is_cifar("cifar10")


@pytest.mark.parametrize("kind", ["other bytes", "truncated", "no gzip", "a member missing"])
def test_a_damaged_archive_is_named(folder: Path, tmp_path: Path, kind: str) -> None:
    place = write_cifar(tmp_path / "a", "cifar100", "python")
    path = pack(place, folder, "cifar100", "python")
    if kind == "a member missing":
        (place / "test").unlink()
        pack(place, folder, "cifar100", "python")
    else:
        whole = path.read_bytes()
        path.write_bytes({"other bytes": whole + b"\0", "truncated": whole[:-40], "no gzip": b"hello"}[kind])
    if kind in ("truncated", "no gzip"):  # its sum is right, and still it is read with care
        note_sum("cifar100", "python", path)
    with pytest.raises(DataError) as error:
        front.load("cifar100")
    message = {"other bytes": "its MD5 is", "a member missing": "has no test"}.get(kind, "not readable")
    assert_says(error.value, f"{path}: damaged, {message}", "sweep data fetch cifar100 --force")


def test_a_truncated_official_archive_does_not_match_its_sum(folder: Path, tmp_path: Path) -> None:
    path = pack(write_cifar(tmp_path / "a", "cifar10", "python"), folder, "cifar10", "python")
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-5000]))
    with pytest.raises(DataError, match="its MD5 is [0-9a-f]{32}, not [0-9a-f]{32}"):
        front.verify("cifar10")


def test_a_damaged_cache_of_cifar_is_named(folder: Path) -> None:
    write_cifar(folder, "cifar10", "python")
    path = folder / "cifar10.npz"
    front.fetch("cifar10")
    path.write_bytes(path.read_bytes().replace(pictures(0, 10).tobytes(), bytes(120)))
    with pytest.raises(DataError) as error:
        front.load("cifar10")
    assert_says(error.value, f"{path}: damaged", "sweep data fetch cifar10 --force")
    front.fetch("cifar10", force=True)
    assert_is_cifar("cifar10")


def test_a_mirror_has_the_archive(folder: Path, tmp_path: Path, site: tuple[str, Path]) -> None:
    address, root = site
    path = pack(write_cifar(tmp_path / "a", "cifar10", "binary"), root, "cifar10", "binary")
    DATASETS["cifar10"] = replace(DATASETS["cifar10"], mirrors=(address,))
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0")
    with pytest.raises(DataError) as error:
        front.fetch("cifar10")
    assert_says(error.value, f"{address}cifar-10-python.tar.gz: 404", f"{address}cifar-10-binary.tar.gz: MD5 hash of")
    path.write_bytes(whole)
    assert front.fetch("cifar10").path == folder / "cifar10.npz"
    assert_is_cifar("cifar10")


# ImageNet 32x32


def test_imagenet_is_split_into_classes(folder: Path, tmp_path: Path) -> None:
    assert front.status("imagenet32").source == "absent"
    place = write_imagenet(folder / "imagenet" / "train")
    assert front.status("imagenet32") == front.Status(name="imagenet32", source="files", path=place, advice="")
    assert_is_imagenet()
    kept = folder / "imagenet32-v1"
    assert sorted(path.name for path in kept.iterdir()) == [f"class_000{label}.npy" for label in range(3)]
    place.rename(tmp_path / "gone")
    forget()
    assert_is_imagenet()
    assert front.verify("imagenet32") == front.Status(name="imagenet32", source="cache", path=kept, advice="")
    with pytest.raises(InputError, match="imagenet32 is kept class by class"):
        front.load("imagenet32")


@pytest.mark.parametrize("shape", [(3, 3, 2, 2), (3, PIXELS)])
def test_imagenet_as_one_array_per_class(folder: Path, shape: tuple[int, ...]) -> None:
    place = write_arrays(folder / "classes", shape)
    assert front.status("imagenet32").path == place
    front.image_set("imagenet32").train(1)
    assert [path.name for path in (folder / "imagenet32-v1").iterdir()] == ["class_0001.npy"]
    assert_is_imagenet()


def test_both_forms_of_imagenet_have_one_sum(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_imagenet(folder)
    first = front.checksum("imagenet32")
    monkeypatch.setenv("PLIANT_DATA", str(tmp_path / "other"))
    write_arrays(tmp_path / "other")
    assert front.checksum("imagenet32") == first
    np.save(tmp_path / "other" / "2.npy", pictures(11, 3))
    front.fetch("imagenet32", force=True)
    assert front.checksum("imagenet32") != first


@pytest.mark.parametrize("kind", ["from 0 to 1", "from 0 to 255", "integers", "Fortran's order"])
def test_arrays_of_other_numbers(folder: Path, kind: str) -> None:
    place = write_arrays(folder)
    for label in range(3):
        images = np.load(place / f"{label}.npy")
        other: Any = {
            "from 0 to 1": (images / 255).astype(np.float32),
            "from 0 to 255": images.astype(np.float64) + 0.25,
            "integers": images.astype(np.int64),
            "Fortran's order": np.asfortranarray(images.reshape(3, PIXELS)),
        }
        np.save(place / f"{label}.npy", other[kind])
    assert_is_imagenet()


ARRAY_DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: path.unlink(), "has no 1.npy"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "not readable as an array"),
    "empty": (lambda path: path.write_bytes(b""), "not readable as an array"),
    "text": (lambda path: path.write_text("hello"), "not readable as an array"),
    "an archive": (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(40)), "not readable as an array"),
    "objects": (lambda path: np.save(path, np.array([{}] * 3)), "not readable as an array"),
    "too few": (lambda path: np.save(path, pictures(0, 2)), "its shape is (2, 12), not (3, 3, 2, 2) or (3, 12)"),
    "channels last": (lambda path: np.save(path, np.zeros((3, 2, 2, 3), np.uint8)), "its shape is (3, 2, 2, 3)"),
    "negative": (lambda path: np.save(path, pictures(0, 3) / 255 - 0.5), "holds float64 from -0.5"),
    "not a number": (lambda path: np.save(path, np.full((3, PIXELS), np.nan)), "holds float64 from nan"),
    "too bright": (lambda path: np.save(path, np.full((3, PIXELS), 256)), "holds int64 from 256 to 256"),
    "texts": (lambda path: np.save(path, np.full((3, PIXELS), "a")), "holds <U1"),
}


@pytest.mark.parametrize("kind", ARRAY_DAMAGE)
def test_a_damaged_array_is_named(folder: Path, kind: str) -> None:
    spoil, message = ARRAY_DAMAGE[kind]
    path = write_arrays(folder) / "1.npy"
    spoil(path)
    images = front.image_set("imagenet32")
    assert images.train(0).tolist() == pictures(0, 10)[[1, 3]].tolist()  # the others are good
    for ask in (lambda: images.train(1), lambda: front.fetch("imagenet32"), lambda: front.verify("imagenet32")):
        with pytest.raises(DataError) as error:
            ask()
        assert_says(error.value, str(folder if kind == "missing" else path), message)


def pickled(labels: list[int], /, **changes: object) -> bytes:
    return pickle.dumps({"data": pictures(4, len(labels)), "labels": labels, **changes}, protocol=2)


BATCH_DAMAGE: dict[str, tuple[bytes | None, str]] = {
    "missing": (None, "has no train_data_batch_2"),
    "truncated": (pickled([2, 3, 1, 2, 3, 1])[:-30], "not readable as a pickle"),
    "labels from 0": (pickled([0, 1, 2, 1, 0, 2]), "labels from 0 to 2, not 1 to 3"),
    "label too large": (pickled([1, 2, 4, 1, 2, 3]), "labels from 1 to 4, not 1 to 3"),
    "too few of a class": (pickled([2, 3, 1, 2, 1, 1]), "2 images have the label 3; every class needs 3"),
    "no labels": (pickled([2, 3, 1, 2, 3, 1], labels=None), "has no labels for its 6 images"),
    "wrong size": (pickled([2, 3], data=np.zeros((2, 48), np.uint8)), "its data is uint8 (2, 48)"),
}


@pytest.mark.parametrize("kind", BATCH_DAMAGE)
def test_a_damaged_batch_is_named(folder: Path, kind: str) -> None:
    written, message = BATCH_DAMAGE[kind]
    path = write_imagenet(folder / "mine") / "train_data_batch_2"
    path.unlink()
    if written is not None:
        path.write_bytes(written)
    for ask in (lambda: front.image_set("imagenet32").train(0), lambda: front.fetch("imagenet32")):
        with pytest.raises(DataError) as error:
            ask()
        assert_says(error.value, str(folder / "mine" if kind in ("missing", "too few of a class") else path), message)
    assert list((folder / "imagenet32-v1").glob("*")) == []  # neither classes nor scratch


def test_pickles_in_a_folder_that_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_imagenet(folder)

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    for ask in (front.fetch, front.checksum, front.verify, lambda name: front.image_set(name).train(0)):
        with pytest.raises(DataError, match="imagenet32-v1: cannot be written: no space left"):
            ask("imagenet32")
    assert list((folder / "imagenet32-v1").iterdir()) == []


# Pickles are data, never code


class Runs:
    """Makes a folder when it is unpickled."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def hostile(marker: Path) -> dict[str, Runs]:
    code = f"__import__('os').mkdir({str(marker)!r})"
    return {"a call": Runs(os.mkdir, str(marker)), "exec": Runs(exec, code), "eval": Runs(eval, code)}


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("kind", ["a call", "exec", "eval"])
@pytest.mark.parametrize("place", ["beside", "in the images", "as the whole"])
def test_a_pickle_that_would_run_code_does_not(folder: Path, kind: str, protocol: int, place: str) -> None:
    marker = folder / "it-ran"
    bomb = hostile(marker)[kind]
    rows = np.array([bomb], dtype=object) if place == "in the images" else pictures(4, 2)
    held: object = {b"data": rows, b"labels": [0, 1], **({b"more": bomb} if place == "beside" else {})}
    written = pickle.dumps(bomb if place == "as the whole" else held, protocol=protocol)
    pickle.loads(written)
    assert marker.exists()  # any other reader runs it
    marker.rmdir()
    paths = [write_cifar(folder / "c", "cifar10", "python") / "data_batch_2"]
    paths.append(write_imagenet(folder / "i") / "train_data_batch_1")
    for path, name in zip(paths, ("cifar10", "imagenet32"), strict=True):
        path.write_bytes(written)
        with pytest.raises(DataError) as error:
            front.fetch(name)
        assert_says(error.value, str(path), "which no file of images needs", "Do not trust this file")
        assert not marker.exists()


def test_names_beside_the_allowed_ones_are_refused() -> None:
    for module, name in (("numpy", "load"), ("builtins", "getattr"), ("numpy.core.multiarray", "fromfile")):
        written = f"c{module}\n{name}\n.".encode()
        with pytest.raises(DataError, match=f"file: asks for {module}.{name}"):
            read_pickle(BytesIO(written), "file")


def test_an_extension_code_is_looked_up_like_a_name(tmp_path: Path) -> None:
    copyreg.add_extension("os", "mkdir", 0xF0)
    try:
        with pytest.raises(DataError, match=r"asks for os\.mkdir"):
            read_pickle(BytesIO(b"\x80\x02\x82\xf0U\x01x\x85R."), "file")
    finally:
        copyreg.remove_extension("os", "mkdir", 0xF0)


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_every_protocol_are_read(protocol: int) -> None:
    held = {"data": pictures(0, 3), b"labels": [np.int64(2), 0, 1], "mean": np.arange(3.0)}
    read = read_pickle(BytesIO(pickle.dumps(held, protocol=protocol)), "file")
    assert np.array_equal(read[b"data"], pictures(0, 3))
    assert list(read[b"labels"]) == [2, 0, 1] and read[b"mean"].tolist() == [0, 1, 2]


# One file per class


def test_any_byte_of_a_class_file_that_changes_is_seen(tmp_path: Path) -> None:
    images, path = pictures(0, 3), tmp_path / "class_0000.npy"
    assert read_class(path, images.shape) is None
    write_class(path, images)
    whole = path.read_bytes()
    read = read_class(path, images.shape)
    assert read is not None and read.tolist() == images.tolist() and not read.flags.writeable
    for at in range(len(whole)):
        for value in {whole[at] ^ 1, whole[at] ^ 0x80, ord("9")} - {whole[at]}:
            path.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
            try:
                again = read_class(path, images.shape)
            except ValueError:
                continue
            assert again is not None and again.tolist() == images.tolist()  # the header's spaces and the like
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="not readable|checksum"):
            read_class(path, images.shape)


def test_a_damaged_class_is_named_and_force_replaces_it(folder: Path) -> None:
    write_imagenet(folder)
    front.fetch("imagenet32")
    path = folder / "imagenet32-v1" / "class_0001.npy"
    right = kept_sum(path)
    for spoilt in (path.read_bytes()[:-33], b""):
        path.write_bytes(spoilt)
        asks: list[Callable[[], object]] = [
            lambda: front.image_set("imagenet32").test(1),
            lambda: front.verify("imagenet32"),
        ]
        if not spoilt:
            asks.append(lambda: front.checksum("imagenet32"))
        for ask in asks:
            with pytest.raises(DataError) as error:
                ask()
            assert_says(error.value, str(path.parent), "damaged", "sweep data fetch imagenet32 --force")
    front.fetch("imagenet32", force=True)
    assert kept_sum(path) == right
    assert_is_imagenet()


# The command line


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """`sweep data ...` in this process: exit status, and what it said."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["sweep", "data", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            commands.main()
            sys.exit(0)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return int(ended.value.code or 0), said.out + said.err

    return run


def test_commands_about_colour_images(folder: Path, command: Callable[..., tuple[int, str]]) -> None:
    DATASETS["glyphs"], whole = replace(DATASETS["glyphs"], classes=2), DATASETS["glyphs"]
    try:
        code, said = command("list", "--json")
        listed = {entry["name"]: entry for entry in json.loads(said)}
        assert code == 0 and set(listed) == set(DATASETS)
        assert {name: listed[name]["source"] for name in (*CLASSES, "glyphs")} == {
            "cifar10": "absent",
            "cifar100": "absent",
            "imagenet32": "absent",
            "glyphs": "library",
        }
        code, said = command("verify", "glyphs")
        assert code == 0 and "glyphs is whole (drawn when asked for)" in said
        code, said = command("fetch", "glyphs")
        assert code == 0 and f"glyphs is in {folder / 'glyphs-v2'}" in said.replace("\n", " ")
        code, said = command("verify", "glyphs")
        assert code == 0 and "glyphs is whole" in said
    finally:
        DATASETS["glyphs"] = whole
    write_cifar(folder, "cifar100", "binary")
    assert command("verify", "cifar100")[0] == command("fetch", "cifar100")[0] == 0
    assert (folder / "cifar100.npz").exists()
    code, said = command("list")
    assert code == 0 and str(folder / "cifar100.npz") in said and "cifar-10-python.tar.gz" in said


@pytest.mark.parametrize("verb", ["fetch", "verify", "list"])
def test_commands_say_how_to_get_imagenet(folder: Path, command: Callable[..., tuple[int, str]], verb: str) -> None:
    code, said = command(verb) if verb == "list" else command(verb, "imagenet32")
    assert code == (0 if verb == "list" else 2)
    for part in ("image-net.org", "train_data_batch_1 to train_data_batch_2", "0.npy to 2.npy", str(folder)):
        assert part in said
    if verb != "list":
        assert said.startswith("error: dataset imagenet32 is not on this machine.\nIt cannot be fetched:")
    assert list(folder.iterdir()) == []
    write_imagenet(folder)
    if verb != "list":
        assert command(verb, "imagenet32")[0] == 0
