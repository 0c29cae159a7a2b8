"""What trials cost, from how they ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweep.ledger.commits import Done


def seconds(ends: Mapping[str, Done]) -> dict[str, float]:
    """Trial -> seconds of one core: its pack's time, shared evenly by the trials that one attempt completed."""
    together = Counter((end.pack, end.attempt) for end in ends.values())
    spent = {}  # of an attempt, by when it ended: trials are many, attempts are few
    for end in ends.values():
        if (end.attempt, end.finished) not in spent:
            spent[end.attempt, end.finished] = end.finished - end.began
    return {trial: spent[end.attempt, end.finished] / together[end.pack, end.attempt] for trial, end in ends.items()}
