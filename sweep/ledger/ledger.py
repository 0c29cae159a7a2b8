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

import calendar
import hashlib
import itertools
import json
import re
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from sweep.errors import InputError, StorageError
from sweep.ledger import provenance
from sweep.ledger.failures import Failure
from sweep.ledger.storage import Storage
from workloads.registry import unknown

if (
    TYPE_CHECKING
):  # sweep.trials reads the registries and workloads.training.pack torch; asking what is done needs neither
    from sweep.trials import Trial
    from workloads.training.pack import Rows, Snapshot

PACKS, SWEEPS = "ledger/packs", "sweeps"
FAILURE = "failure.json"
FORMAT = 1  # of manifests; raised when an older reader would misread a newer one
READERS = 16  # files read at once: an object store answers each in tens of milliseconds
CHECKPOINTS = 2  # kept per attempt: the last, and one before it should the last turn out damaged
LOOKS = 3  # at a pack whose checkpoint vanished between listing and reading, as its worker moved on
MANIFEST_NAME = re.compile(r"manifest-(\d+)\.json")
WEIGHTS_NAME = re.compile(r"(?P<trial>.+)-(?:final|task(?P<task>\d+))\.pt")
SHOWN = 5  # trials named in an error

Status = Literal["running", "done", "diverged"]
T = TypeVar("T")
R = TypeVar("R")


class _Member(Protocol):
    @property
    def id(self) -> str: ...


