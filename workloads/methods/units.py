"""Fresh units in the place of others, any number at once: the shared part of every method that replaces units.

Which units of a hidden layer are meant is a mask (units,) of booleans. A fresh unit has new incoming weights, nothing
that leaves it, and, where a norm scales it, gain 1, shift 0 and running statistics 0 and 1: to begin with it changes no
output. A unit is a row of a matrix or a channel of a kernel, and owns columns of the layer after it: one, one per place
of a flattened picture, or one per part of a unit that shows several activations (see `Site`).
A learned scale of the layer is no unit's own, and stays.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.methods.base import Params
from workloads.networks.base import Network, Site
from workloads.networks.initialisation import Distribution, redrawn_tensor
from workloads.random import Draw
from workloads.settings import Settings


def rows_replaced(values: Tensor, units: Tensor, new: Tensor) -> Tensor:
    """`values` (units, ...) with the rows of the mask taken from `new`, which broadcasts to them."""
    return torch.where(units.view(-1, *[1] * (values.ndim - 1)), new, values)


def columns_zeroed(outgoing: Tensor, site: Site, units: Tensor) -> Tensor:
    """`outgoing` with everything that leaves the units of the mask set to 0, same shape."""
    columns = outgoing.reshape(outgoing.shape[0] * site.parts, site.units, -1)
    return torch.where(units[:, None], outgoing.new_zeros(()), columns).reshape(outgoing.shape)


def mean_of_parts(values: Tensor, site: Site) -> Tensor:
    """(activations, ...) -> (units, ...): a unit's is the mean over its parts."""
    return values if site.parts == 1 else values.view(site.parts, site.units, *values.shape[1:]).mean(0)


def for_each_part(values: Tensor, site: Site) -> Tensor:
    """(units,) -> (activations,): every part of a unit has the unit's."""
    return values if site.parts == 1 else values.expand(site.parts, site.units).reshape(-1)


def fresh_weights(network: Network[Settings], site: Site, draw: Draw, what: str) -> Tensor:
    """Incoming weights (units, ...) for every unit of a site, distributed as one unit's at initialisation.

    Rows of an orthogonal matrix are drawn as `Network.reinit_bound` says.
    """
    distribution = network.distribution(site.weight)
    if distribution.kind != "normal":
        distribution = Distribution("uniform", network.reinit_bound(site))
    return redrawn_tensor(draw, f"{what}/{site.weight}", network.parameter_shapes()[site.weight], distribution)


def fresh_biases(network: Network[Settings], site: Site, draw: Draw, what: str) -> Tensor:
    """Biases (units,) for every unit of a site that has them, distributed as at initialisation."""
    assert site.bias is not None
    return redrawn_tensor(draw, f"{what}/{site.bias}", (site.units,), network.distribution(site.bias))


def with_fresh_incoming(params: Params, site: Site, units: Tensor, weights: Tensor, biases: Tensor) -> Params:
    """Parameters and buffers in which the units have these incoming weights and biases, and a norm's fresh values.

    `weights` broadcasts to (units, ...), `biases` to (units,).
    """
    params = {**params, site.weight: rows_replaced(params[site.weight], units, weights)}
    if site.bias is not None:
        params[site.bias] = rows_replaced(params[site.bias], units, biases)
    for name, value in (site.norm.fresh if site.norm else {}).items():
        params[name] = rows_replaced(params[name], units, params[name].new_zeros(()) + value)
    return params


def without_outgoing(params: Params, site: Site, units: Tensor) -> Params:
    """Parameters in which nothing leaves the units."""
    return {**params, site.outgoing_weight: columns_zeroed(params[site.outgoing_weight], site, units)}


def forgotten(values: Params, params: Params, site: Site, units: Tensor) -> Params:
    """An optimizer's slot with zeros for all that `with_fresh_incoming` and `without_outgoing` renew.

    Whatever is not kept element by element (a step count per parameter) stays.
    """
    values = dict(values)
    norms = site.norm.parameters if site.norm else ()
    for name in (site.weight, site.bias, *norms, site.outgoing_weight):
        if name is None or name not in values or values[name].shape != params[name].shape:
            continue
        if name == site.outgoing_weight:
            values[name] = columns_zeroed(values[name], site, units)
        else:
            values[name] = rows_replaced(values[name], units, values[name].new_zeros(()))
    return values
