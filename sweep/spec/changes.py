"""What `--set KEY=VALUE` changes of a sweep for one run, and how that stands in the sweep's name.

`demo@laptop+seeds=5` is the study demo at scale laptop with `--set seeds=5`: a sweep of its own, beside demo@laptop.
Keys are those of a scale, dotted; several are sorted, so that their order makes no other sweep.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from sweep.errors import InputError, SpecError
from sweep.spec.document import Problems, plain, read_document

KEY = re.compile(r"[\w-]+(\.[\w-]+)*")
LONGEST_VALUE, LONGEST = 24, 100  # characters in a name; what is longer is told by its hash


class InPython(dict[str, Any]):
    """Changes that were given as `changed={...}`, and not on a command line."""


def read(words: Iterable[str]) -> dict[str, Any]:
    """Dotted key -> value, of words such as `workload.tasks=10`, whose values are YAML. Raises InputError."""
    changes: dict[str, Any] = {}
    for word in words:
        key, given, text = word.partition("=")
        if not given or not KEY.fullmatch(key):
            raise InputError(f"--set {word}: write KEY=VALUE, such as --set seeds=5 or --set arms.sgd.step_size=0.01")
        if key in changes:
            raise InputError(f"--set {word}: {key} is set already, to {json.dumps(changes[key])}")
        changes[key] = _value(word, text)
    return changes


def given(changed: Mapping[str, Any]) -> InPython:
    """The same from Python, `{"workload.tasks": 10}`, with values in the words of a file. Raises InputError."""
    for key in changed:
        if not isinstance(key, str) or not KEY.fullmatch(key):
            raise InputError(f"changed: {key!r} is no key, such as 'seeds' or 'arms.sgd.step_size'")
    try:
        return InPython({key: plain(value, (key,)) for key, value in changed.items()})
    except (TypeError, RecursionError) as error:
        raise InputError(f"changed: {error}") from None


def _value(word: str, text: str) -> Any:
    """The YAML after the first `=`."""
    problems = Problems(f"--set {word}", numbered=False)
    try:
        document = read_document(f"value: {text}", problems)
        problems.raise_any()
    except SpecError:
        document = None
    if document is None or list(document.tree) != ["value"]:
        raise InputError(f"--set {word}: what follows = must be a value in YAML, such as 0.01, [1, 2] or {{width: 5}}")
    return document.tree["value"]


def suffix(changes: Mapping[str, Any]) -> str:
    """What changes add to the name of a scale: `+seeds=5+workload.tasks=10`; equal changes, equal names."""
    said = "".join(f"+{key}={_short(changes[key])}" for key in sorted(changes))
    return said if len(said) <= LONGEST else f"+{len(changes)}-changes-{_hash(changes)}"


def _short(value: Any) -> str:
    """A value in characters that folders and addresses take; no two values that differ are written alike."""
    if isinstance(value, list) and value and not any(isinstance(each, list | dict) for each in value):
        said = ",".join(map(_short, value)) + ("," if len(value) == 1 else "")
    elif isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        said = str(int(value))
    elif isinstance(value, str) and not re.fullmatch(r"(?!true$|false$|null$)[A-Za-z][\w-]*", value, re.ASCII):
        said = _hash(value)
    elif isinstance(value, list | dict):
        said = _hash(value)
    else:
        said = value if isinstance(value, str) else json.dumps(value)
    return said if len(said) <= LONGEST_VALUE else _hash(value)


def _hash(value: Any) -> str:
    return "x" + hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def options(scale: str, manifest: Mapping[str, Any]) -> list[str]:
    """The words of a command line that mean a sweep again that was run: `--scale laptop --set seeds=5`."""
    changes: Mapping[str, Any] = manifest.get("set", {})
    return ["--scale", scale.partition("+")[0], *as_words(changes)]


def place(changes: Mapping[str, Any]) -> tuple[str, str]:
    """What mistakes are said of, `changed` or `--set`, and the changes as the user wrote them."""
    if isinstance(changes, InPython):
        return "changed", f"changed={dict(changes)}"
    return "--set", " ".join(as_words(changes))


def as_words(changes: Mapping[str, Any]) -> list[str]:
    """Changes as they stand on a command line; JSON is YAML."""
    return [word for key, value in changes.items() for word in ("--set", f"{key}={json.dumps(value)}")]
