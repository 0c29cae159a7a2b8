"""A registry is a dict from name to thing; this is its one lookup, and the sentence a misspelling is answered with.

A config names an entry and its settings in one mapping, {"name": ..., **fields}; this is how the two are told apart.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from workloads.errors import InputError

T = TypeVar("T")


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name a reader most likely meant, or None when nothing is close."""
    candidates = list(names)
    spellings = (name, name.lower())  # names here are in lower case, and people write SGD
    return next(
        (close for word in spellings for close in difflib.get_close_matches(word, candidates, n=1, cutoff=0.6)), None
    )


def unknown(name: str, kind: str, names: Iterable[str]) -> str:
    """`unknown method 'adm': did you mean 'adam'? allowed: adam, sgd` (the hint only where a name is close)."""
    allowed = sorted(names)
    close = nearest(name, allowed)
    hint = f" did you mean {close!r}?" if close else ""
    return f"unknown {kind} {name!r}:{hint} allowed: {', '.join(allowed)}"


def fields_of(named: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """(name, fields) of a config's part."""
    return named["name"], {key: value for key, value in named.items() if key != "name"}


def lookup(registry: Mapping[str, T], name: str, kind: str) -> T:
    """The entry called `name`. Raises InputError that names the nearest entry and all that exist."""
    if name not in registry:
        raise InputError(unknown(name, kind, registry))
    return registry[name]
