"""At the beginning of a task the head, or the whole network, starts anew.

Continual ImageNet sets the head to zero at every task; class-incremental CIFAR-100 has an arm that draws its head anew,
and the baseline that all others are compared with, the network retrained from scratch (Dohare et al. 2024). A network
retrained on all data beside one that goes on is also the comparison of warm starting (Ash and Adams 2020).

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
        head = network.head.removesuffix("weight")
        names = network.parameter_shapes()
        self.names = [name for name in names if config.what == "all" or name.startswith(head)]

    def at_task(self, params: Params, state: State, hyper: Hyper, draw: Draw) -> tuple[Params, State]:
        """Fresh (or zero) values for what is reset, before the first step of a task."""
        fresh = {
            name: torch.zeros_like(params[name]) if self.config.to == "zero" else self.network.redrawn(name, draw)
            for name in self.names
        }
        return {**params, **fresh}, state

    def restarted(self, optimizer: State) -> State:
        """The optimizer's state with zeros for every parameter that is reset."""
        if not self.config.optimizer:
            return optimizer
        names = set(self.names)

        def zeroed(path: tuple[object, ...], value: Tensor) -> Tensor:
            return torch.zeros_like(value) if getattr(path[-1], "key", None) in names else value

        kept: State = pytree.tree_map_with_path(zeroed, optimizer)
        return kept


METHODS = {"reset": Reset}
