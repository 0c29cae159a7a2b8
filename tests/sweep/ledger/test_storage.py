"""Storage: whole files or none, on local paths and on pyarrow file systems alike."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pyarrow import fs

from sweep.errors import StorageError
from sweep.ledger import storage as storage_module
from sweep.ledger.storage import Storage, place_of

KINDS: dict[str, Callable[[Path], Storage]] = {
    "path": lambda folder: Storage(folder / "root"),
    "uri": lambda folder: Storage((folder / "a root").as_uri()),
    "memory": lambda folder: Storage("bucket/root", filesystem=fs.FileSystem.from_uri("mock:///")[0]),
    "subtree": lambda folder: Storage("root", filesystem=fs.SubTreeFileSystem(str(folder), fs.LocalFileSystem())),
}


@pytest.fixture(params=KINDS)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return KINDS[request.param](tmp_path)


def test_what_is_written_is_read_listed_and_deleted(storage: Storage) -> None:
    assert storage.list() == {}
    storage.write_bytes("a/b/one", b"first")
    storage.write_bytes("a/two", b"")
    storage.write_bytes("three", b"3")
    assert storage.read_bytes("a/b/one") == b"first"
    assert storage.list() == {"a/b/one": 5, "a/two": 0, "three": 1}
    assert storage.list("a") == {"b/one": 5, "two": 0}
    assert storage.exists("a/two")
    assert not storage.exists("a/b")
    storage.delete("a/two")
    storage.delete("a/two")
    assert storage.list("a") == {"b/one": 5}
    storage.delete_folder("a")
    storage.delete_folder("a")
    assert storage.list() == {"three": 1}


def test_a_file_is_replaced_whole(storage: Storage) -> None:
    storage.write_bytes("file", b"long content")
    storage.write_bytes("file", b"new")
    assert storage.read_bytes("file") == b"new"


def test_the_first_put_stays(storage: Storage) -> None:
    assert storage.put_if_absent("folder/file", b"first")
    assert not storage.put_if_absent("folder/file", b"second")
    assert storage.read_bytes("folder/file") == b"first"


def test_a_missing_file_is_told_from_a_broken_storage(storage: Storage) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read_bytes("nowhere/file")
    assert not storage.exists("nowhere/file")
    assert storage.list("nowhere") == {}


def test_one_of_many_puts_wins(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda i: storage.put_if_absent("file", b"%d" % i), range(64)))
    assert won.count(True) == 1
    assert storage.read_bytes("file") == b"%d" % won.index(True)
    assert os.listdir(tmp_path) == ["file"]


def test_without_hard_links_a_put_still_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert Storage(tmp_path).put_if_absent("file", b"first")
    assert not Storage(tmp_path).put_if_absent("file", b"second")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"first"}


def test_a_failed_write_leaves_the_old_file_and_nothing_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(tmp_path)
    storage.write_bytes("file", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="cannot write .*/file: No space left on device"):
        storage.write_bytes("file", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"old"}


def test_temporary_files_of_a_dead_writer_are_not_listed(tmp_path: Path) -> None:
    (tmp_path / ".file.0123456789ab").write_bytes(b"half")
    assert Storage(tmp_path).list() == {}


def test_errors_name_the_place_and_the_reason(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match=rf"cannot write {tmp_path}/taken/name: (Not a directory|File exists)"):
        Storage(tmp_path / "taken").write_bytes("name", b"")
    with pytest.raises(StorageError, match=r"the storage ftp://host/x cannot be used: .*ftp"):
        Storage("ftp://host/x")


def test_a_relative_path_means_the_same_after_a_change_of_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    storage = Storage("here")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    storage.write_bytes("file", b"1")
    assert (tmp_path / "here" / "file").read_bytes() == b"1"
    assert storage.where("file") == f"{tmp_path}/here/file"


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ("~/x", "{home}/x"),
        ("here", "{cwd}/here"),
        ("a b/ü", "{cwd}/a b/ü"),
        ("file:///data/a%20b", "/data/a b"),
        ("file://localhost/data", "/data"),
        ("s3://bucket/a%20b?region=x", "s3://bucket/a%20b?region=x"),
    ],
)
def test_the_place_that_words_mean(words: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert place_of(words) == place.format(home="/home/somebody", cwd=tmp_path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("file://rel/x", "names a host, 'rel': write file:///absolute/path"),
        ("a%20b", "has '%' in its path, which MLflow cannot take"),
        ("a?b", "has '?' in its path"),
        ("a\nb", "in its path"),
        ("~nobody-of-this-name/x", "names a home folder that is not known here"),
        ("s3:/bucket/x", "looks like an address: write s3://bucket/x"),
        ("nonsense://x", "cannot be used"),
    ],
)
def test_a_place_that_would_be_another_is_refused(words: str, said: str) -> None:
    with pytest.raises(StorageError, match=re.escape(said)):
        Storage(place_of(words))


def test_a_store_that_never_answers_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = threading.Event()

    class Silent:
        @staticmethod
        def from_uri(uri: str) -> None:
            silent.wait()
            raise OSError("too late")

    monkeypatch.setattr(storage_module.fs, "FileSystem", Silent)
    monkeypatch.setattr(storage_module, "ANSWER_WITHIN", 0.05)
    with pytest.raises(StorageError, match="the storage gs://bucket/x does not answer within"):
        Storage("gs://bucket/x")
    silent.set()
