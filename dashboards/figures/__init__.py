"""The figures by name, and how one is drawn from a sweep and written to disk.

A figure is a module with METRICS (what it reads, or a function that says so of what was recorded),
`data(trials, curves, asked)` (select, aggregate, interval: the table that is drawn and saved as CSV),
`draw(data, sheet)` (the picture of that table, no arithmetic) and `caption(data, sheet)` (what it says of itself). So a
figure can be drawn again from its CSV, on another sheet or after an edit. One with EVERY_SETTING shows those
settings that were not chosen too; of a sweep in two stages it is drawn from the first. One with NEEDS_SECONDS is given
what a trial took, as a column of `trials`, one with NEEDS_RANGES the ranges of its arm, as JSON; INTERVAL says what its
intervals are, where it shows no mean over seeds.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import pandas as pd
from matplotlib.figure import Figure

from dashboards import theme
from dashboards.figures.panels import ALL, Asked
from dashboards.sheets import SCREEN, Caption, Sheet, footnote
from sweep.errors import InputError
from sweep.results import costs, frames, intervals, selections, windows
from sweep.results.bands import MEAN
from sweep.search.rounds import ranges
from sweep.spec.figures import FIGURES as NAMES
from workloads.registry import lookup

if TYPE_CHECKING:
    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord


class FigureFile(Protocol):
    """What a figure's module offers."""

    METRICS: tuple[str, ...] | Callable[[Iterable[str]], tuple[str, ...]]

    def data(self, trials: pd.DataFrame, curves: pd.DataFrame, asked: Asked = ALL) -> pd.DataFrame: ...

    def caption(self, data: pd.DataFrame, sheet: Sheet = SCREEN) -> Caption: ...

    def draw(self, data: pd.DataFrame, sheet: Sheet = SCREEN) -> Figure: ...


# Those that a sweep file may name, each in the file of its name.
FIGURES: dict[str, FigureFile] = {name: cast(FigureFile, import_module(f"{__name__}.{name}")) for name in NAMES}

# Where a table comes from: columns that are the same in all of its rows.
SOURCE = ("figure", "sweep", "commit", "interval", "stages", "finished", "trials")

