"""The keys of a sweep file that depend on no registry, and which values they take.

What is below `workload`, `network` and the arms is `sweep.spec.meaning`'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from sweep.spec.axes import MOST_SETTINGS
from sweep.spec.document import unknown_key
from sweep.spec.figures import FIGURES
from sweep.spec.model import Strict, Track
from workloads import metrics as all_metrics

MOST_SEED = 2**32  # seeds key 32-bit counters: a larger one would repeat a smaller one's draws
NAME = r"^\w[\w.-]*$"  # letters and digits of any script

Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class Diagnostics(Strict):
    """When the network is looked at, and on what; null is the stream's own."""

    every: Annotated[int, Field(ge=1)] | None = None  # tasks
    probe: Annotated[int, Field(ge=1)] | None = None  # examples
    fresh_every: Annotated[int, Field(ge=1)] | None = None  # tasks between two comparisons with a fresh network


def seed_list(value: Any) -> tuple[int, ...]:
    """`30` is seeds 0 to 29; a list is itself."""
    if isinstance(value, dict):
        raise ValueError("selecting and evaluating on different seeds is not offered; give a number or a list")
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= MOST_SETTINGS:
            raise ValueError(f"must be a number of seeds from 1 to {MOST_SETTINGS:,}, or a list of seeds")
        return tuple(range(value))
    if not isinstance(value, list) or any(not isinstance(s, int) or isinstance(s, bool) for s in value):
        raise ValueError("must be a number of seeds (at least 1) or a list of whole numbers")
    if not value:
        raise ValueError("a sweep needs at least one seed")
    if wrong := [s for s in value if not 0 <= s < MOST_SEED]:
        raise ValueError(f"a seed is from 0 to {MOST_SEED - 1}, not {wrong[0]}")
    if twice := [s for s, count in Counter(value).items() if count > 1]:
        raise ValueError(f"seed {twice[0]} is given twice")
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
    seeds: Annotated[Any, BeforeValidator(seed_list)] = (0,)
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
}
OWNERS: dict[str, type[Strict]] = {"track": Track, "diagnostics": Diagnostics}
