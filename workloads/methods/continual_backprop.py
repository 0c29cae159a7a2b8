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
Algorithm 1, and the released MNIST script) or become a unit with that probability (`stochastic`: the released code
unless told otherwise, so its regression and reinforcement learning), and the mean contribution f̂ w_out of a replaced
unit moves into the next bias (`bias_transfer`: intended by the 2021 paper; a no-op in the released code, which zeroes f
first). The released codes for convolutional networks take the rate as a share of all units (`share_of: all`); the one
for ResNets ranks by outgoing weight x a sum of all past magnitudes (`magnitudes: summed`). The released codes leave
the optimizer's state of a replaced unit alone unless their own Adam is used (`reset_optimizer: adam`), the one for
ResNets always; `paper` zeroes it, element by element.

Two utilities are not published: the talk's "global utility", in two forms that go by gradients of the same pass.
`taylor_loss` is the first order of by how much an example's loss changes without the unit, |h ∂ℓ/∂h| (Mozer and
Smolensky 1989; Molchanov et al. 2017, arXiv 1611.06440), `taylor_output` the same of the outputs f, |h| times the root
mean square of ∂f/∂h over them: y is the mean over the batch of either. What makes up one unit (places of a channel,
two activations) is summed before sizes are taken. `taylor_output` costs one more backward pass, whatever the number of
outputs: in a random normal direction, of which the mean is that norm (see `Learner.output_effects`).

What fresh incoming weights are is `feature_generator`'s: see generators.py. The averages of what enters a layer, which
`scaled` goes by, decay by 0.99 in a step whatever the utilities' do.

A unit of a convolution is a channel: means run over examples and places and over the kernel's elements. Where a
picture is flattened for a linear layer, a channel owns several columns, which all become 0 when it is replaced; its
utility is the mean over them of |w_out| |h − f̂| (or |w_out| |h|), each column with its own place of the picture, as in
the released code; f̂ is the channel's. A unit with two activations, as crelu's and fourier's, has the mean of both
columns' utilities, each with its own f̂, and both columns become 0. Where a norm scales a unit, the fresh one's scale is
1, its shift 0 and its running statistics, under batch norm, are 0 and 1. A learned scale of a layer is all its units',
and stays; what moves into the next bias is multiplied by the next layer's. A unit of which all inputs have just been
replaced has incoming weights of 0, and a y that divides by their magnitude is infinite, and u from then on: seen in
layers of width 2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from workloads.methods.adam import bias_correction
from workloads.methods.base import Hyper, Method, Params, Seen, State
from workloads.methods.config import GLOBAL, ContinualBackpropConfig
from workloads.methods.generators import orthogonal_to, scaled_to
from workloads.methods.units import (
    for_each_part,
    forgotten,
    mean_of_parts,
    with_fresh_incoming,
    without_outgoing,
)
from workloads.networks.base import Network, Site, as_examples, by_activation
from workloads.random import Draw
from workloads.settings import Settings

INPUTS_DECAY = 0.99  # of what `scaled` goes by, per step


def instantaneous_utility(
    kind: str, magnitude: Tensor, deviation: Tensor, incoming: Tensor, outgoing: Tensor
) -> Tensor:
    """y from mean|h|, mean|h − f̂|, mean |w_in| and mean |w_out|, which broadcast to the shape of y."""
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


def effect(effects: Tensor, site: Site) -> Tensor:
    """y (units,) from what single activations (B, activations, ...) do to a number: of all that one unit shows."""
    whole = effects if effects.ndim == 2 else effects.flatten(2).sum(2)
    of_units = whole if site.parts == 1 else whole.view(len(whole), site.parts, site.units).sum(1)
    return of_units.abs().mean(0)


def incoming_magnitude(weight: Tensor) -> Tensor:
    """mean |w_in| per unit, (units,), of a matrix or kernel (units, ...)."""
    return weight.abs().flatten(1).mean(1)


def owns_columns(weight: Tensor, site: Site) -> bool:
    """Whether each activation has several columns of the matrix after it, one per place of a flattened picture."""
    return weight.ndim == 2 and weight.shape[1] != site.activations


def outgoing_magnitude(weight: Tensor, site: Site) -> Tensor:
    """mean |w_out| per activation, (activations,), of the layer after `site`."""
    if weight.shape[1:] == (site.activations,):
        return weight.abs().mean(0)
    return by_activation(weight.abs(), site).mean((0, 2))


