"""`sweep run`: train what is missing, and say what is left behind."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweep.cli.app import (
    Changes,
    Device,
    Inline,
    Kind,
    Replace,
    Scale,
    StorageOption,
    Study,
    Track,
    Tracking,
    Workers,
    app,
    changed,
)
from sweep.cli.drawing import draw_figures, write_page
from sweep.cli.findings import show_results
from sweep.cli.output import and_later, count, duration, say, warn
from sweep.errors import InputError, TrackingError
from sweep.tracking.redaction import redacted

if TYPE_CHECKING:
    from sweep.service import Outcome, Plan

STOPPED = "stopped; what is committed is kept, and the same command continues from there"


@app.command()
def run(
    study: Study,
    scale: Scale = None,
    changes: Changes = None,
    storage: StorageOption = None,
    tracking_uri: Tracking = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="The Ray cluster to train on: HOST:6379, or auto for the one this machine is in.",
            show_default="a Ray of its own on this machine",
        ),
    ] = None,
    workers: Workers = None,
    device: Device = Kind.cpu,
    inline: Inline = None,
    track: Track = True,
    draw: Annotated[
        bool, typer.Option("--figures/--no-figures", help="Draw the study's figures and, for MLflow, the report.")
    ] = True,
    replace: Replace = False,
) -> None:
    """Run what is missing of a study. Records it in MLflow and draws its figures.

    Whatever was done before, by this sweep or another in the same storage, is not done again. Ctrl-C stops cleanly; the
    same command continues.
    """
    from sweep import service
    from sweep.cli.progress import executed, view_of, working
    from sweep.cluster import placement
    from sweep.tracking.behind import Tracker

    if inline and address:
        raise InputError("--inline trains in this process and --address on a cluster: leave one of them out")
    planned = service.plan(
        study, scale=scale, changed=changed(changes), storage=storage, workers=workers, device=device.value
    )
    tracker = Tracker(planned.identity, planned.ledger, tracking_uri) if track else None
    warn(planned.warnings())
    say(
        f"{planned.identity}: {count(len(planned.trials), 'trial')}, {len(planned.done):,} already done, "
        f"{planned.missing:,} to run" + (f" in {count(len(planned.packs), 'pack')}" if planned.packs else "")
    )
    if planned.later:
        say(and_later(planned.round, planned.later))
    for line in planned.again():
        say(line)
    here = placement.trains_here(planned.packs, times=planned.times, asked=inline, address=address, workers=workers)
    if here and planned.packs and inline is None:
        say("trains in this process, which is done before Ray has started (--ray: on Ray)")
    with view_of(planned, here=here, workers=workers) as view:
        outcome = executed(planned, view, tracker, here=here, address=address, workers=workers, replace=replace)
    if outcome.interrupted:
        say(STOPPED)
        raise typer.Exit(130)
    problems = [service.describe_failure(outcome)]
    try:
        figures = draw_figures(outcome.record, planned.ledger, list(planned.spec.figures)) if draw else []
        page = write_page(outcome.record, planned.ledger) if draw and tracker else None
        if tracker:
            try:
                with working("writing MLflow's runs"):
                    tracker.finish(figures, page)
            except TrackingError as error:
                problems.append(error)
    except KeyboardInterrupt:
        say(STOPPED)
        raise typer.Exit(130) from None
    report(planned, outcome, figures, page, tracked=tracker is not None and len(problems) == 1)
    said = [f"error: {redacted(str(problem))}" for problem in problems if problem is not None]
    if said:
        typer.echo("\n".join(said), err=True)
        raise typer.Exit(1)


def report(planned: Plan, outcome: Outcome, figures: list[Path], page: Path | None, *, tracked: bool) -> None:
    """What a run leaves behind, and how to look at it."""
    diverged = f"; {outcome.diverged:,} of all diverged" if outcome.diverged else ""
    took = f" in {duration(outcome.seconds)}" if outcome.computed else ""
    say(f"{count(outcome.computed, 'trial')} computed{took}, {outcome.already_done:,} done before{diverged}")
    show_results(outcome.record, planned.ledger)
    say(f"results   {planned.storage}")
    for figure in figures:
        if figure.suffix == ".png":
            say(f"figure    {figure}  (also .svg, .pdf, .csv)")
    if page:
        say(f"report    {page}")
    if tracked:
        say(f"MLflow    sweep ui --storage {shlex.quote(planned.storage)}")
