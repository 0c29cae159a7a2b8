"""A commit: files under names never used before, then the manifest that names them; what an attempt writes."""

from __future__ import annotations

import calendar
import hashlib
import itertools
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from sweep.errors import StorageError
from sweep.ledger import provenance
from sweep.ledger.shards import shard_bytes
from sweep.ledger.storage import Storage

if TYPE_CHECKING:  # it imports torch
    from workloads.training.pack import Snapshot

PACKS = "ledger/packs"
FAILURE = "failure.json"
FORMAT = 1  # of manifests; raised when an older reader would misread a newer one
CHECKPOINTS = 2  # kept per attempt: the last, and one before it should the last turn out damaged

Status = Literal["running", "done", "diverged", "censored"]  # censored: stopped on purpose, its end unknown


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
    ended: tuple[int, ...]  # per member: the task it diverged in, else its complete tasks
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
    def whole(self) -> bool:
        """Whether every member is in it to its end: none was stopped before."""
        return "censored" not in self.statuses

    @property
    def name(self) -> str:
        """Its file, relative to the pack's folder."""
        return f"{self.attempt}/manifest-{self.number:05d}.json"


@dataclass(frozen=True, slots=True)
class Done:
    """How a trial ended: as its first complete attempt left it, or, where there is none, as it was stopped."""

    status: Literal["done", "diverged", "censored"]
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


def _named_fields(file: Named) -> dict[str, str | int]:
    return {"file": file.file, "bytes": file.bytes, "sha256": file.sha256}


def attempt_name() -> str:
    """A name for an attempt that was never used before."""
    # Time first, so that names sort; the random part keeps apart two that begin in one second.
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(6)}"


def began(attempt: str, otherwise: float) -> float:
    """When an attempt began, unix seconds to the second, as its name says; `otherwise` where it does not."""
    try:
        return float(calendar.timegm(time.strptime(attempt[:15], "%Y%m%dT%H%M%S")))
    except ValueError:
        return otherwise