class Packed(Protocol):
    """What the ledger needs to know of a pack (`workloads.training.pack.Pack`)."""

    @property
    def id(self) -> str: ...

    @property
    def members(self) -> Sequence[_Member]: ...

    def to_json(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Named:
    """A file as a manifest names it; `file` is relative to the pack's folder."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One commit: where the pack stood, and every file that holds what it had measured until then."""

    pack: str
    attempt: str
    number: int  # of the commit in its attempt, from 1
    finished: bool  # no more commits will follow
    time: float  # of the commit, unix seconds
    tasks: int  # complete
    step: int  # steps done
    statuses: tuple[Status, ...]  # per member
    ended: tuple[int, ...]  # per member: the task it diverged in, else the complete tasks
    resumed_from: str | None  # manifest
    shards: tuple[Named, ...]  # oldest first
    weights: tuple[Named, ...]
    checkpoint: Named | None  # None once finished
    provenance: Mapping[str, str | None]

    def to_json(self) -> bytes:
        """Compact JSON; the thousands of members' ends are run-length coded, as most are alike."""
        ends = itertools.groupby(zip(self.statuses, self.ended, strict=True))
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        del fields["statuses"], fields["ended"]
        fields |= {
            "format": FORMAT,
            "members": [[status, ended, len(list(alike))] for (status, ended), alike in ends],
            "shards": [_named_fields(shard) for shard in self.shards],
            "weights": [_named_fields(file) for file in self.weights],
            "checkpoint": _named_fields(self.checkpoint) if self.checkpoint else None,
        }
        return json.dumps(fields, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Manifest:
        """The inverse of `to_json`. Raises ValueError, KeyError or TypeError for a torn text."""
        fields = json.loads(text)
        if fields.pop("format") > FORMAT:
            raise StorageError("this storage was written by a newer version of Pliant: upgrade to read it")
        members = fields.pop("members")
        return cls(
            **fields
            | {
                "statuses": tuple(s for status, _, count in members for s in [status] * count),
                "ended": tuple(e for _, ended, count in members for e in [ended] * count),
                "shards": tuple(Named(**shard) for shard in fields["shards"]),
                "weights": tuple(Named(**file) for file in fields["weights"]),
                "checkpoint": Named(**fields["checkpoint"]) if fields["checkpoint"] else None,
            }
        )

    @property
    def name(self) -> str:
        """Its file, relative to the pack's folder."""
        return f"{self.attempt}/manifest-{self.number:05d}.json"


@dataclass(frozen=True, slots=True)
class Done:
    """A trial that needs no more computing, as its first complete attempt left it."""

    status: Literal["done", "diverged"]
    pack: str
    attempt: str
    finished: float  # unix seconds
    tasks: int  # complete, or the one it diverged in

    @property
    def began(self) -> float:
        """When the attempt at its pack began, unix seconds."""
        return began(self.attempt, self.finished)


@dataclass(frozen=True, slots=True)
class Resume:
    """How far a pack got, and how to continue."""

    manifest: Manifest
    checkpoint: bytes | None  # None where the pack is finished

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.manifest.finished

    @property
    def tasks(self) -> int:
        """Complete tasks."""
        return self.manifest.tasks

    @property
    def step(self) -> int:
        """Steps done."""
        return self.manifest.step


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


@dataclass(frozen=True, slots=True, repr=False)
class SweepRecord:
    """A sweep as it was last run: its file, what it takes to repeat it, and the trials the file means now.

    When a file shrinks, the trials that left it leave the record; their results stay in the ledger, by their
    ids.
    """

    name: str
    scale: str
    file_text: str
    manifest: dict[str, Any]
    trials: list[Trial]

    def __repr__(self) -> str:
        """One line: the trials may be a million."""
        return f"<sweep {self.identity}: {len(self.trials):,} trials>"

    @property
    def identity(self) -> str:
        """Name and scale: stays when the file grows."""
        return f"{self.name}@{self.scale}"

    @property
    def arms(self) -> list[str]:
        """The labels of its arms, in the order of the file; in that of their trials in records of older versions."""
        return list(self.manifest.get("arms") or dict.fromkeys(arm for trial in self.trials for arm in trial.arms))


class Attempt:
    """One process's training of one pack. `commit` is what `run_pack` reports to."""

    def __init__(self, storage: Storage, pack: Packed, resume: Resume | None, name: str) -> None:
        self.storage = storage
        self.pack = pack.id
        self.members = [member.id for member in pack.members]
        self.name = name
        self.number = 0
        self.resumed_from = resume.manifest.name if resume else None
        self.shards = resume.manifest.shards if resume else ()
        self.weights = resume.manifest.weights if resume else ()
        self.checkpoints: list[str] = []

    def commit(self, snapshot: Snapshot) -> None:
        """Keep a snapshot: once this returns it survives the process; if it raises, the last commit stands.

        To be called by one thread, in order. Raises StorageError where the storage cannot be written.
        """
        if len(snapshot.statuses) != len(self.members) or len(snapshot.ended) != len(self.members):
            raise ValueError(f"{len(snapshot.statuses)} statuses for {len(self.members)} members")
        if snapshot.checkpoint is None and "running" in snapshot.statuses:
            raise ValueError("a snapshot without a checkpoint says that members still run")
        self.number += 1  # before the first write: a commit that failed half-way must not lend its names to the next
        shards, weights, checkpoint = self.shards, self.weights, None
        if len(snapshot.rows.value):
            shards += (self._write("shard", ".parquet", shard_bytes(snapshot.rows, self.members)),)
        if snapshot.checkpoint is not None:
            checkpoint = self._write("checkpoint", ".pt", snapshot.checkpoint)
        for name, content in snapshot.weights.items():
            weights += (self._write("weights", f"-{name}", content),)
        manifest = Manifest(
            pack=self.pack,
            attempt=self.name,
            number=self.number,
            finished=checkpoint is None,
            time=time.time(),
            tasks=snapshot.tasks,
            step=snapshot.step,
            statuses=tuple(snapshot.statuses),  # type: ignore[arg-type]
            ended=tuple(int(task) for task in snapshot.ended),
            resumed_from=self.resumed_from,
            shards=shards,
            weights=weights,
            checkpoint=checkpoint,
            provenance=provenance.collect(),
        )
        self.storage.write_bytes(f"{PACKS}/{self.pack}/{manifest.name}", manifest.to_json())
        self.shards, self.weights = shards, weights
        self._drop_checkpoints(checkpoint)

    def _write(self, kind: str, ending: str, content: bytes) -> Named:
        file = f"{self.name}/{kind}-{self.number:05d}{ending}"
        self.storage.write_bytes(f"{PACKS}/{self.pack}/{file}", content)
        return Named(file, len(content), hashlib.sha256(content).hexdigest())

    def _drop_checkpoints(self, newest: Named | None) -> None:
        """Delete this attempt's older checkpoints; once the pack is finished, those of all its attempts."""
        if newest is None:
            files = self.storage.list(f"{PACKS}/{self.pack}")
            stale = [file for file in files if "/checkpoint-" in file]
        else:
            self.checkpoints.append(newest.file)
            stale, self.checkpoints = self.checkpoints[:-CHECKPOINTS], self.checkpoints[-CHECKPOINTS:]
        for file in stale:
            self.storage.delete(f"{PACKS}/{self.pack}/{file}")


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

    def save_sweep(self, record: SweepRecord) -> None:
        """Write or replace a sweep's record.

        trials.parquet holds all of it, the file and the manifest in its metadata, so that one file replaced
        is one sweep replaced; manifest.json is a copy for people.
        """
        about = {
            "name": record.name,
            "scale": record.scale,
            "file": record.file_text,
            "manifest": record.manifest,
        }
        columns = {
            "id": [trial.id for trial in record.trials],
            "arms": [json.dumps(trial.arms) for trial in record.trials],
            "group": [trial.group for trial in record.trials],
            "config": [json.dumps(trial.config, sort_keys=True, separators=(",", ":")) for trial in record.trials],
        }
        seeds = np.array([trial.config["seed"] for trial in record.trials], dtype=np.int64)
        table = pa.Table.from_arrays(
            [_strings(values) for values in columns.values()] + [_column(seeds)], names=[*columns, "seed"]
        ).replace_schema_metadata({"pliant": json.dumps(about)})
        folder = f"{SWEEPS}/{record.identity}"
        self.storage.write_bytes(f"{folder}/trials.parquet", _parquet(table, [*columns]))
        self.storage.write_bytes(f"{folder}/manifest.json", json.dumps(about, indent=2).encode())

    def forget_sweep(self, record: SweepRecord) -> None:
        """Delete a sweep's record; its trials' results are `clean`'s matter."""
        self.storage.delete_folder(f"{SWEEPS}/{record.identity}")

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
        read: list[_Columns] = []
        names: dict[str, int] = {}
        for columns, found in _parallel(lambda item: self._read_shard(*item, only), asked):
            codes = np.array([names.setdefault(name, len(names)) for name in found], dtype=np.int64)
            read.append((columns[0], codes[columns[1]], *columns[2:]))
        return _sorted_table(read, trials, list(names))

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
        task = _numbers(table, "task").astype("<i4")
        value = _numbers(table, "value").astype("<f8")
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
        names = {file.partition("/")[0] for file in self.storage.list(SWEEPS) if file.endswith("/trials.parquet")}
        return sorted((name, scale) for name, _, scale in (identity.rpartition("@") for identity in names))

    def sweep(self, name: str, scale: str) -> SweepRecord:
        """A sweep's record. Raises InputError where it is missing, StorageError where it is damaged."""
        from sweep.trials import Trial

        table = self._trials_table(name, scale)
        about = json.loads(table.schema.metadata[b"pliant"])
        ids, groups, seeds = (table.column(column).to_pylist() for column in ("id", "group", "seed"))
        configs = table.column("config")
        shared: dict[str, dict[str, Any]] = {}  # by group: its trials differ in seed alone, so one is read for all
        trials = []
        for place, (id, arms, group, seed) in enumerate(zip(ids, _arms(table), groups, seeds, strict=True)):
            if group not in shared:
                shared[group] = json.loads(configs[place].as_py())
            trials.append(Trial(id, {**shared[group], "seed": seed}, arms, group))
        return SweepRecord(name, scale, about["file"], about["manifest"], trials)

    def find_trial(self, prefix: str) -> str:
        """The one trial of all sweeps whose id begins with `prefix`. Raises InputError otherwise."""
        start = prefix.strip().lower()
        ids = sorted(
            {
                id
                for name, scale in self.sweeps()
                for id in self._trials_table(name, scale, ["id"]).column("id").to_pylist()
            }
        )
        if not ids:
            raise InputError(f"no trial {prefix!r}: {self.storage.uri} holds no sweep yet")
        matches = [id for id in ids if id.startswith(start)]
        if len(matches) == 1:
            return str(matches[0])
        if matches:
            shown = ", ".join(matches[:SHOWN]) + (", ..." if len(matches) > SHOWN else "")
            raise InputError(f"{len(matches)} trials begin with {prefix!r}: {shown}; give more of the id")
        near = sorted(ids, key=lambda id: -_common(id, start))[:SHOWN]
        raise InputError(f"no trial begins with {prefix!r}; nearest: {', '.join(near)}")

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
    ) -> tuple[_Columns, list[str]]:
        """Rows of the wanted trials, these by their ranks, and the names of the shard's metrics."""
        content = self._whole(manifest.pack, shard)
        table = parquet.ParquetFile(pa.BufferReader(content)).read().unify_dictionaries().combine_chunks()
        trial, metric = (table.column(name).chunk(0) for name in ("trial", "metric"))
        names = metric.dictionary.to_pylist()
        ranks = np.array([wanted.get(id, -1) for id in trial.dictionary.to_pylist()], dtype=np.int64)
        asked = np.array([metrics is None or name in metrics for name in names])
        rank, code = ranks[np.from_dlpack(trial.indices)], np.from_dlpack(metric.indices).astype(np.int64)
        numbers = [_numbers(table, name) for name in ("task", "step", "value")]
        keep = (rank >= 0) & asked[code]
        task, step, value = numbers if keep.all() else (column[keep] for column in numbers)
        return (rank[keep], code[keep], task, step, value), names

    def _trials_table(self, name: str, scale: str, columns: list[str] | None = None) -> pa.Table:
        file = f"{SWEEPS}/{name}@{scale}/trials.parquet"
        try:
            content = self.storage.read_bytes(file)
        except FileNotFoundError as error:
            known = [f"{known}@{its_scale}" for known, its_scale in self.sweeps()]
            message = unknown(f"{name}@{scale}", "sweep", known) if known else f"no sweep {name}@{scale}: none is"
            raise InputError(f"{message} in {self.storage.uri}") from error
        try:
            return parquet.ParquetFile(pa.BufferReader(content)).read(columns=columns)
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{self.storage.where(file)} is damaged: {error}") from error


# Tables: to and from numpy without pyarrow's converters, which import pandas (half a second for nothing).

_Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.int64], NDArray[np.float64]]


