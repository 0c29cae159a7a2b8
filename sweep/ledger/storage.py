"""Files of a sweep by name, on a local path or an object store, whole or not at all.

A local file is written beside its place, flushed to the disk and moved there with os.replace; on an object
store (through pyarrow.fs) a file is one PUT, which the store shows when it is complete. A writer that dies
leaves no half file under a name that a reader looks for: locally at most a hidden temporary file, which
listings skip.

Names are relative to the root, with "/" between their parts.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import url2pathname

import pyarrow
from pyarrow import fs

from sweep.errors import StorageError

ANSWER_WITHIN = 20.0  # seconds for an object store's first answer: gs:// without a network says nothing for 15 minutes
UNUSABLE = re.compile(r"[?%\x00-\x1f\x7f]")  # in a path: MLflow's addresses read the first two as their own


def place_of(text: str) -> str:
    """The place that a user's words mean: an absolute path, or the address of an object store as it is.

    `~` is the home folder and file:///a%20b the path /a b. Raises StorageError for what would end up elsewhere.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        if (near := re.match(r"(file|s3|gs):/+", text)) is not None:
            raise StorageError(f"the storage {text} looks like an address: write {near[1]}://{text[near.end() :]}")
        path = text
    elif scheme != "file":
        return text
    elif rest.startswith("/") or rest.startswith("localhost/"):
        path = url2pathname(rest.removeprefix("localhost"))
    else:
        host = rest.partition("/")[0]
        raise StorageError(
            f"the storage {text} names a host, {host!r}: write file:///absolute/path, or a path without file://"
        )
    if "~" in path[:1]:
        path = os.path.expanduser(path)
    if path.startswith("~"):
        raise StorageError(f"the storage {text} names a home folder that is not known here")
    if (bad := UNUSABLE.search(os.path.abspath(path))) is not None:
        raise StorageError(
            f"the storage {os.path.abspath(path)!r} has {bad[0]!r} in its path, which MLflow cannot take"
        )
    return str(Path(path).resolve())


