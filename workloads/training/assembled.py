"""From a trial's config to what trains: the stream, the network, the optimizer and the methods it names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from workloads import kinds, streams
from workloads.kinds import Workload
from workloads.losses.implementations import Loss
from workloads.methods.base import Params
from workloads.methods.config import METHODS, OPTIMIZERS, MethodSpec
from workloads.networks.base import Network
from workloads.networks.config import NETWORKS, NetworkSpec
from workloads.networks.implementations import IMPLEMENTATIONS as NETWORK_IMPLEMENTATIONS
from workloads.registry import fields_of, lookup
from workloads.reinforcement.actions import Continuous
from workloads.settings import Settings
from workloads.streams.base import Stream

# tf32: float32, whose products a GPU may compute from rounded factors; on a CPU the same as float32.
DTYPES = {"float32": torch.float32, "float64": torch.float64, "tf32": torch.float32}

MakeStream = Callable[[int], Stream]
MakeParams = Callable[[int], Params]


def dtype_of(config: Mapping[str, Any]) -> torch.dtype:
    """The floating-point type a trial's config asks for."""
    return lookup(DTYPES, config["dtype"], "dtype")


def built(table: Mapping[str, MethodSpec | NetworkSpec], fields: Mapping[str, Any], kind: str) -> tuple[str, Settings]:
    """(name, config object) from a config's {"name": ..., fields}."""
    name, settings = fields_of(fields)
    return name, lookup(table, name, kind).config(**settings)


def ways_of_learning(config: Mapping[str, Any]) -> tuple[tuple[str, Settings], dict[str, Settings]]:
    """The optimizer's (name, config) and the methods' configs of one trial."""
    optimizer = built(OPTIMIZERS, config["optimizer"], "optimizer")
    settings = config["methods"]
    for name in settings:
        lookup(METHODS, name, "method")
    # In the registry's order, which is the order they act in: a trial's config is sorted by name for its hash.
    return optimizer, {name: spec.config(**settings[name]) for name, spec in METHODS.items() if name in settings}


def stream_of(config: Mapping[str, Any], seed: int) -> Stream:
    """The stream of a trial's config, for any seed."""
    return streams.made(config["workload"], seed)


def workload_of(config: Mapping[str, Any], seed: int) -> Workload:
    """The workload of a trial's config, of whatever kind, for any seed."""
    return kinds.made(config["workload"], seed)


def network_of(config: Mapping[str, Any], workload: Workload, outputs: int | None = None) -> Network[Settings]:
    """The network of a trial's config, sized for its workload: with its outputs, of two the policy's, unless given."""
    name, settings = built(NETWORKS, config["network"], "network")
    built_for, implementation = NETWORKS[name].built_for(workload), NETWORK_IMPLEMENTATIONS[name]
    if outputs is not None:
        return implementation(settings, built_for, outputs)
    network = implementation(settings, built_for, workload.outputs)
    if isinstance(getattr(workload, "action", None), Continuous):
        from workloads.reinforcement.deviation import WithDeviation

        return WithDeviation(network)
    return network


def loss_of(workload: Workload) -> str | Loss:
    """What the network of a workload descends: a loss by its name, or one that is the workload's own; see `Learner`."""
    own = getattr(workload, "own_loss", None)
    loss: str | Loss = own() if own else workload.loss
    return loss
