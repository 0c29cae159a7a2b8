"""What a storage holds of packs, as it is found there: every file may be torn, short or gone."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sweep.errors import StorageError
from sweep.ledger.commits import FAILURE, PACKS, Manifest, Named, began
from sweep.ledger.failures import Failure
from sweep.ledger.storage import Storage

MANIFEST_NAME = re.compile(r"manifest-(\d+)\.json")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PackState:
    """A pack that the ledger has heard of, at its furthest commit."""

    id: str
    members: tuple[str, ...]  # trial ids
    finished: bool
    attempts: int  # that committed anything
    tasks: int  # complete
    step: int
    diverged: int  # members
    updated: float | None  # last commit, unix seconds; None before the first
    rate: float  # steps per second between the first and the last commit of the attempt that has got furthest
    failure: Failure | None  # what ended its last attempt; None once a later one commits anything


class PackFiles:
    """Reads the files of packs; what is damaged is passed over for what is whole. `files` are a pack's, with sizes."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._parsed: dict[tuple[str, int], Any] = {}  # by name and size: what is written once is read once

    def forget(self) -> None:
        """Read everything anew from now on: a file was written again."""
        self._parsed.clear()

    def listing(self) -> dict[str, dict[str, int]]:
        """Pack -> its files with sizes, in the order of names; one listing for all."""
        packs: dict[str, dict[str, int]] = defaultdict(dict)
        for name, size in sorted(self.storage.list(PACKS).items()):
            pack, _, file = name.partition("/")
            packs[pack][file] = size
        return packs

    def text(self, name: str) -> bytes:
        """A file's content; empty where there is none."""
        try:
            return self.storage.read_bytes(name)
        except FileNotFoundError:
            return b""

    def _once(self, name: str, size: int, parse: Callable[[bytes], T]) -> T | None:
        """A file that never changes, parsed; None where it is torn, short or gone."""
        if (name, size) not in self._parsed:
            try:
                self._parsed[name, size] = parse(self.storage.read_bytes(name))
            except (FileNotFoundError, ValueError, KeyError, TypeError):
                return None
        parsed: T = self._parsed[name, size]
        return parsed

    def members(self, pack: str, files: Mapping[str, int]) -> tuple[str, ...] | None:
        """A pack's trial ids; None where its description is not whole."""
        if "members.json" not in files:
            return None
        name = f"{PACKS}/{pack}/members.json"
        return self._once(name, files["members.json"], lambda text: tuple(json.loads(text)["members"]))

    def _manifests(self, pack: str, attempt: str, files: Mapping[str, int]) -> Iterator[Manifest]:
        """An attempt's valid manifests, newest first."""
        names = [name for name in files if name.startswith(f"{attempt}/") and MANIFEST_NAME.search(name)]
        for name in sorted(names, key=_commit_number, reverse=True):
            manifest = self._once(f"{PACKS}/{pack}/{name}", files[name], Manifest.from_json)
            if manifest and all(files.get(f.file) == f.bytes for f in manifest.shards + manifest.weights):
                yield manifest

    def state(self, pack: str, files: Mapping[str, int]) -> PackState | None:
        """A pack at its furthest commit; None where its description is not whole."""
        members = self.members(pack, files)
        if members is None:
            return None
        newest = self.newest(pack, files)
        # One that stopped some of its members is behind any that has them whole.
        furthest = max(newest, key=lambda manifest: (manifest.whole, *progress(manifest)), default=None)
        updated = max((manifest.time for manifest in newest), default=None)
        finished = bool(furthest and furthest.finished)
        return PackState(
            id=pack,
            members=members,
            finished=finished,
            attempts=len(newest),
            tasks=furthest.tasks if furthest else 0,
            step=furthest.step if furthest else 0,
            diverged=furthest.statuses.count("diverged") if furthest else 0,
            updated=updated,
            rate=self._rate(pack, files, furthest) if furthest and not finished else 0.0,
            failure=None if finished else self._failure(pack, files, since=updated),
        )

    def _rate(self, pack: str, files: Mapping[str, int], last: Manifest) -> float:
        """How fast an attempt trains; by its only commit where it began anew, 0 where nothing is known."""
        names = [name for name in files if name.startswith(f"{last.attempt}/") and MANIFEST_NAME.search(name)]
        name = min(names, key=_commit_number)
        first = self._once(f"{PACKS}/{pack}/{name}", files[name], Manifest.from_json)
        then, step = began(last.attempt, last.time), 0
        if first is not None and first.number < last.number:
            then, step = first.time, first.step
        elif last.resumed_from is not None:
            return 0.0
        return (last.step - step) / (last.time - then) if last.time > then else 0.0

    def _failure(self, pack: str, files: Mapping[str, int], *, since: float | None) -> Failure | None:
        """What ended a pack's last attempt, unless a commit came after it."""
        names = sorted(file for file in files if file.endswith(f"/{FAILURE}"))
        read = (self._once(f"{PACKS}/{pack}/{name}", files[name], Failure.from_json) for name in names)
        last = max((failure for failure in read if failure), key=lambda failure: failure.time, default=None)
        return None if last is None or last.time < (since or 0.0) else last

    def newest(self, pack: str, files: Mapping[str, int]) -> list[Manifest]:
        """The newest valid manifest of each attempt that has one."""
        newest = (next(self._manifests(pack, attempt, files), None) for attempt in attempts(files))
        return [manifest for manifest in newest if manifest is not None]

    def resumable(self, pack: str, attempt: str, files: Mapping[str, int]) -> Iterator[Manifest]:
        """An attempt's valid manifests whose checkpoints are there, newest first."""
        numbers = {_commit_number(file) for file in files if file.startswith(f"{attempt}/checkpoint-")}
        with_checkpoint = {
            name: size
            for name, size in files.items()
            if not MANIFEST_NAME.search(name) or _commit_number(name) in numbers
        }
        for manifest in self._manifests(pack, attempt, with_checkpoint):
            file = manifest.checkpoint
            if file is not None and files.get(file.file) == file.bytes:
                yield manifest

    def content(self, pack: str, file: Named) -> bytes | None:
        """A file a manifest names; None where it is gone or its bytes are not what was written."""
        try:
            content = self.storage.read_bytes(f"{PACKS}/{pack}/{file.file}")
        except FileNotFoundError:
            return None
        whole = len(content) == file.bytes and hashlib.sha256(content).hexdigest() == file.sha256
        return content if whole else None

    def whole(self, pack: str, file: Named) -> bytes:
        """A file a manifest names. Raises StorageError where it is gone or damaged."""
        content = self.content(pack, file)
        if content is None:
            where = self.storage.where(f"{PACKS}/{pack}/{file.file}")
            raise StorageError(
                f"{where} is missing or damaged. Delete the folder {self.storage.where(f'{PACKS}/{pack}')}"
                " and run the sweep again to compute its trials anew."
            )
        return content


def attempts(files: Iterable[str]) -> list[str]:
    """Names of a pack's attempts, oldest first."""
    return sorted({file.partition("/")[0] for file in files if "/" in file})


def _commit_number(file: str) -> int:
    """7 of 20260101T000000-aa/manifest-00007.json."""
    return int(file.rpartition("/")[2].split("-")[1].partition(".")[0])


def progress(manifest: Manifest) -> tuple[bool, int, str, int]:
    """By which the furthest commit is found."""
    return manifest.finished, manifest.step, manifest.attempt, manifest.number
