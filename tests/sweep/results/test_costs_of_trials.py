"""What trials cost."""

from __future__ import annotations

import pytest

from sweep.ledger import commits
from sweep.ledger.commits import Done
from sweep.results import costs


def test_when_an_attempt_began_is_read_off_its_name_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(commits, "began", lambda attempt, otherwise: asked.append(attempt) or 0.0)
    ends = {str(trial): Done("done", "pack", f"20260101T000000Z-{trial % 2}", 9.0, 5) for trial in range(1000)}
    assert set(costs.seconds(ends).values()) == {9 / 500} and len(asked) == 2


def test_a_packs_time_is_shared_by_its_trials() -> None:
    began = "20260101T000000Z-aa"

    def end(pack: str, seconds: float) -> Done:
        start = Done("done", pack, began, 0.0, 5).began
        return Done("done", pack, began, start + seconds, 5)

    assert costs.seconds({"a": end("one", 30), "b": end("one", 30), "c": end("two", 8)}) == {"a": 15, "b": 15, "c": 8}
