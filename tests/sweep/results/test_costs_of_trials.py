"""What trials cost."""

from __future__ import annotations

from sweep.ledger.commits import Done
from sweep.results import costs


def test_a_packs_time_is_shared_by_its_trials() -> None:
    began = "20260101T000000Z-aa"

    def end(pack: str, seconds: float) -> Done:
        start = Done("done", pack, began, 0.0, 5).began
        return Done("done", pack, began, start + seconds, 5)

    assert costs.seconds({"a": end("one", 30), "b": end("one", 30), "c": end("two", 8)}) == {"a": 15, "b": 15, "c": 8}
