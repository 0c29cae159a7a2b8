"""Single weights of Adam that begin anew: each counts its own steps from there.

Adam's averages start at 0 and are divided by 1 − βᵗ for that, and t is one number per parameter in torch. A weight of
which the averages alone were set back to 0, at step r, would move too fast: under the usual betas by up to 6.5 step
sizes in a step. So the steps at which weights were set back are kept beside the averages, in the optimizer's own state,
and each step is put right after torch took it, for those weights alone:

    θ ← θ + η (direction(m, v, t) − direction(m, v, t − r))

which takes one look at the parameter, and some arithmetic for the weights that are so young that it makes a difference.
"""

from __future__ import annotations

import math
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.optim import Optimizer

from workloads.methods.adam import adam_direction

# In a parameter's state: {"step": the step at which each weight was set back, 0 where it never was}. Torch casts what a
# state holds to the parameter's type when it is loaded, except under the key "step".
RESTARTED = "restarted"


class Honoured:
    """The hooks of one optimizer of torch's that put its steps right, however many renew its weights.

    They stay while there are users, and after that while there are young weights.
    """

    of: WeakKeyDictionary[Optimizer, Honoured] = WeakKeyDictionary()

    def __init__(self, optimizer: Optimizer) -> None:
        self.users = 0
        self.before: dict[Tensor, float] = {}  # parameter -> its count of steps before the step
        self.handles = (optimizer.register_step_pre_hook(self.note), optimizer.register_step_post_hook(self.honour))

    @classmethod
    def used(cls, optimizer: Optimizer) -> Honoured:
        """The optimizer's, with one user more."""
        held = cls.of.get(optimizer) or cls(optimizer)
        cls.of[optimizer] = held
        held.users += 1
        return held

    def note(self, optimizer: Optimizer, *_: Any) -> None:
        """Before a step."""
        self.before = {p: float(state["step"]) for p, state in optimizer.state.items() if RESTARTED in state}

    @torch.no_grad()
    def honour(self, optimizer: Optimizer, *_: Any) -> None:
        """After a step; a fused one that met an overflow was none, and its count stands still."""
        groups = {parameter: group for group in optimizer.param_groups for parameter in group["params"]}
        young = False
        for parameter, taken in self.before.items():
            state = optimizer.state[parameter]
            if parameter in groups and float(state["step"]) != taken:
                young |= restarts_honoured(parameter, state, groups[parameter])
        if not young and not self.users:
            self.leave(optimizer)

    def released(self, optimizer: Optimizer) -> None:
        """One user less; the hooks of an optimizer without set back weights go at once, others at a later step."""
        self.users -= 1
        if not self.users and not any(RESTARTED in state for state in optimizer.state.values()):
            self.leave(optimizer)

    def leave(self, optimizer: Optimizer) -> None:
        """The optimizer as it was."""
        for handle in self.handles:
            handle.remove()
        del self.of[optimizer]


def restarts_honoured(parameter: Tensor, state: dict[str, Any], group: dict[str, Any]) -> bool:
    """After an Adam step: weights that were set back have moved by their own count of steps. In place.

    Returns whether there are such, young enough for it to matter.
    """
    if RESTARTED not in state or parameter.grad is None:
        return False
    betas = {"beta1": float(group["betas"][0]), "beta2": float(group["betas"][1])}
    taken = float(state["step"])
    restarted = restarts_of(parameter, state)
    age = steps_that_matter(max(betas.values()), parameter.dtype)
    young = (restarted > max(0.0, taken - age)).flatten().nonzero().squeeze(1)
    mean, square = state["exp_avg"].take(young), state.get("max_exp_avg_sq", state["exp_avg_sq"]).take(young)
    own = (taken - restarted.take(young)).clamp(min=1)
    excess = adam_direction(mean, square, torch.full_like(own, taken), eps=group["eps"], **betas)
    excess = excess - adam_direction(mean, square, own, eps=group["eps"], **betas)
    parameter.put_(young, (group["lr"] * excess).to(parameter.dtype), accumulate=True)
    return len(young) > 0


def restarts_of(parameter: Tensor, state: dict[str, Any]) -> Tensor:
    """The step at which each weight of a parameter was set back, 0 where it never was; its shape."""
    if RESTARTED not in state:
        return torch.zeros_like(parameter, dtype=counting(parameter))
    restarted: Tensor = state[RESTARTED]["step"]
    return restarted.to(parameter.device)


def counting(parameter: Tensor) -> torch.dtype:
    """The type that a parameter's steps are counted in."""
    return torch.promote_types(parameter.dtype, torch.float32)


def steps_that_matter(beta: float, dtype: torch.dtype) -> float:
    """After how many steps 1 − βᵗ is 1 in a type."""
    return math.log(torch.finfo(dtype).eps) / math.log(beta) if beta > 0 else 1.0
