"""Mixing two tasks: how many examples are old, and that each is decided by itself."""

from __future__ import annotations

import numpy as np
import pytest

from workloads.streams.gradual import check_gradual, still_old


def test_nothing_is_old_without_it_and_in_the_first_task() -> None:
    assert len(still_old(1, 5, 0, 100, batch=2, gradual=0)) == 0
    assert len(still_old(1, 0, 0, 100, batch=2, gradual=50)) == 0
    assert len(still_old(1, 5, 100, 100, batch=2, gradual=50)) == 0


def test_the_chance_falls_linearly() -> None:
    """Steps 0, 1, 2 of three: 3/4, 1/2, 1/4."""
    batch = 20_000
    old = still_old(1, 5, 0, 4 * batch, batch=batch, gradual=3)
    counts = np.bincount(old // batch, minlength=4) / batch
    assert counts == pytest.approx([0.75, 0.5, 0.25, 0], abs=0.015)  # four standard errors


def test_every_example_is_decided_by_itself() -> None:
    whole = still_old(1, 5, 0, 300, batch=3, gradual=80)
    assert 0 < len(whole) < 240
    for first, count in ((0, 1), (7, 100), (200, 100), (239, 1)):
        inside = whole[(whole >= first) & (whole < first + count)]
        assert still_old(1, 5, first, count, batch=3, gradual=80).tolist() == (inside - first).tolist()
    assert whole.tolist() != still_old(2, 5, 0, 300, batch=3, gradual=80).tolist()
    assert whole.tolist() != still_old(1, 6, 0, 300, batch=3, gradual=80).tolist()


def test_a_change_ends_before_the_next() -> None:
    check_gradual(10, 10)
    with pytest.raises(ValueError, match="gradual 11: at most the 10 steps"):
        check_gradual(11, 10)
