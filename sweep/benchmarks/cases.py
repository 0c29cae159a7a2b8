"""What the bench measures: a case is a stream, a network, an arm and a number of trials, with the ratio aimed at.

What it measures of worlds is in `world_cases`; `selected` chooses among both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sweep import examples
from sweep.benchmarks.world_cases import WORLD_CASES, Agents, Games, Robots
from sweep.errors import InputError
from workloads.extensions import load_code
from workloads.methods.config import METHODS
from workloads.registry import unknown

REGRESSION, IMAGES = "slowly_changing_regression", "permuted_mnist"
RELABELLED, PAIRS = "relabelled", "continual_imagenet"  # an MLP at batch 32, and the convnet at batch 100

# What their tasks are; those of the last two are long enough that no test falls into a repeat.
LENGTHS: dict[str, dict[str, Any]] = {
    REGRESSION: {"flip": "all"},
    IMAGES: {"examples_per_task": 10_000},
    RELABELLED: {"dataset": "mnist", "examples": 6400, "batch": 32, "epochs": 10},
    PAIRS: {"dataset": "glyphs", "epochs": 1000},
}

# How many steps networks have trained when they are measured, at least; and how many members are aged, in whole seeds.
AGES = {REGRESSION: 200_000, IMAGES: 60_000, RELABELLED: 600, PAIRS: 60}
ELDERS = {REGRESSION: 300, IMAGES: 1, RELABELLED: 3, PAIRS: 2}

# The plain loop's ns per step on newborn networks, by stream, arm and width, on the small cloud machine the targets
# were set on. A machine on which it is over 20 % slower than this is busy or different, and its ratios would flatter:
# such a row is marked invalid.
REFERENCE_NS = {
    (REGRESSION, "sgd", 5): 145_000,
    (REGRESSION, "adam", 5): 260_000,
    (REGRESSION, "continual_backprop", 5): 365_000,
    (IMAGES, "sgd", 100): 440_000,
    (IMAGES, "continual_backprop", 100): 910_000,
    (IMAGES, "sgd", 1000): 5_800_000,
    (IMAGES, "continual_backprop", 1000): 8_200_000,
    (IMAGES, "sgd", 2000): 21_000_000,
}

SLACK = 1.2

# Optimizer and methods, by arm.
ARMS: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {
    "sgd": ({"name": "sgd"}, {}),
    "momentum": ({"name": "sgd", "momentum": 0.9}, {}),
    "continual_backprop": ({"name": "sgd"}, {"continual_backprop": {"replacement_rate": 1e-4}}),
    "continual_backprop_1e-2": ({"name": "sgd"}, {"continual_backprop": {"replacement_rate": 1e-2}}),
    "l2": ({"name": "sgd"}, {"l2": {"strength": 1e-4}}),
    "adam": ({"name": "adam"}, {}),
    "adamo": ({"name": "adamo", "isometry_strength": 1e-2}, {}),
    "adamo_every_16": ({"name": "adamo", "isometry_strength": 1e-2, "every": 16}, {}),
    "shrink_and_perturb": ({"name": "sgd"}, {"shrink_and_perturb": {}}),
    # The ends of the studies' grids, where numbers get strange; step sizes of which most diverge.
    "l2_strongest": ({"name": "sgd", "step_size": 0.01}, {"l2": {"strength": 0.1}}),
    "perturbed_most": (
        {"name": "sgd", "step_size": 0.01},
        {"shrink_and_perturb": {"strength": 0.01, "perturb_scale": 0.1}},
    ),
    "divergent": ({"name": "sgd", "step_size": 3.0}, {}),
    # What the plain loop trains without: their ratios are to the loop of their optimizer alone (muon's: Adam's, with
    # AdamO's pull where muon has it; upgd's: SGD's).
    "l2_init": ({"name": "sgd"}, {"l2_init": {}}),
    "redo": ({"name": "sgd"}, {"redo": {}}),
    "layer_norm": ({"name": "sgd"}, {}),
    "muon": ({"name": "muon"}, {}),
    "upgd": ({"name": "upgd"}, {}),
    "clipping": ({"name": "sgd"}, {"bounded_weights": {}}),
    "parseval": ({"name": "sgd"}, {"parseval": {}}),
    "spectral_regularisation": ({"name": "sgd"}, {"spectral_regularisation": {}}),
    "weight_clipping": ({"name": "sgd"}, {"weight_clipping": {}}),
    "normalise_and_project": ({"name": "sgd"}, {"normalise_and_project": {}}),
    "adamw": ({"name": "adamw", "weight_decay": 1e-2}, {}),
    "coupled_isometry": ({"name": "sgd"}, {"coupled_isometry": {}}),
    "adamo_projection": ({"name": "adamo", "projection": 1}, {}),
    "muon_isometry": ({"name": "muon", "isometry_strength": 1e-2}, {}),
    "layer_scale": ({"name": "sgd"}, {}),
    "gradient_clipping": ({"name": "sgd"}, {"gradient_clipping": {}}),
    "input_normaliser": ({"name": "sgd", "step_size": 3e-4}, {"input_normaliser": {}}),
}

# Settings of the network, by arm.
NETWORKS: dict[str, dict[str, Any]] = {"layer_norm": {"normalisation": "layer"}, "layer_scale": {"layer_scale": True}}
OWN = {"clipping": "method"}  # arms with code of a user's own: that of `sweep init`
EXTREMES = ("l2_strongest", "perturbed_most", "divergent")
STEP_SIZES = {"sgd": 0.003, "adam": 0.001, "adamw": 0.001, "adamo": 0.001, "muon": 0.02, "upgd": 0.01}

# What the plain loop trains whole, and what it does not: see `ARMS`.
WHOLE = (
    *("sgd", "momentum", "continual_backprop", "continual_backprop_1e-2", "l2", "adam", "adamo", "adamo_every_16"),
    "shrink_and_perturb",
)
WITHOUT = tuple(arm for arm in ARMS if arm not in (*WHOLE, *EXTREMES))
REGRESSION_ARMS = tuple(arm for arm in WHOLE if arm not in ("momentum", "adamo_every_16"))
IMAGE_ARMS = tuple(arm for arm in WHOLE if arm not in ("momentum", "continual_backprop_1e-2"))

# The ratios aimed at.
REGRESSION_TARGETS = {
    "sgd": 6000,
    "continual_backprop": 5000,
    "continual_backprop_1e-2": 3000,
    "l2": 4000,
    "adam": 3000,
    "adamo": 2000,
    "shrink_and_perturb": 800,
    "l2_strongest": 4000,
    "perturbed_most": 800,
    "divergent": 6000,
}

FEW, FEW_PERTURBED, ALONE = 1000, 500, 150  # regression: 30 members, the same under noise, one
IMAGE_TARGETS: dict[str, float] = {
    "sgd": 30,
    "continual_backprop": 35,
    "l2": 20,
    "shrink_and_perturb": 20,
    "adam": 12,
    "adamo": 1.5,
    "adamo_every_16": 12,
}

WIDE_TARGETS = {1000: 15, 2000: 7}
PARITY = 0.95  # convolutions are bound by arithmetic that the plain loop does as well


@dataclass(frozen=True, slots=True)
class Case:
    """One row to measure."""

    stream: str
    arm: str
    seeds: int
    configs: int  # per seed
    width: int  # units per hidden layer
    seconds: float = 0.5  # of one timed repeat of the pack; the plain loop gets half
    older: int | None = None  # steps before it is measured; None for the stream's of `AGES`
    command: bool = False  # the whole command instead of a pack
    flushed: bool = True  # else subnormal numbers are what they are, to see what they cost
    device: str = "cpu"  # what both sides train on

    @property
    def age(self) -> int:
        """Steps before it is measured."""
        return AGES[self.stream] if self.older is None else self.older

    @property
    def elders(self) -> int:
        """Seeds that are aged."""
        return max(1, min(self.seeds, ELDERS[self.stream] // self.configs))

    @property
    def members(self) -> int:
        """Trials in the pack."""
        return self.seeds * self.configs

    @property
    def sizes(self) -> tuple[int, ...]:
        """Inputs, hidden widths, outputs of an MLP."""
        depths = {REGRESSION: 1, IMAGES: 3, RELABELLED: 4}
        return (20, self.width, 1) if self.stream == REGRESSION else (784, *[self.width] * depths[self.stream], 10)

    @property
    def network(self) -> str:
        """The sizes as text."""
        return f"convnet of width {self.width}" if self.stream == PAIRS else "-".join(map(str, self.sizes))

    @property
    def subject(self) -> str:
        """What the row is about."""
        return self.network

    @property
    def target(self) -> float | None:
        """The ratio aimed at, where there is one."""
        if self.command or self.device != "cpu":
            return None
        if self.stream in (RELABELLED, PAIRS):
            return PARITY if self.stream == PAIRS else None
        if self.stream == IMAGES:
            return WIDE_TARGETS[self.width] if self.width in WIDE_TARGETS else IMAGE_TARGETS.get(self.arm)
        few = FEW_PERTURBED if self.arm == "shrink_and_perturb" else FEW
        many = REGRESSION_TARGETS.get(self.arm)
        return {3000: many, 1000: many, 300: many, 30: few, 1: ALONE}.get(self.members)

    @property
    def main(self) -> bool:
        """Whether the share of the diagnostics and the speed of all cores are measured too."""
        plain = self.arm == "sgd" and self.device == "cpu" and not self.command
        return plain and (self.stream, self.width, self.members) in MAIN


AnyCase = Case | Agents | Robots | Games

YOUNG = {"muon": 2000, "muon_isometry": 2000}
WAYS = tuple(arm for arm in REGRESSION_ARMS if arm in IMAGE_ARMS)  # of learning, each once

CASES = [
    *[
        Case(REGRESSION, arm, seeds, configs, 5)
        for seeds, configs in ((100, 30), (100, 3), (30, 1), (1, 1))
        for arm in REGRESSION_ARMS
    ],
    *[Case(IMAGES, arm, 30, 1, 100) for arm in IMAGE_ARMS],
    # Muon has no fast path here, and its row shall take less than a minute: it is measured at a younger age.
    *[Case(IMAGES, arm, 30, 1, 100, older=YOUNG.get(arm)) for arm in WITHOUT],
    # What each costs beside SGD, where members are many and small.
    *[Case(REGRESSION, arm, 100, 10, 5, older=YOUNG.get(arm)) for arm in (*WAYS, *WITHOUT)],
    *[Case(IMAGES, arm, 1, 1, 100) for arm in ("sgd", "continual_backprop")],
    *[Case(REGRESSION, arm, 100, 3, 5) for arm in EXTREMES],
    # A repeat ends a task, which copies all weights: short ones would count that more often than a sweep does it.
    *[Case(IMAGES, arm, 1, 1, width, seconds=2.2) for width in (1000, 2000) for arm in ("sgd", "continual_backprop")],
    *[Case(RELABELLED, arm, 3, 1, 512) for arm in ("sgd", "adam", "adamo")],
    Case(PAIRS, "momentum", 2, 1, 32, seconds=4.0),
    Case(REGRESSION, "sgd", 100, 60, 5, command=True),
]

MAIN = {(REGRESSION, 5, 3000), (IMAGES, 100, 30), (IMAGES, 1000, 1)}  # stream, width, members

# Packs as large as one GPU is there for.
GPU_CASES = [
    *[Case(REGRESSION, arm, 100, 30, 5, device="cuda") for arm in ("sgd", "adam", "continual_backprop", "adamo")],
    Case(REGRESSION, "sgd", 1000, 30, 5, device="cuda"),
    *[Case(IMAGES, arm, 300, 1, 100, device="cuda") for arm in ("sgd", "adam", "continual_backprop", "adamo")],
    *[Case(IMAGES, arm, 10, 1, 2000, device="cuda") for arm in ("sgd", "continual_backprop")],
    *[Case(RELABELLED, arm, 30, 1, 512, device="cuda") for arm in ("sgd", "adam", "adamo")],
    Case(PAIRS, "momentum", 30, 1, 32, seconds=2.0, device="cuda"),
]
QUICK = [Case(REGRESSION, arm, 8, 2, 5, seconds=0.1, older=20_000) for arm in ("sgd", "continual_backprop")]


def selected(
    *,
    quick: bool,
    stream: str | None,
    arm: str | None,
    members: int | None = None,
    flushed: bool = True,
    device: str = "cpu",
) -> Sequence[AnyCase]:
    """The cases asked for; packs alone where subnormal numbers are not flushed. Raises InputError where none is."""
    if quick and device != "cpu":
        raise InputError(f"the quick rows are of a CPU: leave out --quick or --device {device}")
    whole: list[AnyCase] = [*GPU_CASES] if device != "cpu" else [*CASES, *(WORLD_CASES if flushed else ())]
    arms = {*ARMS, *(c.arm for c in whole)}
    for name, kind, names in ((stream, "stream", {c.stream for c in whole}), (arm, "arm", arms)):
        if name is not None and name not in names:
            raise InputError(unknown(name, kind, names))
    cases: Sequence[AnyCase] = QUICK if quick else whole
    matching = [c for c in cases if (stream in (None, c.stream)) and (arm in (None, c.arm))]
    if not matching:
        there = ", ".join(f"{arm} on {stream}" for stream, arm in dict.fromkeys((c.stream, c.arm) for c in cases))
        raise InputError(f"there is no such row{' among the quick ones' if quick else ''}; there is: {there}")
    chosen = [c for c in matching if members in (None, c.members)]
    if not chosen:
        sizes = ", ".join(map(str, sorted({c.members for c in matching})))
        raise InputError(f"there is no such row with {members} members; there is: {sizes}")
    return [replace(case, flushed=flushed) if isinstance(case, Case) else case for case in chosen]


def config_of(case: Case, seed: int, which: int) -> dict[str, Any]:
    """A trial's config for the bench; `which` spreads the step sizes, as a sweep would.

    Where the arm has code of a user's own, the registries hold that afterwards.
    """
    if kind := OWN.get(case.arm):
        file = examples.NAMES[kind]
        load_code({file: examples.text_of(kind, file)})
    optimizer, methods = ARMS[case.arm]
    largest = optimizer.get("step_size", STEP_SIZES[optimizer["name"]])
    if case.stream == PAIRS:
        network = {"name": "convnet", "width": case.width}
    else:
        network = {"name": "mlp", "width": case.width, "depth": len(case.sizes) - 2, **NETWORKS.get(case.arm, {})}
    return {
        "workload": {"name": case.stream, "tasks": 10_000, **LENGTHS[case.stream]},  # more than anybody gets through
        "network": network,
        "optimizer": {**optimizer, "step_size": largest * 10 ** (-which / case.configs)},
        "methods": {name: asdict(METHODS[name].config(**chosen)) for name, chosen in methods.items()},
        "seed": seed,
        "metrics": ["online_error" if case.stream == REGRESSION else "online_accuracy"],
        "every": 1000,
        "probe": 10,
        "dtype": "float32",
        "keep": "none",
    }
