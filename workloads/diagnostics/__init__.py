"""What is read off a network: which diagnostics exist, and everything about them that needs no torch.

A diagnostic reads parts of a `Look` (`workloads.diagnostics.look`) at a pack's networks; it names those parts in
`needs`, and the look makes each of them once for all that want it. What computes it is a class in a file of the
diagnostic's name, or in `file`, found by its table `DIAGNOSTICS`, as in a file of a user's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

BINS = 20  # of the curve within a task, the measures within_task/1 to within_task/20
DECILES = 10  # of a matrix' values: the quantiles 0, 1/10, ..., 1

# How far iterations go, which is most of what they cost: products with a matrix, steps of learning.
LANCZOS_STEPS = 30
FINDING, STARTS, QUADRATURE_STEPS = 64, 2, 32  # of a longer iteration; how many others, and of each of them
FITTING_STEPS = 50
TANGENTS = 2**23  # numbers of a Jacobian by parameters that are held at a time, of a member: 64 MiB of float64

# The parts of a look, by the names of its attributes.
Part = Literal[
    "outputs",
    "outputs_before",
    "features",
    "activity",
    "presence",
    "feature_spectra",
    "weights",
    "weights_before",
    "initial_weights",
    "weight_spectra",
    "gradients",
    "layer_jacobian_spectra",
    "input_output_jacobian_spectra",
    "tangent_kernel_spectrum",
    "gradient_covariance_spectrum",
    "hessian_spectrum",
    "hessian_largest",
    "hessian_sums",
    "losses_of_fit",
    "ages",
]

Better = Literal["up", "down"]
Bounds = tuple[float | None, float | Literal["units"] | None]  # "units": as many as a layer has

# Those that are of a loss of examples, which learning from rewards has not.
OF_A_LOSS: frozenset[Part] = frozenset(
    {"gradients", "gradient_covariance_spectrum", "hessian_spectrum", "hessian_largest", "hessian_sums"}
)

# Those of the networks as they were when they were last looked at.
OF_THE_LAST_LOOK: frozenset[Part] = frozenset({"weights_before", "outputs_before"})


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosticSpec:
    """A diagnostic's place in the registry."""

    meaning: str  # a line
    needs: tuple[Part, ...]  # what it reads of a look, and nothing else
    per_layer: bool = False  # has a value for every hidden layer; absent where there is none
    per_matrix: bool = False  # has a value for every weight matrix
    deciles: bool = False  # has many values for every weight matrix or layer, recorded as their mean and deciles
    unit: str = ""  # of its values; a plain number where empty
    bounds: Bounds = (0, None)  # which its values cannot leave
    label: str = ""  # on an axis, in a sentence; its name in words where empty
    better: Better | None = None  # which way a network that learns well goes, if either
    source: str = ""  # the paper that defines it
    probe: int | None = None  # examples it looks at; None: as many as the sweep's `diagnostics: {probe: ...}` says
    file: str | None = None  # where it is computed, if not in a file of its name
    cost: float = 0.0  # beside that of what it needs (see `costs`), in forward passes of its probe
    semantics: int = 1  # raised whenever its values change; part of a trial's hash


ISOMETRY = "Rosseau, Müller, Nowé (2026), arXiv 2606.09762"

Statistic = Literal["max", "min", "mean", "spread", "deviation"]
STATISTICS: dict[Statistic, tuple[str, str]] = {  # meaning, label
    "max": ("largest singular value of {}, on any example", "max σ"),
    "min": ("smallest singular value of {}, on any example", "min σ"),
    "mean": ("mean singular value of {}, over all examples", "mean σ"),
    "spread": ("standard deviation of the singular values of {}, over all examples", "std σ"),
    "deviation": ("root mean square distance from 1 of the singular values of {}, over all examples", "RMS |σ - 1|"),
}


