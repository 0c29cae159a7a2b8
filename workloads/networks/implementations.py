"""Name -> class for every network: those that ship, by the table `NETWORKS` of their files, and a user's.

Everything else about one that ships stands in the registry (`config`), which needs no torch.
"""

from __future__ import annotations

from importlib import import_module

from workloads.networks.base import Network
from workloads.networks.config import NETWORKS
from workloads.settings import Settings

IMPLEMENTATIONS: dict[str, type[Network[Settings]]] = {
    name: import_module(f"{__package__}.{spec.file or name}").NETWORKS[name] for name, spec in NETWORKS.items()
}
