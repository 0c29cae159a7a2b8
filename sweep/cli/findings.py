"""What a sweep found, for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweep.cli.output import say, show
from sweep.errors import InputError

if TYPE_CHECKING:
    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord
    from sweep.results.leaderboard import Leaderboard


def show_results(record: SweepRecord, ledger: Ledger) -> None:
    """The leaderboard, or why there is none; what won is kept for `sweep list`."""
    from sweep.results import kept, leaderboard

    try:
        board = leaderboard.leaderboard(record, ledger)
    except InputError as error:
        say(f"no leaderboard: {error}")
        return
    kept.keep(record, ledger, board)
    show_board(board)


def show_board(board: Leaderboard) -> None:
    """Every panel: its table, what was lost, and the sentence."""
    from sweep.results import answers, leaderboard

    say(f"\n{leaderboard.heading(board)}")
    if told := board.selection.told():
        say(told)
    for panel, standings in board.panels():
        say(f"\n{panel}" if panel else "")
        show(leaderboard.table(standings, board.statistic))
        for standing in standings:
            if standing.diverged:
                say(f"{standing.name}: {answers.lost(standing)}")
        say(answers.sentence(standings))
    say()