def of_layer_jacobians(statistic: Statistic) -> DiagnosticSpec:
    """A statistic of the singular values of every hidden layer's Jacobian."""
    return DiagnosticSpec(
        meaning=STATISTICS[statistic][0].format("a hidden layer's Jacobian by the layer before"),
        file="layer_jacobian",
        label=f"{STATISTICS[statistic][1]}, layer Jacobians",
        source=ISOMETRY,
        needs=("layer_jacobian_spectra",),
        per_layer=True,
        probe=16,
    )


def of_input_output_jacobian(statistic: Statistic) -> DiagnosticSpec:
    """A statistic of the singular values of the whole network's Jacobian."""
    return DiagnosticSpec(
        meaning=STATISTICS[statistic][0].format("the Jacobian of the output by the input"),
        file="input_output_jacobian",
        label=f"{STATISTICS[statistic][1]}, input-output Jacobian",
        source=ISOMETRY,
        needs=("input_output_jacobian_spectra",),
        probe=64,
    )


def of_tangent_kernel(
    meaning: str, label: str, *, bounds: Bounds = (0, None), better: Better | None = None
) -> DiagnosticSpec:
    """A number of the eigenvalues of the empirical neural tangent kernel."""
    return DiagnosticSpec(
        meaning=f"{meaning} of the empirical neural tangent kernel",
        file="tangent_kernel",
        label=f"{label}, NTK",
        source="Jacot, Gabriel, Hongler (2018), arXiv 1806.07572",
        needs=("tangent_kernel_spectrum",),
        bounds=bounds,
        better=better,
        probe=16,
    )


def of_dormancy(share: str, tau: str) -> DiagnosticSpec:
    """Of a `dormant_fraction` at another threshold."""
    mean = f"at most {share} of their layer's mean"
    return DiagnosticSpec(
        meaning=f"share of units whose mean activity is {mean} (dormant_fraction: 2.5 %)",
        label=f"dormant fraction ({share} of the layer's mean)",
        file="dormant",
        better="down",
        source=f"Sokar, Agarwal, Castro, Evci (2023), arXiv 2302.12902, eq. 1 at tau = {tau}",
        needs=("activity",),
        per_layer=True,
        unit="share",
        bounds=(0, 1),
    )


