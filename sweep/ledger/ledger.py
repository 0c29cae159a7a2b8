"""The ledger: what has been computed, committed so that a crash loses a little work and never a truth.

    ledger/packs/<pack>/pack.json                           what a worker rebuilds the pack from; written once
                        members.json                        its trials' ids, in order; written once
                        <attempt>/shard-<n>.parquet         rows measured since the commit before
                                  checkpoint-<n>.pt         from which a later attempt continues
                                  weights-<n>-<file>        as `keep` asks: <trial>-final.pt or -task00010.pt
                                  manifest-<n>.json         names all of the above, with sizes and SHA-256
                  failure.json              what ended the attempt before its pack was finished
    sweeps/<name>@<scale>/trials.parquet, manifest.json     a sweep as it was last run

One attempt is one process training a pack. A commit writes its files first and the manifest last, all under
names never used before; readers read only what a manifest names. A manifest that does not parse, or that
names a file that is missing or has another size, is passed over for the one before it. Manifests are
self-contained: an attempt that continues another one's checkpoint lists the shards and weights it inherits.
So no lock is needed: a worker thought dead, a second driver or a second sweep with the same trials only add
attempts, and of the attempts that completed a trial the first one wins.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa

from sweep.errors import StorageError
from sweep.ledger import sweeps
from sweep.ledger.commits import (
    CHECKPOINTS,
    FAILURE,
    PACKS,
    Attempt,
    Done,
    Manifest,
    Named,
    Packed,
    Resume,
    Status,
    attempt_name,
)
from sweep.ledger.failures import Failure
from sweep.ledger.shards import Columns, numbers, read_shard, sorted_table
from sweep.ledger.storage import Storage
from sweep.ledger.sweeps import SweepRecord

READERS = 16  # files read at once: an object store answers each in tens of milliseconds
LOOKS = 3  # at a pack whose checkpoint vanished between listing and reading, as its worker moved on
MANIFEST_NAME = re.compile(r"manifest-(\d+)\.json")
WEIGHTS_NAME = re.compile(r"(?P<trial>.+)-(?:final|task(?P<task>\d+))\.pt")
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class KnownPack:
    """A pack that the ledger has heard of, at its furthest commit."""

    id: str
    members: tuple[str, ...]  # trial ids
    finished: bool
    attempts: int  # that committed anything
    tasks: int  # complete
    step: int
    diverged: int  # members
    updated: float | None  # last commit, unix seconds; None before the first
    failure: Failure | None  # what ended its last attempt; None once a later one commits anything


@dataclass(frozen=True, slots=True)
class Damage:
    """A file of results whose bytes are not what was written."""

    file: str  # in the storage
    trials: frozenset[str]  # whose results it holds, or held


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What `Ledger.clean` did."""

    deleted: tuple[str, ...]  # packs
    trials: int  # of the deleted packs
    bytes: int  # freed
    kept: tuple[str, ...]  # packs that hold wanted trials too


