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

import torch
from torch import Tensor

from workloads.methods.adam import adam_direction

RESTARTED = "restarted"  # in a parameter's state: the step at which each weight was set back, 0 where it never was


def restarts_honoured(parameter: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    """After an Adam step: weights that were set back have moved by their own count of steps. In place."""
    if RESTARTED not in state or parameter.grad is None:
        return
    betas = {"beta1": float(group["betas"][0]), "beta2": float(group["betas"][1])}
    taken = float(state["step"])
    age = steps_that_matter(max(betas.values()), parameter.dtype)
    young = (state[RESTARTED] > max(0.0, taken - age)).flatten().nonzero().squeeze(1)
    mean, square = state["exp_avg"].take(young), state.get("max_exp_avg_sq", state["exp_avg_sq"]).take(young)
    # Counts of steps are coarse in half precision, which torch casts them to where it loads a state.
    own = (taken - state[RESTARTED].take(young).to(counting(parameter))).clamp(min=1)
    excess = adam_direction(mean, square, torch.full_like(own, taken), eps=group["eps"], **betas)
    excess = excess - adam_direction(mean, square, own, eps=group["eps"], **betas)
    parameter.put_(young, (group["lr"] * excess).to(parameter.dtype), accumulate=True)


def counting(parameter: Tensor) -> torch.dtype:
    """The type that a parameter's steps are counted in."""
    return torch.promote_types(parameter.dtype, torch.float32)


def steps_that_matter(beta: float, dtype: torch.dtype) -> float:
    """After how many steps 1 − βᵗ is 1 in a type."""
    return math.log(torch.finfo(dtype).eps) / math.log(beta) if beta > 0 else 1.0
