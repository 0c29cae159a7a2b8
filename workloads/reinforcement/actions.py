"""What can be done in a world."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Discrete:
    """One of n actions, numbered from 0: int64 (M, E)."""

    n: int


@dataclass(frozen=True, slots=True)
class Continuous:
    """n real numbers, neither squashed nor clipped by who acts: float64 (M, E, n)."""

    n: int


Action = Discrete | Continuous
