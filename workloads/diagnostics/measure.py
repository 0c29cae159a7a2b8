"""Diagnostics of all members of a pack at one look, by the names of the metrics that they become.

A per-layer diagnostic `d` gives `d`, the mean over hidden layers, and, where there are two or more, `d/1`,
`d/2`, ... from the input up. Without hidden layers it gives nothing. What is undefined (NaN) in one layer is
so in the mean.

One with deciles gives the same of the means over a matrix' or hidden layer's values, and of each the deciles:
`d/1/0` is the least of its values, `d/1/5` their median, `d/1/10` the largest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from workloads.diagnostics import DECILES
from workloads.diagnostics.base import diagnostic
from workloads.diagnostics.look import Look
from workloads.diagnostics.total import total


def measure(names: Iterable[str], look: Look) -> dict[str, Tensor]:
    """Metric name -> (P,) float64, for the diagnostics in `names`. Raises InputError for an unknown name."""
    measured: dict[str, Tensor] = {}
    for name in names:
        values = diagnostic(name).measure(look)
        if isinstance(values, Tensor):
            measured[name] = values
        else:
            many = bool(values) and values[0].ndim > 1
            measured |= by_decile(name, values) if many else by_layer(name, values)
    return measured


def by_layer(name: str, values: Sequence[Tensor]) -> dict[str, Tensor]:
    """The metrics of a per-layer diagnostic from its values, (P,) per hidden layer."""
    if not values:
        return {}
    mean = {name: total(values) / len(values)}
    return mean | {f"{name}/{k}": value for k, value in enumerate(values, start=1) if len(values) > 1}


def by_decile(name: str, spectra: Sequence[Tensor]) -> dict[str, Tensor]:
    """The metrics of a diagnostic with deciles from its values, (P, K) per weight matrix or hidden layer."""
    measured = by_layer(name, [values.mean(-1) for values in spectra])
    for matrix, values in enumerate(spectra, start=1):
        of_matrix = enumerate(deciles(values).unbind(-1))
        measured |= {f"{name}/{matrix}/{place}": decile for place, decile in of_matrix}
    return measured


def deciles(values: Tensor) -> Tensor:
    """(..., K) -> (..., 11): the quantiles 0, 0.1, ..., 1, linear between neighbours; NaN where any value is NaN."""
    ordered = values.sort(-1).values
    places = torch.arange(DECILES + 1, dtype=torch.float64, device=values.device) * (values.shape[-1] - 1) / DECILES
    below, above = ordered[..., places.floor().long()], ordered[..., places.ceil().long()]
    return below + (above - below) * (places - places.floor()).to(values.dtype)
