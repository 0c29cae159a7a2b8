"""The figures by name, and how one is drawn from a sweep and written to disk.

A figure is a module with METRICS (what it reads, or a function that says so of what was recorded),
`data(trials, curves)` (select, aggregate, interval: the table that is drawn and saved as CSV) and `draw(data)` (the
picture of that table, no arithmetic). One with EVERY_SETTING shows those that were not chosen too; of a sweep in two
stages it is drawn from the first.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import pandas as pd
from matplotlib.figure import Figure

from dashboards import theme
from sweep.results import frames, intervals, selections
from sweep.spec.figures import FIGURES as NAMES
from workloads.registry import lookup

if TYPE_CHECKING:
    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord


class FigureFile(Protocol):
    """What a figure's module offers."""

    METRICS: tuple[str, ...] | Callable[[Iterable[str]], tuple[str, ...]]

    def data(self, trials: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame: ...

    def draw(self, data: pd.DataFrame) -> Figure: ...


# Those that a sweep file may name, each in the file of its name.
FIGURES: dict[str, FigureFile] = {name: cast(FigureFile, import_module(f"{__name__}.{name}")) for name in NAMES}

# A date inside a file would make equal figures unequal.
METADATA: dict[str, dict[str, None]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def render(name: str, record: SweepRecord, ledger: Ledger, folder: Path | str) -> list[Path]:
    """Draw a figure of a sweep into folder: NAME.png, .svg, .pdf and NAME.csv, each appearing whole. Returns
    the paths.

    Raises InputError for a figure that does not exist, for a metric that the sweep did not record, and where
    no trial has finished.
    """
    figure_file = lookup(FIGURES, name, "figure")
    every = getattr(figure_file, "EVERY_SETTING", False)
    part = selections.selection(record) if every else selections.reported(record, ledger)
    trials = frames.trials(part, ledger)
    frames.headline(trials)
    read = figure_file.METRICS
    if callable(read):
        read = read(dict.fromkeys(name for names in trials["metrics"].unique() for name in names.split()))
    data = figure_file.data(trials, frames.curves(part, ledger, read))
    with theme.style():
        figure = figure_file.draw(data)
        theme.footnote(figure, _source(part, trials, data, every))
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = [
            write(folder / f"{name}.{kind}", figure.savefig, metadata=metadata) for kind, metadata in METADATA.items()
        ]
    return [*paths, write(folder / f"{name}.csv", data.to_csv, index=False)]


def _source(record: SweepRecord, trials: pd.DataFrame, data: pd.DataFrame, every: bool) -> str:
    """The footnote: sweep, seeds, interval, commit, and how much of the sweep is done where not all is."""
    trials = trials[~trials.index.duplicated()]  # several arms may have one
    finished = int(trials["status"].isin(frames.FINISHED).sum())
    seeds = theme.span(data["members"])
    interval = f"{seeds} seeds · interval: {intervals.LEVEL:.0%} percentile bootstrap of the mean over seeds"
    parts = [
        f"sweep {record.identity}",
        "1 seed" if seeds == "1" else interval,
        f"commit {str(record.manifest.get('commit') or 'unknown')[:12]}",
    ]
    if told := selections.briefly(record, every=every):
        parts.append(told)
    if finished < len(trials):
        parts.append(f"{finished:,} of {len(trials):,} trials finished")
    return " · ".join(parts)


def write(path: Path, save: Callable[..., object], **options: object) -> Path:
    """Save beside, then move into place, so that a reader never meets half a file."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as beside:
        save(Path(beside) / path.name, **options)
        os.replace(Path(beside) / path.name, path)
    return path
