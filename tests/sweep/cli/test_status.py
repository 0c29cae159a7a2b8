"""`sweep status` in words: what is left of a sweep, and what of it was stopped before its end."""

from __future__ import annotations

from sweep.cli import status
from sweep.ledger.commits import Done

DONE, STOPPED = Done("done", "p", "a", 1.0, 4), Done("censored", "p", "a", 1.0, 2)


def test_censored_trials_are_left_and_said() -> None:
    own = status.standing(["t0", "t1", "t2"], {"t0": DONE}, {}, {"t1": STOPPED})
    assert own == {"trials": 3, "done": 1, "diverged": 0, "failed": 0, "censored": 1, "left": 2}
    said = status.as_text({"sweep": "s@laptop", "rounds": None, **own, "arms": {"sgd": own}, "packs": []}).splitlines()
    assert said[0] == "s@laptop: 3 trials, 1 done, 0 diverged, 2 left, 1 of them censored"
    assert said[2].split() == ["arm", "trials", "done", "diverged", "censored", "left"]
    assert said[3].split() == ["sgd", "3", "1", "0", "1", "2"]
    without = own | {"censored": 0}
    facts = {"sweep": "s", "rounds": None, **without, "arms": {"sgd": without}, "packs": []}
    assert "censored" not in status.as_text(facts)
