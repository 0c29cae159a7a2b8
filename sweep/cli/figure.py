"""`sweep figure`: draw a sweep's figures, or one again from its CSV."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweep.cli import completion
from sweep.cli.app import Metric, Statistic, Statistics, StorageOption, app, opened_sweep, swept
from sweep.cli.drawing import asked_for, figure_folder
from sweep.cli.output import say
from sweep.errors import InputError

if TYPE_CHECKING:
    from dashboards.sheets import Sheet


class Style(StrEnum):
    """What a figure is drawn for."""

    screen = "screen"
    paper = "paper"
    slide = "slide"


class Bands(StrEnum):
    """What is shaded around a line."""

    ci = "ci"
    tolerance = "tolerance"


@app.command()
def figure(
    sweep: Annotated[str | None, swept("A sweep that was run", "none, with --from")] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="One figure, one of `sweep describe`.",
            show_default="those of the study",
            autocompletion=completion.figures,
        ),
    ] = None,
    arms: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="These arms alone, by their labels.",
            show_default="all",
            autocompletion=completion.several_arms,
        ),
    ] = None,
    metric: Metric = None,
    window: Annotated[
        str | None,
        typer.Option(
            help="The part of the tasks shown or averaged: `last 25%`, `first 10%`, `all`.",
            show_default="all of a curve, else the last 10%",
        ),
    ] = None,
    statistic: Statistic = Statistics.mean,
    band: Annotated[
        Bands,
        typer.Option(
            help="What is shaded. ci: the 95 % interval of the statistic; tolerance: where single runs lie, at least"
            " 90 % of them (of fewer than 46 seeds, less, which the caption says)."
        ),
    ] = Bands.ci,
    log: Annotated[bool, typer.Option("--log", help="A logarithmic axis of values.")] = False,
    width: Annotated[
        float | None,
        typer.Option(
            help="Inches: 3.5 is a single column of a paper, 7.2 a double one.",
            min=2,
            max=40,
            show_default="what suits it",
        ),
    ] = None,
    style: Annotated[
        Style,
        typer.Option(
            help="paper: the bare picture at real size, its caption in NAME.txt; slide: 10 x 5.6 inches, large text."
        ),
    ] = Style.screen,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the files go.", show_default="below the storage, or beside the CSV"),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FILE.csv", help="Draw this table again, which an earlier `sweep figure` wrote."
        ),
    ] = None,
    storage: StorageOption = None,
) -> None:
    """Draw a sweep's figures. PNG, SVG and PDF, and the CSV of what was drawn, which can be drawn again with --from."""
    from dashboards.sheets import Sheet

    sheet = Sheet(style=style.value, width=width, log=log)
    if csv is not None:
        if sweep or name or arms or metric or window or (statistic, band) != (Statistics.mean, Bands.ci):
            raise InputError(
                "--from draws what is in the CSV: leave out the sweep, --name, --arms, --metric, --window, --statistic"
                " and --band"
            )
        again(csv, sheet, out)
        return
    if sweep is None:
        raise InputError("name a sweep (`sweep list` has them), or a table with --from FILE.csv")
    from dashboards.figures import render
    from dashboards.figures.panels import Asked

    record, ledger = opened_sweep(sweep, storage)
    asked = asked_for(arms, metric, window, statistic.value, band.value)
    own = figure_folder(record, ledger)  # what a run draws there stays beside what is asked for
    folder = out or (own if (asked, sheet) == (Asked(), Sheet()) else own / "asked")
    for each in [name] if name else record.manifest["figures"]:
        for path in render(each, record, ledger, folder, asked, sheet):
            say(str(path))


def again(csv: Path, sheet: Sheet, out: Path | None) -> None:
    """Draw a table again."""
    from dashboards.figures import redraw

    for path in redraw(csv, out or csv.parent, sheet):
        say(str(path))
