"""Single weights of Adam that begin anew: each counts its own steps from there.

Adam's averages start at 0 and are divided by 1 − βᵗ for that, and t is one number per parameter in torch. A weight of
which the averages alone were set back to 0, at step r, would move too fast: under the usual betas by up to 6.5 step
sizes in a step. So the steps at which weights were set back are kept beside the averages, in the optimizer's own state,
and each step is put right after torch took it, for those weights alone:

    θ ← θ + η (direction(m, v, t) − direction(m, v, t − r))

which costs about as much as Adam's step, for parameters of which a weight was ever set back.
"""

from __future__ import annotations

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
    mean, square = state["exp_avg"], state.get("max_exp_avg_sq", state["exp_avg_sq"])
    steps = state["step"].to(parameter)
    taken = adam_direction(mean, square, steps, eps=group["eps"], **betas)
    due = adam_direction(mean, square, steps - state[RESTARTED], eps=group["eps"], **betas)
    parameter.add_(group["lr"] * torch.where(state[RESTARTED] > 0, taken - due, 0))
