"""`sweep ui`: MLflow's pages, open on a sweep's arms, or on those of several side by side."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweep.cli.app import StorageOption, Tracking, app, opened, swept
from sweep.cli.output import say
from sweep.errors import InputError

if TYPE_CHECKING:
    from sweep.ledger.ledger import Ledger


@app.command()
def ui(
    sweeps: Annotated[
        list[str] | None,
        swept(
            "The sweep to open on; of several, arms of the one stand beside arms of the other",
            "the one that was run last",
        ),
    ] = None,
    storage: StorageOption = None,
    tracking_uri: Tracking = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=1, max=65535)] = 5000,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser, where there is one.")] = True,
) -> None:
    """Serve MLflow's pages on this machine. Opens on a sweep's arms; prints the address, and opens the browser there.

    A tracking server has its own pages, and the address is there.
    """
    from sweep.lookup import storage_of
    from sweep.tracking import pages
    from sweep.tracking.addresses import default_uri

    place = storage_of(storage)
    ledger = opened(storage)
    uri = tracking_uri or default_uri(place)
    if uri == f"sqlite:///{place}/mlflow.db" and not Path(place, "mlflow.db").exists():
        raise InputError(f"no run was tracked in {place} yet: run a sweep first, or name its --storage")
    if pages.has_own(uri):
        visit(pages.address(uri, uri, experiment_of(sweeps or [], ledger, uri)), browser=browser)
        return
    with pages.held(port) as listening:  # first: nothing is started for a port that is taken
        experiment = experiment_of(sweeps or [], ledger, uri)
        pages.serve(
            uri,
            listening,
            lambda here: visit(pages.address(here, uri, experiment), browser=browser, stops="Ctrl-C stops it"),
        )


def experiment_of(sweeps: list[str], ledger: Ledger, uri: str) -> str | None:
    """The experiment to open on: a sweep's, or that of several side by side, which is brought up to date."""
    from sweep.lookup import find_sweep, latest
    from sweep.tracking import beside
    from sweep.tracking.addresses import default_artifact_root

    records = {record.identity: record for record in (find_sweep(ledger, name) for name in sweeps)}
    if len(records) > 1:
        return beside.sync(list(records.values()), ledger, uri, default_artifact_root(ledger.storage.uri, uri))
    record = next(iter(records.values()), None) or latest(ledger)
    return record.identity if record else None


def visit(address: str, *, browser: bool = True, stops: str = "") -> None:
    """Say where the page is and what `stops` it, and open it where there is a browser with a window."""
    from sweep.tracking import pages

    say(address)
    if stops:
        say(f"({stops})")
    if browser and pages.has_browser():
        webbrowser.open(address)
