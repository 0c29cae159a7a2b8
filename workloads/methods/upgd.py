"""UPGD (Elsayed and Mahmood 2024, arXiv 2404.00781): weights of little use learn and are perturbed, others kept.

    u ← β u + (1 − β) (−g θ),    û = u / (1 − βᵗ),    Ū = 1 / (1 + exp(−û / η))
    θ ← θ − α (λ θ + (g + σ ξ) (1 − Ū)),              ξ standard normal, for every element of every step

−g θ is to first order what the loss would gain were the weight 0: its utility. With weight decay λ > 0 this is UPGD-W.

η is the largest utility in the whole network, biases included. `maximum: corrected`, the paper's, takes it of û;
`uncorrected`, the released code's, of u, so that û / η is 1 / (1 − βᵗ) times as large: thousands at first, and a
weight is then held or free and nothing between, for the first 1 / (1 − β) steps or so. Where no utility is positive
both divide by 0 or turn every sign round; here Ū is 1/2 then. Where single units may be reset, t is kept per weight,
as Adam's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.methods.adam import bias_correction
from workloads.methods.base import Hyper, Method, Params, Seen, State
from workloads.methods.config import UPGDConfig
from workloads.random import Draw


def inverse_of_largest(utilities: Params) -> Tensor:
    """1 / η, 0-d, of the largest element of all; 0 where none is positive."""
    largest = torch.stack([utility.amax() for utility in utilities.values()]).amax()
    positive = largest > 0
    return torch.where(positive, 1 / torch.where(positive, largest, 1.0), 0.0)


class UPGD(Method[UPGDConfig]):
    """State: `utility`, u per parameter, and `steps`, t (a float: it only ever nears 2²⁴)."""

    def init(self, params: Params, *, per_element: bool) -> State:
        """Zero utilities; t per weight where single units may be reset, else one t per parameter."""
        utility = {name: torch.zeros_like(value) for name, value in params.items()}
        steps = {n: torch.zeros_like(v) if per_element else v.new_zeros(()) for n, v in params.items()}
        return {"utility": utility, "steps": steps}

    def optimizer(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """One step: the less useful a weight, the further along the gradient and the noise."""
        beta, grads = self.config.utility_decay, seen.grads
        utility = {n: beta * state["utility"][n] - (1 - beta) * grads[n] * value for n, value in params.items()}
        steps = {n: t + 1 for n, t in state["steps"].items()}
        corrected = {n: u / bias_correction(beta, steps[n]) for n, u in utility.items()}
        inverse = inverse_of_largest(corrected if self.config.maximum == "corrected" else utility)
        after = {}
        for name, value in params.items():
            free = torch.sigmoid(-(inverse * corrected[name]))  # 1 − Ū
            noise = draw.normal(f"upgd/{name}", value.numel()).view_as(value)
            move = (grads[name] + hyper["perturb_scale"] * noise) * free
            after[name] = value - hyper["step_size"] * (hyper["weight_decay"] * value + move)
        return after, {"utility": utility, "steps": steps}


OPTIMIZERS = {"upgd": UPGD}
