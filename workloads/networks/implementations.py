"""Name -> class for every network; `config` holds the half of the registry that needs no torch."""

from __future__ import annotations

from typing import Any

from workloads.networks.convnet import ConvNet
from workloads.networks.mlp import MLP
from workloads.networks.resnet import ResNet18

IMPLEMENTATIONS: dict[str, Any] = {"mlp": MLP, "convnet": ConvNet, "resnet18": ResNet18}
