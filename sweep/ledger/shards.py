"""Tables of results: numpy to Parquet and back, without pyarrow's converters, which import pandas (half a second)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

if TYPE_CHECKING:  # it imports torch
    from workloads.training.rows import Rows

# Of rows: rank of the trial, code of the metric, task, step, value.
Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.int64], NDArray[np.float64]]


def shard_bytes(rows: Rows, members: Sequence[str]) -> bytes:
    """A Parquet file with columns trial, metric (dictionaries), task, step, value; 8 bytes per row or so."""
    table = _table(
        pa.DictionaryArray.from_arrays(column(rows.member.astype(np.int32)), strings(members)),
        pa.DictionaryArray.from_arrays(column(rows.metric.astype(np.int32)), strings(rows.names)),
        rows.task,
        rows.step,
        rows.value,
    )
    return parquet_bytes(table, ["trial", "metric", "task", "step"])


def read_shard(content: bytes, wanted: Mapping[str, int], metrics: frozenset[str] | None) -> tuple[Columns, list[str]]:
    """Rows of the wanted trials, these by their ranks, and the names of the shard's metrics."""
    # Arrow's own threads, still starting as a short command ends, abort it (apache/arrow 34314), and gain nothing here.
    table = parquet.ParquetFile(pa.BufferReader(content)).read(use_threads=False).unify_dictionaries().combine_chunks()
    trial, metric = (table.column(name).chunk(0) for name in ("trial", "metric"))
    names = metric.dictionary.to_pylist()
    ranks = np.array([wanted.get(id, -1) for id in trial.dictionary.to_pylist()], dtype=np.int64)
    chosen = np.array([metrics is None or name in metrics for name in names])
    rank, code = ranks[np.from_dlpack(trial.indices)], np.from_dlpack(metric.indices).astype(np.int64)
    measured = [numbers(table, name) for name in ("task", "step", "value")]
    keep = (rank >= 0) & chosen[code]
    task, step, value = measured if keep.all() else (values[keep] for values in measured)
    return (rank[keep], code[keep], task, step, value), names


def sorted_table(parts: Sequence[Columns], trials: Sequence[str], names: Sequence[str]) -> pa.Table:
    """One table of rows by trial, metric name and task; equal ones in the order of their shards."""
    empty: Columns = tuple(np.empty(0, t) for t in (np.int64, np.int64, np.int32, np.int64, np.float64))  # type: ignore[assignment]
    trial, metric, task, step, value = (np.concatenate(columns) for columns in zip(empty, *parts, strict=True))
    order = sorted(range(len(names)), key=names.__getitem__)
    ranks = np.empty(len(names), dtype=np.int64)
    ranks[order] = np.arange(len(names))
    metric = ranks[metric]
    tasks = int(task.max(initial=0)) + 1
    place = np.argsort((trial * len(names) + metric) * tasks + task, kind="stable")
    return _table(
        pa.DictionaryArray.from_arrays(column(trial[place].astype(np.int32)), strings(trials)),
        pa.DictionaryArray.from_arrays(column(metric[place].astype(np.int32)), strings([names[i] for i in order])),
        task[place],
        step[place],
        value[place],
    )


def _table(trial: pa.Array, metric: pa.Array, task: NDArray[Any], step: NDArray[Any], value: NDArray[Any]) -> pa.Table:
    numbers = (task.astype(np.int32), step.astype(np.int64), value.astype(np.float64))
    columns = [trial, metric, *(column(values) for values in numbers)]
    return pa.Table.from_arrays(columns, names=["trial", "metric", "task", "step", "value"])


def parquet_bytes(table: pa.Table, repetitive: list[str]) -> bytes:
    """A Parquet file; `repetitive` columns are stored as a dictionary of their values."""
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, compression="zstd", use_dictionary=repetitive)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def column(values: NDArray[Any]) -> pa.Array:
    """A pyarrow array of the same numbers."""
    buffer = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, buffer])


def strings(values: Sequence[str]) -> pa.Array:
    """A pyarrow array of strings."""
    encoded = [value.encode() for value in values]
    ends = np.cumsum([0, *(len(value) for value in encoded)]).astype(np.int32)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))


def numbers(table: pa.Table, name: str) -> NDArray[Any]:
    """A column of a table whose chunks are combined, as numpy."""
    return np.from_dlpack(table.column(name).chunk(0))
