"""What the online kernel is told about a learner: the constants before its C++ text, and the numbers of each member.

Sizes, loss, activation, way of learning and every setting that is not in a method's `varies` are constants, so that
what a learner does not use is not compiled. What may differ between members is in the C++ structure Member.
"""

from __future__ import annotations

import ctypes
import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from workloads.engine.layout import Tree
from workloads.engine.online_layout import LEAST, LONGEST
from workloads.learner import Learner
from workloads.methods.adam import Adam, bias_correction
from workloads.methods.adamo import AdamO
from workloads.methods.adamw import AdamW
from workloads.methods.base import Method
from workloads.methods.config import ContinualBackpropConfig, Utility
from workloads.methods.continual_backprop import ContinualBackprop
from workloads.methods.isometry import targets
from workloads.methods.l2 import L2
from workloads.methods.shrink_and_perturb import ShrinkAndPerturb
from workloads.methods.upgd import UPGD
from workloads.networks.activations import ACTIVATIONS, LEAKY_SLOPE
from workloads.networks.mlp import MLP
from workloads.random import what_code
from workloads.settings import Settings

LONGEST_TABLE = 1 << 16  # entries of 1 - decay^t; beyond, it is computed
UTILITIES = get_args(Utility)
NUMBERS = {torch.float32: "float", torch.float64: "double"}


def of_kind(learner: Learner, kind: type[Method[Settings]]) -> tuple[str, Any] | None:
    """(name, config) of the learner's method of this class."""
    return next(((name, m.config) for name, m in learner.methods.items() if type(m) is kind), None)


def _read(*parts: str) -> str:
    return "".join((Path(__file__).parent / part).read_text() for part in parts)


@functools.lru_cache(maxsize=2)
def _text(dtype: torch.dtype) -> str:
    """The C++ source, but for the constants."""
    number = "f32v" if dtype == torch.float32 else "f64v"
    return "\n".join(
        [
            _read("philox.h", "online_rows.h", "online_descent.h", "online_products.h"),
            _read("online.h", "online_noise.h", "online_units.h", "online_adam.h"),
            f"namespace wide {{\n#define W {64 // dtype.itemsize}\n#define STRIDE W\n{_read('lanes.h')}",
            f"typedef {number} Number;\n#undef W\n#undef STRIDE\n}}",
            _read("online_upgd.h", "online.cpp"),
        ]
    )


def correction_table(decay: float, dtype: torch.dtype) -> Tensor:
    """1 - decay^t for t = 0, 1, ... as the methods compute it, up to where it is 1 or the table too long."""
    if decay == 0:
        return torch.ones(1, dtype=dtype)
    entries = 4 + math.ceil(math.log(torch.finfo(dtype).eps / 4) / math.log(decay))
    return bias_correction(decay, torch.arange(min(entries, LONGEST_TABLE), dtype=dtype))


# Fields of the C++ structure Member, in order: pointers per layer, single pointers, numbers.
PER_LAYER = (
    *("weights", "biases", "rests", "awake", "quiet", "utility", "mean", "age"),
    *("first", "second", "bias_first", "bias_second", "row_steps", "column_steps", "bias_steps"),
)
SINGLE = ("counter", "loss", "correct", "replaced")
SCALARS = (
    *("step_size", "decay", "weight_decay", "noise", "pull", "replacement_rate", "maturity_threshold"),
    "perturb_scale",
)


class Shared(ctypes.Structure):
    """The C++ structure of that name."""

    _fields_ = [
        *((f"{kind}_table", ctypes.c_void_p) for kind in ("unit", "first", "second")),
        *((f"{kind}_entries", ctypes.c_int64) for kind in ("unit", "first", "second")),
        ("scratch", ctypes.c_void_p),
    ]


@functools.lru_cache(maxsize=8)
def member_structure(layers: int) -> type[ctypes.Structure]:
    """The C++ structure Member for this many layers."""
    fields: list[tuple[str, Any]] = [(name, ctypes.c_void_p * layers) for name in PER_LAYER]
    fields += [(name, ctypes.c_void_p) for name in SINGLE]
    fields += [(name, ctypes.c_double) for name in SCALARS]
    return type("Member", (ctypes.Structure,), {"_fields_": [*fields, ("seed", ctypes.c_int64)]})


