"""A policy over numbers: any network for the means, and beside it one parameter per number, the log standard deviation.

The deviation does not depend on what is seen (Dohare et al. 2024; Schulman et al. 2017 likewise). It is a parameter as
the others are: optimizers train it, and what acts on every parameter (weight decay, L2, shrink and perturb) acts on it.
What acts on units or on weight matrices sees those of the network of the means.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from workloads.networks.base import Activations, Network, Site
from workloads.networks.initialisation import Distribution
from workloads.random import Draw
from workloads.settings import Settings

LOG_STD = "log_std"


class WithDeviation(Network[Settings]):
    """`mean` with a parameter "log_std" (outputs,), at first 0: its output is (B, 2 outputs), means before log_std."""

    def __init__(self, mean: Network[Settings]) -> None:
        super().__init__(mean.config, mean.inputs, mean.outputs)
        self.mean = mean
        self.sites, self.buffers, self.weights, self.head = mean.sites, mean.buffers, mean.weights, mean.head

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """See Network."""
        return {**self.mean.parameter_shapes(), LOG_STD: (self.outputs,)}

    def distribution(self, name: str) -> Distribution:
        """See Network."""
        return Distribution("constant", 0.0) if name == LOG_STD else self.mean.distribution(name)

    def gain(self, name: str) -> float:
        """See Network."""
        return self.mean.gain(name)

    def init(self, seed: int, at: int = 0) -> dict[str, Tensor]:
        """See Network."""
        return {**self.mean.init(seed, at), LOG_STD: torch.zeros(self.outputs, dtype=torch.float64)}

    def with_deviation(self, params: Mapping[str, Tensor], mean: Tensor) -> Tensor:
        """(B, 2 outputs) from means (B, outputs)."""
        return torch.cat([mean, params[LOG_STD].expand(mean.shape)], -1)

    def apply(self, params: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, Activations]:
        """See Network."""
        mean, activations = self.mean.apply(params, x)
        return self.with_deviation(params, mean), activations

    def apply_training(
        self, params: Mapping[str, Tensor], x: Tensor, draw: Draw | None = None
    ) -> tuple[Tensor, Activations, dict[str, Tensor]]:
        """See Network."""
        mean, activations, buffers = self.mean.apply_training(params, x, draw)
        return self.with_deviation(params, mean), activations, buffers

    def killed(self, site: Site) -> int:
        """See Network."""
        return self.mean.killed(site)

    def layer(self, params: Mapping[str, Tensor], place: int, hidden: Tensor) -> Tensor:
        """See Network."""
        return self.mean.layer(params, place, hidden)

    def initial_buffers(self, like: Tensor) -> dict[str, Tensor]:
        """See Network."""
        return self.mean.initial_buffers(like)

    def reinit_bound(self, site: Site) -> float:
        """See Network."""
        return self.mean.reinit_bound(site)

    def fresh_incoming(self, site: Site, draw: Draw, unit: Tensor, *, bound: float | None = None) -> Tensor:
        """See Network."""
        return self.mean.fresh_incoming(site, draw, unit, bound=bound)
