"""The figures that a run draws, and where a sweep's figures are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sweep.cli.output import say
from sweep.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord


def draw_figures(record: SweepRecord, ledger: Ledger, names: list[str]) -> list[Path]:
    """The figures of a sweep, drawn into its folder unless they show the same results already.

    A figure that its results cannot make is said and left out.
    """
    import hashlib

    done = ledger.done()
    finished = sorted((trial.id, trial.arms) for trial in record.trials if trial.id in done)
    folder = figure_folder(record, ledger)
    stamp = folder / ".made_of"
    # The file's text has the question, the arms' labels and the metrics; the commit stands for the figures' code.
    content = [names, finished, record.file_text, record.manifest["commit"]]
    made_of = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    files = [folder / f"{name}.{kind}" for name in names for kind in ("png", "svg", "pdf", "csv")]
    if not names or not finished or (stamp.exists() and stamp.read_text() == made_of and all(map(Path.exists, files))):
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


def plotted(
    name: str,
    record: SweepRecord,
    ledger: Ledger,
    *,
    arms: Sequence[str],
    metric: str | None,
    log: bool,
    width: float | None,
    style: Literal["screen", "paper", "slide"],
) -> Figure:
    """One figure of a sweep, not written to disk."""
    from dashboards import figures
    from dashboards.figures.panels import Asked
    from dashboards.sheets import Sheet

    asked = Asked(arms=tuple(arms.split(",") if isinstance(arms, str) else arms), metric=metric)
    return figures.picture(figures.table(name, record, ledger, asked), Sheet(style=style, width=width, log=log))


def figure_folder(record: SweepRecord, ledger: Ledger) -> Path:
    """Where a sweep's figures are: in the storage where it is a folder, else below ./pliant."""
    from sweep.lookup import DEFAULT_STORAGE

    return (ledger.storage.folder or Path(DEFAULT_STORAGE).resolve()) / "figures" / record.identity
