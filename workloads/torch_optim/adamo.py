"""AdamO as a torch.optim.Optimizer: torch's Adam, and a decoupled pull of every weight matrix towards an isometry.

    θ ← θ − η m̂ / (√v̂ + ε) − η_iso λ ∇R(W)

Source: Rosseau, Müller, Nowé (2026), arXiv 2606.09762, eqs. 16, 19, 20. The pull is that of sweeps, in
`workloads.methods.isometry`. The Adam step is torch's own and not that of `workloads.methods.adam`, which is written
out of place for tracing: so it is as fast as torch.optim.Adam, many tensors at once on a GPU, and at strength 0 it is
torch.optim.Adam to the bit. What sweeps have as `scale_penalty` is left out: scales of layers are the script's own, and
so is a term of its loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adam import adam
from torch.optim.optimizer import ParamsT

from workloads.methods.isometry import isometry_pull, projected
from workloads.torch_optim.restarts import restarts_honoured

CHOICES = {"penalty": ("full", "half"), "order": ("simultaneous", "sequential")}


class AdamO(Optimizer):
    """Adam, with a pull of every parameter of two and more axes towards WᵀW = I (or WWᵀ = I, if it is wide).

    A kernel (out, in, h, w) is the matrix out x (in h w). Leave a matrix alone, an embedding or the head, by a param
    group of its own with `isometry_strength=0`, and `projection=0` if the others are projected.

    lr                  η per step; a scheduler may change it
    isometry_strength   λ; what acts is isometry_lr x λ: sweep it from 1e-7 to 1e-1
    isometry_lr         η_iso per step; None follows lr, whatever a scheduler makes of it
    penalty             "full", ‖G − I‖² (eq. 16), or "half" of it (the authors' code)
    order               the pull at the weights before the step ("simultaneous", eq. 20) or after Adam's ("sequential")
    scale_by_gram       divide each matrix's pull by min(out, in)
    every               pull at every k-th step, the first among them, k times as strongly
    target              pull to WᵀW = target x I: 1 as in the paper, 2 to keep a signal's scale through relu
    projection          in the place of the pull: after Adam's step so many steps of Newton and Schulz to the nearest
                        such matrix, whatever λ is, 0 among it. 0 is the pull
    foreach             as in torch.optim.Adam
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        isometry_strength: float = 1e-3,
        *,
        isometry_lr: float | None = None,
        penalty: Literal["full", "half"] = "full",
        order: Literal["simultaneous", "sequential"] = "simultaneous",
        scale_by_gram: bool = False,
        every: int = 1,
        target: float = 1.0,
        projection: int = 0,
        foreach: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "isometry_strength": isometry_strength,
            "isometry_lr": isometry_lr,
            "penalty": penalty,
            "order": order,
            "scale_by_gram": scale_by_gram,
            "every": every,
            "target": target,
            "projection": projection,
            "foreach": foreach,
            "steps": 0,  # of a group, for `every`
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """See torch.optim.Optimizer. Raises ValueError where a value is not allowed, in a group as in the defaults."""
        checked({**self.defaults, **param_group})
        super().add_param_group(param_group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See torch.optim.Optimizer; of torch's Adam too, whose groups then keep the settings that Adam has not.

        Raises ValueError for one that AdamO does not do.
        """
        saved = state_dict["param_groups"]
        for name in ("weight_decay", "amsgrad", "maximize"):
            if any(group.get(name) for group in saved):
                raise ValueError(f"AdamO has no {name}, which the loaded state was made with")
        if len(saved) == len(self.param_groups):  # else torch says so
            saved = [{**own, **group} for own, group in zip(self.param_groups, saved, strict=True)]
        super().load_state_dict({**state_dict, "param_groups": saved})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; `closure` computes the loss and its gradient anew, and what it returns is returned.

        Raises RuntimeError for sparse gradients and complex parameters.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._moved(group)
        return loss

    def _moved(self, group: dict[str, Any]) -> None:
        params = [p for p in group["params"] if p.grad is not None]
        refuse_what_adam_cannot(params)
        acts = (group["isometry_strength"] or group["projection"]) and group["steps"] % group["every"] == 0
        group["steps"] += 1
        matrices = [p for p in params if p.ndim > 1] if acts else []
        early = group["order"] == "simultaneous" and not group["projection"]
        pulls = pulls_of(matrices, group) if early else []
        self._adam(params, group)
        if group["projection"]:
            for matrix in matrices:
                matrix.copy_(projected(matrix, group["projection"], group["target"]))
            return
        pulls = pulls if early else pulls_of(matrices, group)
        step_size = group["lr"] if group["isometry_lr"] is None else group["isometry_lr"]
        rate = group["every"] * step_size * group["isometry_strength"]
        for matrix, pull in zip(matrices, pulls, strict=True):
            matrix.sub_(rate * pull)

    def _adam(self, params: list[Tensor], group: dict[str, Any]) -> None:
        states = [self._state_of(p) for p in params]
        adam(
            params,
            [p.grad for p in params if p.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            foreach=group["foreach"],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=0.0,
            eps=group["eps"],
            maximize=False,
        )
        for parameter, state in zip(params, states, strict=True):
            restarts_honoured(parameter, state, group)

    def _state_of(self, parameter: Tensor) -> dict[str, Any]:
        """A parameter's state, under the names of torch.optim.Adam's."""
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return state


def pulls_of(matrices: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
    """∇R of each matrix as a group's settings have it."""
    settings = {name: group[name] for name in ("penalty", "scale_by_gram", "target")}
    return [isometry_pull(matrix, **settings) for matrix in matrices]


def refuse_what_adam_cannot(params: list[Tensor]) -> None:
    """Raises RuntimeError for a complex parameter, which has no isometry here, and for a sparse gradient."""
    if any(torch.is_complex(p) for p in params):
        raise RuntimeError("AdamO does not support complex parameters")
    if any(p.grad is not None and p.grad.is_sparse for p in params):
        raise RuntimeError("AdamO does not support sparse gradients")


def checked(group: dict[str, Any]) -> None:
    """Raises ValueError, worded as torch's optimizers do, for a group's setting that is not allowed."""
    if not 0.0 <= group["lr"]:
        raise ValueError(f"Invalid learning rate: {group['lr']}")
    for place, beta in enumerate(group["betas"]):
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"Invalid beta parameter at index {place}: {beta}")
    if not 0.0 <= group["eps"]:
        raise ValueError(f"Invalid epsilon value: {group['eps']}")
    if not 0.0 <= group["isometry_strength"]:
        raise ValueError(f"Invalid isometry_strength value: {group['isometry_strength']}")
    if group["isometry_lr"] is not None and not 0.0 <= group["isometry_lr"]:
        raise ValueError(f"Invalid isometry_lr value: {group['isometry_lr']}")
    if isinstance(group["every"], bool) or not (isinstance(group["every"], int) and group["every"] >= 1):
        raise ValueError(f"Invalid every value: {group['every']} (a whole number of steps from 1 on)")
    if not 0.0 < group["target"] < math.inf:
        raise ValueError(f"Invalid target value: {group['target']}")
    if not (isinstance(group["projection"], int) and group["projection"] >= 0):
        raise ValueError(f"Invalid projection value: {group['projection']} (a number of iterations, 0 for none)")
    for name, allowed in CHOICES.items():
        if group[name] not in allowed:
            raise ValueError(f"Invalid {name} value: {group[name]!r} ({' or '.join(allowed)})")
