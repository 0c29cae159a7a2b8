"""The report: ONE self-contained HTML file that says what a sweep found, and the whole data in CSV files beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.errors import InputError
from sweep.ledger.storage import Storage
from sweep.results import frames
from sweep.results.results import Results

if TYPE_CHECKING:
    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord

MOST = 5_000_000  # rows of a CSV file, some 400 MB; `sweep.curves` gives any number


def report(sweeps: Sequence[tuple[SweepRecord, Ledger]], path: Path, lacking: Callable[[str], None]) -> Iterator[Path]:
    """Write each sweep's values and the page beside them, each file whole or not at all; yields what is written.

    `lacking` is told of which sweep there is no file, as it would be too large; so is the page. Raises StorageError
    where a ledger is damaged or the place cannot be written.
    """
    from dashboards.report.facts import gather
    from dashboards.report.page import rendered

    beside = Storage(path.parent)
    files: dict[str, str] = {}
    without: dict[str, str] = {}
    read = [Results(record, ledger) for record, ledger in sweeps]
    for found in read:
        _ = found.trials  # which values and page are both made of
    with ThreadPoolExecutor(1) as aside:  # millions of values as text take as long as the page, and no interpreter
        written = [(found.record.identity, aside.submit(_write, found, beside)) for found in read]
        facts = gather(read)
        for sweep, file in written:
            try:
                if file.result():
                    files[sweep] = str(file.result())
                    yield path.parent / files[sweep]
            except InputError as error:
                without[sweep] = str(error)
                lacking(without[sweep])
    beside.write_bytes(path.name, rendered(facts, data=files, without=without).encode())
    yield path


def _write(found: Results, beside: Storage) -> str:
    """The file of a sweep's `values`; nothing where there is none."""
    content = values(found)
    if content is None:
        return ""
    file = f"{found.record.identity}.csv"
    beside.write_bytes(file, content)
    return file


def values(found: Results) -> bytes | None:
    """Every recorded value of a sweep and what tells settings apart, as `sweep.curves` gives them, in CSV.

    None where there is none. Raises InputError where there are more than `MOST`.
    """
    import pyarrow as pa
    from pyarrow import csv

    curves = frames.curves(found.record, found.ledger)
    if curves.empty:
        return None
    if len(curves) > MOST:
        raise InputError(
            f"{found.record.identity} has {len(curves):,} values, too many for a CSV file:"
            f' sweep.curves("{found.record.identity}") gives them in Python'
        )
    table = frames.with_axes(curves, found.trials)
    into = pa.BufferOutputStream()
    csv.write_csv(pa.Table.from_pandas(table, preserve_index=False), into)  # pandas takes ten times as long
    content: bytes = into.getvalue().to_pybytes()
    return content
