"""Unit age: the steps since each hidden unit was made, where a method that replaces units keeps count.

Where replacement is spread over a layer, deciles stay apart by about the layer's turnover; where the same few units are
made again and again, all but the lowest deciles are the age of the trial.
"""

from __future__ import annotations

from torch import Tensor

from workloads.diagnostics.base import Diagnostic
from workloads.diagnostics.look import Look


class UnitAge(Diagnostic):
    """In steps; nothing where no method of the arm keeps ages."""

    def measure(self, look: Look) -> list[Tensor]:
        """(P, units) per hidden layer."""
        return look.ages


DIAGNOSTICS = {"unit_age": UnitAge}