# A date inside a file would make equal figures unequal.
METADATA: dict[str, dict[str, None]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def table(name: str, record: SweepRecord, ledger: Ledger, asked: Asked = ALL) -> pd.DataFrame:
    """What a figure of a sweep draws, and in columns that are the same in all rows (`SOURCE`) where it comes from.

    Raises InputError for a figure, arm or metric that does not exist, for a metric that the sweep did not record, and
    where no trial has finished.
    """
    figure_file = lookup(FIGURES, name, "figure")
    if asked.summary != MEAN and hasattr(figure_file, "INTERVAL"):
        raise InputError(f"{name} shows no mean over seeds: leave out --statistic and --band")
    every = getattr(figure_file, "EVERY_SETTING", False)
    part = selections.selection(record) if every else selections.reported(record, ledger)
    trials = frames.trials(part, ledger)
    frames.headline(trials)
    if getattr(figure_file, "NEEDS_SECONDS", False):
        trials["seconds"] = pd.Series(costs.seconds(ledger.ends()), dtype=float)
    if getattr(figure_file, "NEEDS_RANGES", False):
        trials["ranges"] = trials["arm"].map({arm: json.dumps(own) for arm, own in ranges(record.manifest).items()})
    read = figure_file.METRICS
    if callable(read):
        read = read(frames.recorded_metrics(trials))
    read = (*read, *([asked.metric] if asked.metric else []), selections.chosen_by(trials)[0])
    data = figure_file.data(trials, frames.curves(part, ledger, read), asked)
    once = trials[~trials.index.duplicated()]  # several arms may have one
    over = asked.window or windows.LATE
    candidates = int(data["candidates"].max()) if "candidates" in data else 1
    chosen = selections.every_setting(part) if every else selections.how(part, trials, candidates, over).briefly()
    source: dict[str, Any] = {
        "figure": name,
        "sweep": record.identity,
        "commit": str(record.manifest.get("commit") or "unknown"),
        "interval": getattr(figure_file, "INTERVAL", _interval(data, asked)),
        "stages": chosen,
        "finished": int(once["status"].isin(frames.FINISHED).sum()),
        "trials": len(once),
    }
    return data.assign(**source).replace("", float("nan"))  # as an empty text is read from a CSV


def _interval(data: pd.DataFrame, asked: Asked) -> str:
    return intervals.made(int(data["members"].max()), asked.summary.statistic, asked.summary.band)


def picture(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Figure:
    """The figure of a `table`."""
    with sheet.settings():
        figure = _file_of(data).draw(data, sheet)
        footnote(figure, _source(data), sheet)
    return figure


def render(
    name: str, record: SweepRecord, ledger: Ledger, folder: Path | str, asked: Asked = ALL, sheet: Sheet = SCREEN
) -> list[Path]:
    """Draw a figure of a sweep into folder: NAME.png, .svg, .pdf and NAME.csv, each appearing whole, and NAME.txt, its
    caption, where the sheet has none inside the picture. Returns the paths. Raises InputError as `table` does.
    """
    data = table(name, record, ledger, asked)
    paths = save(data, Path(folder), name, sheet)
    return [*paths, write(Path(folder) / f"{name}.csv", data.to_csv, index=False)]


def redraw(csv: Path, folder: Path, sheet: Sheet = SCREEN) -> list[Path]:
    """Draw the figure of a CSV that `render` wrote, which may have been edited. Raises InputError for another file."""
    try:
        data = pd.read_csv(csv)
    except (OSError, ValueError) as error:
        raise InputError(f"{csv} cannot be read as CSV: {error}") from error
    if data.empty or not {*SOURCE}.issubset(data.columns):
        raise InputError(
            f"{csv} is no figure's CSV: those that `sweep figure` writes have the columns {', '.join(SOURCE)}"
        )
    try:
        return save(data, folder, csv.stem, sheet)
    except KeyError as error:
        raise InputError(f"{csv} lacks the column {error} that its figure draws") from error


def save(data: pd.DataFrame, folder: Path, stem: str, sheet: Sheet) -> list[Path]:
    """The picture of a `table` in folder, in every format."""
    figure = picture(data, sheet)
    folder.mkdir(parents=True, exist_ok=True)
    with sheet.settings():
        paths = [
            write(folder / f"{stem}.{kind}", figure.savefig, metadata=metadata) for kind, metadata in METADATA.items()
        ]
    if sheet.bare:
        caption = _file_of(data).caption(data, sheet)
        text = f"{caption.title}\n\n{caption.text}\n\n{_source(data)}\n"
        paths.append(write(folder / f"{stem}.txt", lambda path: path.write_text(text, encoding="utf-8")))
    return paths


def _file_of(data: pd.DataFrame) -> FigureFile:
    return lookup(FIGURES, str(data["figure"].iloc[0]), "figure")


def _source(data: pd.DataFrame) -> str:
    """The footnote: sweep, seeds, interval, commit, and how much of the sweep is done where not all is."""
    first = data.iloc[0]
    seeds = theme.span(data["members"])
    parts = [f"sweep {first['sweep']}", "1 seed" if seeds == "1" else f"{seeds} seeds"]
    if isinstance(first["interval"], str) and seeds != "1":
        parts.append(f"interval: {first['interval']}")
    parts.append(f"commit {first['commit'][:12]}")
    if isinstance(first["stages"], str):  # a CSV has nothing for no text
        parts.append(first["stages"])
    if first["finished"] < first["trials"]:
        parts.append(f"{first['finished']:,} of {first['trials']:,} trials finished")
    return " · ".join(parts)


def write(path: Path, save: Callable[..., object], **options: object) -> Path:
    """Save beside, then move into place, so that a reader never meets half a file."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as beside:
        save(Path(beside) / path.name, **options)
        os.replace(Path(beside) / path.name, path)
    return path
