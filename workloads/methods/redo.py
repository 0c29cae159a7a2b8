"""ReDo: units that have gone dormant are recycled, all that have at once, every so many steps.

Source: Sokar, Agarwal, Castro, Evci (2023), "The dormant neuron phenomenon in deep reinforcement learning", ICML, arXiv
2302.12902, Algorithm 1, and its released code. In every `period`-th step but a trial's first, after the optimizer's:

    s = mean |h| per unit / (its mean over the layer + 1e-9)
    units with s ≤ threshold: incoming weights drawn anew, bias 0, outgoing weights 0, an optimizer's averages of them 0

What leaves a unit is zeroed after all layers' incoming weights were drawn: between two recycled units a weight is 0.

Where sources differ there are named options. The mean of |h| is over one batch in the released code; at batch 1 that is
one example, by which every second relu is dormant. `score: period`, the default, takes it over all steps since units
were last looked at: the same mean over data that a batch estimates, exact, and without a further setting, as a decaying
one would need. `score: batch` is the released code's. The bias is 0 in the released code (`bias: zero`, the default),
and in a later port drawn anew with the weights (`bias: initial`), which differs only where biases do not begin at 0.
Adam's moments are zeroed and its step counts kept in the released code (`reset_optimizer: moments`, the default); ports
zero those too (`all`), having seen that Adam's next steps otherwise make units dormant again: here element by element,
there for the whole matrix. The comparison of Dohare et al. (2024, Nature 632:768) in reinforcement learning (`preset:
reinforcement`) scores by the batch, every 100 steps, and leaves the optimizer alone (`none`).

A unit of a convolution is a channel, whose mean runs over places; that of a unit of crelu or fourier over its two
activations. fourier's never go dormant: |sin| + |cos| lies between 1 and √2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.methods.base import Hyper, Method, Params, Seen, State
from workloads.methods.config import ReDoConfig
from workloads.methods.units import (
    forgotten,
    fresh_biases,
    fresh_weights,
    mean_of_parts,
    with_fresh_incoming,
    without_outgoing,
)
from workloads.networks.base import Network, Site, as_examples
from workloads.random import Draw
from workloads.settings import Settings

TINY = 1e-9  # added to a layer's mean: a silent layer is dormant as a whole


def dormant(magnitude: Tensor, threshold: Tensor) -> Tensor:
    """The mask (units,) of units whose mean |h|, `magnitude` (units,), is at most that share of the layer's mean."""
    return magnitude / (magnitude.mean() + TINY) <= threshold


class ReDo(Method[ReDoConfig]):
    """State: `magnitude` (units,) per hidden layer, the sum since the last look of mean |h| over the batch."""

    def __init__(self, config: ReDoConfig, network: Network[Settings]) -> None:
        super().__init__(config, network)
        assert config.period is not None  # null is the preset's
        self.period = config.period
        # A linear model has no unit to recycle.
        self.acts = frozenset({"after_step"} if network.sites else ())

    def init(self, params: Params, *, per_element: bool) -> State:
        """Zeros, and nothing for a linear model."""
        sites = self.network.sites
        return {"magnitude": {s.name: params[s.weight].new_zeros(s.units) for s in sites}} if sites else {}

    def after_step(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """The magnitudes of this step join the others, or stand alone where a batch is the score."""
        if self.config.score == "batch" and not seen.acts:
            return params, state
        magnitude = {}
        for site in self.network.sites:
            now = mean_of_parts(as_examples(seen.activations[site.name]).abs().mean(0), site)
            magnitude[site.name] = now if self.config.score == "batch" else state["magnitude"][site.name] + now
        return params, {"magnitude": magnitude}

    def renew(
        self, params: Params, state: State, optimizer: State, hyper: Hyper, draw: Draw
    ) -> tuple[Params, State, State, Tensor]:
        """Dormant units are recycled, but for a trial's first step; the next period's sums begin at 0."""
        steps = self.config.period if self.config.score == "period" else 1
        chosen = {
            name: dormant(value / steps, hyper["threshold"]) & (draw.step > 0)
            for name, value in state["magnitude"].items()
        }
        # From the output down: so what leaves a unit is zeroed after the next layer's incoming weights were drawn.
        for site in reversed(self.network.sites):
            params = without_outgoing(self.with_fresh(params, site, chosen[site.name], draw), site, chosen[site.name])
            optimizer = {
                slot: forgotten(values, params, site, chosen[site.name]) if self.forgets(slot) else values
                for slot, values in optimizer.items()
            }
        blank = {name: torch.zeros_like(value) for name, value in state["magnitude"].items()}
        count = torch.stack([mask.sum() for mask in chosen.values()]).sum()
        return params, {"magnitude": blank}, optimizer, count

    def with_fresh(self, params: Params, site: Site, units: Tensor, draw: Draw) -> Params:
        """Parameters in which the units have new incoming weights and the bias that the config asks for."""
        weights = fresh_weights(self.network, site, draw, "redo")
        biases = weights.new_zeros(())
        if site.bias is not None and self.config.bias == "initial":
            biases = fresh_biases(self.network, site, draw, "redo")
        return with_fresh_incoming(params, site, units, weights, biases)

    def forgets(self, slot: str) -> bool:
        """Whether a slot of the optimizer's state begins anew with a unit: its averages, or its step counts too."""
        return self.config.reset_optimizer == "all" or (self.config.reset_optimizer == "moments" and slot != "steps")


METHODS = {"redo": ReDo}
