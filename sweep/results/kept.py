"""What won, kept beside a sweep's record when a run ends, so that a list of sweeps need not read their curves."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from sweep.ledger.storage import Storage
from sweep.ledger.sweeps import SWEEPS
from sweep.results import naming

if TYPE_CHECKING:
    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord
    from sweep.results.answers import Standing
    from sweep.results.leaderboard import Leaderboard

ANSWER = "answer.json"
OPEN = "no arm beats the first"


def keep(record: SweepRecord, ledger: Ledger, board: Leaderboard) -> None:
    """Write what won, and of how many ended trials, where that is news."""
    done = ledger.done()
    winner, ended = won(board), sum(trial.id in done for trial in record.trials)
    if read(ledger.storage, record.identity) == (winner, ended):
        return
    answer = {"won": winner, "ended": ended}
    ledger.storage.write_bytes(f"{SWEEPS}/{record.identity}/{ANSWER}", json.dumps(answer).encode())


def read(storage: Storage, sweep: str) -> tuple[str, int]:
    """What won, and how many trials had ended when that was said; nothing and 0 where it was not kept."""
    try:
        answer = json.loads(storage.read_bytes(f"{SWEEPS}/{sweep}/{ANSWER}"))
        return str(answer["won"]), int(answer["ended"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return "", 0


def won(board: Leaderboard) -> str:
    """What won in one short cell: an arm that is told from the first, or the first where it beats all others."""
    winners = Counter(_winner(standings) for _, standings in board.panels())
    winner, panels = winners.most_common(1)[0]
    return winner if panels == winners.total() else f"{winner} ({panels} of {winners.total()} panels)"


def _winner(standings: tuple[Standing, ...]) -> str:
    others = [standing for standing in standings if standing.verdict != "first"]
    [first] = [standing for standing in standings if standing.verdict == "first"]
    better = next((standing for standing in others if standing.verdict == "better"), None)
    if better is not None:
        return naming.words(better.arm)
    if others and all(standing.verdict == "worse" for standing in others):
        return naming.words(first.arm)
    kinds = {standing.verdict for standing in others}
    if kinds == {"nothing to compare"}:
        return "nothing to compare"
    few = bool(kinds) and kinds <= {"too few seeds", "nothing to compare"}
    return "too few seeds" if few else OPEN if others else "one arm"
