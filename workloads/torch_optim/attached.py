"""A torch.nn.Module as the methods see a network: its hidden layers by their units, and its tensors by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from workloads.errors import InputError
from workloads.methods.base import Params
from workloads.networks.activations import GAINS
from workloads.networks.base import Activations, Network, Norm, Site
from workloads.networks.config import Initialisation
from workloads.networks.initialisation import Distribution, layer_distribution
from workloads.registry import unknown

LAYERS = (nn.Linear, nn.Conv2d)
RUNNING = (_BatchNorm, _InstanceNorm)  # may keep statistics
NORMS = (*RUNNING, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
INSTEAD = "say which layers are to be renewed: layers=[('fc1', 'fc2'), ...]"  # where they cannot be found
Scheme = Literal[Initialisation, "kaiming_normal"]
SCHEMES: tuple[str, ...] = get_args(Scheme)
Names = tuple[str, ...]  # a layer, the norms that follow it, and the layer that it feeds


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnAs:
    """How the module's layers were initialised, for its fresh units."""

    initialisation: Scheme = "default"
    activation: str = "relu"  # whose gain kaiming and xavier go by


class Attached(Network[DrawnAs]):
    """The named layers of a module, which computes itself; the tensors are the module's, wherever it is."""

    def __init__(self, model: nn.Module, layers: Sequence[Names], drawn: DrawnAs) -> None:
        """`layers`: each by its module's name, those of norms that follow it, and that of the layer which it feeds.

        Raises InputError for a name that is none, and for layers that do not fit.
        """
        super().__init__(drawn, 0, 0)
        self.model = model
        if not layers:
            raise InputError("layers is empty; without layers= they are found in the module's forward pass")
        self.layers = [tuple(names) for names in layers]
        self.sites = tuple(site_of(model, names) for names in self.layers)
        feeding = [names[0] for names in self.layers]
        twice = next((name for name in feeding if feeding.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"layers names {twice} twice; a layer is renewed towards one that it feeds")
        self.head = self.sites[-1].outgoing_weight
        norms = [site.norm for site in self.sites if site.norm]
        self.buffers = tuple(name for norm in norms for name in (norm.mean, norm.variance) if name is not None)
        own = [(s.weight, s.bias, *(s.norm.parameters if s.norm else ()), s.outgoing_weight) for s in self.sites]
        # A bias after a layer takes over what a replaced unit gave, under some settings.
        own += [(site.outgoing_bias,) for site in self.sites]
        self.parameters = tuple(dict.fromkeys(name for names in own for name in names if name is not None))
        refuse_tied(model, self.parameters)

    def tensors(self) -> Params:
        """Parameters and buffers of the layers as they are now, by name."""
        found = {}
        for name in (*self.parameters, *self.buffers):
            owner, _, leaf = name.rpartition(".")
            found[name] = getattr(self.model.get_submodule(owner), leaf)
        return found

    def widened(self) -> Params:
        """As `tensors`, all of the widest type among them, and float32 at the least.

        Ages, utilities and draws are of this type: bfloat16 counts to 256, and what is added to an average is lost.
        """
        held = self.tensors()
        widest = reduce(torch.promote_types, (value.dtype for value in held.values()), torch.float32)
        return {name: value.to(widest) for name, value in held.items()}

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """See Network."""
        return {name: tuple(self.model.get_parameter(name).shape) for name in self.parameters}

    def distribution(self, name: str) -> Distribution:
        """See Network; of a weight, by the scheme that the module's layers were drawn by."""
        shape, gain = self.model.get_parameter(name).shape, GAINS[self.config.activation]
        places = math.prod(shape[2:])
        fan_in = shape[1] * places
        if self.config.initialisation == "kaiming_normal":
            return Distribution("normal", gain / math.sqrt(fan_in))
        return layer_distribution(self.config.initialisation, "weight", fan_in, shape[0] * places, gain)

    def apply(self, params: object, x: Tensor) -> tuple[Tensor, Activations]:
        """Not offered: the module computes, and its layers are watched."""
        raise NotImplementedError

    def shown(self, place: int, x: Tensor) -> Tensor:
        """What the layer after site `place` was given, as activations (B, activations, ...)."""
        site = self.sites[place]
        following = layer_of(self.model, self.layers[place][-1])
        if isinstance(following, nn.Conv2d):
            return x if x.ndim == 4 else x[None]
        x = x.reshape(-1, x.shape[-1])
        return x if x.shape[1] == site.activations else x.view(len(x), site.activations, -1)

    def entering(self, place: int, x: Tensor) -> Tensor:
        """What the layer of site `place` was given, (B, columns) or (B, channels, places) of a convolution."""
        if isinstance(layer_of(self.model, self.layers[place][0]), nn.Conv2d):
            return (x if x.ndim == 4 else x[None]).flatten(2)
        return x.reshape(-1, x.shape[-1])


def module_of(model: nn.Module, name: str) -> nn.Module:
    """The module of that name. Raises InputError with the nearest name where there is none."""
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if name not in modules or not name:
        raise InputError(unknown(name, "module", (each for each in modules if each)))
    return modules[name]


def layer_of(model: nn.Module, name: str) -> nn.Linear | nn.Conv2d:
    """The Linear or Conv2d of that name, with a weight of its own. Raises InputError for anything else."""
    module = module_of(model, name)
    if not isinstance(module, LAYERS):
        raise InputError(f"{name} is a {type(module).__name__}; units are renewed between Linear and Conv2d layers")
    if "weight" not in module._parameters:
        raise InputError(
            f"{name} computes its weight (a parametrization); units are renewed where a weight is a parameter"
        )
    return module


def refuse_tied(model: nn.Module, names: Sequence[str]) -> None:
    """Raises InputError for a parameter of two modules, where a unit of one cannot be renewed without the other's."""
    meant = {model.get_parameter(name) for name in names}
    owners: dict[Tensor, str] = {}
    for owner, module in model.named_modules():
        for leaf, parameter in module.named_parameters(recurse=False):
            if parameter in meant and parameter in owners:
                raise InputError(f"{owners[parameter]} is {owner}.{leaf} too (tied weights); neither is renewed alone")
            owners[parameter] = f"{owner}.{leaf}"


def site_of(model: nn.Module, names: Names) -> Site:
    """A hidden layer by its units. Raises InputError where names or sizes do not fit."""
    if len(names) < 2:
        raise InputError(f"layers has {names!r}; allowed: a layer, norms that follow it if any, and the layer it feeds")
    layer, following = layer_of(model, names[0]), layer_of(model, names[-1])
    units, inputs = layer.weight.shape[0], following.weight.shape[1]
    flattened = isinstance(layer, nn.Conv2d) and isinstance(following, nn.Linear)
    if isinstance(following, nn.Conv2d) and following.groups > 1:
        raise InputError(f"{names[-1]} is a grouped convolution; {names[0]} cannot be renewed before one")
    if inputs % units or (isinstance(layer, nn.Linear) and isinstance(following, nn.Conv2d)):
        raise InputError(f"{names[0]} has {units} units, and {names[-1]} takes {inputs} inputs: not each one's own")
    norms = [name for name in names[1:-1] if isinstance(module_of(model, name), NORMS)]
    for name in names[1:-1]:
        if name not in norms and next(module_of(model, name).parameters(), None) is not None:
            kind = type(module_of(model, name)).__name__
            raise InputError(f"{name}, between {names[0]} and {names[-1]}, is a {kind}; norms alone may stand there")
    if len(norms) > 1:
        raise InputError(f"between {names[0]} and {names[-1]} stand {' and '.join(norms)}; one norm is allowed")
    return Site(
        name=names[0],
        units=units,
        weight=f"{names[0]}.weight",
        bias=f"{names[0]}.bias" if layer.bias is not None else None,
        outgoing_weight=f"{names[-1]}.weight",
        outgoing_bias=f"{names[-1]}.bias" if following.bias is not None else None,
        fan_in=math.prod(layer.weight.shape[1:]),
        fan_out=following.weight.numel() // units,
        norm=norm_of(model, norms[0], units) if norms else None,
        parts=1 if flattened else inputs // units,
    )


def norm_of(model: nn.Module, name: str, units: int) -> Norm:
    """A norm's tensors by name. Raises InputError where they are not one per unit."""
    module = module_of(model, name)
    names = {
        "scale": "weight",
        "shift": "bias",
        **({"mean": "running_mean", "variance": "running_var"} if isinstance(module, RUNNING) else {}),
    }
    held = {role: leaf for role, leaf in names.items() if getattr(module, leaf, None) is not None}
    for leaf in held.values():
        shape = tuple(getattr(module, leaf).shape)
        if shape != (units,):
            raise InputError(
                f"{name}.{leaf} has shape {shape}; of the layer before it every one of {units} units has one"
            )
    kind: Literal["batch", "layer"] = "batch" if isinstance(module, _BatchNorm) else "layer"
    return Norm(kind, **{role: f"{name}.{leaf}" for role, leaf in held.items()})
