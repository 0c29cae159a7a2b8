"""The figures there are, and what each needs of a sweep.

`dashboards.figures` draws them; this says, when a sweep file is read and before anything is computed, that a figure
would have nothing to show. Needs neither torch nor matplotlib.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sweep.spec.model import Arm, Spec
from workloads import metrics
from workloads.networks.config import in_training

# What an arm of `four_axes` may have beside its optimizer: other methods are no axis of it.
CROSSED = frozenset({"continual_backprop", "coupled_isometry"})


def needs_nothing(spec: Spec) -> str | None:
    """Every sweep has the metric it is judged by."""
    return None


def needs_crossed_axes(spec: Spec) -> str | None:
    """Its heat maps cross step size and replacement rate."""
    if spec.search:
        return "it crosses the values of a grid, and a search draws others: give lists and no search"
    arms = [arm for arm in spec.arms if CROSSED.issuperset(method.name for method in arm.methods)]
    step_sizes = {setting.get("step_size") for arm in arms for setting in arm.optimizer.settings}
    rates = {rate for arm in arms for rate in _rates(arm)}
    return crossing(step_sizes, rates)


def crossing(step_sizes: Iterable[float | None], rates: Iterable[float]) -> str | None:
    """What keeps these values from making a heat map, if anything does."""
    missing = [
        name
        for name, values in (("step_size", step_sizes), ("continual_backprop.replacement_rate", rates))
        if len(set(values)) < 2
    ]
    if not missing:
        return None
    return (
        "it crosses step size and replacement rate, in arms that are an optimizer alone or with continual_backprop or"
        f" coupled_isometry: give {' and '.join(missing)} two values or more there"
    )


def _rates(arm: Arm) -> set[float]:
    """An arm's replacement rates; 0 without continual backprop."""
    for method in arm.methods:
        if method.name == "continual_backprop":
            return {float(setting["replacement_rate"]) for setting in method.settings}
    return {0.0}


def needs_an_axis(spec: Spec) -> str | None:
    """It draws what depends on a hyperparameter."""
    if spec.search or any(_numbers(arm) for arm in spec.arms):
        return None
    return "it shows how results depend on a hyperparameter: give one of an arm a list of two numbers or more"


def needs_two_axes(spec: Spec) -> str | None:
    """Its heat maps cross two hyperparameters of an arm."""
    if spec.search:
        return "it crosses the values of a grid, and a search draws others: give lists and no search"
    if any(_numbers(arm) > 1 for arm in spec.arms):
        return None
    return "it crosses two hyperparameters of an arm: give two of them a list of two numbers or more"


def _numbers(arm: Arm) -> int:
    """How many hyperparameters of an arm take several numbers."""
    return sum(
        all(isinstance(setting[axis], int | float) and not isinstance(setting[axis], bool) for setting in part.settings)
        for part in (arm.optimizer, *arm.methods)
        for axis in part.axes
    )


def needs_a_search(spec: Spec) -> str | None:
    """It shows what a search has tried."""
    return None if spec.search else "it is of a search: give ranges in the place of lists, and `search`"


def needs_two_ranges(spec: Spec) -> str | None:
    """It crosses two ranges of a search."""
    if spec.search and all(len(arm.ranges) < 2 for arm in spec.arms):
        return "it crosses two ranges of an arm: give one of them two"
    return needs_a_search(spec)


def needs_two_arms(spec: Spec) -> str | None:
    """It compares arms."""
    return None if len(spec.arms) > 1 else f"{spec.arms[0].label} is the only arm: there is nothing to compare with it"


def needs_common_seeds(spec: Spec) -> str | None:
    """It ranks arms on seeds."""
    if len(spec.seeds) < 2:
        return "it ranks the arms on every seed: give `seeds` two or more"
    return needs_two_arms(spec)


def needs_plain_arms(spec: Spec) -> str | None:
    """It shows plain SGD over time."""
    return None if any(map(_plain, spec.arms)) else "it shows plain SGD: give an arm with optimizer sgd and no method"