def shard_bytes(rows: Rows, members: Sequence[str]) -> bytes:
    """A Parquet file with columns trial, metric (dictionaries), task, step, value; 8 bytes per row or so."""
    table = _table(
        pa.DictionaryArray.from_arrays(_column(rows.member.astype(np.int32)), _strings(members)),
        pa.DictionaryArray.from_arrays(_column(rows.metric.astype(np.int32)), _strings(rows.names)),
        rows.task,
        rows.step,
        rows.value,
    )
    return _parquet(table, ["trial", "metric", "task", "step"])


def _sorted_table(parts: Sequence[_Columns], trials: Sequence[str], names: Sequence[str]) -> pa.Table:
    """One table of rows by trial, metric name and task; equal ones in the order of their shards."""
    empty: _Columns = tuple(np.empty(0, t) for t in (np.int64, np.int64, np.int32, np.int64, np.float64))  # type: ignore[assignment]
    trial, metric, task, step, value = (np.concatenate(columns) for columns in zip(empty, *parts, strict=True))
    order = sorted(range(len(names)), key=names.__getitem__)
    ranks = np.empty(len(names), dtype=np.int64)
    ranks[order] = np.arange(len(names))
    metric = ranks[metric]
    tasks = int(task.max(initial=0)) + 1
    place = np.argsort((trial * len(names) + metric) * tasks + task, kind="stable")
    return _table(
        pa.DictionaryArray.from_arrays(_column(trial[place].astype(np.int32)), _strings(trials)),
        pa.DictionaryArray.from_arrays(_column(metric[place].astype(np.int32)), _strings([names[i] for i in order])),
        task[place],
        step[place],
        value[place],
    )


