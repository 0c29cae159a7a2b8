"""A sweep file as read: plain values, the line each came from, and the list of everything wrong with it.

YAML 1.2, so that 1e-4 is a number and `yes` a word. Keys must be words and may not be given twice. A value
that a scale sets is blamed on the scale's line.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sweep.errors import SpecError
from workloads.registry import nearest

KeyPath = tuple[str | int, ...]

SHOWN = 8  # mistakes printed at once; an error fits one screen
NO_VALUE = object()
SCALED = (
    "workload",
    "network",
    "seeds",
    "arms",
    "metrics",
    "diagnostics",
    "dtype",
    "keep",
    "figures",
    "track",
)


def dotted(path: KeyPath) -> str:
    """`arms.sgd.step_size[1]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def shown(value: Any) -> str:
    """A value as the file could have it, on one short line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def unknown_key(key: str, allowed: Iterable[str], kind: str = "key") -> str:
    """`unknown key; did you mean 'step_size'? allowed: ...`"""
    names = list(allowed)
    close = nearest(key, names)
    hint = f"; did you mean {close!r}?" if close else ";"
    return f"unknown {kind}{hint} allowed: {', '.join(names) or 'none'}"


@dataclass
class Problems:
    """Every mistake found in one file, said together: a reader mends them in one go."""

    file: str
    found: dict[str, int] = field(default_factory=dict)  # text -> line; a mistake seen twice is said once

    def add(self, line: int, path: KeyPath, text: str, value: Any = NO_VALUE) -> None:
        """Note a mistake at `path`."""
        what = " = ".join([dotted(path)] * bool(path) + [shown(value)] * (value is not NO_VALUE))
        self.found.setdefault(": ".join(part for part in (f"{self.file}:{line}", what, text) if part), line)

    def raise_any(self) -> None:
        """Raise SpecError when anything was found."""
        if self.found:
            said = sorted(self.found, key=lambda text: self.found[text])
            more = [f"... and {len(said) - SHOWN} more"] if len(said) > SHOWN else []
            raise SpecError("\n".join([*said[:SHOWN], *more]))


@dataclass
class Document:
    """The file's values as dicts, lists and scalars, and the line (from 1) of every key and element."""

    tree: dict[str, Any]
    lines: dict[KeyPath, int]

    def line(self, path: KeyPath) -> int:
        """The line of `path`, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def with_overrides(self, overrides: Mapping[str, Any], at: KeyPath, problems: Problems) -> Document:
        """A copy with the dotted paths of `overrides` (found at `at`) set; `arms.x: null` removes the arm."""
        tree, lines = copy.deepcopy(self.tree), dict(self.lines)
        arms = tree.get("arms")
        for key, value in overrides.items():
            source, path = (*at, key), tuple(key.split("."))
            if path[0] not in SCALED:
                problems.add(self.line(source), source, unknown_key(path[0], SCALED, "key for a scale"))
                continue
            if path[0] == "arms" and isinstance(arms, dict) and (len(path) < 2 or path[1] not in self.tree["arms"]):
                known = [f"arms.{name}" for name in self.tree["arms"]]
                problems.add(self.line(source), source, unknown_key(".".join(path[:2]), known, "arm"))
                continue
            parent: Any = tree
            for part in path[:-1]:
                if isinstance(parent, dict) and parent.get(part) is None:
                    parent[part] = {}
                parent = parent[part] if isinstance(parent, dict) else None
            if not isinstance(parent, dict):
                problems.add(self.line(source), source, f"{'.'.join(path[:-1])} has no keys to set", value)
                continue
            for old in [old for old in lines if old[: len(path)] == path]:
                del lines[old]
            if path[0] == "arms" and len(path) == 2 and value is None:
                parent.pop(path[-1], None)
                continue
            parent[path[-1]] = copy.deepcopy(value)
            for old, line in self.lines.items():
                if old[: len(source)] == source:
                    lines[path + old[len(source) :]] = line
        return Document(tree, lines)


def read_document(text: str, problems: Problems) -> Document:
    """The document in `text`; lesser mistakes go to `problems`. Raises SpecError where it is not YAML."""
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = ": ".join(part for part in (error.context, error.problem) if part)
        raise SpecError(f"{problems.file}:{line}: not YAML, column {column}: {what}") from None
    except YAMLError as error:
        raise SpecError(f"{problems.file}:1: not YAML: {str(error).splitlines()[0]}") from None
    if root is None:
        raise SpecError(f"{problems.file}:1: the file is empty; a sweep needs at least `workload` and `arms`")
    if not isinstance(root, MappingNode):
        raise SpecError(f"{problems.file}:1: a sweep file is a mapping of keys such as `workload:` and `arms:`")
    reader = _Reader(yaml.constructor, problems)
    tree = reader.value(root, (), ())
    return Document(tree, reader.lines)


class _Reader:
    """Turns YAML nodes into values, noting lines."""

    def __init__(self, constructor: SafeConstructor, problems: Problems) -> None:
        self.scalars = {
            "null": constructor.construct_yaml_null,
            "bool": constructor.construct_yaml_bool,
            "int": constructor.construct_yaml_int,
            "float": constructor.construct_yaml_float,
        }
        self.problems = problems
        self.lines: dict[KeyPath, int] = {}

    def value(self, node: Node, path: KeyPath, above: tuple[int, ...]) -> Any:
        """The node's value; `above` are the nodes around it, for an alias may not contain itself."""
        line = node.start_mark.line + 1
        if id(node) in above:
            self.problems.add(line, path, "an alias may not contain itself")
            return None
        above = (*above, id(node))
        if isinstance(node, MappingNode):
            return self.mapping(node, path, above)
        if isinstance(node, SequenceNode):
            for index, element in enumerate(node.value):
                self.lines[(*path, index)] = element.start_mark.line + 1
            return [self.value(element, (*path, i), above) for i, element in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        tag = str(node.tag)
        if not tag.startswith("tag:yaml.org,2002:"):
            self.problems.add(line, path, f"YAML tags such as {tag} mean nothing here")
            return None
        read = self.scalars.get(tag.rpartition(":")[2])
        return read(node) if read else node.value

    def mapping(self, node: MappingNode, path: KeyPath, above: tuple[int, ...]) -> dict[str, Any]:
        """A mapping's values; refuses keys given twice and keys that are not words."""
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value
            if not isinstance(key_node, ScalarNode) or not str(key_node.tag).endswith(":str"):
                self.problems.add(line, path, "keys must be words (quote it if it is meant as one)", key)
                continue
            inner = (*path, key)
            if key in result:
                self.problems.add(line, inner, f"duplicate key, first given on line {self.lines[inner]}")
                continue
            self.lines[inner] = line
            result[key] = self.value(value_node, inner, above)
        return result
