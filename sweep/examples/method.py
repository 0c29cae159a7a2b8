"""Bounded weights: every weight stays within a bound of zero.

In a sweep file:

    code: [bounded_weights.py]
    arms: {clipped: {optimizer: sgd, step_size: 0.01, bounded_weights: {bound: [0.5, 1, 2]}}}
"""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt

from workloads.methods.base import Method


@dataclass(frozen=True, kw_only=True)
class Config:
    bound: Annotated[float, Gt(0)] = 1.0  # the largest size of a weight


class BoundedWeights(Method):
    """Acts where it overrides a hook of Method: loss, gradient, after_step or at_task.

    A hook is torch on ONE network's tensors; the engine batches it, so no Python branch may depend on a tensor's
    value (torch.where), what lasts is tensors in the state, begun by `init`, and randomness comes from `draw`.
    """

    Config = Config
    varies = ("bound",)  # may differ between the members of one pack, and arrives in `hyper`; all else is self.config
    semantics = 1  # raise it when results change: it is part of every trial's name

    def after_step(self, params, state, hyper, seen, draw):
        bound = hyper["bound"]
        return {name: value.clamp(-bound, bound) for name, value in params.items()}, state


METHODS = {"bounded_weights": BoundedWeights}
