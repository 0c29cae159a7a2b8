"""Shrink and perturb: L2 in the gradient shrinks, normal noise on every parameter perturbs.

As in Dohare et al. (2024): the noise, of standard deviation `perturb_scale`, is added after every optimizer step, and
the shrinking is L2 with its own strength; there is no separate shrink factor. `when: task` perturbs only as a task
begins, which is closer to Ash and Adams (2020) and needs a stream that shows its task changes.
"""

from __future__ import annotations

from workloads.methods.base import Hyper, Method, Params, Seen, State
from workloads.methods.config import ShrinkAndPerturbConfig
from workloads.networks.base import Network
from workloads.random import Draw
from workloads.settings import Settings


class ShrinkAndPerturb(Method[ShrinkAndPerturbConfig]):
    """No state."""

    def __init__(self, config: ShrinkAndPerturbConfig, network: Network[Settings]) -> None:
        super().__init__(config, network)
        self.acts = frozenset({"gradient", "after_step" if config.when == "step" else "at_task"})

    def gradient(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """g + strength θ."""
        return {name: seen.grads[name] + hyper["strength"] * value for name, value in params.items()}, state

    def perturbed(self, params: Params, hyper: Hyper, draw: Draw) -> Params:
        """θ + perturb_scale N(0, 1), drawn anew for every element."""
        return {
            name: value + hyper["perturb_scale"] * draw.normal(f"perturb/{name}", value.numel()).view_as(value)
            for name, value in params.items()
        }

    def after_step(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """Noise after the optimizer step."""
        return self.perturbed(params, hyper, draw), state

    def at_task(self, params: Params, state: State, hyper: Hyper, draw: Draw) -> tuple[Params, State]:
        """Noise before the first step of a task."""
        return self.perturbed(params, hyper, draw), state


METHODS = {"shrink_and_perturb": ShrinkAndPerturb}
