"""`sweep render`: a trained policy at work, as an animated GIF."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweep.cli import completion
from sweep.cli.app import StorageOption, app
from sweep.cli.output import say
from sweep.errors import InputError


@app.command()
def render(
    trial_id: Annotated[
        str,
        typer.Argument(metavar="ID", help="A trial's id, or its beginning.", autocompletion=completion.trials),
    ],
    task: Annotated[
        int | None,
        typer.Option(help="The weights after so many tasks.", min=0, show_default="those after the last"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.gif", help="Where it goes.", show_default="ID.gif, here")
    ] = None,
    storage: StorageOption = None,
) -> None:
    """Draw an episode of a trial's trained policy. Robots only, by the means of their actions; weights must be kept."""
    if out is not None and out.suffix != ".gif":
        raise InputError(f"{out}: a film is an animated GIF; name it {out.stem}.gif")
    from sweep import lookup
    from sweep.results.films import filmed, write_gif

    found, shown = filmed(trial_id, task=task, storage=lookup.storage_of(storage))
    path = out or Path(f"{found}.gif")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_gif(shown, path)
    say(f"{path}  {shown.steps:,} steps, return {shown.returned:.1f}, {len(shown.pictures):,} pictures")
