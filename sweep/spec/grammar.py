"""The keys of a sweep file that depend on no registry, and which values they take.

What is below `workload`, `network` and the arms is `sweep.spec.meaning`'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from sweep.results import windows
from sweep.results.windows import Window
from sweep.spec.axes import MOST_SETTINGS
from sweep.spec.document import unknown_key
from sweep.spec.figures import FIGURES
from sweep.spec.model import Judged, Search, Seeds, Strict, Track
from sweep.spec.wording import explain
from workloads import metrics as all_metrics

STAGES = ("select", "evaluate", "objective", "window")  # keys of `seeds`
MOST_SEED = 2**32  # seeds key 32-bit counters: a larger one would repeat a smaller one's draws
NAME = r"^\w[\w.-]*$"  # letters and digits of any script

Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class Diagnostics(Strict):
    """When the network is looked at, and on what; null is the stream's own."""

    every: Annotated[int, Field(ge=1)] | None = None  # tasks
    probe: Annotated[int, Field(ge=1)] | None = None  # examples
    fresh_every: Annotated[int, Field(ge=1)] | None = None  # tasks between two comparisons with a fresh network


def seeds_of(value: Any) -> Seeds:
    """`30` is seeds 0 to 29, a list is itself, and `{select: 5, evaluate: 20}` two stages of disjoint seeds."""
    if not isinstance(value, dict):
        return Seeds(seed_list(value))
    if wrong := [key for key in value if key not in STAGES]:
        raise ValueError(f"{wrong[0]}: {unknown_key(str(wrong[0]), STAGES)}")
    if missing := [key for key in STAGES[:2] if key not in value]:
        raise ValueError(
            f"{missing[0]} is missing: {{select: 5, evaluate: 20}} chooses on 5 seeds and judges on 20 fresh"
        )
    select = seed_list(value["select"], "select: ")
    evaluate = seed_list(value["evaluate"], "evaluate: ")
    if isinstance(value["evaluate"], int):
        evaluate = seed_list([max(select) + 1 + seed for seed in evaluate], "evaluate: ")
    if both := set(select).intersection(evaluate):
        raise ValueError(f"seed {min(both)} is in select and in evaluate: what is chosen is judged on fresh seeds")
    try:
        judged = Judged.model_validate({key: value[key] for key in STAGES[2:] if key in value})
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{first['loc'][0]}: {explain(first)}") from None
    return Seeds(select, evaluate, judged)


def seed_list(value: Any, where: str = "") -> tuple[int, ...]:
    """`30` is seeds 0 to 29; a list is itself. Raises ValueError, which begins with `where`."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= MOST_SETTINGS:
            raise ValueError(f"{where}must be a number of seeds from 1 to {MOST_SETTINGS:,}, or a list of seeds")
        return tuple(range(value))
    if not isinstance(value, list) or any(not isinstance(s, int) or isinstance(s, bool) for s in value):
        raise ValueError(f"{where}must be a number of seeds (at least 1) or a list of whole numbers")
    if not value:
        raise ValueError(f"{where}a sweep needs at least one seed")
    if wrong := [s for s in value if not 0 <= s < MOST_SEED]:
        raise ValueError(f"{where}a seed is from 0 to {MOST_SEED - 1}, not {wrong[0]}")
    if twice := [s for s, count in Counter(value).items() if count > 1]:
        raise ValueError(f"{where}seed {twice[0]} is given twice")
    return tuple(value)


def keep_rule(value: Any) -> str | dict[str, int]:
    """none, final, or {every: tasks}."""
    if value in ("none", "final"):
        return str(value)
    if isinstance(value, dict) and list(value) == ["every"]:
        every = value["every"]
        if isinstance(every, int) and not isinstance(every, bool) and every >= 1:
            return {"every": every}
    raise ValueError("must be none, final or {every: <tasks>}, at least 1")


def beginning(value: Any) -> Window:
    """Settings are chosen by the beginning of the stream alone: its end is not known to one who has to learn on it."""
    if isinstance(value, dict) and list(value) == ["first"] and isinstance(value["first"], str):
        with suppress(ValueError):
            window = windows.parse(f"first {value['first']}")
            if window.percent < 100:
                return window
    raise ValueError("must be {first: 10%}: the part of the tasks, from their beginning, that settings are chosen by")


def named(kind: str, names: Callable[[], Iterable[str]]) -> Any:
    """A validator for a list of names; says the nearest one for a misspelling."""

    def check(value: Any) -> tuple[str, ...]:
        allowed = tuple(names())
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise ValueError(f"must be a list of {kind}s: {', '.join(allowed)}")
        for name in value:
            if name not in allowed:
                raise ValueError(unknown_key(name, allowed, f"{kind} {name!r}"))
        return tuple(value)

    return BeforeValidator(check)


class Settings(Strict):
    """The keys of a sweep file; what is below workload, network and arms is checked against registries."""

    workload: dict[str, Any]
    arms: Annotated[dict[Label, dict[str, Any]], Field(min_length=1)]
    network: dict[str, Any] = {}
    seeds: Annotated[Any, BeforeValidator(seeds_of)] = Seeds((0,))
    select: Annotated[Any, BeforeValidator(beginning)] = None
    search: Search | None = None
    metrics: Annotated[tuple[str, ...], named("metric", all_metrics.known)] | None = None
    diagnostics: Diagnostics = Diagnostics()
    dtype: Literal["float32", "float64", "tf32"] = "float32"
    keep: Annotated[Any, BeforeValidator(keep_rule)] = "none"
    figures: Annotated[tuple[str, ...], named("figure", lambda: FIGURES)] = ("arms",)
    track: Track = Track()
    scales: dict[Label, dict[str, Any] | None] = {}
    code: list[str] = []
    question: str | None = None
    name: Annotated[str, Field(pattern=NAME)] | None = None


EXAMPLES = {
    "workload": "workload: {name: slowly_changing_regression}, or another that `sweep describe` lists",
    "arms": "arms: {mine: {optimizer: sgd}}",
    "search": "search: {sampler: tpe, trials: 60, round: 16}",
}
OWNERS: dict[str, type[Strict]] = {"track": Track, "diagnostics": Diagnostics, "search": Search}
