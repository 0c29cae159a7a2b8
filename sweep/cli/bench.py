"""`sweep bench`: packs beside the plain loop, agents beside PPO in one file, and worlds stepped alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweep.cli.app import AsJson, Kind, app
from sweep.cli.output import print_json, say, show
from sweep.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from sweep.benchmarks.bench_records import Change, Record
    from sweep.benchmarks.cases import AnyCase
    from sweep.benchmarks.rows import AnyRow, Row, WorldRow


@app.command()
def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Two small rows in seconds, to see that it works.")] = False,
    stream: Annotated[
        str | None,
        typer.Option(
            help="Only rows of this stream or world: slowly_changing_regression, permuted_mnist, relabelled, "
            "continual_imagenet; continual_control, ant, slippery_ant, hopper, walker, half_cheetah, continual_minatar."
        ),
    ] = None,
    arm: Annotated[
        str | None,
        typer.Option(
            help="Only rows of this way of learning: sgd, adam, adamo, ...; ppo is agents', stepping is worlds' alone."
        ),
    ] = None,
    members: Annotated[
        int | None,
        typer.Option(help="Only rows of packs of so many trials: 3000, 1000, 300, 30, 1; of agents 8, 16."),
    ] = None,
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
        bool, typer.Option("--no-flush", help="Packs with subnormal numbers left as they are, to see what they cost.")
    ] = False,
    device: Annotated[Kind, typer.Option(help="What both sides train on; a GPU has rows of its own.")] = Kind.cpu,
    as_json: AsJson = False,
) -> None:
    """Time packs against the plain torch.nn loop. One core, both sides in one run, 30 minutes; let nothing else run.

    A row is a stream, a network, an arm and a number of trials in the pack, all networks aged. Its ratio says how many
    times less a trial's step costs in the pack than in the loop everybody writes; newborn is the same for networks that
    have not trained yet; its limit is what the counted operations would take at this core's measured speed; before is
    the ratio in the last record. Agents that learn by PPO are timed against PPO in one file, in our worlds and in
    Gymnasium's environments; robots stepped alone against MuJoCo's mj_step, MinAtar's games against their package.
    """
    from dataclasses import asdict

    from sweep.benchmarks import bench_records
    from sweep.benchmarks.cases import selected
    from sweep.cluster.worker import check_device

    records_folder = folder or bench_records.default_folder()
    if history:
        draw_history(records_folder)
        return
    if record and (quick or stream or arm or members or no_flush):
        raise InputError("--record keeps whole runs: leave out --quick, --stream, --arm, --members and --no-flush")
    if record:
        bench_records.refuse_changed_code()
    kept = bench_records.oldest_first(records_folder)  # now, so that a file that cannot be read costs no run
    cases = selected(quick=quick, stream=stream, arm=arm, members=members, flushed=not no_flush, device=device.value)
    check_device(device.value)
    rows, failures = measured(cases, quiet=as_json)
    if as_json:
        print_json([asdict(row) for row in rows])
    else:
        tell(rows, bench_records.last(kept, device.value))
    if record and rows:
        typer.echo(f"record    {bench_records.write(rows, records_folder)}", err=as_json)
    if failures:
        typer.echo("\n".join(f"error: {failure}" for failure in failures), err=True)
        raise typer.Exit(1)


def measured(cases: Sequence[AnyCase], *, quiet: bool) -> tuple[list[AnyRow], list[str]]:
    """The rows of what could be measured, each said at once unless `quiet`, and why the others could not."""
    from sweep.benchmarks.bench import measured_apart

    rows, failures = [], []
    for case in cases:
        name = f"{case.subject} {case.arm} x {case.members:,}"
        try:
            row = measured_apart(case)
        except RuntimeError as error:
            failures.append(str(error))
            typer.echo(f"{name}: failed", err=True)
            continue
        rows.append(row)
        if not quiet:
            say(f"{name}: {said(row)}")
    return rows, failures


def said(row: AnyRow) -> str:
    """A row's ratio, in words."""
    from sweep.benchmarks.rows import Row

    if not isinstance(row, Row):
        return f"ratio {row.cells['ratio']}"
    return f"{ratio(row.ratio)} times" + (
        "" if row.valid else "  (invalid: the plain loop is over 20 % slower than its reference)"
    )


def tell(rows: Sequence[AnyRow], last: Record | None) -> None:
    """The tables of a run, what its rows say beside it, and how it compares with the last record."""
    from sweep.benchmarks import bench_records
    from sweep.benchmarks.rows import HEADINGS, Row, asides, rows_by_kind

    changed = bench_records.changes(rows, last)
    if packs := [row for row in rows if isinstance(row, Row)]:
        say()
        show(bench_table(packs, bench_records.changes(packs, last)))
        for aside in asides(packs):
            say("\n" + aside)
    for kind, found in rows_by_kind(rows).items():
        say("\n" + HEADINGS[kind])
        show(world_table(found, bench_records.changes(found, last)))
    if last and any(change.then for change in changed):
        say("\n" + bench_records.comparison(changed, last))


def draw_history(folder: Path) -> None:
    """The bench's history, beside its records."""
    from dashboards.history import render
    from sweep.benchmarks import bench_records

    for path in render(bench_records.oldest_first(folder), folder):
        say(f"history   {path}")


def world_table(rows: Sequence[WorldRow], changes: Sequence[Change]) -> Table:
    """Rows of worlds, all of one kind, beside what they were before."""
    from rich.table import Table

    first, *others = rows[0].cells
    table = Table(first, box=None, pad_edge=False)
    for name in (*others, "before", "change"):
        table.add_column(name, justify="right")
    for row, change in zip(rows, changes, strict=True):
        before = (f"{change.then:.3g}", f"x {change.times:.2f}") if change.then and change.times else ("", "")
        table.add_row(*row.cells.values(), *before)
    return table


def bench_table(rows: Sequence[Row], changes: Sequence[Change]) -> Table:
    """The packs' rows beside their limits, their targets and what they were before. Times in ns."""
    from rich.table import Table

    table = Table("stream, network, arm", box=None, pad_edge=False)
    for name in ("trials", "path", "plain ns", "pack ns", "limit ns", "ratio", "newborn", "target", "before", "change"):
        table.add_column(name, justify="left" if name == "path" else "right")
    shown = ""
    for r, change in zip(rows, changes, strict=True):
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
