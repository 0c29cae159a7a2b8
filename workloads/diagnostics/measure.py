"""Diagnostics of all members of a pack at one look, by the names of the metrics that they become.

A per-layer diagnostic `d` gives `d`, the mean over hidden layers, and, where there are two or more, `d/1`,
`d/2`, ... from the input up. Without hidden layers it gives nothing. What is undefined (NaN) in one layer is
so in the mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor

from workloads.diagnostics.base import diagnostic
from workloads.diagnostics.look import Look
from workloads.diagnostics.total import total


def measure(names: Iterable[str], look: Look) -> dict[str, Tensor]:
    """Metric name -> (P,) float64, for the diagnostics in `names`. Raises InputError for an unknown name."""
    measured: dict[str, Tensor] = {}
    for name in names:
        values = diagnostic(name).measure(look)
        measured |= {name: values} if isinstance(values, Tensor) else by_layer(name, values)
    return measured


def by_layer(name: str, values: Sequence[Tensor]) -> dict[str, Tensor]:
    """The metrics of a per-layer diagnostic from its values, (P,) per hidden layer."""
    if not values:
        return {}
    mean = {name: total(values) / len(values)}
    return mean | {f"{name}/{k}": value for k, value in enumerate(values, start=1) if len(values) > 1}
