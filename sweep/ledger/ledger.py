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
from typing import Literal, TypeVar

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
from sweep.ledger.packs import PackFiles, PackState, attempts, progress
from sweep.ledger.shards import Columns, numbers, read_shard, sorted_table
from sweep.ledger.storage import Storage
from sweep.ledger.sweeps import SweepRecord

READERS = 16  # files read at once: an object store answers each in tens of milliseconds
LOOKS = 3  # at a pack whose checkpoint vanished between listing and reading, as its worker moved on
WEIGHTS_NAME = re.compile(r"(?P<trial>.+)-(?:final|task(?P<task>\d+))\.pt")
T = TypeVar("T")
R = TypeVar("R")
Ends = dict[str, tuple[Done, Manifest]]  # by trial


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
        self.files = PackFiles(self.storage)

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
            if not _same_pack(self.files.text(f"{folder}/pack.json"), description):
                self.storage.write_bytes(f"{folder}/pack.json", description.encode())
        if not self.storage.put_if_absent(f"{folder}/members.json", members):
            if self.files.text(f"{folder}/members.json") != members:
                self.storage.write_bytes(f"{folder}/members.json", members)
                self.files.forget()  # it may have been read as it was, and its length may be the same

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
        for pack, files in self.files.listing().items():
            members = self.files.members(pack, files)
            if members is None or unwanted.isdisjoint(members):
                continue
            if not unwanted.issuperset(members):
                kept.append(pack)
                continue
            # Results before the description: if this is cut short, the pack can still be found and cleaned.
            for folder in () if pretend else (*attempts(files), ""):
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

    def packs(self) -> list[PackState]:
        """All packs by id, those never begun too, each at its furthest commit."""

        states = _parallel(lambda item: self.files.state(*item), self.files.listing().items())
        return [state for state in states if state is not None]

    def pack(self, id: str) -> PackState | None:
        """One pack; None where it was never described."""
        return self.files.state(id, self.storage.list(f"{PACKS}/{id}"))

    def failures(self) -> dict[str, Failure]:
        """Trial id -> what ended the last attempt at its pack, for trials that are not done and not under way again."""
        listing = self.files.listing()
        fallen = {pack: files for pack, files in listing.items() if any(file.endswith(FAILURE) for file in files)}
        if not fallen:
            return {}
        packs = [
            pack for pack in _parallel(lambda item: self.files.state(*item), fallen.items()) if pack and pack.failure
        ]
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
        whole = _parallel(lambda place: self.files.content(*place) is not None, holders)
        return [
            Damage(f"{PACKS}/{pack}/{shard.file}", frozenset(trials))
            for ((pack, shard), trials), sound in zip(holders.items(), whole, strict=True)
            if not sound
        ]

    def set_aside(self, file: str) -> None:
        """Take a file of no use out of the ledger, under a hidden name beside it: who names it counts no more."""
        folder, _, name = file.rpartition("/")
        with suppress(FileNotFoundError):
            self.storage.write_bytes(f"{folder}/.aside-{name}", self.storage.read_bytes(file))
        self.storage.delete(file)

    def incomplete(self) -> list[PackState]:
        """Packs that committed something and are not finished: worth resuming."""
        return [pack for pack in self.packs() if pack.attempts and not pack.finished]

    def resume(self, pack: str) -> Resume | None:
        """Where to continue a pack: the furthest commit with a whole checkpoint; None to begin anew.

        A finished pack gives its final commit, without a checkpoint. Commits from which members were gone, stopped
        before their end, lead to no whole trial of these: who asks for the pack has it trained from before that.
        """
        for _ in range(LOOKS):
            files = self.storage.list(f"{PACKS}/{pack}")
            finished = [m for m in self.files.newest(pack, files) if m.finished and m.whole]
            if finished:
                return Resume(min(finished, key=_precedence), None)
            candidates = [
                manifest
                for attempt in attempts(files)
                for manifest in itertools.islice(self.files.resumable(pack, attempt, files), CHECKPOINTS)
                if manifest.whole
            ]
            for manifest in sorted(candidates, key=progress, reverse=True):
                assert manifest.checkpoint is not None
                checkpoint = self.files.content(pack, manifest.checkpoint)
                if checkpoint is not None:
                    return Resume(manifest, checkpoint)
            if not candidates:
                break
        return None

    # Results

    def done(self) -> dict[str, Done]:
        """Trial id -> how it ended, for every trial that some attempt completed: censored ones are not among them."""
        return {trial: done for trial, (done, _) in self._winners().items()}

    def ends(self) -> dict[str, Done]:
        """Trial id -> how it ended: `done`, and of every trial that was only ever stopped how far it got, censored."""
        whole, stopped = self._ends()
        return {trial: done for trial, (done, _) in (stopped | whole).items()}

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
        shards = [(manifest, shard, wanted) for manifest, wanted in sources.values() for shard in manifest.shards]
        columns_of_shards: list[Columns] = []
        names: dict[str, int] = {}
        for columns, shard_names in _parallel(lambda item: self._read_shard(*item, only), shards):
            codes = np.array([names.setdefault(name, len(names)) for name in shard_names], dtype=np.int64)
            columns_of_shards.append((columns[0], codes[columns[1]], *columns[2:]))
        return sorted_table(columns_of_shards, trials, list(names))

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
        snapshots: list[tuple[int | Literal["final"], bytes]] = []
        for file in manifest.weights:
            # <attempt>/weights-<n>-<trial>-final.pt
            parts = WEIGHTS_NAME.fullmatch(file.file.rpartition("/")[2].split("-", 2)[2])
            if parts is not None and parts["trial"] == trial:
                task = parts["task"]
                snapshots.append(("final" if task is None else int(task), self.files.whole(manifest.pack, file)))
        return snapshots

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

    def _winners(self) -> dict[str, tuple[Done, Manifest]]:
        """Trial id -> its end and the manifest of its first complete attempt."""
        return self._ends()[0]

    def _ends(self) -> tuple[Ends, Ends]:
        """Of the trials that were completed, and of those that some attempt stopped."""

        def complete(item: tuple[str, dict[str, int]]) -> list[Manifest]:
            return [manifest for manifest in self.files.newest(*item) if manifest.finished]

        listing = self.files.listing()
        manifests = itertools.chain.from_iterable(_parallel(complete, listing.items()))
        winners: Ends = {}
        stopped: Ends = {}
        for manifest in sorted(manifests, key=_precedence):
            pack = manifest.pack
            members = self.files.members(pack, listing[pack])
            if members is None or len(members) != len(manifest.statuses):
                continue
            # Members that ended alike share their Done: trials may be a million, ends are few.
            ends: dict[tuple[Status, int], tuple[Done, Manifest]] = {
                (status, ended): (Done(status, pack, manifest.attempt, manifest.time, ended), manifest)
                for status, ended in set(zip(manifest.statuses, manifest.ended, strict=True))
                if status != "running"
            }
            for trial, end in zip(members, zip(manifest.statuses, manifest.ended, strict=True), strict=True):
                (stopped if end[0] == "censored" else winners).setdefault(trial, ends[end])
        return winners, stopped

    def _read_shard(
        self, manifest: Manifest, shard: Named, wanted: Mapping[str, int], metrics: frozenset[str] | None
    ) -> tuple[Columns, list[str]]:
        """As `read_shard`, of a shard that a manifest names."""
        return read_shard(self.files.whole(manifest.pack, shard), wanted, metrics)


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


def _precedence(manifest: Manifest) -> tuple[float, str]:
    """The first complete attempt wins."""
    return manifest.time, manifest.attempt
