"""One part of a sweep file (workload, network, optimizer or method) against the dataclass that configures it.

A list is an axis: each of its elements is checked on its own, and a part stands for the product of its axes,
in the order in which the file names them, the last one fastest.
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

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from sweep.spec.document import Document, KeyPath, Problems, unknown_key
from workloads.registry import nearest

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


@dataclass(frozen=True, slots=True)
class Field:
    """A value and where in the file it stands."""

    value: Any
    path: KeyPath


@functools.cache
def adapters(config: type) -> dict[str, TypeAdapter[Any]]:
    """One strict validator per field: no text for numbers, no bool for int, no NaN."""
    hints = typing.get_type_hints(config, include_extras=True)
    rules = ConfigDict(strict=True, allow_inf_nan=False)
    return {f.name: TypeAdapter(hints[f.name], config=rules) for f in dataclasses.fields(config) if f.init}


def explain(error: ErrorDetails) -> str:
    """pydantic's verdict on a value in the words of a sweep file."""
    kind, found, context = error["type"], error["input"], error.get("ctx", {})
    if isinstance(found, dict) and kind in ("float_type", "int_type", "literal_error", "bool_type"):
        return "must be a value or a list of values; ranges are for search, which a sweep file does not have"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        allowed = str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
        allowed = [{"True": "true", "False": "false"}.get(word, word) for word in allowed]
        close = nearest(found, allowed) if isinstance(found, str) else None
        return f"must be one of {', '.join(allowed)}" + (f"; did you mean {close!r}?" if close else "")
    if kind == "int_type" and isinstance(found, float) and found.is_integer():
        return f"must be a whole number, written {int(found)}"
    said = (
        error["msg"]
        .replace("Input should", "must")
        .replace("a valid integer", "a whole number")
        .replace("a valid", "a")
    )
    if isinstance(found, str) and kind in ("int_type", "float_type"):
        try:
            float(found)
        except ValueError:
            return said
        return f"{said}; this is text, remove the quotes"
    return said


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
    known = adapters(config)
    sound = True
    for key, given in fields.items():
        if key not in known:
            meant = OTHER_NAMES.get(key)
            text = f"unknown key; it is called {meant!r} here" if meant in known else unknown_key(key, known)
            problems.add(document.line(given.path), given.path, text)
            sound = False
        elif (checked := _axis(known[key], given, document, problems)) is None:
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
    return _product(name, config, values, semantics=semantics, at=at, document=document, problems=problems)


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
            checked = adapter.validate_python(value)
        except ValidationError as error:
            problems.add(document.line(path), path, explain(error.errors()[0]), value)
        else:
            # -0.0 equals 0.0 but is written otherwise, and a trial's id is made of what is written.
            result.append(checked + 0.0 if isinstance(checked, float) else checked)
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
        settings=tuple({"name": name, **dataclasses.asdict(made)} for made in configs.values()),
        axes=tuple(key for key, axis in values.items() if len(axis) > 1),
    )
