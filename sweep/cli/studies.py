"""What there is to run and what running it would do: `sweep studies`, `describe`, `plan`, `init`, `check`."""

from __future__ import annotations

import contextlib
import shlex
import sys
import textwrap
from pathlib import Path
from typing import Annotated

import typer

from sweep.cli import completion
from sweep.cli.app import AsJson, Changes, Device, Kind, Scale, StorageOption, Study, Workers, app, changed
from sweep.cli.output import count, duration, print_json, say, show, warn
from sweep.errors import InputError


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
        print_json([asdict(e) for e in (describe.named(name, figures) if name else describe.entries(figures))])
    elif name is None:
        say(describe.overview(figures))
    else:
        say("\n\n".join(describe.as_text(entry) for entry in describe.named(name, figures)))


@app.command()
def plan(
    study: Study,
    scale: Scale = None,
    changes: Changes = None,
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
        planned = service.plan(
            study, scale=scale, changed=changed(changes), storage=storage, workers=workers, device=device.value
        )
    if measure:
        service.check_data(planned.spec)
        keys = {calibration.key_of(pack): pack for pack in planned.packs}
        for pack in keys.values():
            if not as_json:
                say(f"measuring a pack of {len(pack.trials)} trials ({', '.join(pack.trials[0].arms)}) ...")
            calibration.record(calibration.measure(pack))
    warn(planned.warnings())
    if as_json:
        print_json(preview.as_data(planned, workers))
    else:
        say(preview.as_text(planned, workers))


@app.command()
def init(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Of a sweep, whose file NAME.yaml is written; or method, stream, network, diagnostic for an example.",
            autocompletion=completion.kinds,
        ),
    ],
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="Where an example goes.", show_default="the example's name"),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(metavar="STUDY", help="Begin a sweep from this study or file.", autocompletion=completion.studies),
    ] = None,
) -> None:
    """Write a file to begin with. A sweep, commented, or a method, stream, network or diagnostic of your own.

    A file that is there stays as it is.
    """
    from sweep import examples

    if name not in examples.NAMES:
        init_sweep(name, file, like)
        return
    if like:
        raise InputError(f"--like is for a sweep; a {name} of your own begins from an example: sweep init {name}")
    target = file or Path(examples.NAMES[name])
    use = examples.write(name, target)
    say(f"wrote {target}; in a sweep file beside it:\n\n{textwrap.indent(use, '    ')}\n")
    say(f"sweep check {shlex.quote(str(target))}  tries it")


def init_sweep(name: str, file: Path | None, like: str | None) -> None:
    """Write a sweep's file. Raises InputError for a name that means something else, SpecError for no study."""
    from sweep import examples
    from sweep.spec.studies import is_study
    from workloads.registry import nearest

    target = Path(name) if name.endswith((".yaml", ".yml")) else Path(f"{name}.yaml")
    if target != Path(name) and not like and nearest(name, examples.NAMES):
        kinds = ", ".join(examples.NAMES)
        raise InputError(f"{name!r} is not one of {kinds}; for a sweep of this name: sweep init {target}")
    if target != Path(name) and is_study(name):
        raise InputError(f"{name} is a study that ships; to begin from it: sweep init my_sweep --like {name}")
    if file:
        raise InputError(f"FILE is where an example goes; this sweep goes to {target}")
    examples.write_sweep(target, like)
    quoted = shlex.quote(str(target))
    say(f"wrote {target}\n\nsweep plan {quoted}  says what it would do\nsweep run {quoted}   does it")


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A Python file, as a sweep's `code` names it.")],
) -> None:
    """Try methods, streams, networks, diagnostics of your own. Asks of a file the promises that what ships keeps."""
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
