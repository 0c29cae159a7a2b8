"""`sweep trial`: one trial, and the same trial trained again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweep.cli import completion
from sweep.cli.app import AsJson, StorageOption, app, opened
from sweep.cli.output import duration, print_json, say, sparkline
from sweep.errors import InputError

if TYPE_CHECKING:
    from sweep.ledger.ledger import Ledger
    from sweep.packing import PlannedPack


@app.command()
def trial(
    trial_id: Annotated[
        str,
        typer.Argument(metavar="ID", help="A trial's id, or its beginning.", autocompletion=completion.trials),
    ],
    storage: StorageOption = None,
    run_again: Annotated[
        bool, typer.Option("--run", help="Train it again, alone, and compare with what the ledger has.")
    ] = False,
    source: Annotated[
        bool, typer.Option("--source", help="Print the C++ that its steps are written in, and where it is kept.")
    ] = False,
    path: Annotated[
        str | None,
        typer.Option(
            help="How --run and --source train it: plain (readable torch, slow), looped, lifted, lanes or online.",
            show_default="the path its results are from",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show one trial. Its config, status and curves; --run repeats it and says whether the same comes out."""
    from sweep import repeat

    ledger = opened(storage)
    if source:
        if run_again:
            raise InputError("--source prints a program and --run trains with it: leave one of them out")
        print_sources(repeat.sources(ledger, repeat.alone(ledger, ledger.find_trial(trial_id), path)), as_json)
        return
    facts = repeat.facts(ledger, trial_id)
    if run_again:
        pack, differences = trained_again(ledger, facts["trial"], path)
        facts["repeated"] = {metric: largest for metric, (_, largest) in differences.items()}
        facts["path"], facts["verdict"] = pack.path, repeat.verdict(differences, facts["config"]["dtype"])
    if as_json:
        print_json(facts)
        return
    label = "arm" if len(facts["arms"]) == 1 else "arms"
    say(f"trial {facts['trial']}  {facts['status']}  ({label} {', '.join(facts['arms'])}, sweep {facts['sweep']})")
    say(json.dumps(facts["config"], indent=2))
    if why := facts["failure"]:
        say(f"failed at step {why['step']:,} on {why['host']}, attempt {why['attempt']}:")
        say(why["traceback"] or why["message"])
    for metric, points in facts["curves"].items():
        say(f"{metric:24} {sparkline(points)}  first {points[0]:.4g}, last {points[-1]:.4g}")
    if run_again:
        say(f"\nrepeated alone on path {facts['path']}: {facts['verdict']}")
        for metric, difference in facts["repeated"].items():
            say(f"{metric:24} largest relative difference {difference:.3g}")


def print_sources(sources: dict[str, Path], as_json: bool) -> None:
    """C++ files as one text, each below the line that says where it is kept and how it was built."""
    from workloads import native

    if as_json:
        print_json([{"path": str(path), "flags": native.flags(), "text": text} for text, path in sources.items()])
        return
    for text, path in sources.items():
        say(f"// {path}\n// {' '.join(native.flags())}\n{text}")


def trained_again(
    ledger: Ledger, trial_id: str, path: str | None
) -> tuple[PlannedPack, dict[str, tuple[float, float]]]:
    """A trial's pack of its own, and how far what came out is from the ledger; how long it takes is said first."""
    from sweep import repeat
    from sweep.cli.places import line
    from sweep.cli.progress import ProgressView
    from sweep.cluster import calibration, placement

    pack = repeat.alone(ledger, trial_id, path)
    measured = calibration.read()
    seconds = placement.measured_seconds(pack, measured)
    takes = f"about {duration(seconds)}" if seconds else f"perhaps {duration(placement.guessed_seconds(pack))}"
    line(f"training it again, alone, {pack.shape.steps:,} steps on path {pack.path}: {takes}")
    with ProgressView([pack], measured=measured) as view:
        return pack, repeat.compare(ledger, pack, view.heard)
