"""How far the weights have moved: since they were last looked at, and since they began.

    change_l = sqrt(mean over i, j of (W_l[i, j] - W'_l[i, j])^2)

of every weight matrix, the head too, biases apart; W' is what it was at the last measurement, which is as many tasks
ago as the sweep's `diagnostics: {every: ...}` says, or at the beginning. Both begin at 0. A path back and forth is
long and leads nowhere: the sum of changes is at least the distance.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from workloads.diagnostics.base import Diagnostic
from workloads.diagnostics.look import Look


def root_mean_square_change(now: Tensor, before: Tensor) -> Tensor:
    """Two of (..., rows, columns) -> (...,), float64; not finite where a number is not."""
    return (now.double() - before.double()).square().mean((-2, -1)).sqrt()


def changes(now: Sequence[Tensor], before: Sequence[Tensor]) -> list[Tensor]:
    """Of each of two equally long lists of (..., out, in): (...,)."""
    return [root_mean_square_change(*pair) for pair in zip(now, before, strict=True)]


class WeightChange(Diagnostic):
    """Since the last measurement."""

    def measure(self, look: Look) -> list[Tensor]:
        """(P,) per weight matrix."""
        return changes(look.weights, look.weights_before)


class DistanceFromInitialisation(Diagnostic):
    """Since the beginning."""

    def measure(self, look: Look) -> list[Tensor]:
        """(P,) per weight matrix."""
        return changes(look.weights, look.initial_weights)


DIAGNOSTICS = {"weight_change": WeightChange, "distance_from_initialisation": DistanceFromInitialisation}
