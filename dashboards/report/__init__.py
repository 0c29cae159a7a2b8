"""The report: ONE self-contained HTML file that says what a sweep found, and the whole data in CSV files beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.ledger.storage import Storage
from sweep.results import frames

if TYPE_CHECKING:
    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord

MOST = 5_000_000  # rows of a CSV file, some 400 MB; `sweep.curves` gives any number


def report(sweeps: Sequence[tuple[SweepRecord, Ledger]], path: Path) -> Iterator[Path]:
    """Write each sweep's values and the page beside them, each file whole or not at all; yields what is written.

    Raises StorageError where a ledger is damaged or the place cannot be written.
    """
    from dashboards.report.facts import gather
    from dashboards.report.page import rendered

    beside = Storage(path.parent)
    names = []
    for record, ledger in sweeps:
        content = values(record, ledger)
        if content is not None:
            names.append(f"{record.identity}.csv")
            beside.write_bytes(names[-1], content)
            yield path.parent / names[-1]
    beside.write_bytes(path.name, rendered(gather(sweeps), data=names).encode())
    yield path


def values(record: SweepRecord, ledger: Ledger) -> bytes | None:
    """Every recorded value of a sweep and what tells settings apart, as `sweep.curves` gives them, in CSV.

    None where there is none, or more than `MOST`.
    """
    import pyarrow as pa
    from pyarrow import csv

    curves = frames.curves(record, ledger)
    if not 0 < len(curves) <= MOST:
        return None
    table = frames.with_axes(curves, frames.trials(record, ledger))
    into = pa.BufferOutputStream()
    csv.write_csv(pa.Table.from_pandas(table, preserve_index=False), into)  # pandas takes ten times as long
    content: bytes = into.getvalue().to_pybytes()
    return content