class ContinualBackprop(Method[ContinualBackpropConfig]):
    """State per hidden layer: `utility`, `age` (units,), `mean` (activations,); `counter` (a fraction) and `due`.

    Where `feature_generator` is `scaled` also `inputs` and `squared_inputs` (columns,), running means that begin at 0.
    """

    def __init__(self, config: ContinualBackpropConfig, network: Network[Settings]) -> None:
        super().__init__(config, network)
        # A linear model has no unit to replace.
        self.acts = frozenset({"after_step"} if network.sites else ())
        by_effect = {GLOBAL[config.utility]} if config.utility in GLOBAL else set()
        self.reads = frozenset(by_effect | ({"entering"} if config.feature_generator == "scaled" else set()))

    def init(self, params: Params, *, per_element: bool) -> State:
        """All zero, and nothing for a linear model. In float32, adding 5e-6 to a counter near 1 rounds by a percent."""
        sites = self.network.sites
        if not sites:
            return {}
        blank = {site.name: params[site.weight].new_zeros(site.units) for site in sites}
        device = params[self.network.head].device
        inputs = {site.name: params[site.weight].new_zeros(params[site.weight].shape[1]) for site in sites}
        scaled = {"inputs": inputs, "squared_inputs": {name: value.clone() for name, value in inputs.items()}}
        return {
            **(scaled if self.config.feature_generator == "scaled" else {}),
            "utility": blank,
            "mean": {site.name: blank[site.name].new_zeros(site.activations) for site in sites},
            "age": {name: value.clone() for name, value in blank.items()},
            "counter": torch.zeros(len(sites), dtype=torch.float64, device=device),
            "due": torch.zeros(len(sites), dtype=torch.int32, device=device),
        }

    def after_step(self, params: Params, state: State, hyper: Hyper, seen: Seen, draw: Draw) -> tuple[Params, State]:
        """Ages, means and utilities advance; `due` says how many units each layer must replace."""
        decay = self.config.utility_decay
        utility, mean, age, eligible = {}, {}, {}, []
        for site in self.network.sites:
            hidden = as_examples(seen.activations[site.name])
            age[site.name] = state["age"][site.name] + 1
            mean[site.name] = decay * state["mean"][site.name] + (1 - decay) * hidden.mean(0)
            eligible.append((age[site.name] > hyper["maturity_threshold"]).sum())
            if self.config.magnitudes == "summed":
                utility[site.name] = state["utility"][site.name] + (1 - decay) * mean_of_parts(
                    hidden.abs().mean(0), site
                )
                continue
            centre = mean[site.name] / for_each_part(bias_correction(decay, age[site.name]), site)
            if self.config.utility in GLOBAL:
                y = effect(getattr(seen.read, GLOBAL[self.config.utility])[site.name], site)
            else:
                y = self.utility_now(params, site, seen.activations[site.name], centre)
            utility[site.name] = decay * state["utility"][site.name] + (1 - decay) * y
        mature = torch.stack(eligible)
        share = mature
        if self.config.share_of == "all":
            # Filled rather than copied from the host, which a GPU would wait for.
            units = torch.cat([mature.new_full((1,), site.units) for site in self.network.sites])
            share = torch.where(mature > 0, units, 0)
        expected = hyper["replacement_rate"].double() * share
        if self.config.replacement == "accumulate":
            counter = state["counter"] + expected
            # A share of all units may be more than are old enough: the rest waits.
            due = torch.minimum(torch.floor(counter), mature.double())
            counter = counter - due
        else:
            chance = draw.uniform("replace", len(eligible)).double()
            counter = state["counter"]
            due = torch.where(expected < 1, (chance < expected).double(), torch.floor(expected))
            due = torch.minimum(due, mature.double())
        return params, {
            **(self.inputs_seen(state, seen) if self.config.feature_generator == "scaled" else {}),
            "utility": utility,
            "mean": mean,
            "age": age,
            "counter": counter,
            "due": due.to(torch.int32),
        }

    def inputs_seen(self, state: State, seen: Seen) -> State:
        """The running means of what enters each layer and of its square, over examples and places."""
        found: State = {"inputs": {}, "squared_inputs": {}}
        for site in self.network.sites:
            now = as_examples(seen.read.entering[site.name])
            for key, value in (("inputs", now), ("squared_inputs", now * now)):
                found[key][site.name] = INPUTS_DECAY * state[key][site.name] + (1 - INPUTS_DECAY) * value.mean(0)
        return found

    def ages(self, state: State) -> dict[str, Tensor]:
        """See Method."""
        ages: dict[str, Tensor] = state.get("age", {})
        return ages

    def utility_now(self, params: Params, site: Site, shown: Tensor, centre: Tensor) -> Tensor:
        """y (units,) of one step from `shown` (B, activations, ...) and f̂, `centre` (activations,)."""
        kind, weight = self.config.utility, params[site.outgoing_weight]
        incoming = for_each_part(incoming_magnitude(params[site.weight]), site)
        if owns_columns(weight, site):
            columns = shown.flatten(2)  # (B, activations, places)
            size, deviation = columns.abs().mean(0), (columns - centre[:, None]).abs().mean(0)
            outgoing = by_activation(weight.abs(), site).mean(0)  # (activations, places)
            y = instantaneous_utility(kind, size, deviation, incoming[:, None], outgoing).mean(1)
        else:
            hidden = as_examples(shown)
            size, deviation = hidden.abs().mean(0), (hidden - centre).abs().mean(0)
            y = instantaneous_utility(kind, size, deviation, incoming, outgoing_magnitude(weight, site))
        return mean_of_parts(y, site)

    def repair(
        self, params: Params, state: State, optimizer: State, hyper: Hyper, place: int, draw: Draw
    ) -> tuple[Params, State, State]:
        """The eligible unit of least utility in hidden layer `place` is replaced by a fresh one."""
        site = self.network.sites[place]
        unit = self.least_useful(params, state, hyper, site, draw)
        chosen = torch.arange(site.units, device=unit.device) == unit
        if self.config.bias_transfer and site.outgoing_bias is not None:
            params = self.with_moved_bias(params, state, site, chosen)
        weight = params[site.weight]
        default = weight.ndim > 2 and self.config.fresh_kernels == "default"
        bound = math.sqrt(1 / site.fan_in) if default else None
        fresh, bias = self.generated(
            self.network.fresh_incoming(site, draw, unit, bound=bound), params, state, site, chosen, draw
        )
        zero = weight.new_zeros(())
        params = with_fresh_incoming(params, site, chosen, fresh.view(weight.shape[1:]), bias)
        params = without_outgoing(params, site, chosen)
        reset = {"mean": for_each_part(chosen, site), "age": chosen, "utility": chosen}
        if self.config.magnitudes == "summed":
            del reset["utility"]
        state = {
            **state,
            **{key: {**state[key], site.name: torch.where(m, zero, state[key][site.name])} for key, m in reset.items()},
            "due": state["due"] - (torch.arange(len(self.network.sites), device=unit.device) == place).int(),
        }
        if self.config.reset_optimizer is True or (self.config.reset_optimizer == "adam" and "square" in optimizer):
            optimizer = {slot: forgotten(values, params, site, chosen) for slot, values in optimizer.items()}
        return params, state, optimizer

    def generated(
        self, row: Tensor, params: Params, state: State, site: Site, chosen: Tensor, draw: Draw
    ) -> tuple[Tensor, Tensor]:
        """A fresh unit's incoming weights (fan_in,) and bias, 0-d, from a draw of the former."""
        weight = params[site.weight]
        if self.config.feature_generator == "orthogonal":
            row = orthogonal_to(torch.where(chosen[:, None], 0, weight.flatten(1)), row)
        if self.config.feature_generator != "scaled":
            return row, weight.new_zeros(())
        correction = bias_correction(INPUTS_DECAY, (draw.step + 1).to(weight.dtype))
        mean, square = (state[key][site.name] / correction for key in ("inputs", "squared_inputs"))
        bias, factor = (None if name is None else params[name] for name in (site.bias, site.scale))
        return scaled_to(row, weight, bias, mean, square, factor)

    def with_moved_bias(self, params: Params, state: State, site: Site, chosen: Tensor) -> Params:
        """Parameters in which the next bias has taken over the chosen unit's mean contribution, f̂ w_out."""
        age = bias_correction(self.config.utility_decay, state["age"][site.name])
        centre = state["mean"][site.name] / for_each_part(age, site)
        share = by_activation(params[site.outgoing_weight], site).sum(2) * centre
        moved = torch.where(for_each_part(chosen, site), share, 0).sum(1)
        if site.outgoing_scale is not None:
            moved = params[site.outgoing_scale] * moved
        assert site.outgoing_bias is not None
        return {**params, site.outgoing_bias: params[site.outgoing_bias] + moved}

    def least_useful(self, params: Params, state: State, hyper: Hyper, site: Site, draw: Draw) -> Tensor:
        """The eligible unit of least û, 0-d; a draw decides where `utility` is random."""
        age = state["age"][site.name]
        if self.config.magnitudes == "summed":
            rank = mean_of_parts(outgoing_magnitude(params[site.outgoing_weight], site), site)
            if self.config.utility == "contribution":
                rank = rank * state["utility"][site.name]
        elif self.config.utility == "random":
            rank = draw.uniform(f"random_utility/{site.name}", site.units)
        else:
            # A unit just replaced has age 0: 0 / 0 is kept out of the ranking by its ineligibility.
            rank = state["utility"][site.name] / bias_correction(self.config.utility_decay, age.clamp(min=1))
        return torch.where(age > hyper["maturity_threshold"], rank, torch.inf).argmin()


METHODS = {"continual_backprop": ContinualBackprop}
