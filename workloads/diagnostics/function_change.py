"""How far the function that a network computes has moved since it was last looked at.

    change = sqrt(mean over examples n and outputs c of (f_c(x_n) - f'_c(x_n))^2)

f' is the network as it was at the last measurement, which is as many tasks ago as the sweep's
`diagnostics: {every: ...}` says, or at the beginning: 0 there. Both see the probe of today, the examples of the coming
task, each through what its methods knew of inputs. Of classifiers the outputs are those before the softmax.
"""

from __future__ import annotations

from torch import Tensor

from workloads.diagnostics.base import Diagnostic
from workloads.diagnostics.look import Look
from workloads.diagnostics.weight_change import root_mean_square_change


class FunctionChange(Diagnostic):
    """On the probe."""

    def measure(self, look: Look) -> Tensor:
        """(P,)."""
        return root_mean_square_change(look.outputs, look.outputs_before)


DIAGNOSTICS = {"function_change": FunctionChange}
