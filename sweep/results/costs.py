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
    return {trial: (end.finished - end.began) / together[end.pack, end.attempt] for trial, end in ends.items()}
