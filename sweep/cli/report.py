"""`sweep report`: one page that says what sweeps found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweep.cli.app import StorageOption, app, opened_sweep, swept
from sweep.cli.output import say, warn
from sweep.errors import InputError

if TYPE_CHECKING:
    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord


@app.command()
def report(
    sweeps: Annotated[list[str], swept("Sweeps that were run, of which several share their charts")],
    storage: StorageOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The page to write, FILE.html; the values go to CSV files beside it.",
            show_default="reports/ in the storage",
        ),
    ] = None,
) -> None:
    """Write what sweeps found as one HTML file. Verdicts, interactive curves, sensitivity, cost; it needs no net."""
    from dashboards.report import report as write

    if out is not None and out.suffix not in (".html", ".htm"):
        raise InputError(f"--out {out}: a page is called FILE.html")
    opened = [opened_sweep(name, storage) for name in sweeps]
    once = list({record.identity: (record, ledger) for record, ledger in opened}.values())
    for path in write(once, out.absolute() if out else page_of(once), lambda sentence: warn([sentence])):
        say(str(path))


def page_of(sweeps: list[tuple[SweepRecord, Ledger]]) -> Path:
    """Where a report is: in the storage where it is a folder, else below ./pliant."""
    from sweep.lookup import DEFAULT_STORAGE

    folder = sweeps[0][1].storage.folder or Path(DEFAULT_STORAGE).resolve()
    return folder / "reports" / f"{'+'.join(record.identity for record, _ in sweeps)}.html"