@dataclass(frozen=True)
class Plan:
    """A learner as the kernel knows it."""

    learner: Learner
    dtype: torch.dtype

    @property
    def layers(self) -> int:
        """Weight matrices."""
        return len(self.learner.network.weights)

    @property
    def adam(self) -> bool:
        """Whether the optimizer is Adam or one of its kin, whose moments move every weight in every step."""
        return isinstance(self.learner.optimizer, Adam)

    @property
    def upgd(self) -> bool:
        """Whether the optimizer is UPGD."""
        return isinstance(self.learner.optimizer, UPGD)

    @property
    def slots(self) -> dict[str, str]:
        """What the optimizer keeps of every weight and moves in every step -> the kernel's buffers for it."""
        return {"mean": "first", "square": "second"} if self.adam else {"utility": "first"} if self.upgd else {}

    @property
    def units(self) -> ContinualBackpropConfig | None:
        """How units are replaced, where they are."""
        method = of_kind(self.learner, ContinualBackprop)
        return method[1] if method and self.learner.network.sites else None

    @property
    def noise(self) -> bool:
        """Whether weights are perturbed after every step."""
        method = of_kind(self.learner, ShrinkAndPerturb)
        return method is not None and method[1].when == "step"

    @property
    def lazy(self) -> bool:
        """Whether a sleeping row's noise waits. Where every weight is read in every step, none sleeps."""
        method = of_kind(self.learner, ShrinkAndPerturb)
        waits = method is not None and method[1].when == "step" and method[1].noise == "lazy"
        return waits and not self.slots and self.units is None

    @property
    def naps(self) -> bool:
        """Whether rows without gradient may sleep under Adam, as far as the program goes (see `online_adam.h`)."""
        settings: Any = self.learner.optimizer.config  # of whichever optimizer is written here
        return self.adam and self.units is None and not self.noise and 0.0325 / max(1 - settings.beta2, 1e-300) >= 8

    def scalars(self, hyper: Tree) -> dict[str, Tensor]:
        """The numbers of the C++ structure Member, (P,) float64 each, which no later change of `hyper` changes."""
        optimizer = hyper["optimizer"]
        zero = torch.zeros(len(optimizer["step_size"]), dtype=torch.float64)
        scalars = {name: zero for name in SCALARS}
        scalars["step_size"] = optimizer["step_size"].double()
        if self.upgd:
            scalars["perturb_scale"] = optimizer["perturb_scale"].double()
        if self.upgd or type(self.learner.optimizer) is AdamW:
            scalars["weight_decay"] = optimizer["weight_decay"].double()
        elif "weight_decay" in optimizer:
            scalars["decay"] = optimizer["weight_decay"].double()
        for kind in (L2, ShrinkAndPerturb):
            if (method := of_kind(self.learner, kind)) is not None:
                scalars["decay"] = scalars["decay"] + hyper[method[0]]["strength"].double()
        if isinstance(self.learner.optimizer, AdamO):
            every = self.learner.optimizer.config.every
            rate = every * optimizer["isometry_step_size"] * optimizer["isometry_strength"]
            scalars["pull"] = rate.double()
        if self.noise and (method := of_kind(self.learner, ShrinkAndPerturb)):
            scalars["noise"] = hyper[method[0]]["perturb_scale"].double()
        if self.units is not None and (method := of_kind(self.learner, ContinualBackprop)):
            for name in ("replacement_rate", "maturity_threshold"):
                scalars[name] = hyper[method[0]][name].double()
        return {name: value.clone() for name, value in scalars.items()}

    def tables(self) -> dict[str, Tensor]:
        """Bias corrections: of the units' running statistics, of Adam's two moments or of UPGD's utilities."""
        unit = self.units.utility_decay if self.units else 0.0
        first, second = self.decays
        return {
            name: correction_table(decay, self.dtype)
            for name, decay in (("unit", unit), ("first", first), ("second", second))
        }

    @property
    def decays(self) -> tuple[float, float]:
        """Of the two slots."""
        settings: Any = self.learner.optimizer.config  # of whichever optimizer is written here
        return (settings.beta1, settings.beta2) if self.adam else (settings.utility_decay if self.upgd else 0.0, 0.0)

    def source(self, batch: int) -> str:
        """The whole C++ text: constants that make `online.cpp` this learner's, then its parts."""
        network, optimizer, units = self.learner.network, self.learner.optimizer, self.units
        assert isinstance(network, MLP)
        sizes = network.sizes
        settings: Any = optimizer.config  # of whichever optimizer is written here
        activation = network.config.activation or "linear"
        pulled = type(optimizer) is AdamO
        integers = {
            "DEPTH": self.layers - 1,
            "INPUTS": sizes[0],
            "OUTPUTS": sizes[-1],
            "BATCH": batch,
            **{name.upper(): place for place, name in enumerate(ACTIVATIONS)},
            "ACTIVATION": list(ACTIVATIONS).index(activation),
            **{name.upper(): place for place, name in enumerate(UTILITIES)},
            "UTILITY": UTILITIES.index(units.utility) if units else 0,
            "EVERY": settings.every if pulled else 1,
            "PROJECTION": settings.projection if pulled else 0,
            "LONGEST": LONGEST,
        }
        switches = {
            "BIASES": network.config.biases,
            "CROSS_ENTROPY": self.learner.loss.name == "cross_entropy",
            "NOISE": self.noise,
            "LAZY": self.lazy,
            "ADAM": self.adam,
            "UPGD": self.upgd,
            "LARGEST_CORRECTED": self.upgd and settings.maximum == "corrected",
            "ISOMETRY": pulled,
            "SEQUENTIAL": pulled and settings.order == "sequential",
            "BY_GRAM": pulled and settings.scale_by_gram,
            "UNITS": units is not None,
            "ACCUMULATE": units is not None and units.replacement == "accumulate",
            "TRANSFER": units is not None and bool(units.bias_transfer),
            "RESETS": units is not None and units.reset_optimizer in ((True, "adam") if self.adam else (True,)),
        }
        numbers = {
            "LEAST": LEAST,
            "LEAKY_SLOPE": LEAKY_SLOPE,
            "BETA1": self.decays[0],
            "BETA2": self.decays[1],
            "EPS": settings.eps if self.adam else 1.0,
            "PENALTY": 0.5 if pulled and settings.penalty == "half" else 1.0,
            "UTILITY_DECAY": units.utility_decay if units else 0.0,
        }
        codes = {
            "WEIGHT_CODES": [f"perturb/{name}" for name in network.weights],
            "BIAS_CODES": [f"perturb/layers.{k}.bias" for k in range(self.layers)],
            "UPGD_WEIGHT_CODES": [f"upgd/{name}" for name in network.weights],
            "UPGD_BIAS_CODES": [f"upgd/layers.{k}.bias" for k in range(self.layers)],
            "SLEEP_CODES": [f"sleep/{name}" for name in network.weights],
            "REINIT_CODES": [f"reinit/{site.name}" for site in network.sites],
            "RANDOM_CODES": [f"random_utility/{site.name}" for site in network.sites],
        }
        bounds = [network.reinit_bound(site) for site in network.sites]
        chosen = targets(network, settings) if pulled else {}
        lines = [f"typedef {NUMBERS[self.dtype]} Real;"]
        lines += [f"constexpr int {name} = {value};" for name, value in integers.items()]
        lines.append(f"constexpr int SIZES[] = {{{', '.join(map(str, sizes))}}};")
        lines += [f"constexpr bool {name} = {str(bool(value)).lower()};" for name, value in switches.items()]
        lines += [f"constexpr double {name} = {float(value).hex()};" for name, value in numbers.items()]
        for name, purposes in codes.items():
            values = ", ".join(f"{what_code(purpose)}u" for purpose in purposes) or "0"
            lines.append(f"constexpr unsigned {name}[] = {{{values}}};")
        lines.append(f"constexpr unsigned REPLACE_CODE = {what_code('replace')}u;")
        pulls = ", ".join(float(chosen.get(name, 0)).hex() for name in network.weights)  # 0: of a matrix left alone
        lines.append(f"constexpr double TARGETS[] = {{{pulls}}};")
        lines.append(f"constexpr double REINIT_BOUNDS[] = {{{', '.join(float(b).hex() for b in bounds) or '0'}}};")
        return "\n".join([*lines, _text(self.dtype)])
