"""A network of the user's own: shapes, names and counts agree with what it says of itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from workloads.checks.watch import described
from workloads.errors import InputError
from workloads.extensions import place_of, told
from workloads.networks.base import Norm, offers_layers
from workloads.networks.config import NETWORKS


def check_network(file: str, name: str, network: Any, stream: Any, x: Tensor) -> None:
    """Look at a network on one batch x (B, ...), float64. Raises InputError that names what does not fit."""
    try:
        problem = _names(network) or _count(name, network, stream) or _initial(network) or _output(network, stream, x)
    except (Exception, SystemExit) as error:
        raise InputError(told(error) if place_of(error) else f"{file}: {name}: {told(error)}") from error
    if problem:
        raise InputError(f"{file}: {name}: {problem}")


def _names(network: Any) -> str | None:
    """Every weight that is named elsewhere has a shape, and the sites' fit."""
    shapes = network.parameter_shapes()
    for kind, names in (("weights", network.weights), ("head", (network.head,))):
        if isinstance(names, str) or (unknown := [n for n in names if n not in shapes]):
            said = repr(names) if isinstance(names, str) else ", ".join(unknown)
            return f"{kind} names {said}, and parameter_shapes() has {', '.join(shapes)}"
    for site in network.sites:
        named = (site.weight, site.bias, site.outgoing_weight, site.outgoing_bias, site.scale, site.outgoing_scale)
        if unknown := [n for n in named if n is not None and n not in shapes]:
            return f"site {site.name} names {', '.join(unknown)}, and parameter_shapes() has {', '.join(shapes)}"
        if shapes[site.weight][0] != site.units:
            return f"site {site.name} has {site.units} units, and its weight {site.weight} is {shapes[site.weight]}"
        if problem := _columns(site, shapes) or _norm(site, {*shapes, *network.buffers}):
            return problem
    return None


def _columns(site: Any, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Every activation of the layer has its columns of the next one."""
    shape = shapes[site.outgoing_weight]
    fits = shape[1] == site.activations or (len(shape) == 2 and shape[1] % site.activations == 0)
    if fits:
        return None
    said = f"{site.units} units" + (f" of {site.parts} parts" if site.parts != 1 else "")
    return f"site {site.name} has {said}, and its outgoing_weight {site.outgoing_weight} is {shape}"


def _norm(site: Any, names: Collection[str]) -> str | None:
    """What the norm of a site names exists."""
    if site.norm is None:
        return None
    if not isinstance(site.norm, Norm):
        return f"site {site.name}: norm is {site.norm!r}, expected a Norm of workloads.networks.base, or None"
    unknown = [name for name in site.norm.fresh if name not in names]
    if not unknown:
        return None
    said = ", ".join(unknown)
    return f"site {site.name}: norm names {said}, and parameter_shapes() and buffers have {', '.join(sorted(names))}"


def _count(name: str, network: Any, stream: Any) -> str | None:
    """The Config's number of weights, by which paths and memory are planned, is the network's."""
    said = network.config.parameters(NETWORKS[name].built_for(stream), stream.outputs) if _has_config(network) else None
    counted = network.parameter_count()
    if said is None or said == counted:
        return None
    return f"Config.parameters says {said:,} weights, and parameter_shapes() adds up to {counted:,}"


def _has_config(network: Any) -> bool:
    return hasattr(getattr(network, "config", None), "parameters")


def _initial(network: Any) -> str | None:
    """Initial weights have their shapes and depend on the seed alone."""
    one, again = network.init(0), network.init(0)
    for parameter, shape in network.parameter_shapes().items():
        value = one.get(parameter)
        if not isinstance(value, Tensor) or tuple(value.shape) != tuple(shape):
            return f"init gives {parameter} as {described(value)}, and parameter_shapes() says {tuple(shape)}"
        if not torch.isfinite(value).all():
            return f"init gives {parameter} with values that are not finite"
        if not torch.equal(value, again[parameter]):
            return f"init(0) gives another {parameter} when it is asked again: draw by distribution(), or from the seed"
    return None


def _output(network: Any, stream: Any, x: Tensor) -> str | None:
    """apply gives (output, activations), the output (B, outputs), the activations every site's."""
    params = {n: v.double() for n, v in network.init(0).items()}
    if network.buffers:
        params |= network.initial_buffers(params[network.head])
    result = network.apply(params, x)
    if not isinstance(result, tuple) or len(result) != 2:
        return f"apply must return (output, activations), and returned {described(result)}"
    output, activations = result
    wanted = (len(x), stream.outputs)
    if not isinstance(output, Tensor) or tuple(output.shape) != wanted:
        return f"apply gives an output {described(output)}, expected (B, outputs) = {wanted}"
    if not isinstance(activations, list) or not all(isinstance(a, tuple) and len(a) == 2 for a in activations):
        return f"apply gives activations {type(activations).__name__}, expected a list of (layer, tensor)"
    shown = dict(activations)
    for layer, value in shown.items():
        if not isinstance(value, Tensor) or value.ndim < 2 or len(value) != len(x):
            return f"apply gives the activations of {layer} as {described(value)}, expected (B, units, ...)"
    if text := _layers(network, params, x, activations):
        return text
    for site in network.sites:
        if site.name not in shown or shown[site.name].shape[1] != site.activations:
            has = ", ".join(f"{n} {tuple(v.shape)}" for n, v in shown.items()) or "none"
            parts = f" of {site.parts} parts" if site.parts != 1 else ""
            return f"site {site.name} has {site.units} units{parts}, and apply gives activations of {has}"
    return None


def _layers(network: Any, params: dict[str, Tensor], x: Tensor, activations: list[tuple[str, Tensor]]) -> str | None:
    """Layers one by one, where they are offered, are those of the whole."""
    hidden = x
    for place, (layer, expected) in enumerate(activations if offers_layers(type(network)) else []):
        hidden = network.layer(params, place, hidden)
        if not isinstance(hidden, Tensor) or hidden.shape != expected.shape or not torch.allclose(hidden, expected):
            return f"layer({place}) gives {described(hidden)}, other than the activations of {layer} in apply"
    return None