DIAGNOSTICS: dict[str, DiagnosticSpec] = {
    "dormant_fraction": DiagnosticSpec(
        meaning="share of units that are almost silent beside their layer (Sokar et al. 2023)",
        file="dormant",
        better="down",
        source="Sokar, Agarwal, Castro, Evci (2023), arXiv 2302.12902, eq. 1",
        needs=("activity",),
        per_layer=True,
        unit="share",
        bounds=(0, 1),
    ),
    "dormant_fraction_1": of_dormancy("1 %", "0.01"),
    "dormant_fraction_10": of_dormancy("10 %", "0.1"),
    "dead_fraction": DiagnosticSpec(
        meaning="share of units that are exactly zero on the whole probe; tells of relu only",
        file="dormant",
        better="down",
        source="Dohare et al. (2024), Nature 632:768",
        needs=("activity",),
        per_layer=True,
        unit="share",
        bounds=(0, 1),
    ),
    "rarely_active_fraction": DiagnosticSpec(
        meaning="share of units that are not zero on less than 1 % of the probe; tells of relu only",
        file="dormant",
        better="down",
        source="Dohare et al. (2024), Nature 632:768, on incremental CIFAR and of agents: its dormant units",
        needs=("presence",),
        per_layer=True,
        unit="share",
        bounds=(0, 1),
    ),
    "revived_fraction": DiagnosticSpec(
        meaning="of the units that the network's `killed` silenced at the start, the share that speaks on the probe",
        file="revived",
        better="up",
        needs=("activity",),
        per_layer=True,
        unit="share",
        bounds=(0, 1),
    ),
    "effective_rank": DiagnosticSpec(
        meaning="exp of the entropy of the features' singular values (Roy and Vetterli 2007)",
        better="up",
        source="Roy and Vetterli (2007), The effective rank",
        needs=("feature_spectra",),
        per_layer=True,
        bounds=(1, "units"),
        semantics=2,
    ),
    "stable_rank": DiagnosticSpec(
        meaning="squared Frobenius norm of the features over their squared spectral norm",
        better="up",
        source="Rudelson and Vershynin (2007), Sampling from large matrices",
        needs=("feature_spectra",),
        per_layer=True,
        bounds=(1, "units"),
        semantics=2,
    ),
    "stable_rank_99": DiagnosticSpec(
        meaning='singular values that make 99 % of their sum: the papers\' "stable rank" (Dohare et al. 2024)',
        label="stable rank (99 % of singular values)",
        better="up",
        source="Dohare et al. (2024), Nature 632:768",
        needs=("feature_spectra",),
        per_layer=True,
        bounds=(1, "units"),
    ),
    "rank_99": DiagnosticSpec(
        meaning="singular values that make 99 % of the features' squared Frobenius norm",
        better="up",
        source="Yang et al. (2019), as in Dohare et al. (2024), Nature 632:768",
        needs=("feature_spectra",),
        per_layer=True,
        bounds=(1, "units"),
        semantics=2,
    ),
    "weight_magnitude": DiagnosticSpec(
        meaning="mean |w| over all weight matrices",
        label="mean |weight|",
        source="Dohare et al. (2024), Nature 632:768",
        needs=("weights",),
    ),
    "weight_change": DiagnosticSpec(
        meaning="root mean square change of a weight matrix since the last measurement, or since the beginning",
        label="RMS change of weights",
        needs=("weights", "weights_before"),
        per_matrix=True,
    ),
    "distance_from_initialisation": DiagnosticSpec(
        meaning="root mean square distance of a weight matrix from its initial values",
        label="RMS distance from initial weights",
        file="weight_change",
        needs=("weights", "initial_weights"),
        per_matrix=True,
    ),
    "function_change": DiagnosticSpec(
        meaning="root mean square change of outputs on the same examples since the last measurement or the beginning",
        label="RMS change of outputs",
        needs=("outputs", "outputs_before"),
    ),
    "gradient_norm": DiagnosticSpec(
        meaning="L2 norm of the gradient of all parameters",
        needs=("gradients",),
    ),
    "gradient_covariance_rank": DiagnosticSpec(
        meaning="exp of the entropy of the eigenvalues of the covariance of the examples' gradients",
        needs=("gradient_covariance_spectrum",),
        bounds=(1, None),
        better="up",
        probe=64,
    ),
    "hessian_max": DiagnosticSpec(
        meaning="largest eigenvalue of the Hessian of the mean loss by all parameters: the sharpest curvature",
        file="hessian",
        label="max λ, Hessian",
        needs=("hessian_spectrum",),
        bounds=(None, None),
        probe=64,
    ),
    "hessian_fifth": DiagnosticSpec(
        meaning="fifth-largest eigenvalue of the Hessian of the mean loss: how far the sharpest curvature stands out",
        file="hessian",
        label="fifth λ, Hessian",
        needs=("hessian_largest",),
        bounds=(None, None),
        probe=64,
    ),
    "hessian_effective_rank": DiagnosticSpec(
        meaning="exp of the entropy of the Hessian's eigenvalues, all taken positive: how many directions are curved",
        file="hessian",
        label="effective rank, Hessian",
        needs=("hessian_sums",),
        bounds=(1, None),
        probe=64,
    ),
    "random_target_fit": DiagnosticSpec(
        meaning="loss left when a copy learns a random change of its outputs for "
        f"{FITTING_STEPS} steps of Adam, of that before",
        label="random targets not fitted",
        source="after Lyle et al. (2023), arXiv 2303.01486; the targets and the steps are ours",
        needs=("losses_of_fit",),
        better="down",
        probe=64,
    ),
    "isometry_deviation": DiagnosticSpec(
        meaning="summed squared distance of the weights' Gram matrices from the identity",
        file="isometry",
        source=f"{ISOMETRY}, eq. 16",
        needs=("weights",),
    ),
    "singular_value_max": DiagnosticSpec(
        meaning="largest singular value of any weight matrix",
        file="isometry",
        needs=("weight_spectra",),
    ),
    "singular_value_min": DiagnosticSpec(
        meaning="smallest singular value of any weight matrix",
        file="isometry",
        needs=("weight_spectra",),
    ),
    "singular_value_spread": DiagnosticSpec(
        meaning="standard deviation of a weight matrix's singular values, averaged over the matrices",
        file="isometry",
        needs=("weight_spectra",),
        bounds=(0, None),
    ),
    "lipschitz_bound": DiagnosticSpec(
        meaning="product of the weight matrices' largest singular values: no output changes by more than this times "
        "its input does, where no activation is steeper than 1 and no norm divides",
        label="Lipschitz bound",
        file="isometry",
        source="Anil, Lucas, Grosse (2019), arXiv 1811.05381",
        needs=("weight_spectra",),
    ),
    "singular_values": DiagnosticSpec(
        meaning="all singular values of every weight matrix: the mean, and of each matrix the deciles",
        file="isometry",
        label="mean singular value",
        needs=("weight_spectra",),
        deciles=True,
    ),
    "unit_age": DiagnosticSpec(
        meaning="steps since a hidden unit was made: the mean, and of each layer the deciles; of arms whose method "
        "keeps ages",
        needs=("ages",),
        deciles=True,
        unit="steps",
    ),
    "layer_jacobian_max": of_layer_jacobians("max"),
    "layer_jacobian_min": of_layer_jacobians("min"),
    "layer_jacobian_mean": of_layer_jacobians("mean"),
    "layer_jacobian_spread": of_layer_jacobians("spread"),
    "layer_jacobian_deviation": of_layer_jacobians("deviation"),
    "input_output_jacobian_max": of_input_output_jacobian("max"),
    "input_output_jacobian_min": of_input_output_jacobian("min"),
    "input_output_jacobian_mean": of_input_output_jacobian("mean"),
    "input_output_jacobian_spread": of_input_output_jacobian("spread"),
    "input_output_jacobian_deviation": of_input_output_jacobian("deviation"),
    "ntk_max": of_tangent_kernel("largest eigenvalue", "max λ"),
    "ntk_min": of_tangent_kernel("smallest eigenvalue", "min λ"),
    "ntk_trace": of_tangent_kernel("sum of the eigenvalues", "trace"),
    "ntk_condition": of_tangent_kernel(
        "largest over smallest eigenvalue, at most 1e12,", "condition", bounds=(1, 1e12), better="down"
    ),
    "ntk_effective_rank": of_tangent_kernel(
        "exp of the entropy of the eigenvalues", "effective rank", bounds=(1, None), better="up"
    ),
    "ntk_entropy": of_tangent_kernel(
        "entropy of the eigenvalues as a share of its most", "entropy", bounds=(0, 1), better="up"
    ),
}


def needs_of(metric: str) -> tuple[Part, ...]:
    """What a metric reads of a look at the network; nothing where it is no diagnostic."""
    return DIAGNOSTICS[metric].needs if metric in DIAGNOSTICS else ()


def by_probe(names: Iterable[str], probe: int) -> dict[int, list[str]]:
    """How many examples are looked at -> the diagnostics that look at so many: those share their looks.

    `probe`: examples that a diagnostic looks at which does not say.
    """
    sized: dict[int, list[str]] = {}
    for name in names:
        sized.setdefault(DIAGNOSTICS[name].probe or probe, []).append(name)
    return sized


def parts_of(names: Iterable[str]) -> frozenset[Part]:
    """What these metrics read of a look, all together."""
    return frozenset(part for name in names for part in needs_of(name))