def _plain(arm: Arm) -> bool:
    """SGD without methods, but for a reset of the head, and a network that does nothing else in training."""
    acting = [in_training(getattr(c, "dropout", 0), getattr(c, "normalisation", "none")) for c in arm.network.configs]
    return (
        arm.optimizer.name == "sgd"
        and not all(acting)
        and {method.name for method in arm.methods} <= {"reset"}
        and not any(_starts_anew(arm))
    )


def needs_bins(spec: Spec) -> str | None:
    """It draws what was recorded inside tasks."""
    return None if "within_task" in spec.metrics else "it needs within_task: add it to `metrics`"


def needs_spectra(spec: Spec) -> str | None:
    """It draws every singular value of the weights."""
    return None if "singular_values" in spec.metrics else "it needs singular_values: add it to `metrics`"


def needs_diagnostics(spec: Spec) -> str | None:
    """It is a table of what was read off networks."""
    return None if _diagnosed(spec) else "it has a column for every diagnostic: add some to `metrics`"


def needs_cases(spec: Spec) -> str | None:
    """It correlates diagnostics with performance over settings."""
    if not _diagnosed(spec):
        return "it correlates diagnostics with performance: add some to `metrics`"
    return needs_two_arms(spec)


def _diagnosed(spec: Spec) -> bool:
    """Whether it records a diagnostic."""
    known = metrics.known()
    return any(name in known and known[name].origin == "diagnostic" for name in spec.metrics)


def needs_silent_units(spec: Spec) -> str | None:
    """It shows what becomes of units that a network begins with silenced."""
    if "revived_fraction" not in spec.metrics:
        return "it needs revived_fraction: add it to `metrics`"
    return None


def needs_games(spec: Spec) -> str | None:
    """It has a panel for each game that is visited."""
    return None if "games" in spec.workload.settings[0] else "it shows games: the workload must be continual_minatar"


def needs_slippery_ground(spec: Spec) -> str | None:
    """It shows what is earned on which friction."""
    return None if spec.workload.name == "slippery_ant" else "it shows frictions: the workload must be slippery_ant"


def needs_a_baseline(spec: Spec) -> str | None:
    """It compares with one arm that is trained from scratch."""
    scratch = [arm.label for arm in spec.arms if any(_starts_anew(arm))]
    if len(scratch) != 1:
        count = f"{len(scratch)} ({', '.join(scratch)})" if scratch else "none"
        return f"it needs one arm with reset: {{what: all}}, the network from scratch, not {count}"
    return None if len(spec.arms) > 1 else f"{scratch[0]} is the only arm: there is nothing to compare with it"


def _starts_anew(arm: Arm) -> Iterable[bool]:
    return (s.get("what") == "all" for method in arm.methods if method.name == "reset" for s in method.settings)


# Name -> what keeps a sweep from having this figure, as a clause; None where nothing does. It is drawn by the module
# of its name in `dashboards.figures`.
FIGURES: dict[str, Callable[[Spec], str | None]] = {
    "error_over_time": needs_nothing,
    "arms": needs_nothing,
    "four_axes": needs_crossed_axes,
    "within_task": needs_bins,
    "singular_values": needs_spectra,
    "measures": needs_diagnostics,
    "predictors": needs_cases,
    "reactivation": needs_silent_units,
    "visits": needs_games,
    "friction": needs_slippery_ground,
    "relative": needs_a_baseline,
    "sensitivity": needs_an_axis,
    "heat_map": needs_two_axes,
    "paired_differences": needs_two_arms,
    "ranks": needs_common_seeds,
    "performance_profiles": needs_two_arms,
    "cost_quality": needs_nothing,
    "optuna_importances": needs_a_search,
    "optuna_slices": needs_a_search,
    "optuna_contours": needs_two_ranges,
    "loss_of_plasticity_1": needs_nothing,
    "loss_of_plasticity_2": needs_a_baseline,
    "loss_of_plasticity_ed1": needs_nothing,
    "loss_of_plasticity_ed2": needs_plain_arms,
    "loss_of_plasticity_ed3": needs_plain_arms,
    "loss_of_plasticity_ed4": needs_nothing,
}
