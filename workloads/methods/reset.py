"""At the beginning of a task the head, the whole network, or the optimizer alone starts anew.

Continual ImageNet sets the head to zero at every task; class-incremental CIFAR-100 has an arm that draws its head anew,
and the baseline that all others are compared with, the network retrained from scratch (Dohare et al. 2024). A network
retrained on all data beside one that goes on is also the comparison of warm starting (Ash and Adams 2020).

The optimizer alone: its whole state, counts of steps included, while all weights stay. Moments of one game's gradients
say nothing of the next one's; Asadi et al. (2023), arXiv 2306.17833, forget them whenever a target network changes.

As in the released codes batch norm's running statistics and, unless `optimizer` is set, the optimizer's state stay.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from workloads.methods.base import Hyper, Method, Params, State
from workloads.methods.config import ResetConfig
from workloads.networks.base import Network
from workloads.random import Draw
from workloads.settings import Settings


class Reset(Method[ResetConfig]):
    """No state of its own."""

    def __init__(self, config: ResetConfig, network: Network[Settings]) -> None:
        super().__init__(config, network)
        begins = {"head": network.head.removesuffix("weight"), "all": ""}.get(config.what)
        self.names = [name for name in network.parameter_shapes() if begins is not None and name.startswith(begins)]

    def at_task(self, params: Params, state: State, hyper: Hyper, draw: Draw) -> tuple[Params, State]:
        """Fresh (or zero) values for what is reset, before the first step of a task."""
        fresh = {
            name: torch.zeros_like(params[name]) if self.config.to == "zero" else self.network.redrawn(name, draw)
            for name in self.names
        }
        return {**params, **fresh}, state

    def restarted(self, optimizer: State) -> State:
        """The optimizer's state with zeros for every parameter that is reset, or for all, as at the beginning."""
        if self.config.what == "optimizer":
            anew: State = pytree.tree_map(torch.zeros_like, optimizer)
            return anew
        if not self.config.optimizer:
            return optimizer
        names = set(self.names)

        def zeroed(path: tuple[object, ...], value: Tensor) -> Tensor:
            return torch.zeros_like(value) if getattr(path[-1], "key", None) in names else value

        kept: State = pytree.tree_map_with_path(zeroed, optimizer)
        return kept


METHODS = {"reset": Reset}
