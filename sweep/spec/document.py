"""A sweep file as read: plain values, the line each came from, and the list of everything wrong with it.

YAML 1.2, so that 1e-4 is a number and `yes` a word; anchors, aliases and merges (`<<: *base`) are YAML's. Keys must
be words and may not be given twice. A value that a scale sets is blamed on the scale's line.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sweep.errors import SpecError
from workloads.registry import nearest

KeyPath = tuple[str | int, ...]

SET = "--set"  # the place of what is changed for one run, by a command line or in Python, which no line of the file is
SHOWN = 8  # mistakes printed at once; an error fits one screen
NO_VALUE = object()
SCALED = (
    "workload",
    "network",
    "seeds",
    "select",
    "search",
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


@dataclass(frozen=True, slots=True)
class Field:
    """A value and where in the file it stands."""

    value: Any
    path: KeyPath


@dataclass
class Problems:
    """Every mistake found in one file, said together: a reader mends them in one go."""

    file: str
    numbered: bool = True  # whether the reader has lines to look at
    line_of: dict[str, int] = field(default_factory=dict)  # text -> line; a mistake seen twice is said once
    when: str = ""  # what the file is checked with, such as `at scale smoke`, and the lines of that
    lines: frozenset[int] = frozenset()
    changed_by: str = SET  # what the user wrote the changes of one run behind

    def add(self, line: int, path: KeyPath, text: str, value: Any = NO_VALUE) -> None:
        """Note a mistake at `path`; of one on other lines that a scale alone makes a mistake, the scale is said.

        Line 0 is what is changed for one run.
        """
        path = path[1:] if path[:1] == (SET,) else path
        what = " = ".join([dotted(path)] * bool(path) + [shown(value)] * (value is not NO_VALUE))
        place = self.changed_by if line == 0 else f"{self.file}:{line}" if self.numbered else self.file
        said = ": ".join(part for part in (place, what, text) if part)
        if self.when and said not in self.line_of and line not in self.lines:
            said += f" ({self.when})"
        self.line_of.setdefault(said, line)

    def raise_any(self) -> None:
        """Raise SpecError when anything was found."""
        if self.line_of:
            said = sorted(self.line_of, key=lambda text: self.line_of[text])
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
        """A copy with the values of `overrides` (found at `at`) set; `arms.x: null` removes the arm.

        `at` is a scale's place, or SET, of which every key is on line 0.

        Keys are dotted paths. A mapping is merged into the one that is there: what it does not name stays as it is.
        """
        made = Document(copy.deepcopy(self.tree), dict(self.lines))
        before: dict[KeyPath, int] = {}  # what the scale has set, and where
        kind = "to set" if at == (SET,) else "for a scale"
        for source, path, value in _leaves(overrides, at, (), self.tree):
            line = 0 if at == (SET,) else self.line(source)
            twice = [other for other in before if path[: len(other)] == other or other[: len(path)] == path]
            if refused := self._not_to_be_set(path, kind):
                problems.add(line, source, refused)
            elif twice:
                where = f"by this scale on line {before[twice[0]]} already" if line else "twice"
                problems.add(line, source, f"{dotted(path)} is set {where}")
            elif not made._set(path, value):
                problems.add(line, source, f"{dotted(path[:-1])} has no keys to set", value)
            else:
                made._relined(path, source, self.lines, line)
            before[path] = line
        return made

    def _not_to_be_set(self, path: KeyPath, kind: str) -> str | None:
        """What is wrong with setting `path`; `kind` says where: `for a scale`."""
        if path[0] not in SCALED:
            parts = {part: self.tree.get(part) for part in ("workload", "network")}
            meant = [f"{part}.{path[0]}" for part, f in parts.items() if isinstance(f, dict) and path[0] in f]
            if meant:
                return f"unknown key {kind}; did you mean {meant[0]!r}?"
            return unknown_key(str(path[0]), SCALED, f"key {kind}")
        arms = self.tree.get("arms")
        if path[0] == "arms" and isinstance(arms, dict) and (len(path) < 2 or path[1] not in arms):
            return unknown_key(dotted(path[:2]), [f"arms.{name}" for name in arms], "arm")
        return None

    def _set(self, path: KeyPath, value: Any) -> bool:
        """Put a value where `path` says; False where something on the way is no mapping."""
        parent: Any = self.tree
        for part in path[:-1]:
            if isinstance(parent, dict) and parent.get(part) is None:
                parent[part] = {}
            parent = parent[part] if isinstance(parent, dict) else None
        if not isinstance(parent, dict):
            return False
        if path[0] == "arms" and len(path) == 2 and value is None:
            parent.pop(path[1], None)
        else:
            parent[path[-1]] = copy.deepcopy(value)
        return True

    def _relined(self, path: KeyPath, source: KeyPath, lines: Mapping[KeyPath, int], line: int) -> None:
        """Blame what was set at `path` on the lines of `source`; no arms at all, on the scale that removed the last."""
        for old in [old for old in self.lines if old[: len(path)] == path]:
            del self.lines[old]
        self.lines[path] = line
        for old, its_line in lines.items():
            if old[: len(source)] == source:
                self.lines[path + old[len(source) :]] = its_line
        if not self.tree.get("arms"):
            self.lines[("arms",)] = line


def _leaves(
    overrides: Mapping[str, Any], at: KeyPath, above: KeyPath, there: Any
) -> Iterator[tuple[KeyPath, KeyPath, Any]]:
    """(where it is written, what it sets, to what) for what a scale changes below `above`, where `there` is."""
    for key, value in overrides.items():
        parts = tuple(key.split("."))
        below = there
        for part in parts:
            below = below.get(part) if isinstance(below, dict) else None
        if isinstance(value, dict) and isinstance(below, dict) and not _of_another_name(value, below):
            yield from _leaves(value, (*at, key), above + parts, below)
        else:
            yield (*at, key), above + parts, value


def _of_another_name(value: Mapping[str, Any], there: Mapping[str, Any]) -> bool:
    """Whether two sections are of different kinds: the fields of one would mean nothing to the other."""
    return "name" in value and "name" in there and value["name"] != there["name"]


def as_file(sweep: Mapping[str, Any]) -> tuple[str, str]:
    """(text, name) of the sweep file that says what a mapping does. Raises SpecError for what no file could hold."""
    name = sweep.get("name")
    if not isinstance(name, str):
        raise SpecError("a sweep given as a mapping needs a name: its key `name`, or name=... beside it")
    try:
        return json.dumps(plain(sweep), indent=2, ensure_ascii=False), name
    except (TypeError, RecursionError) as error:
        raise SpecError(f"{name}: {error}") from None


def plain(value: Any, at: KeyPath = ()) -> Any:
    """A value in the words of a file: dicts with words for keys, lists, text, numbers."""
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"{dotted(at)}: keys must be text, not {wrong[0]!r}".lstrip(": "))
        return {key: plain(part, (*at, key)) for key, part in value.items()}
    if hasattr(value, "tolist"):  # numpy's arrays and scalars
        value = value.tolist()
    if isinstance(value, list | tuple | range):
        return [plain(part, (*at, i)) for i, part in enumerate(value)]
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise TypeError(f"{dotted(at)} = {value!r:.60} is no text, finite number, list or mapping")


def read_document(text: str, problems: Problems) -> Document:
    """The document in `text`; lesser mistakes go to `problems`. Raises SpecError where it is not YAML."""
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = ": ".join(part for part in (error.context, error.problem) if part)
        if "'\\t'" in what:
            what = "a tab; YAML indents with spaces"
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
        scalar = read(node) if read else node.value
        if scalar == 0 and isinstance(scalar, float) and re.search("[1-9]", node.value.lower().partition("e")[0]):
            self.problems.add(line, path, f"{node.value} is smaller than any number here: it would be read as 0")
        return scalar

    def mapping(self, node: MappingNode, path: KeyPath, above: tuple[int, ...]) -> dict[str, Any]:
        """A mapping's values, merged ones too; refuses keys given twice and keys that are not words."""
        result: dict[str, Any] = {}
        for key_node, value_node in (pair for pair in node.value if not _is_merge(pair[0])):
            line = key_node.start_mark.line + 1
            key = key_node.value
            if not isinstance(key_node, ScalarNode) or not str(key_node.tag).endswith(":str"):
                number = isinstance(value_node, ScalarNode) and value_node.value == "" and str(key).isdecimal()
                hint = "a number has no comma: 0.01, 1000" if number else "quote it if it is meant as one"
                self.problems.add(line, path, f"keys must be words ({hint})", key)
                continue
            inner = (*path, key)
            if key in result:
                self.problems.add(line, inner, f"duplicate key, first given on line {self.lines[inner]}")
                continue
            self.lines[inner] = line
            result[key] = self.value(value_node, inner, above)
        for other in (value for key, value in node.value if _is_merge(key)):
            self.merge(other, result, path, above)
        return result

    def merge(self, node: Node, into: dict[str, Any], path: KeyPath, above: tuple[int, ...]) -> None:
        """Add what `<<` names to a mapping: the mapping's own keys win, then those of the first that is named."""
        line = node.start_mark.line + 1
        if isinstance(node, SequenceNode):
            for each in node.value:
                self.merge(each, into, path, above)
        elif not isinstance(node, MappingNode):
            self.problems.add(line, (*path, "<<"), "merges a mapping (<<: *name), or a list of them")
        elif id(node) in above:
            self.problems.add(line, path, "an alias may not contain itself")
        else:
            new = [(key, value) for key, value in node.value if key.value not in into]
            for key, value in self.mapping(_like(node, new), path, (*above, id(node))).items():
                into.setdefault(key, value)


def _is_merge(key: Node) -> bool:
    return str(key.tag).endswith(":merge")


def _like(node: MappingNode, pairs: list[tuple[Node, Node]]) -> MappingNode:
    """The mapping with these pairs alone."""
    return MappingNode(node.tag, pairs, node.start_mark, node.end_mark)
