"""Files of a sweep by name, on a local path or an object store, whole or not at all.

A local file is written beside its place, flushed to the disk and moved there with os.replace; on an object
store (through pyarrow.fs) a file is one PUT, which the store shows when it is complete. A writer that dies
leaves no half file under a name that a reader looks for: locally at most a hidden temporary file, which
listings skip.

Names are relative to the root, with "/" between their parts.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pyarrow
from pyarrow import fs

from sweep.errors import StorageError


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
            parts = urlsplit(text)
            path = url2pathname(parts.path) if parts.scheme == "file" else text
            self.folder = Path(path).expanduser().absolute()
            self.uri = str(self.folder)
        else:
            self.uri = text
            try:
                self.filesystem, self.base = fs.FileSystem.from_uri(text)
            except (OSError, pyarrow.ArrowException) as error:
                raise StorageError(f"the storage {text} cannot be used: {error}") from error

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
            found = self.filesystem.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True))
            files = (info for info in found if info.type == fs.FileType.File)
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


def _files(folder: str, prefix: str) -> Iterator[tuple[str, int]]:
    """(relative name, bytes) of the files below a folder, hidden and just vanished ones left out."""
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except FileNotFoundError:
        return
    for entry in found:
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