class Storage:
    """The files below one root.

    Safe to use from several processes and machines at once. Every failure of the file system is a
    StorageError that names the place and the system's reason; a missing file is FileNotFoundError in
    `read_bytes` and nothing special elsewhere.
    """

    def __init__(self, uri: str | Path, *, filesystem: fs.FileSystem | None = None) -> None:
        """`uri` is a path, file://..., s3://..., gs://..., or a path inside `filesystem` where that is given.

        Nothing is written here. Raises StorageError for a URI of an unknown kind or a store that cannot be
        reached.
        """
        text = str(uri)
        self.folder: Path | None = None  # the root where it is local
        self.filesystem = filesystem
        self.base = text.rstrip("/")
        if filesystem is not None:
            self.uri = text
        elif "://" not in text or text.startswith("file://"):
            self.uri = place_of(text)
            self.folder = Path(self.uri)
        else:
            self.uri = text
            self.filesystem, self.base = reached(text)

    def where(self, name: str) -> str:
        """A file's full place, for people."""
        return f"{self.uri.rstrip('/')}/{name}" if name else self.uri

    def read_bytes(self, name: str) -> bytes:
        """The whole file. Raises FileNotFoundError where there is none."""
        with self._explained("read", name):
            if self.folder is not None:
                return (self.folder / name).read_bytes()
            assert self.filesystem is not None
            with self.filesystem.open_input_stream(self._key(name)) as stream:
                content: bytes = stream.read()
            return content

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write or replace a file; readers see the old content or the new one. Folders are made as needed."""
        with self._explained("write", name):
            if self.folder is None:
                self._put(name, content)
            else:
                with self._beside(self.folder / name, content) as temporary:
                    os.replace(temporary, self.folder / name)

    def put_if_absent(self, name: str, content: bytes) -> bool:
        """Write a file unless it is there; whether it was written.

        Locally exactly one of several writers succeeds. An object store has no such promise here (look, then
        PUT), so writers that may meet must write the same content.
        """
        with self._explained("write", name):
            if self.exists(name):
                return False
            if self.folder is None:
                self._put(name, content)
                return True
            with self._beside(self.folder / name, content) as temporary:
                try:
                    os.link(temporary, self.folder / name)  # unlike a rename, fails where the name is taken
                except FileExistsError:
                    return False
                except OSError:  # no hard links here (FAT, some network mounts): then as on an object store
                    os.replace(temporary, self.folder / name)
                return True

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""
        with self._explained("read", name):
            if self.folder is not None:
                return (self.folder / name).is_file()
            assert self.filesystem is not None
            return bool(self.filesystem.get_file_info(self._key(name)).type == fs.FileType.File)

    def list(self, folder: str = "") -> dict[str, int]:
        """All files below a folder, at any depth: name relative to it -> bytes. Empty without the folder."""
        with self._explained("read", folder):
            if self.folder is not None:
                return dict(_files(str(self.folder / folder), ""))
            assert self.filesystem is not None
            root = self._key(folder)
            infos = self.filesystem.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True))
            files = (info for info in infos if info.type == fs.FileType.File)
            return {info.path.removeprefix(root).lstrip("/"): info.size for info in files}

    def delete(self, name: str) -> None:
        """Delete a file; nothing happens where there is none."""
        with self._explained("delete", name), suppress(FileNotFoundError):
            if self.folder is not None:
                (self.folder / name).unlink()
            else:
                assert self.filesystem is not None
                self.filesystem.delete_file(self._key(name))

    def delete_folder(self, folder: str) -> None:
        """Delete a folder and all below it; nothing happens where there is none."""
        with self._explained("delete", folder), suppress(FileNotFoundError):
            if self.folder is not None:
                shutil.rmtree(self.folder / folder)
            else:
                assert self.filesystem is not None
                self.filesystem.delete_dir(self._key(folder))

    def _key(self, name: str) -> str:
        """A name inside the pyarrow file system."""
        return f"{self.base}/{name}" if name else self.base

    def _put(self, name: str, content: bytes) -> None:
        """One PUT; folders are made only where the file system asks for them (a bucket has none)."""
        assert self.filesystem is not None
        key = self._key(name)
        try:
            stream = self.filesystem.open_output_stream(key)
        except FileNotFoundError:
            self.filesystem.create_dir(key.rpartition("/")[0], recursive=True)
            stream = self.filesystem.open_output_stream(key)
        with stream:
            stream.write(content)

    @contextmanager
    def _beside(self, path: Path, content: bytes) -> Iterator[Path]:
        """A flushed temporary file in the folder of `path`, for the body to put in place."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{path.name}.{secrets.token_hex(6)}"
        try:
            with open(temporary, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
            _flush_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def _explained(self, verb: str, name: str) -> Iterator[None]:
        """Errors of the file system as StorageError, except that a missing file stays what it is."""
        try:
            yield
        except OSError as error:
            if isinstance(error, FileNotFoundError) and verb != "write":
                raise
            raise StorageError(f"cannot {verb} {self.where(name)}: {error.strerror or error}") from error


def reached(uri: str) -> tuple[fs.FileSystem, str]:
    """An object store, and the root's path inside it, once it has given some answer.

    Raises StorageError where it gives none, or is of an unknown kind.
    """
    answers: list[tuple[fs.FileSystem, str]] = []
    failed: list[Exception] = []

    def ask() -> None:
        try:
            filesystem, base = fs.FileSystem.from_uri(uri)
            with suppress(OSError, pyarrow.ArrowException):  # a root that may not be looked at is an answer too
                filesystem.get_file_info(base)
            answers.append((filesystem, base))
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            failed.append(error)

    asking = threading.Thread(target=ask, daemon=True)  # which may never end
    asking.start()
    asking.join(ANSWER_WITHIN)
    if failed:
        raise StorageError(f"the storage {uri} cannot be used: {failed[0]}") from failed[0]
    if not answers:
        raise StorageError(
            f"the storage {uri} does not answer within {ANSWER_WITHIN:.0f} s: is there a network, and credentials?"
        )
    return answers[0]


def _files(folder: str, prefix: str) -> Iterator[tuple[str, int]]:
    """(relative name, bytes) of the files below a folder, hidden and just vanished ones left out."""
    try:
        with os.scandir(folder) as entries:
            entries_below = list(entries)
    except FileNotFoundError:
        return
    for entry in entries_below:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _files(entry.path, f"{prefix}{entry.name}/")
        else:
            with suppress(FileNotFoundError):
                yield f"{prefix}{entry.name}", entry.stat().st_size


def _flush_folder(folder: Path) -> None:
    """Make a rename last through a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
