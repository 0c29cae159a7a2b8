"""One part of a sweep file (workload, network, optimizer or method) against the dataclass that configures it.

A list is an axis: each of its elements is checked on its own, and a part stands for the product of its axes,
in the order in which the file names them, the last one fastest. In the place of a list a range may stand, for a search
to draw from.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from sweep.spec import ranges
from sweep.spec.document import Document, Field, KeyPath, Problems, unknown_key
from sweep.spec.ranges import Range
from sweep.spec.wording import valid
from workloads.settings import written

MOST_SETTINGS = 1_000_000  # one part's product and a whole sweep's trials; more is a slip of the pen
OTHER_NAMES = {"lr": "step_size", "learning_rate": "step_size"}  # what other libraries call it


@dataclass(frozen=True, slots=True)
class Section:
    """A validated part. `settings[i]` is `configs[i]` as a JSON-able dict with `name` and all defaults."""

    name: str
    semantics: int
    configs: tuple[Any, ...]
    settings: tuple[dict[str, Any], ...]
    axes: tuple[str, ...]  # fields that take more than one value
    ranges: Mapping[str, Range]  # fields that a search draws; `configs` then are the corners of what it may draw

    def of(self, fields: Mapping[str, Any]) -> Section:
        """The section's first setting with these fields changed, alone. Raises ValueError as its config does."""
        made = dataclasses.replace(self.configs[0], **fields)
        settings = {"name": self.name, **written(made)}
        return dataclasses.replace(self, configs=(made,), settings=(settings,), axes=())


@functools.cache
def adapters(config: type) -> dict[str, TypeAdapter[Any]]:
    """One strict validator per field: no text for numbers, no bool for int, no NaN."""
    hints = typing.get_type_hints(config, include_extras=True)
    rules = ConfigDict(strict=True, allow_inf_nan=False)
    return {f.name: TypeAdapter(hints[f.name], config=rules) for f in dataclasses.fields(config) if f.init}


def section(
    name: str,
    config: type,
    fields: Mapping[str, Field],
    *,
    semantics: int,
    at: KeyPath,
    document: Document,
    problems: Problems,
) -> Section | None:
    """The part called `name` with the given fields; None when it was wrong, which `problems` then says."""
    values: dict[str, list[Any]] = {}
    drawn: dict[str, Range] = {}
    allowed = adapters(config)
    sound = True
    for key, given in fields.items():
        if key not in allowed:
            meant = OTHER_NAMES.get(key)
            text = f"unknown key; it is called {meant!r} here" if meant in allowed else unknown_key(key, allowed)
            problems.add(document.line(given.path), given.path, text)
            sound = False
        elif ranges.looks_like_one(given.value):
            try:
                drawn[key] = ranges.read(given, allowed[key])
                values[key] = list(drawn[key].values)
            except ranges.Wrong as wrong:
                problems.add(document.line(wrong.path), wrong.path, str(wrong), *wrong.value)
                sound = False
        elif (checked := _axis(allowed[key], given, document, problems)) is None:
            sound = False
        else:
            values[key] = checked
    for f in dataclasses.fields(config):
        if f.init and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            if f.name not in fields:
                problems.add(document.line(at), at, f"{f.name} is missing; {name} has no default for it")
                sound = False
    if not sound:
        return None
    if math.prod(len(axis) for axis in values.values()) > MOST_SETTINGS:
        problems.add(document.line(at), at, f"its axes multiply to more than {MOST_SETTINGS:,} settings")
        return None
    made = _product(name, config, values, semantics=semantics, at=at, document=document, problems=problems)
    return made and dataclasses.replace(made, ranges=drawn)


def _axis(adapter: TypeAdapter[Any], given: Field, document: Document, problems: Problems) -> list[Any] | None:
    """The values of one field, one for a scalar."""
    if given.value == []:
        problems.add(document.line(given.path), given.path, "an axis needs at least one value", [])
        return None
    places = (
        [(element, (*given.path, i)) for i, element in enumerate(given.value)]
        if isinstance(given.value, list)
        else [(given.value, given.path)]
    )
    result = []
    for value, path in places:
        try:
            result.append(valid(adapter, value))
        except ValueError as error:
            problems.add(document.line(path), path, str(error), value)
    return result if len(result) == len(places) else None


def _product(
    name: str,
    config: type,
    values: Mapping[str, list[Any]],
    *,
    semantics: int,
    at: KeyPath,
    document: Document,
    problems: Problems,
) -> Section | None:
    """The product of the axes; settings that a config makes equal (any linear model) are kept once."""
    configs: dict[Any, Any] = {}
    for point in itertools.product(*values.values()):
        chosen = dict(zip(values, point, strict=True))
        try:
            made = config(**chosen)
        except ValueError as error:
            problems.add(document.line(at), at, str(error), chosen)
            return None
        configs.setdefault(repr(made), made)
    return Section(
        name=name,
        semantics=semantics,
        configs=tuple(configs.values()),
        settings=tuple({"name": name, **written(made)} for made in configs.values()),
        axes=tuple(key for key, axis in values.items() if len(axis) > 1),
        ranges={},
    )
