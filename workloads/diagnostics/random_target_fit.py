"""How much of a random change of its outputs a network has not learned after a few steps: a probe of trainability.

    loss after 50 steps / loss before them

of a copy that learns, by Adam of step size 1e-3, what the network says on the probe now plus normal numbers; see
`fitting` for what exactly, and why. Near 1 it learns next to nothing, as a network of dead units does, above it such
steps are too large for it, and near 0 it learns whatever is asked. Batch norm's statistics stay what they are. The
optimizer is the same for all arms, whatever they are trained by: it is the network that is measured.

Fitting random targets as a measure of plasticity: Lyle et al. (2023), arXiv 2303.01486. These targets, and these
steps, are ours.
"""

from __future__ import annotations

from torch import Tensor

from workloads.diagnostics.base import Diagnostic
from workloads.diagnostics.look import Look


class RandomTargetFit(Diagnostic):
    """On the probe."""

    def measure(self, look: Look) -> Tensor:
        """(P,) >= 0; NaN where any number is not finite."""
        first, last = look.losses_of_fit.unbind(-1)
        return last / first


DIAGNOSTICS = {"random_target_fit": RandomTargetFit}
