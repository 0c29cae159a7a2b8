"""Name -> class for every optimizer and method: those that ship, each in the file of its name, and a user's.

A file says `METHODS = {"name": Class}` or `OPTIMIZERS = {...}`, as a user's own does. Everything else about one that
ships stands in the registry (`config`), which needs no torch.
"""

from __future__ import annotations

from importlib import import_module

from workloads.methods.base import Method
from workloads.methods.config import METHODS, OPTIMIZERS
from workloads.settings import Settings

IMPLEMENTATIONS: dict[str, type[Method[Settings]]] = {
    name: getattr(import_module(f"{__package__}.{name}"), table)[name]
    for table, registry in (("OPTIMIZERS", OPTIMIZERS), ("METHODS", METHODS))
    for name in registry
}