def _table(trial: pa.Array, metric: pa.Array, task: NDArray[Any], step: NDArray[Any], value: NDArray[Any]) -> pa.Table:
    numbers = (task.astype(np.int32), step.astype(np.int64), value.astype(np.float64))
    columns = [trial, metric, *(_column(column) for column in numbers)]
    return pa.Table.from_arrays(columns, names=["trial", "metric", "task", "step", "value"])


def _parquet(table: pa.Table, repetitive: list[str]) -> bytes:
    """A Parquet file; `repetitive` columns are stored as a dictionary of their values."""
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, compression="zstd", use_dictionary=repetitive)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _column(values: NDArray[Any]) -> pa.Array:
    """A pyarrow array of the same numbers."""
    buffer = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, buffer])


def _arms(table: pa.Table) -> list[tuple[str, ...]]:
    """The arms of every trial of a sweep's record; records of older versions name one arm alone."""
    if "arms" not in table.column_names:
        return [(label,) for label in table.column("arm").to_pylist()]
    texts = table.column("arms").to_pylist()
    known = {text: tuple(json.loads(text)) for text in set(texts)}
    return [known[text] for text in texts]


def _strings(values: Sequence[str]) -> pa.Array:
    """A pyarrow array of strings."""
    encoded = [value.encode() for value in values]
    ends = np.cumsum([0, *(len(value) for value in encoded)]).astype(np.int32)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))


def _numbers(table: pa.Table, name: str) -> NDArray[Any]:
    """A column of a table whose chunks are combined, as numpy."""
    return np.from_dlpack(table.column(name).chunk(0))


def _named_fields(file: Named) -> dict[str, str | int]:
    return {"file": file.file, "bytes": file.bytes, "sha256": file.sha256}


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


def attempt_name() -> str:
    """A name for an attempt that was never used before."""
    # Time first, so that names sort; the random part keeps apart two that begin in one second.
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(6)}"


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


def _common(one: str, other: str) -> int:
    """Length of the common beginning."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def began(attempt: str, otherwise: float) -> float:
    """When an attempt began, unix seconds to the second, as its name says; `otherwise` where it does not."""
    try:
        return float(calendar.timegm(time.strptime(attempt[:15], "%Y%m%dT%H%M%S")))
    except ValueError:
        return otherwise
