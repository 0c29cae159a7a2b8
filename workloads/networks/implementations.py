"""Name -> class for every network; `config` holds the half of the registry that needs no torch."""

from __future__ import annotations

from typing import Any

from workloads.networks.mlp import MLP

IMPLEMENTATIONS: dict[str, Any] = {"mlp": MLP}
