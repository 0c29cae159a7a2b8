"""A range in the place of a list: what a search may draw one setting from.

{log: [1e-4, 1e-1]}    {uniform: [0, 1]}    {int: [1, 1000]}    {choice: [0.9, 0.99]}
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from sweep.spec.document import Field, KeyPath, unknown_key
from sweep.spec.wording import valid

KINDS = ("log", "uniform", "int", "choice")
FORMS = "{log: [low, high]}, {uniform: [low, high]}, {int: [low, high]} or {choice: [values]}"


@dataclass(frozen=True, slots=True)
class Range:
    """What may be drawn: `values` are the lowest and the highest, both possible, or all of a choice."""

    kind: str  # one of KINDS
    values: tuple[Any, ...]

    def written(self, value: Any) -> Any:
        """A drawn value that was written as JSON: of a choice the very value, which may be a tuple."""
        if self.kind != "choice":
            return value
        return next(choice for choice in self.values if json.dumps(choice) == json.dumps(value))


class Wrong(ValueError):
    """What is wrong with a range, and where in the file."""

    def __init__(self, path: KeyPath, text: str, *value: Any) -> None:
        super().__init__(text)
        self.path = path
        self.value = value


def looks_like_one(value: Any) -> bool:
    """Whether a value in a sweep file is meant as a range: no setting is a mapping."""
    return isinstance(value, dict)


def read(given: Field, adapter: TypeAdapter[Any]) -> Range:
    """The range that stands in a field, its values checked like any of that field's. Raises Wrong."""
    if len(given.value) != 1:
        raise Wrong(given.path, f"a range has one key: {FORMS}")
    [(kind, written)] = given.value.items()
    path = (*given.path, kind)
    if kind not in KINDS:
        raise Wrong(path, unknown_key(kind, KINDS, "kind of range"))
    fewest = "a list of at least two values" if kind == "choice" else "[low, high]"
    if not isinstance(written, list) or len(written) < 2 or (kind != "choice" and len(written) > 2):
        raise Wrong(path, f"must be {fewest}")
    values = []
    for place, value in enumerate(written):
        try:
            values.append(valid(adapter, value))
        except ValueError as error:
            raise Wrong((*path, place), str(error), value) from None
        if kind == "choice" and values[-1] in values[:-1]:
            raise Wrong((*path, place), "the choice has this value already", value)
    if kind != "choice" and (why := _no_interval(kind, values)):
        raise Wrong(path, why)
    return Range(kind, tuple(values))


def _no_interval(kind: str, ends: list[Any]) -> str | None:
    """Why two values are not the ends of a range of numbers; None where they are."""
    if any(isinstance(end, bool) or not isinstance(end, int | float) for end in ends):
        return "only numbers have a lowest and a highest: write {choice: [values]}"
    low, high = ends
    if low > high:
        return f"the low end {low:g} is above the high end {high:g}"
    if low == high:
        return f"both ends are {low:g}: write the value itself"
    if kind == "log" and low <= 0:
        return f"a log range begins above 0, not at {low:g}"
    if kind == "int" and any(end != int(end) for end in ends):
        return "the ends of an int range are whole numbers"
    if kind == "uniform" and isinstance(low, int):
        return f"this setting takes whole numbers alone: write {{int: [{low}, {high}]}}"
    return None
