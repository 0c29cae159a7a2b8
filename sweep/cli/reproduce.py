"""`sweep reproduce`: all studies of a paper, its figures, and the verdict on its claims."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweep.cli import completion
from sweep.cli.app import Inline, StorageOption, Track, Tracking, Workers, app, opened_sweep
from sweep.cli.output import count, duration, say
from sweep.cli.run import STOPPED, run
from sweep.errors import DataError, InputError


@app.command()
def reproduce(
    paper: Annotated[
        str,
        typer.Argument(
            metavar="PAPER",
            help="loss-of-plasticity, loss-of-plasticity-agents (its reinforcement learning), isometry, warm-start or "
            "upgd.",
            autocompletion=completion.papers,
        ),
    ],
    scale: Annotated[
        str, typer.Option(help="The size at which its studies are run: smoke, laptop, paper.", show_default=True)
    ] = "laptop",
    out: Annotated[
        Path | None, typer.Option(help="The folder for figures and page.", show_default="PAPER-SCALE")
    ] = None,
    storage: StorageOption = None,
    workers: Workers = None,
    inline: Inline = None,
    track: Track = True,
    tracking_uri: Tracking = None,
) -> None:
    """Run all studies of a paper. Builds a page of its figures, with a verdict on each of its claims.

    What was trained before is not trained again. Ctrl-C stops cleanly; the same command continues.
    """
    from dashboards.papers import paper as known

    studies = known(paper).studies
    folder = out or Path(f"{paper}-{scale}")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder} is a file, and it takes a folder")
    sweeps = expect(studies, scale, storage, workers)
    problems: dict[str, str] = {}  # study -> why it is not whole
    for study in studies:
        say(f"\n{study}")
        try:
            run(
                study,
                scale=scale,
                storage=storage,
                tracking_uri=tracking_uri,
                workers=workers,
                inline=inline,
                track=track,
                draw=False,
            )
        except DataError as error:
            problems[study] = f"not run: {error}"
            say(problems[study])
        except typer.Exit as ended:
            if ended.exit_code == 130:
                raise
            problems[study] = "some of its trials failed: `sweep status` says which"
    try:
        build(paper, scale, sweeps, folder, storage, problems)
    except KeyboardInterrupt:
        say(STOPPED)
        raise typer.Exit(130) from None
    if problems:
        raise typer.Exit(1)


def expect(studies: tuple[str, ...], scale: str, storage: str | None, workers: int | None) -> dict[str, str]:
    """Say what is to be trained: study -> its sweep. Raises what a study's plan raises, before anything is trained."""
    from sweep import service
    from sweep.cluster import calibration, placement

    measured = calibration.read()
    plans = [service.plan(study, scale=scale, storage=storage, workers=workers) for study in studies]
    missing = sum(plan.missing for plan in plans)
    seconds, unmeasured = 0.0, 0
    for plan in plans:
        times = [plan.seconds(pack, measured) for pack in plan.packs]
        taken = [time for time in times if time is not None]
        seconds += placement.together(taken, placement.at_once(plan.packs, workers)) if taken else 0.0
        unmeasured += len(times) - len(taken)
    took = f", about {duration(seconds)} of training" if missing and not unmeasured else ""
    said = "1 study" if len(studies) == 1 else f"{len(studies)} studies"
    say(f"{said} at scale {scale}: {count(missing, 'trial')} to run{took}")
    return {study: plan.identity for study, plan in zip(studies, plans, strict=True)}


def build(
    paper: str, scale: str, sweeps: dict[str, str], folder: Path, storage: str | None, problems: dict[str, str]
) -> None:
    """Draw the figures, look at the claims, write the page; say where it is. sweeps: study -> its sweep."""
    from dashboards import reproduction
    from dashboards.claims import telling
    from sweep.cli.progress import working

    made = []
    for study, sweep in sweeps.items():
        try:
            record, ledger = opened_sweep(sweep, storage)
        except InputError:  # it could not even begin
            made.append(reproduction.Study(study, problems=[problems.get(study, "not run")]))
            continue
        with working(f"figures and claims of {study}"):
            part = reproduction.study(study, record, ledger, folder)
        part.problems.extend(filter(None, [problems.get(study)]))
        made.append(part)
    page = reproduction.build(paper, scale, made, folder)
    say(f"\n{telling.summary([f for part in made for f in part.findings if f.paper == paper])}")
    say(f"page      {page}")
