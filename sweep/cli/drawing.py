"""What a run draws of its sweep, figures and the report's page, and where a sweep's figures are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sweep.cli.output import say
from sweep.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dashboards.figures.panels import Asked
    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord
    from sweep.results.intervals import Band, Statistic

CODE = (".py", ".html", ".j2", ".css", ".js")  # of the files of a package, which has pictures too
DRAWN_WITH = ("matplotlib", "pandas", "altair", "optuna")


def draw_figures(record: SweepRecord, ledger: Ledger, names: list[str]) -> list[Path]:
    """The figures of a sweep, drawn into its folder unless the same code has drawn the same results there already.

    A figure that its results cannot make is said and left out.
    """
    folder, made_of = figure_folder(record, ledger), content(record, ledger, names)
    stamp = folder / ".made_of"
    files = [folder / f"{name}.{kind}" for name in names for kind in ("png", "svg", "pdf", "csv")]
    same = stamp.exists() and stamp.read_text() == made_of and all(map(Path.exists, files))
    if not names or made_of is None or same:
        return [file for file in files if file.exists()]
    from dashboards.figures import render
    from sweep.cli.progress import working

    paths = []
    for name in names:
        try:
            with working(f"drawing {name}"):
                paths += render(name, record, ledger, folder)
        except InputError as error:
            say(f"figure {name} was not drawn: {error}")
    stamp.write_text(made_of)
    return paths


def write_page(record: SweepRecord, ledger: Ledger) -> Path | None:
    """The page of a sweep's report, made in its place unless the same code has told the same results there already.

    None without results. `sweep report` makes the same, with the values as CSV beside it.
    """
    from sweep.cli.report import page_of

    path, made_of = page_of([(record, ledger)]), content(record, ledger, [])
    stamp = path.with_name(f".{path.stem}.made_of")
    if made_of is None or (path.exists() and stamp.exists() and stamp.read_text() == made_of):
        return path if made_of else None
    from dashboards.report.facts import gather
    from dashboards.report.page import rendered
    from sweep.cli.progress import working
    from sweep.ledger.storage import Storage
    from sweep.results.results import Results

    with working("writing the report"):
        Storage(path.parent).write_bytes(path.name, rendered(gather([Results(record, ledger)])).encode())
    stamp.write_text(made_of)
    return path


def content(record: SweepRecord, ledger: Ledger, names: list[str]) -> str | None:
    """A hash of all that figures and page are made of; None while no trial has ended."""
    import hashlib

    done = ledger.done()
    finished = sorted((trial.id, trial.arms) for trial in record.trials if trial.id in done)
    # The file's text has the question, the arms' labels and the metrics. The record's commit is that of what trained:
    # it stays where nothing is left to train, and what draws now is another thing.
    whole = [names, finished, record.file_text, record.manifest["commit"], drawing_code()]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest() if finished else None


def drawing_code() -> str:
    """A hash of what makes figures and pages of results: files of the dashboards and of `sweep.results`, libraries."""
    import hashlib

    import dashboards
    from sweep.ledger import provenance
    from sweep.results import naming

    made = hashlib.sha256("".join(f"{name} {provenance.version(name)}\n" for name in DRAWN_WITH).encode())
    for module in (dashboards, naming):
        folder = Path(str(module.__file__)).parent
        for path in sorted(path for path in folder.rglob("*") if path.suffix in CODE):
            made.update(f"{path.relative_to(folder).as_posix()}\n".encode() + path.read_bytes())
    return made.hexdigest()


def plotted(
    name: str,
    record: SweepRecord,
    ledger: Ledger,
    *,
    arms: Sequence[str],
    metric: str | None,
    window: str | None,
    statistic: Statistic,
    band: Band,
    log: bool,
    width: float | None,
    style: Literal["screen", "paper", "slide"],
) -> Figure:
    """One figure of a sweep, not written to disk."""
    from dashboards import figures
    from dashboards.sheets import Sheet

    table = figures.table(name, record, ledger, asked_for(arms, metric, window, statistic, band))
    return figures.picture(table, Sheet(style=style, width=width, log=log))


def asked_for(
    arms: str | Sequence[str] | None, metric: str | None, window: str | None, statistic: Statistic, band: Band
) -> Asked:
    """What of a sweep is to be drawn: arms one by one or as `a, b`, and a window in words. Raises InputError."""
    from dashboards.figures.panels import Asked
    from sweep.results import windows
    from sweep.results.bands import Summary

    labels = arms.split(",") if isinstance(arms, str) and arms else arms or ()
    return Asked(
        arms=tuple(label.strip() for label in labels),
        metric=metric,
        window=windows.asked(window) if window else None,
        summary=Summary(statistic=statistic, band=band),
    )


def figure_folder(record: SweepRecord, ledger: Ledger) -> Path:
    """Where a sweep's figures are: in the storage where it is a folder, else below ./pliant."""
    from sweep.lookup import DEFAULT_STORAGE

    return (ledger.storage.folder or Path(DEFAULT_STORAGE).resolve()) / "figures" / record.identity
