"""Every metric there is, and what is known of it without torch: one place for files, tables, tracking and figures.

Diagnostics stand in their own registry (`workloads.diagnostics`), a user's among them, and are metrics by it; here is
what a pack measures beside them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from workloads.diagnostics import BINS, DIAGNOSTICS, Better, Bounds

OnlineMetric = Literal["online_error", "online_accuracy"]
Headline = Literal["test_accuracy_max", "test_accuracy", "online_error", "online_accuracy", "average_return"]

# Of which each workload has one, by which its tasks are told.
OF_WORKLOADS: tuple[str, ...] = (*get_args(OnlineMetric), "average_return")

# What a sweep is judged by: the first of these that it recorded.
HEADLINES: tuple[str, ...] = get_args(Headline)

# Where a metric comes from. online: what is learned from, before it is. tested: examples held out. asked: recorded
# where a sweep asks for it. acting: likewise, where learners act. counted: for every arm that has it to count, and for
# no other.
Origin = Literal["online", "tested", "asked", "acting", "counted", "diagnostic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A number that is logged once a task."""

    origin: Origin
    meaning: str  # a line
    label: str  # for people: on an axis, in a sentence
    better: Better | None = None  # None: neither by itself, or that of the online metric
    unit: str = ""  # a plain number where empty
    bounds: Bounds = (None, None)  # which it cannot leave; "units": as many as a layer has
    per_layer: bool = False  # beside its mean over layers, `name/1`, ... from the input up
    per_matrix: bool = False  # beside its mean over weight matrices, `name/1`, ... from the input up
    deciles: bool = False  # beside means of matrices or layers, `name/1`, ..., of each `name/1/0` to `name/1/10`
    stretches: int = 0  # of a task, each with its own value `name/1`, ...
    source: str = ""  # the paper that defines it


MEASURED: dict[str, Metric] = {
    "test_accuracy_max": Metric(
        origin="tested",
        meaning="the best test accuracy of a task's epochs",
        label="best test accuracy of the task",
        better="up",
        unit="share",
        bounds=(0, 1),
    ),
    "test_accuracy": Metric(
        origin="tested",
        meaning="share of the held-out examples that are classified correctly when a task ends",
        label="test accuracy",
        better="up",
        unit="share",
        bounds=(0, 1),
    ),
    "online_error": Metric(
        origin="online",
        meaning="squared error of every example before it is learned from, averaged over a task",
        label="online squared error",
        better="down",
        bounds=(0, None),
    ),
    "online_accuracy": Metric(
        origin="online",
        meaning="share of examples that were classified correctly before they were learned from, over a task",
        label="online accuracy",
        better="up",
        unit="share",
        bounds=(0, 1),
    ),
    "average_return": Metric(
        origin="online",
        meaning="reward summed over an episode, averaged over the episodes that ended in a task",
        label="average return",
        better="up",
    ),
    "episodes": Metric(
        origin="acting",
        meaning="episodes that ended in a task, over all environments of a member",
        label="episodes",
        bounds=(0, None),
    ),
    "policy_churn": Metric(
        origin="acting",
        meaning="Kullback-Leibler divergence from the policy before an iteration's updates to the one after, on what"
        " was seen in it, averaged over the iterations of a task",
        label="policy churn",
        unit="nats",
        bounds=(0, None),
        source="Schaul, Barreto, Quan, Ostrovski (2022), arXiv 2206.00730, who count changes of the best action",
    ),
    "explained_variance": Metric(
        origin="acting",
        meaning="1 - Var(R - v) / Var(R) of the returns R that values v are to learn, before they do, both summed over"
        " the iterations of a task: 1 where they are foreseen, 0 where a constant does as well",
        label="explained variance of returns",
        better="up",
        unit="share",
        bounds=(None, 1),
    ),
    "value_error": Metric(
        origin="acting",
        meaning="root mean square of R - v, of the returns R that values v are to learn, before they do, over all steps"
        " of a task: what explained_variance says nothing of, a value that is wrong by a constant, is in it",
        label="error of values (root mean square)",
        better="down",
        bounds=(0, None),
    ),
    "blown_up": Metric(
        origin="acting",
        meaning="simulations that became unstable in a task, over all environments of a member: each ended its episode",
        label="unstable simulations",
        better="down",
        bounds=(0, None),
    ),
    "online_loss": Metric(
        origin="online",
        meaning="the training loss of every example before it is learned from, averaged over a task",
        label="online loss",
        better="down",
        bounds=(0, None),
    ),
    "plasticity_gap": Metric(
        origin="asked",
        meaning="the network's online metric minus a newborn one's, on the same task and examples",
        label="aged minus fresh network",
    ),
    "within_task": Metric(
        origin="asked",
        meaning=f"the online metric in {BINS} stretches of a single task: how fast it is learned",
        label="within task",
        stretches=BINS,
    ),
    "units_replaced": Metric(
        origin="counted",
        meaning="units that a method replaced in each task",
        label="units replaced",
        unit="units",
        bounds=(0, None),
    ),
}

# Recorded beside the online metric where a sweep names none.
DEFAULTS = ("dormant_fraction", "effective_rank", "weight_magnitude")


def known() -> dict[str, Metric]:
    """Name -> metric, in the order in which lists have them: what judges, what was measured, the diagnostics."""
    return MEASURED | {
        name: Metric(
            origin="diagnostic",
            meaning=spec.meaning,
            label=spec.label or name.replace("_", " "),
            better=spec.better,
            unit=spec.unit,
            bounds=spec.bounds,
            per_layer=spec.per_layer,
            per_matrix=spec.per_matrix,
            deciles=spec.deciles,
            source=spec.source,
        )
        for name, spec in DIAGNOSTICS.items()
    }


def of(name: str) -> Metric | None:
    """The metric that `name`, perhaps one of its layers' or stretches' (`effective_rank/2`), is of."""
    return known().get(name.partition("/")[0])


def from_origin(*origins: Origin) -> tuple[str, ...]:
    """The metrics of these origins, in order."""
    return tuple(name for name, metric in known().items() if metric.origin in origins)


def ranked(names: Iterable[str]) -> list[str]:
    """Names as lists have them: whole metrics first, then those of single layers and stretches."""
    first = from_origin("tested", "online", "asked", "acting")

    def rank(name: str) -> tuple[bool, int, str]:
        whole, part, _ = name.partition("/")
        return bool(part), first.index(whole) if whole in first else len(first), name

    return sorted(names, key=rank)


def higher_is_better(objective: str) -> bool:
    """Whether a sweep that is judged by this metric wants it high."""
    return known()[objective].better == "up"


def objectives() -> tuple[str, ...]:
    """What settings may be chosen by: metrics of which more, or less, is better."""
    return tuple(name for name, metric in known().items() if metric.better)
