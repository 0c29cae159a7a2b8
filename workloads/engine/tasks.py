"""What the methods of a pack's members do as a task begins: once a task, so by vmap, whatever the path."""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.engine.layout import Tree, mapped
from workloads.learner import Learner
from workloads.methods.base import Params
from workloads.random import Draw


def task_begun(learner: Learner, tree: Tree, hyper: Tree, seeds: Tensor, step: int) -> Tree:
    """An engine's state after what happens before step `step`, the first of a task; `hyper` and `seeds` (P,) each."""
    at, dtype = torch.tensor(step, device=seeds.device), tree["params"][learner.network.head].dtype

    def one(params: Params, state: Tree, hyper: Tree, seed: Tensor) -> tuple[Params, Tree]:
        return learner.at_task(params, state, hyper, Draw(seed, at, dtype))

    # In one order of memory: products and sums of a member's numbers are then the same whoever is beside it.
    params, state = mapped(torch.Tensor.contiguous, {"params": tree["params"], "state": tree["state"]}).values()
    params, state = torch.func.vmap(one)(params, state, hyper, seeds)
    return {**tree, "params": params, "state": state}
