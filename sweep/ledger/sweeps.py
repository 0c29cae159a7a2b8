"""A sweep as it was last run: what its record holds, and records kept in a storage, found and read again."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from sweep.errors import InputError, StorageError
from sweep.ledger.shards import column, parquet_bytes, strings
from sweep.ledger.storage import Storage
from workloads.registry import unknown

if TYPE_CHECKING:  # it reads the registries, which finding a sweep does not need
    from sweep.trials import Trial

SWEEPS = "sweeps"
SHOWN = 5  # trials named in an error


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


def fresh_seeds(record: SweepRecord) -> frozenset[int]:
    """The seeds that each arm's chosen setting is shown on; none where a sweep has one stage."""
    return frozenset(record.manifest.get("seeds", {}).get("evaluate", ()))


def save(storage: Storage, record: SweepRecord) -> None:
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
        [strings(values) for values in columns.values()] + [column(seeds)], names=[*columns, "seed"]
    ).replace_schema_metadata({"pliant": json.dumps(about)})
    folder = f"{SWEEPS}/{record.identity}"
    storage.write_bytes(f"{folder}/trials.parquet", parquet_bytes(table, [*columns]))
    storage.write_bytes(f"{folder}/manifest.json", json.dumps(about, indent=2).encode())


def forget(storage: Storage, record: SweepRecord) -> None:
    """Delete a sweep's record; its trials' results are `clean`'s matter."""
    storage.delete_folder(f"{SWEEPS}/{record.identity}")


def names(storage: Storage) -> list[tuple[str, str]]:
    """(name, scale) of all sweeps, sorted."""
    names = {file.partition("/")[0] for file in storage.list(SWEEPS) if file.endswith("/trials.parquet")}
    return sorted((name, scale) for name, _, scale in (identity.rpartition("@") for identity in names))


def read(storage: Storage, name: str, scale: str) -> SweepRecord:
    """A sweep's record. Raises InputError where it is missing, StorageError where it is damaged."""
    from sweep.trials import Trial

    table = _trials_table(storage, name, scale)
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


def find_trial(storage: Storage, prefix: str) -> str:
    """The one trial of all sweeps whose id begins with `prefix`. Raises InputError otherwise."""
    start = prefix.strip().lower()
    ids = sorted(
        {
            id
            for name, scale in names(storage)
            for id in _trials_table(storage, name, scale, ["id"]).column("id").to_pylist()
        }
    )
    if not ids:
        raise InputError(f"no trial {prefix!r}: {storage.uri} holds no sweep yet")
    matches = [id for id in ids if id.startswith(start)]
    if len(matches) == 1:
        return str(matches[0])
    if matches:
        shown = ", ".join(matches[:SHOWN]) + (", ..." if len(matches) > SHOWN else "")
        raise InputError(f"{len(matches)} trials begin with {prefix!r}: {shown}; give more of the id")
    near = sorted(ids, key=lambda id: -_common(id, start))[:SHOWN]
    raise InputError(f"no trial begins with {prefix!r}; nearest: {', '.join(near)}")


def _trials_table(storage: Storage, name: str, scale: str, columns: list[str] | None = None) -> pa.Table:
    file = f"{SWEEPS}/{name}@{scale}/trials.parquet"
    try:
        content = storage.read_bytes(file)
    except FileNotFoundError as error:
        identities = [f"{its_name}@{its_scale}" for its_name, its_scale in names(storage)]
        message = unknown(f"{name}@{scale}", "sweep", identities) if identities else f"no sweep {name}@{scale}: none is"
        raise InputError(f"{message} in {storage.uri}") from error
    try:
        return parquet.ParquetFile(pa.BufferReader(content)).read(columns=columns, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{storage.where(file)} is damaged: {error}") from error


def _arms(table: pa.Table) -> list[tuple[str, ...]]:
    """The arms of every trial of a sweep's record; records of older versions name one arm alone."""
    if "arms" not in table.column_names:
        return [(label,) for label in table.column("arm").to_pylist()]
    texts = table.column("arms").to_pylist()
    labels = {text: tuple(json.loads(text)) for text in set(texts)}
    return [labels[text] for text in texts]


def _common(one: str, other: str) -> int:
    """Length of the common beginning."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
