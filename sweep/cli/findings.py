"""What a sweep found, for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweep.cli.output import say, show
from sweep.errors import InputError

if TYPE_CHECKING:
    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord


def show_results(record: SweepRecord, ledger: Ledger) -> None:
    """The leaderboard, or why there is none."""
    from sweep.results import leaderboard

    try:
        board = leaderboard.leaderboard(record, ledger)
    except InputError as error:
        say(f"no leaderboard: {error}")
        return
    say(f"\n{leaderboard.heading(board)}")
    if board.stages:
        say(board.stages)
    for panel, standings in board.panels():
        say(f"\n{panel}" if panel else "")
        show(leaderboard.table(standings))
        for standing in standings:
            if standing.diverged:
                say(f"{standing.name}: {leaderboard.lost(standing)}")
        say(leaderboard.sentence(standings))
    say()
