"""Name -> class for every optimizer and method; `config` holds the half of the registries that needs no torch."""

from __future__ import annotations

from workloads.methods.adam import Adam
from workloads.methods.adamo import AdamO
from workloads.methods.adamw import AdamW
from workloads.methods.base import Method
from workloads.methods.continual_backprop import ContinualBackprop
from workloads.methods.coupled_isometry import CoupledIsometry
from workloads.methods.input_normaliser import InputNormaliser
from workloads.methods.l2 import L2
from workloads.methods.l2_init import L2Init
from workloads.methods.muon import Muon
from workloads.methods.redo import ReDo
from workloads.methods.reset import Reset
from workloads.methods.sgd import SGD
from workloads.methods.shrink_and_perturb import ShrinkAndPerturb

IMPLEMENTATIONS: dict[str, type[Method]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "adamo": AdamO,
    "muon": Muon,
    "l2": L2,
    "l2_init": L2Init,
    "shrink_and_perturb": ShrinkAndPerturb,
    "input_normaliser": InputNormaliser,
    "coupled_isometry": CoupledIsometry,
    "reset": Reset,
    "continual_backprop": ContinualBackprop,
    "redo": ReDo,
}
