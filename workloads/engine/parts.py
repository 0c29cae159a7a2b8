"""What a learner is made of, as the registries declare it: what the choice of a path goes by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from workloads.learner import Learner
from workloads.losses import spec_of
from workloads.methods.base import Method
from workloads.methods.config import METHODS, OPTIMIZERS, MethodSpec
from workloads.methods.implementations import IMPLEMENTATIONS
from workloads.networks.base import Network
from workloads.networks.config import NETWORKS, NetworkSpec
from workloads.networks.implementations import IMPLEMENTATIONS as NETWORK_IMPLEMENTATIONS
from workloads.paths import NoSettings, Part, Paths
from workloads.settings import Settings


def parts_of(learner: Learner) -> list[Part]:
    """Network, loss, optimizer and methods, each with its declaration."""
    return [
        _part(learner.network, NETWORKS, NETWORK_IMPLEMENTATIONS, NETWORKS),
        Part(f"the loss {learner.loss.name}", spec_of(learner.loss.name).paths, NoSettings()),
        _part(learner.optimizer, OPTIMIZERS, IMPLEMENTATIONS, OPTIMIZERS),
        *(_part(method, METHODS, IMPLEMENTATIONS, [name]) for name, method in learner.methods.items()),
    ]


def _part(
    made: Network[Settings] | Method[Settings],
    specs: Mapping[str, MethodSpec | NetworkSpec],
    implementations: Mapping[str, type],
    names: Iterable[str],
) -> Part:
    """What is registered under one of the names.

    A declaration is of one class exactly: a subclass may mean anything, and declares nothing unless it is registered.
    """
    name = next((name for name in names if implementations.get(name) is type(made)), None)
    if name is None:
        return Part(type(made).__name__, Paths(), made.config)
    return Part(name, specs[name].paths, made.config)
