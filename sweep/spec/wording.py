"""A value of a sweep file against its type, and pydantic's verdict in the words of a sweep file."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from workloads.registry import nearest


def valid(adapter: TypeAdapter[Any], value: Any) -> Any:
    """The value as its field takes it. Raises ValueError with what is wrong with it."""
    try:
        checked = adapter.validate_python(value)
    except ValidationError as error:
        raise ValueError(explain(error.errors()[0])) from None
    # -0.0 equals 0.0 but is written otherwise, and a trial's id is made of what is written.
    return checked + 0.0 if isinstance(checked, float) else checked


def explain(error: ErrorDetails) -> str:
    """pydantic's verdict on a value in the words of a sweep file."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if isinstance(value, dict) and kind in ("float_type", "int_type", "literal_error", "bool_type"):
        return "must be a value or a list of values; a range stands in the place of a list, not in one"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        allowed = str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
        allowed = [{"True": "true", "False": "false"}.get(word, word) for word in allowed]
        close = nearest(value, allowed) if isinstance(value, str) else None
        return f"must be one of {', '.join(allowed)}" + (f"; did you mean {close!r}?" if close else "")
    if kind == "int_type" and isinstance(value, float) and value.is_integer():
        return f"must be a whole number, written {int(value)}"
    said = (
        error["msg"]
        .replace("Input should", "must")
        .replace("a valid integer", "a whole number")
        .replace("a valid", "a")
    )
    if isinstance(value, str) and kind in ("int_type", "float_type"):
        try:
            float(value)
        except ValueError:
            return said
        return f"{said}; this is text, remove the quotes"
    return said
