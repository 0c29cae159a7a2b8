"""Continual backprop: units of low utility are replaced by fresh ones, a few at a time, for ever.

Source: Dohare, Sutton, Mahmood (2021), arXiv 2108.06325; Dohare et al. (2024), Nature 632:768, Algorithm 1; for every
step after the optimizer's, with the activations h of the forward pass before it and the weights after it:

    a ← a + 1                                    age, per unit
    f ← η f + (1 − η) mean_B(h),  f̂ = f / (1 − ηᵃ)   running mean activation
    u ← η u + (1 − η) y,          û = u / (1 − ηᵃ)   running utility; y by `utility`, below
    eligible: a > maturity_threshold;   n = replacement_rate x number of eligible units
    the ⌊n⌋ (or, by chance or accumulation, a fraction of a) eligible units of least û are replaced:
        incoming weights drawn anew, incoming bias 0, outgoing weights 0, a = u = f = 0

Paper and released code differ in two places, both named options: fractions of a unit accumulate (`accumulate`:
Algorithm 1) or become a unit with that probability (`stochastic`: released code), and the mean contribution f̂ w_out
of a replaced unit moves into the next bias (`bias_transfer`: intended by the 2021 paper; a no-op in the released
code, which zeroes f first). The released code leaves the optimizer's state of a replaced unit alone unless its own
Adam is used; here it is zeroed, element by element, unless `reset_optimizer` is off.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from workloads.methods.adam import bias_correction
from workloads.methods.base import Hyper, Method, Params, Seen, State
from workloads.networks.mlp import MLP, Site
from workloads.random import Draw


def instantaneous_utility(
    kind: str, magnitude: Tensor, deviation: Tensor, incoming: Tensor, outgoing: Tensor
) -> Tensor:
    """y (units,), from mean|h|, mean|h − f̂|, mean |w_in| and mean |w_out| per unit."""
    if kind == "weight":
        return outgoing
    if kind == "contribution":
        return outgoing * magnitude
    if kind == "adaptation":
        return 1 / incoming
    if kind == "zero_contribution":
        return outgoing * deviation
    if kind == "adaptable_contribution":
        return outgoing * deviation / incoming
    if kind == "feature_by_input":
        return deviation / incoming
    return torch.zeros_like(magnitude)  # random: the ranking is drawn when a unit is due


def replaced_rows(matrix: Tensor, unit: Tensor, row: Tensor) -> Tensor:
    """`matrix` (n, ...) with row `unit` (0-d) replaced by `row` (...)."""
    chosen = torch.arange(matrix.shape[0], device=matrix.device) == unit
    return torch.where(chosen.view(-1, *[1] * (matrix.ndim - 1)), row, matrix)


class ContinualBackprop(Method):
    """State: `utility`, `mean`, `age` (units,) per hidden layer; per layer `counter` (a fraction) and `due`."""

    def __init__(self, config: Any, network: MLP) -> None:
        super().__init__(config, network)
        # A linear model has no unit to replace.
        self.acts = frozenset({"after_step"} if network.sites else ())

    def init(self, params: Params, *, per_element: bool) -> State:
        """All zero. The counter is float64: in float32, adding 5e-6 to nearly 1 rounds by a percent."""
        sites = self.network.sites
        blank = {site.name: params[site.weight].new_zeros(site.units) for site in sites}
        device = params[self.network.head].device
        return {
            "utility": blank,
            "mean": {name: value.clone() for name, value in blank.items()},
            "age": {name: value.clone() for name, value in blank.items()},
            "counter": torch.zeros(len(sites), dtype=torch.float64, device=device),
            "due": torch.zeros(len(sites), dtype=torch.int32, device=device),
        }

    def after_step(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """Ages, means and utilities advance; `due` says how many units each layer must replace."""
        decay = self.config.utility_decay
        utility, mean, age, eligible = {}, {}, {}, []
        for site in self.network.sites:
            hidden = seen.activations[site.name]
            age[site.name] = state["age"][site.name] + 1
            mean[site.name] = decay * state["mean"][site.name] + (1 - decay) * hidden.mean(0)
            centre = mean[site.name] / bias_correction(decay, age[site.name])
            y = instantaneous_utility(
                self.config.utility,
                hidden.abs().mean(0),
                (hidden - centre).abs().mean(0),
                params[site.weight].abs().mean(1),
                params[site.outgoing_weight].abs().mean(0),
            )
            utility[site.name] = decay * state["utility"][site.name] + (1 - decay) * y
            eligible.append((age[site.name] > hyper["maturity_threshold"]).sum())
        expected = hyper["replacement_rate"].double() * torch.stack(eligible)
        if self.config.replacement == "accumulate":
            counter = state["counter"] + expected
            due = torch.floor(counter)
            counter = counter - due
        else:
            chance = draw.uniform("replace", len(eligible)).double()
            counter = state["counter"]
            due = torch.where(expected < 1, (chance < expected).double(), torch.floor(expected))
        return params, {
            "utility": utility,
            "mean": mean,
            "age": age,
            "counter": counter,
            "due": due.to(torch.int32),
        }

    def repair(
        self, params: Params, state: State, optimizer: State, hyper: Hyper, place: int, draw: Draw
    ) -> tuple[Params, State, State]:
        """The eligible unit of least utility in hidden layer `place` is replaced by a fresh one."""
        site = self.network.sites[place]
        unit = self.least_useful(state, hyper, site, draw)
        params = dict(params)
        outgoing = params[site.outgoing_weight]
        if self.config.bias_transfer and site.outgoing_bias is not None:
            age = state["age"][site.name]
            centre = state["mean"][site.name] / bias_correction(self.config.utility_decay, age)
            chosen = torch.arange(site.units, device=outgoing.device) == unit
            moved = torch.where(chosen, outgoing * centre, 0).sum(1)
            params[site.outgoing_bias] = params[site.outgoing_bias] + moved
        bound = self.network.reinit_bound(site)
        fresh = bound * (2 * draw.uniform(f"reinit/{site.name}", site.fan_in, offset=unit) - 1)
        params[site.weight] = replaced_rows(params[site.weight], unit, fresh)
        if site.bias is not None:
            params[site.bias] = replaced_rows(params[site.bias], unit, outgoing.new_zeros(()))
        params[site.outgoing_weight] = replaced_rows(outgoing.T, unit, outgoing.new_zeros(())).T
        state = {
            **state,
            **{
                key: {
                    **state[key],
                    site.name: replaced_rows(state[key][site.name], unit, outgoing.new_zeros(())),
                }
                for key in ("utility", "mean", "age")
            },
            "due": state["due"] - (torch.arange(len(self.network.sites), device=unit.device) == place).int(),
        }
        if self.config.reset_optimizer:
            optimizer = {slot: self.forget(values, params, site, unit) for slot, values in optimizer.items()}
        return params, state, optimizer

    def least_useful(self, state: State, hyper: Hyper, site: Site, draw: Draw) -> Tensor:
        """The eligible unit of least û, 0-d; a draw decides where `utility` is random."""
        age = state["age"][site.name]
        # A unit just replaced has age 0: 0 / 0 is kept out of the ranking by its ineligibility.
        rank = state["utility"][site.name] / bias_correction(self.config.utility_decay, age.clamp(min=1))
        if self.config.utility == "random":
            rank = draw.uniform(f"random_utility/{site.name}", site.units)
        return torch.where(age > hyper["maturity_threshold"], rank, torch.inf).argmin()

    def forget(self, values: Params, params: Params, site: Site, unit: Tensor) -> Params:
        """An optimizer's slot with the elements of one unit's incoming row, bias and outgoing column zeroed."""
        values = dict(values)
        for name in (site.weight, site.bias, site.outgoing_weight):
            if name is None or name not in values or values[name].shape != params[name].shape:
                continue
            zero = values[name].new_zeros(())
            if name == site.outgoing_weight:
                values[name] = replaced_rows(values[name].T, unit, zero).T
            else:
                values[name] = replaced_rows(values[name], unit, zero)
        return values
