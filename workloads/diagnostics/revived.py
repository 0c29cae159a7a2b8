"""Units that were silenced at the start and speak again: of every layer's first units, those that a network says it
killed (see `workloads.networks.killed`), the share that is not exactly zero on the whole probe.

A unit counts whoever brought it back: a pull on its weights, noise, or a method that put a fresh one in its place.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.diagnostics.base import Diagnostic
from workloads.diagnostics.look import Look


def revived_of_activity(activity: Tensor, killed: int) -> Tensor:
    """sum |h| (..., D) -> (...,): of the first `killed` units the share that speaks; NaN where not all are finite."""
    share = (activity[..., :killed] > 0).to(activity.dtype).mean(-1)
    return torch.where(activity.isfinite().all(-1), share, torch.nan)


class RevivedFraction(Diagnostic):
    """Of every hidden layer's killed units; nothing where none were killed."""

    def measure(self, look: Look) -> list[Tensor]:
        """(P,) per hidden layer."""
        layers = zip(look.network.sites, look.activity, strict=False)
        killed = [(activity, look.network.killed(site)) for site, activity in layers]
        return [revived_of_activity(activity, count) for activity, count in killed if count]


DIAGNOSTICS = {"revived_fraction": RevivedFraction}
