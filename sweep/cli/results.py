"""What a storage holds: `sweep status`, `results`, `list`, `clean`."""

from __future__ import annotations

import math
import shutil
import textwrap
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from sweep.cli import completion
from sweep.cli.app import AsJson, Metric, Statistic, Statistics, StorageOption, Sweep, app, opened, opened_sweep, swept
from sweep.cli.drawing import figure_folder
from sweep.cli.findings import show_board
from sweep.cli.output import count, print_json, say, show, size, width
from sweep.errors import InputError

ROOM = 110  # characters that a row of a list needs; where there are fewer, words say it
NAME = 40  # characters of a sweep's name that stand in one line of a list


@app.command(name="status")
def status_command(
    sweep: Annotated[str | None, swept("A sweep that was run", "all there are")] = None,
    storage: StorageOption = None,
    digest: Annotated[
        bool, typer.Option("--digest", help="Print only the SHA-256 over all results: equal results, equal digests.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say how far a sweep is. Trials done, diverged and left, by arm, and where its packs stand."""
    from sweep.cli import status

    if sweep is None:
        if digest:
            raise InputError("--digest is of one sweep: sweep status NAME --digest")
        list_command(storage, as_json)
        return
    record, ledger = opened_sweep(sweep, storage)
    if digest:
        say(ledger.digest([trial.id for trial in record.trials]))
        return
    facts = status.facts(record, ledger)
    if as_json:
        print_json({**facts, "digest": ledger.digest([trial.id for trial in record.trials])})
    else:
        say(status.as_text(facts))


class Stages(StrEnum):
    """Of a sweep in two stages."""

    select = "select"
    evaluate = "evaluate"


Over = Annotated[str, typer.Option("--window", help='The part of the tasks shown: "last 25%", "first 10%", all.')]
Stage = Annotated[
    Stages | None,
    typer.Option(
        help="Of a sweep in two stages, the seeds that settings are chosen on, or the fresh ones.",
        show_default="the fresh ones, once they have results",
    ),
]


@app.command(name="results")
def results_command(
    sweep: Sweep,
    metric: Metric = None,
    window: Over = "last 10%",
    by: Annotated[
        list[str] | None,
        typer.Option(help="A table for every value of a setting, such as step_size. May be repeated."),
    ] = None,
    stage: Stage = None,
    statistic: Statistic = Statistics.mean,
    storage: StorageOption = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, a row for each arm in each panel.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a sweep found. Each arm at its best setting, beside the first arm, and what can be told from chance."""
    from dataclasses import asdict

    from sweep.results import leaderboard, windows

    over = windows.asked(window)
    if as_csv and as_json:
        raise InputError("--csv or --json, not both")
    record, ledger = opened_sweep(sweep, storage)
    board = leaderboard.leaderboard(
        record,
        ledger,
        metric=metric,
        window=over,
        by=by or (),
        stage=stage.value if stage else None,
        statistic=statistic.value,
    )
    if as_json:
        print_json(asdict(board))
    elif as_csv:
        import pandas as pd

        say(pd.DataFrame(leaderboard.rows(board)).to_csv(index=False).rstrip())
    else:
        say(f"{record.identity}: {record.manifest.get('question', '')}")
        show_board(board)


def arm(said: str) -> Any:
    """An argument that names an arm of the sweep before it."""
    return typer.Argument(metavar="ARM", help=said, show_default=False, autocompletion=completion.arms)


@app.command()
def compare(
    sweep: Sweep,
    ours: Annotated[str, arm("An arm of it, by its label.")],
    theirs: Annotated[str, arm("The arm that it is compared with.")],
    metric: Metric = None,
    window: Over = "last 10%",
    stage: Stage = None,
    statistic: Statistic = Statistics.mean,
    storage: StorageOption = None,
    as_json: AsJson = False,
) -> None:
    """Tell one comparison whole. Two arms, paired by seed: settings, difference, chance, and how to see it again."""
    from sweep.cli import comparing
    from sweep.results import comparisons, windows

    over = windows.asked(window)
    record, ledger = opened_sweep(sweep, storage)
    told = comparisons.compare(
        record,
        ledger,
        ours,
        theirs,
        metric=metric,
        window=over,
        stage=stage.value if stage else None,
        statistic=statistic.value,
    )
    again = comparing.again(record, ledger)
    if as_json:
        print_json([comparing.facts(each, again) for each in told])
        return
    say(f"{record.identity}: {record.manifest.get('question', '')}")
    for each in told:
        say(f"\n{comparing.as_text(each, again)}")


@app.command(name="list")
def list_command(storage: StorageOption = None, as_json: AsJson = False) -> None:
    """List the sweeps that a storage has. Their questions, how complete they are, what won, and when each was run."""
    from rich.table import Table

    from sweep.lookup import none_yet, sweeps

    ledger = opened(storage)
    rows = sweeps(ledger)
    if as_json:
        print_json(rows)
        return
    if not rows:
        say(none_yet(ledger))
        return
    if width() < ROOM:
        say("\n\n".join(map(in_words, rows)))
        return
    heads = ("sweep", "question", "trials", "complete", "diverged", "won", "last run (UTC)")
    table = Table(box=None, pad_edge=False)
    short = all(len(row["sweep"]) <= NAME for row in rows)  # names are there to be copied: in one line, if they can be
    for head in heads:
        table.add_column(head, overflow="fold", no_wrap=head == "sweep" and short)
    for row in rows:
        cells = (f"{row['trials']:,}", complete(row), f"{row['diverged']:,}", row["won"], last_run(row))
        table.add_row(row["sweep"], row["question"], *cells)
    show(table)


def complete(row: Mapping[str, Any]) -> str:
    """How much of a sweep has ended: `87 %`."""
    return f"{math.floor(100 * (row['done'] + row['diverged']) / row['trials'])} %" if row["trials"] else ""


def last_run(row: Mapping[str, Any]) -> str:
    """To the minute, in UTC."""
    return str(row["time"]).replace("T", " ")[:16]


def in_words(row: Mapping[str, Any]) -> str:
    """A sweep where a row has no room: its name to be copied, its question, how far it is and what won."""
    said = [f"{count(row['trials'], 'trial')}, {complete(row)} complete"] * bool(row["trials"])
    said += [f"{row['diverged']:,} diverged"] * bool(row["diverged"]) + [f"won: {row['won']}"] * bool(row["won"])
    said += [f"last run {last_run(row)} UTC"] * bool(row["time"])
    lines = [textwrap.fill(text, width() - 2, break_on_hyphens=False) for text in (row["question"], "; ".join(said))]
    return "\n".join([row["sweep"], *(textwrap.indent(text, "  ") for text in lines if text)])


@app.command()
def clean(
    sweep: Sweep,
    storage: StorageOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a sweep's results and figures. What other sweeps hold too is kept, and so are MLflow's runs."""
    record, ledger = opened_sweep(sweep, storage)
    own = {trial.id for trial in record.trials}
    others = [identity for identity in ledger.sweeps() if identity != (record.name, record.scale)]
    wanted = {trial.id for other in others for trial in ledger.sweep(*other).trials}
    # With the packs go trials in them that no sweep holds any more: nothing else would ever delete them.
    packed = {member for pack in ledger.packs() if own.intersection(pack.members) for member in pack.members}
    if not yes:
        trials = ledger.clean(packed - wanted, pretend=True).trials
        others_too = (
            ", some of which no sweep holds any more," if trials > len(own - wanted) else f" of {record.identity}"
        )
        typer.confirm(
            f"delete the results of {count(trials, 'trial')}{others_too} in {ledger.storage.uri}?", abort=True
        )
    cleaned = ledger.clean(packed - wanted)
    ledger.forget_sweep(record)
    shutil.rmtree(figure_folder(record, ledger), ignore_errors=True)
    deleted = f"{count(cleaned.trials, 'trial')} in {count(len(cleaned.deleted), 'pack')}"
    say(f"deleted {deleted}, {size(cleaned.bytes)}")
    if cleaned.kept:
        say(f"kept {count(len(cleaned.kept), 'pack')} with trials of other sweeps too")