class Ledger:
    """Everything that is known about trials, packs and sweeps in one storage.

    Any number of processes and machines may read and write at once. Damaged or half-written files are never
    an error as long as an older state is whole; StorageError is for a storage that cannot be reached or files
    spoilt later.
    """

    def __init__(self, storage: str | Path | Storage) -> None:
        self.storage = storage if isinstance(storage, Storage) else Storage(storage)
        self._parsed: dict[tuple[str, int], Any] = {}  # by name and size: what is written once is read once

    def check_writable(self) -> None:
        """Raise StorageError (the place, the system's reason) unless files can be written, read, deleted."""
        name = f"{PACKS}/.writable-{secrets.token_hex(6)}"
        self.storage.write_bytes(name, b"")
        self.storage.read_bytes(name)
        self.storage.delete(name)

    # Writing

    def describe(self, pack: Packed) -> None:
        """Write down what a pack is, unless that is known, for the worker that will ask for `description`.

        A pack's id stands for its members and how they train, so what says otherwise is damaged, and written anew.
        """
        folder = f"{PACKS}/{pack.id}"
        members = json.dumps({"members": [member.id for member in pack.members]}).encode()
        description = pack.to_json()
        if not self.storage.put_if_absent(f"{folder}/pack.json", description.encode()):
            if not _same_pack(self._text(f"{folder}/pack.json"), description):
                self.storage.write_bytes(f"{folder}/pack.json", description.encode())
        if not self.storage.put_if_absent(f"{folder}/members.json", members):
            if self._text(f"{folder}/members.json") != members:
                self.storage.write_bytes(f"{folder}/members.json", members)
                self._parsed.clear()  # it may have been read as it was, and its length may be the same

    def open(self, pack: Packed, *, resume: Resume | None = None, name: str | None = None) -> Attempt:
        """A new attempt at a pack, continuing `resume` where it is given. Its name was never used before."""
        self.describe(pack)
        return Attempt(self.storage, pack, resume, name or attempt_name())

    def fail(self, failure: Failure) -> None:
        """Write down what ended an attempt, which may have committed something or not."""
        self.storage.write_bytes(f"{PACKS}/{failure.pack}/{failure.attempt}/{FAILURE}", failure.to_json())

    def clean(self, ids: Iterable[str], *, pretend: bool = False) -> Cleaned:
        """Delete the packs whose trials are all among `ids`, results and all; packs that hold others stay.

        With `pretend`, say what would be deleted and delete nothing. Which trials another sweep wants is for the
        caller to know. A pack must not be in training meanwhile.
        """
        unwanted = set(ids)
        deleted, kept, trials, freed = [], [], 0, 0
        for pack, files in self._listing().items():
            members = self._members(pack, files)
            if members is None or unwanted.isdisjoint(members):
                continue
            if not unwanted.issuperset(members):
                kept.append(pack)
                continue
            # Results before the description: if this is cut short, the pack can still be found and cleaned.
            for folder in () if pretend else (*_attempts(files), ""):
                self.storage.delete_folder(f"{PACKS}/{pack}/{folder}".rstrip("/"))
            deleted.append(pack)
            trials += len(members)
            freed += sum(files.values())
        return Cleaned(tuple(deleted), trials, freed, tuple(kept))

    def save_sweep(self, record: SweepRecord) -> None:
        """Write or replace a sweep's record."""
        sweeps.save(self.storage, record)

    def forget_sweep(self, record: SweepRecord) -> None:
        """Delete a sweep's record; its trials' results are `clean`'s matter."""
        sweeps.forget(self.storage, record)

    # Packs

    def description(self, pack: str) -> str:
        """What `describe` wrote: the pack's JSON. Raises StorageError for a pack nobody described."""
        name = f"{PACKS}/{pack}/pack.json"
        try:
            return self.storage.read_bytes(name).decode()
        except FileNotFoundError as error:
            raise StorageError(f"pack {pack} is not described: {self.storage.where(name)} is missing") from error

    def packs(self) -> list[KnownPack]:
        """All packs by id, those never begun too, each at its furthest commit."""

        found = _parallel(lambda item: self._known(*item), self._listing().items())
        return [pack for pack in found if pack is not None]

    def pack(self, id: str) -> KnownPack | None:
        """One pack; None where it was never described."""
        return self._known(id, self.storage.list(f"{PACKS}/{id}"))

    def failures(self) -> dict[str, Failure]:
        """Trial id -> what ended the last attempt at its pack, for trials that are not done and not under way again."""
        listing = self._listing()
        fallen = {pack: files for pack, files in listing.items() if any(file.endswith(FAILURE) for file in files)}
        if not fallen:
            return {}
        packs = [pack for pack in _parallel(lambda item: self._known(*item), fallen.items()) if pack and pack.failure]
        done = self.done() if packs else {}
        return {
            member: pack.failure
            for pack in sorted(packs, key=lambda pack: pack.failure.time if pack.failure else 0.0)
            for member in pack.members
            if pack.failure and member not in done
        }

    def damaged(self, ids: Iterable[str]) -> list[Damage]:
        """Shards of these trials' results whose bytes are not what was written: all of them are read."""
        winners = self._winners()
        holders: dict[tuple[str, Named], set[str]] = defaultdict(set)
        for trial in ids:
            if trial in winners:
                manifest = winners[trial][1]
                for shard in manifest.shards:
                    holders[manifest.pack, shard].add(trial)
        whole = _parallel(lambda place: self._content(*place) is not None, holders)
        return [
            Damage(f"{PACKS}/{pack}/{shard.file}", frozenset(trials))
            for ((pack, shard), trials), sound in zip(holders.items(), whole, strict=True)
            if not sound
        ]

    def set_aside(self, damage: Damage) -> None:
        """Take a damaged file out of the ledger, under a hidden name beside it: commits that name it count no more."""
        folder, _, name = damage.file.rpartition("/")
        with suppress(FileNotFoundError):
            self.storage.write_bytes(f"{folder}/.damaged-{name}", self.storage.read_bytes(damage.file))
        self.storage.delete(damage.file)

    def incomplete(self) -> list[KnownPack]:
        """Packs that committed something and are not finished: worth resuming."""
        return [pack for pack in self.packs() if pack.attempts and not pack.finished]

    def resume(self, pack: str) -> Resume | None:
        """Where to continue a pack: the furthest commit with a whole checkpoint; None to begin anew.

        A finished pack gives its final commit, without a checkpoint.
        """
        for _ in range(LOOKS):
            files = self.storage.list(f"{PACKS}/{pack}")
            finished = [manifest for manifest in self._newest(pack, files) if manifest.finished]
            if finished:
                return Resume(min(finished, key=_precedence), None)
            candidates = [
                manifest
                for attempt in _attempts(files)
                for manifest in itertools.islice(self._resumable(pack, attempt, files), CHECKPOINTS)
            ]
            for manifest in sorted(candidates, key=_progress, reverse=True):
                assert manifest.checkpoint is not None
                checkpoint = self._content(pack, manifest.checkpoint)
                if checkpoint is not None:
                    return Resume(manifest, checkpoint)
            if not candidates:
                break
        return None

    # Results

    def done(self) -> dict[str, Done]:
        """Trial id -> how it ended, for every trial that some attempt completed."""
        return {trial: done for trial, (done, _) in self._winners().items()}

    def curves(self, ids: Iterable[str], metrics: Iterable[str] | None = None) -> pa.Table:
        """Every recorded value of those trials that are done: a table sorted by trial, metric, task.

        Columns trial and metric (dictionaries of strings), task (int32), step (int64), value (float64). The
        rows of a trial come from its first complete attempt alone. Ask for many trials at once: a call reads
        the shards of their packs whole. Raises StorageError where a shard is damaged.
        """
        winners = self._winners()
        trials = sorted({trial for trial in ids if trial in winners})
        sources: dict[str, tuple[Manifest, dict[str, int]]] = {}
        for rank, trial in enumerate(trials):
            manifest = winners[trial][1]
            sources.setdefault(manifest.attempt, (manifest, {}))[1][trial] = rank
        only = None if metrics is None else frozenset(metrics)
        asked = [(manifest, shard, wanted) for manifest, wanted in sources.values() for shard in manifest.shards]
        read: list[Columns] = []
        names: dict[str, int] = {}
        for columns, found in _parallel(lambda item: self._read_shard(*item, only), asked):
            codes = np.array([names.setdefault(name, len(names)) for name in found], dtype=np.int64)
            read.append((columns[0], codes[columns[1]], *columns[2:]))
        return sorted_table(read, trials, list(names))

    def digest(self, ids: Iterable[str]) -> str:
        """SHA-256, in hex, of all values of those trials that are done; equal results, equal digests.

        Per trial and metric, in order: both names, the number of values, the tasks (int32) and the values
        (float64), in little-endian bytes. All NaNs count as one: their spare bits depend on the machine.
        """
        table = self.curves(ids)
        total = hashlib.sha256()
        if table.num_rows == 0:
            return total.hexdigest()
        trial, metric = (np.from_dlpack(table.column(name).chunk(0).indices) for name in ("trial", "metric"))
        trials, metrics = (table.column(name).chunk(0).dictionary.to_pylist() for name in ("trial", "metric"))
        task = numbers(table, "task").astype("<i4")
        value = numbers(table, "value").astype("<f8")
        value[np.isnan(value)] = np.nan
        starts = np.flatnonzero(np.diff(trial, prepend=-1) | np.diff(metric, prepend=-1))
        for start, end in itertools.pairwise([*starts.tolist(), len(value)]):
            names = f"{trials[trial[start]]}\0{metrics[metric[start]]}\0{end - start}\0"
            total.update(names.encode() + task[start:end].tobytes() + value[start:end].tobytes())
        return total.hexdigest()

    def weights(self, trial: str) -> list[tuple[int | Literal["final"], bytes]]:
        """A done trial's kept weights, oldest first: (complete tasks or "final", what torch.save wrote).

        Raises StorageError where a file is damaged.
        """
        winner = self._winners().get(trial)
        if winner is None:
            return []
        manifest = winner[1]
        found: list[tuple[int | Literal["final"], bytes]] = []
        for file in manifest.weights:
            # <attempt>/weights-<n>-<trial>-final.pt
            parts = WEIGHTS_NAME.fullmatch(file.file.rpartition("/")[2].split("-", 2)[2])
            if parts is not None and parts["trial"] == trial:
                task = parts["task"]
                found.append(("final" if task is None else int(task), self._whole(manifest.pack, file)))
        return found

    # Sweeps

    def sweeps(self) -> list[tuple[str, str]]:
        """(name, scale) of all sweeps, sorted."""
        return sweeps.names(self.storage)

    def sweep(self, name: str, scale: str) -> SweepRecord:
        """A sweep's record. Raises InputError where it is missing, StorageError where it is damaged."""
        return sweeps.read(self.storage, name, scale)

    def find_trial(self, prefix: str) -> str:
        """The one trial of all sweeps whose id begins with `prefix`. Raises InputError otherwise."""
        return sweeps.find_trial(self.storage, prefix)

    # Reading

    def _listing(self) -> dict[str, dict[str, int]]:
        """Pack -> its files with sizes, in the order of names; one listing for all."""
        packs: dict[str, dict[str, int]] = defaultdict(dict)
        for name, size in sorted(self.storage.list(PACKS).items()):
            pack, _, file = name.partition("/")
            packs[pack][file] = size
        return packs

    def _text(self, name: str) -> bytes:
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

    def _members(self, pack: str, files: Mapping[str, int]) -> tuple[str, ...] | None:
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

    def _known(self, pack: str, files: Mapping[str, int]) -> KnownPack | None:
        """A pack at its furthest commit; None where its description is not whole."""
        members = self._members(pack, files)
        if members is None:
            return None
        newest = self._newest(pack, files)
        furthest = max(newest, key=_progress, default=None)
        updated = max((manifest.time for manifest in newest), default=None)
        finished = bool(furthest and furthest.finished)
        return KnownPack(
            id=pack,
            members=members,
            finished=finished,
            attempts=len(newest),
            tasks=furthest.tasks if furthest else 0,
            step=furthest.step if furthest else 0,
            diverged=furthest.statuses.count("diverged") if furthest else 0,
            updated=updated,
            failure=None if finished else self._failure(pack, files, since=updated),
        )

    def _failure(self, pack: str, files: Mapping[str, int], *, since: float | None) -> Failure | None:
        """What ended a pack's last attempt, unless a commit came after it."""
        names = sorted(file for file in files if file.endswith(f"/{FAILURE}"))
        read = (self._once(f"{PACKS}/{pack}/{name}", files[name], Failure.from_json) for name in names)
        last = max((failure for failure in read if failure), key=lambda failure: failure.time, default=None)
        return None if last is None or last.time < (since or 0.0) else last

    def _newest(self, pack: str, files: Mapping[str, int]) -> list[Manifest]:
        """The newest valid manifest of each attempt that has one."""
        newest = (next(self._manifests(pack, attempt, files), None) for attempt in _attempts(files))
        return [manifest for manifest in newest if manifest is not None]

    def _resumable(self, pack: str, attempt: str, files: Mapping[str, int]) -> Iterator[Manifest]:
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

    def _winners(self) -> dict[str, tuple[Done, Manifest]]:
        """Trial id -> its end and the manifest of its first complete attempt."""

        def complete(item: tuple[str, dict[str, int]]) -> list[Manifest]:
            return [manifest for manifest in self._newest(*item) if manifest.finished]

        listing = self._listing()
        found = itertools.chain.from_iterable(_parallel(complete, listing.items()))
        winners: dict[str, tuple[Done, Manifest]] = {}
        for manifest in sorted(found, key=_precedence):
            pack = manifest.pack
            members = self._members(pack, listing[pack])
            if members is None or len(members) != len(manifest.statuses):
                continue
            # Members that ended alike share their Done: trials may be a million, ends are few.
            ends: dict[tuple[Status, int], tuple[Done, Manifest]] = {
                (status, ended): (Done(status, pack, manifest.attempt, manifest.time, ended), manifest)
                for status, ended in set(zip(manifest.statuses, manifest.ended, strict=True))
                if status != "running"
            }
            for trial, end in zip(members, zip(manifest.statuses, manifest.ended, strict=True), strict=True):
                winners.setdefault(trial, ends[end])
        return winners

    def _content(self, pack: str, file: Named) -> bytes | None:
        """A file a manifest names; None where it is gone or its bytes are not what was written."""
        try:
            content = self.storage.read_bytes(f"{PACKS}/{pack}/{file.file}")
        except FileNotFoundError:
            return None
        whole = len(content) == file.bytes and hashlib.sha256(content).hexdigest() == file.sha256
        return content if whole else None

    def _whole(self, pack: str, file: Named) -> bytes:
        """A file a manifest names. Raises StorageError where it is gone or damaged."""
        content = self._content(pack, file)
        if content is None:
            where = self.storage.where(f"{PACKS}/{pack}/{file.file}")
            raise StorageError(
                f"{where} is missing or damaged. Delete the folder {self.storage.where(f'{PACKS}/{pack}')}"
                " and run the sweep again to compute its trials anew."
            )
        return content

    def _read_shard(
        self, manifest: Manifest, shard: Named, wanted: Mapping[str, int], metrics: frozenset[str] | None
    ) -> tuple[Columns, list[str]]:
        """As `read_shard`, of a shard that a manifest names."""
        return read_shard(self._whole(manifest.pack, shard), wanted, metrics)


def _parallel(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Results in order."""
    with ThreadPoolExecutor(READERS) as pool:
        yield from pool.map(work, items)


def _same_pack(kept: bytes, description: str) -> bool:
    """Whether a pack's description means what it should; the user's sources may be laid out in another way."""
    try:
        one, other = json.loads(kept), json.loads(description)
        return {**one, "code": None} == {**other, "code": None}
    except (ValueError, TypeError):
        return False


def _attempts(files: Iterable[str]) -> list[str]:
    """Names of a pack's attempts, oldest first."""
    return sorted({file.partition("/")[0] for file in files if "/" in file})


def _commit_number(file: str) -> int:
    """7 of 20260101T000000-aa/manifest-00007.json."""
    return int(file.rpartition("/")[2].split("-")[1].partition(".")[0])


def _progress(manifest: Manifest) -> tuple[bool, int, str, int]:
    return manifest.finished, manifest.step, manifest.attempt, manifest.number


def _precedence(manifest: Manifest) -> tuple[float, str]:
    """The first complete attempt wins."""
    return manifest.time, manifest.attempt
