"""`sweep watch`: a sweep while it trains, in the terminal or a browser, from any machine that reaches the storage."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from sweep.cli.app import StorageOption, app, opened, swept
from sweep.cli.findings import show_results
from sweep.cli.output import bar, count, duration, rendered, say, speed
from sweep.cli.ui import visit
from sweep.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from sweep.ledger.ledger import Ledger
    from sweep.ledger.so_far import SoFar
    from sweep.ledger.sweeps import SweepRecord
    from sweep.watching import Look, Training, Watched

SHOWN = 12  # packs under way, and reasons of failures, on one screen
EVERY = 3.0  # seconds between two looks at the ledger, at least
PORT = 8000


@app.command()
def watch(
    sweep: Annotated[str | None, swept("A sweep that was begun", "the one that was run last")] = None,
    storage: StorageOption = None,
    once: Annotated[bool, typer.Option("--once", help="Show how it stands now, and end.")] = False,
    browser: Annotated[
        bool,
        typer.Option(
            "--browser", help="Serve the report, as it grows, on 127.0.0.1, and open it where there is a browser."
        ),
    ] = False,
    port: Annotated[int, typer.Option(help="Port of --browser.", min=1, max=65535)] = PORT,
) -> None:
    """Watch a sweep train. Packs, speed, time left, the arms so far, and what failed and why.

    It reads the storage alone, so it may run on another machine than the sweep; it ends when the sweep has. Ctrl-C ends
    only the watching.
    """
    from sweep.watching import Watched

    ledger = opened(storage)
    watched = Watched(asked(ledger, sweep), ledger)
    if browser:
        if once:
            raise InputError("--once prints and --browser serves: leave one of them out")
        served(watched, port)
    elif once:
        say(text_of(view_of(watched)))
    else:
        with contextlib.suppress(KeyboardInterrupt):
            followed(watched)


@dataclass(frozen=True, slots=True)
class Arms:
    """The leaderboard so far."""

    panels: list[tuple[str, Table]]  # a panel's name and its table
    heading: str  # what the numbers are
    without: str  # why there are none


@dataclass(frozen=True, slots=True)
class View:
    """What there is to show at one time."""

    look: Look
    arms: Arms


def asked(ledger: Ledger, name: str | None) -> SweepRecord:
    """The sweep of this name, or the one that was run last. Raises InputError."""
    from sweep.lookup import find_sweep, latest, none_yet

    record = find_sweep(ledger, name) if name else latest(ledger)
    if record is None:
        raise InputError(none_yet(ledger))
    return record


def view_of(watched: Watched) -> View:
    """All that is shown."""
    from sweep import watching

    record = watched.record()
    look = watching.look(record, watched.ledger)
    return View(look, arms_of(record, watched.ledger))


def arms_of(record: SweepRecord, ledger: SoFar) -> Arms:
    """The leaderboard after the tasks that every arm under way has completed; or why there is none."""
    from sweep.results import leaderboard, selections, so_far

    try:
        part = selections.reported(record, ledger)
        trials, curves, _ = leaderboard.read(part, ledger)
        board = leaderboard.of_frames(record, *so_far.shortened(trials, curves, so_far.reach(trials)), part)
    except InputError as error:
        return Arms([], "", str(error))
    heading = leaderboard.heading(replace(board, finished=board.trials))  # how far it is is said above
    tables = [(panel, leaderboard.table(standings)) for panel, standings in board.panels()]
    return Arms(tables, "\n".join(line for line in (heading, so_far.told(trials)) if line), "")


def followed(watched: Watched) -> None:
    """Show the sweep until it is complete: a screen that is drawn anew at a terminal, lines elsewhere."""
    from rich.console import Console
    from rich.live import Live

    if not sys.stdout.isatty():
        record = watched.record()
        say(head_of(record.identity, str(record.manifest.get("question", ""))))
        for view in looks(watched):
            say(line_of(view.look))
    else:
        with Live(console=Console(), auto_refresh=False) as screen:  # which costs as much as looking does
            for view in looks(watched):
                screen.update(text_of(view), refresh=True)
    show_results(watched.record(), watched.ledger)


def looks(
    watched: Watched,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    spent: Callable[[], float] = time.process_time,
) -> Iterator[View]:
    """A view whenever something has changed, until the sweep is complete. Its arms are the rarer the dearer."""
    from sweep import watching

    arms, stale, due = Arms([], "", ""), False, clock()
    while True:
        began = spent()
        changed = watched.changed()
        stale = stale or changed
        if changed or (stale and clock() >= due):
            record = watched.record()
            look = watching.look(record, watched.ledger)
            if clock() >= due or look.complete:
                middle = spent()
                arms = arms_of(record, watched.ledger)
                stale, due = False, clock() + watching.pause(spent() - middle, EVERY)
                began += spent() - middle
            yield View(look, arms)
            if look.complete:
                return
        sleep(watching.pause(spent() - began, EVERY))


def text_of(view: View) -> str:
    """A whole screen."""
    look = view.look
    lines = [head_of(look.identity, look.question), line_of(look)]
    if look.training:
        lines += ["", f"{count(look.packs, 'pack')}, {look.finished:,} finished"]
        lines += [pack_line(pack) for pack in look.training[:SHOWN]]
        if len(look.training) > SHOWN:
            lines.append(f"  and {len(look.training) - SHOWN} more")
    if view.arms.without:
        lines += ["", f"no leaderboard: {view.arms.without}"]
    if view.arms.heading:
        lines += ["", view.arms.heading]
    for panel, table in view.arms.panels:
        lines += ["", *([panel] if panel else []), rendered(table)]
    if look.reasons:
        lines += ["", "failed:", *(f"  {reason}" for reason in look.reasons[:SHOWN])]
    return "\n".join(lines)


def head_of(identity: str, question: str) -> str:
    """Which sweep it is, and what it asks."""
    return f"{identity}: {question}" if question else identity


def line_of(look: Look) -> str:
    """`[#####---------------]  25 % 360 of 1,080 trials, 3 diverged, 21.5 M trial-steps/s, about 2 min left`."""
    said = [f"{look.trials - look.left:,} of {look.trials:,} trials"]
    said += [f"{number:,} {what}" for number, what in ((look.diverged, "diverged"), (look.failed, "failed")) if number]
    said += [look.round] if look.round else []
    if look.rate:
        said.append(speed(look.rate))
    if look.seconds_left is not None and look.left:
        said.append(f"about {duration(look.seconds_left)} left")
    elif look.left and look.updated is not None and not look.rate:
        said.append(f"nothing was committed for {duration(max(0.0, time.time() - look.updated))}")
    elif look.left and look.updated is None:
        said.append("nothing is committed yet")
    return f"{bar(look.share)} {', '.join(said)}"


def pack_line(pack: Training) -> str:
    """One pack under way."""
    state = f"failed: {pack.failed}" if pack.failed else speed(pack.rate) if pack.rate else "silent"
    return f"  {pack.id[:8]}  {pack.members:6,} trials  {bar(pack.share)}  {state}"


def served(watched: Watched, port: int) -> None:
    """The live page, until Ctrl-C."""
    from dashboards.report import live
    from sweep.tracking import pages

    with pages.held(port) as listening:
        live.serve(watched, listening, lambda here: visit(f"{here}/", stops="Ctrl-C stops it; the sweep goes on"))
