"""What a name means that a sweep file can hold: settings, defaults and what is allowed, meaning and source.

All of it is read from where it is written once: the registries, the configs' fields with their comments, and the
docstrings of the modules, without importing torch or matplotlib.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
import textwrap
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import workloads
from sweep.cli.output import rendered
from sweep.errors import InputError
from sweep.results import naming
from sweep.spec.grammar import beginning, seeds_of
from sweep.spec.model import Search
from workloads import kinds, metrics
from workloads.diagnostics import DIAGNOSTICS
from workloads.diagnostics.costs import Sizes, look_cost
from workloads.extensions import owner
from workloads.methods.config import METHODS, OPTIMIZERS, MethodSpec
from workloads.networks.config import NETWORKS
from workloads.registry import unknown

WORKLOADS = Path(workloads.__file__).parent


@dataclass(frozen=True, slots=True)
class Setting:
    """A field of a config."""

    name: str
    default: str
    allowed: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A name that a sweep file can hold."""

    kind: str  # method, optimizer, workload, network, metric, key or figure
    name: str
    summary: str  # a line
    use: str  # how a sweep file says it
    text: str  # the whole story, as its module tells it
    settings: tuple[Setting, ...] = ()
    varies: tuple[str, ...] = ()  # settings that may differ inside a pack
    facts: tuple[str, ...] = ()  # what else is known, a line each


def entries(figures: Path) -> Iterator[Entry]:
    """Everything there is, by kind. `figures` is the folder of the figures' modules."""
    for name, method in OPTIMIZERS.items():
        yield learner("optimizer", name, method, f"arms: {{mine: {{optimizer: {name}, ...}}}}")
    for name, method in METHODS.items():
        yield learner("method", name, method, f"arms: {{mine: {{optimizer: sgd, {name}: {{...}}}}}}")
    for name, stream in kinds.WORKLOADS.items():
        text = inspect.getdoc(sys.modules[stream.__module__]) or ""
        yield Entry("workload", name, first(text), f"workload: {{name: {name}, ...}}", text, settings(stream.Config))
    for name, network in NETWORKS.items():
        text = docstring(WORKLOADS / "networks" / f"{network.file or name}.py")
        summary = first(inspect.getdoc(network.config) or text)
        yield Entry("network", name, summary, f"network: {{name: {name}, ...}}", text, settings(network.config))
    for name, metric in metrics.known().items():
        counted = metric.origin == "counted"
        use = "recorded for every arm whose method replaces units" if counted else f"metrics: [{name}, ...]"
        yield Entry("metric", name, metric.meaning, use, story(name), facts=(*facts(metric), *looks(name)))
    yield from keys()
    for path in sorted(figures.glob("*.py")):
        text = docstring(path)
        if path.stem in figure_names():
            yield Entry("figure", path.stem, first(text), f"figures: [{path.stem}, ...]", text)


def keys() -> Iterator[Entry]:
    """The keys of a sweep file by which its trials come in rounds."""
    rounds = docstring(Path(__file__).parents[1] / "search" / "rounds.py")
    ranges = docstring(Path(__file__).parents[1] / "spec" / "ranges.py")
    use = "seeds: 30, or [3, 7], or {select: 5, evaluate: 20}; there objective and window may stand, as in search"
    yield Entry("key", "seeds", first(inspect.getdoc(seeds_of) or ""), use, rounds)
    use = "select: {first: 10%}, beside seeds: 30 or in the place of a window in seeds or search"
    yield Entry("key", "select", first(inspect.getdoc(beginning) or ""), use, rounds)
    use = "search: {sampler: tpe, trials: 60}, with a range where a list may stand, {log: [1e-4, 1e-1]}"
    text = f"{ranges}\n\n{rounds}"
    yield Entry("key", "search", first(inspect.getdoc(Search) or ""), use, text, model_settings(Search))


def story(metric: str) -> str:
    """What a diagnostic's module tells; nothing for other metrics, which their line describes, and for a user's."""
    if metric not in DIAGNOSTICS or owner("DIAGNOSTICS", metric):
        return ""
    return docstring(WORKLOADS / "diagnostics" / f"{DIAGNOSTICS[metric].file or metric}.py")


def facts(metric: metrics.Metric) -> Iterator[str]:
    """What else is known of a metric, a line each."""
    if metric.better:
        yield f"better {'high' if metric.better == 'up' else 'low'}"
    if metric.unit:
        yield f"unit: {metric.unit}"
    low, high = metric.bounds
    if low is not None or high is not None:
        most = "the number of units in a layer" if high == "units" else None if high is None else f"{high:g}"
        yield " ".join([*([f"from {low:g}"] if low is not None else []), *([f"up to {most}"] if most else [])])
    if metric.per_layer:
        yield "the mean over hidden layers, and of each, from the input up: /1, /2, ..."
    if metric.per_matrix or metric.deciles:
        yield "the mean over weight matrices or hidden layers, and of each, from the input up: /1, /2, ..."
    if metric.deciles:
        yield "of each its deciles: /1/0, the least value, to /1/10, the largest"
    if metric.stretches:
        yield f"one value for each stretch: /1 to /{metric.stretches}"
    if metric.source:
        yield f"source: {metric.source}"


def looks(metric: str) -> Iterator[str]:
    """What a diagnostic looks at, and what that takes."""
    if spec := DIAGNOSTICS.get(metric):
        many = f"{spec.probe} examples" if spec.probe else "as many examples as diagnostics.probe says"
        sizes = Sizes(examples=spec.probe or 1000, outputs=10, parameters=100_000, width=100)
        passes = look_cost([metric], sizes) / sizes.examples
        yield f"reads {', '.join(spec.needs) or 'nothing'} at {many}"
        yield f"takes about {passes:.3g} forward passes of each, of an MLP of width 100 with ten outputs"


def learner(kind: str, name: str, spec: Any, use: str) -> Entry:
    """An optimizer or a method."""
    text = docstring(WORKLOADS / "methods" / f"{name}.py")
    about = inspect.getdoc(spec.config) or ""
    whole = "\n\n".join(part for part in (about.partition("\n\n")[2], text) if part)
    own = owner("OPTIMIZERS" if kind == "optimizer" else "METHODS", name) is not None
    said = () if own else (cost(kind, spec),)
    return Entry(kind, name, first(about), use, whole, settings(spec.config), spec.varies, said)


def cost(kind: str, spec: MethodSpec) -> str:
    """What a step takes with an optimizer, or what a method adds to it, as it is set unless told otherwise."""
    alone, many = (spec.steps(spec.config(), width=100, batch=batch) for batch in (1, 100))
    if not alone:
        return "adds nothing to a step"
    said = f"{'a step takes' if kind == 'optimizer' else 'adds to a step'} about {alone:.3g} steps of plain SGD"
    return said if alone == many else f"{said} at batch 1, {many:.3g} at batch 100, of an MLP of width 100"


def figure_names() -> tuple[str, ...]:
    """The figures that a sweep file can name."""
    from sweep.spec.figures import FIGURES

    return tuple(FIGURES)


def named(name: str, figures: Path) -> list[Entry]:
    """What is called `name`, which may be a metric and a figure. Raises InputError that names the nearest."""
    everything = list(entries(figures))
    matching = [entry for entry in everything if entry.name == name]
    if not matching:
        having = [entry.name for entry in everything if name in {each.name for each in entry.settings}]
        if having:
            raise InputError(f"{name!r} is a setting of {', '.join(having)}: sweep describe {having[0]}")
        raise InputError(unknown(name, "name", {entry.name for entry in everything}))
    return matching


def overview(figures: Path) -> str:
    """All names with a line each."""
    from rich.table import Table

    table = Table("kind", "name", "what it is", box=None, pad_edge=False)
    last = ""
    for entry in entries(figures):
        table.add_row(entry.kind if entry.kind != last else "", entry.name, entry.summary)
        last = entry.kind
    return rendered(table)


def as_text(entry: Entry) -> str:
    """An entry for people."""
    from rich.table import Table

    said = [f"{entry.name}, a{'n' if entry.kind[0] in 'aeiou' else ''} {entry.kind}", entry.summary]
    if entry.settings:
        table = Table("setting", "default", "allowed", "meaning", box=None, pad_edge=False)
        for each in entry.settings:
            table.add_row(each.name, each.default, each.allowed, each.meaning)
        said += ["", rendered(table)]
    if entry.facts:
        said += ["", *entry.facts]
    if entry.varies:
        said += ["", f"trials that differ in {', '.join(entry.varies)} alone train in one pack"]
    said += ["", f"in a sweep file:  {entry.use}"]
    story = entry.text if first(entry.text) != entry.summary else entry.text.partition("\n\n")[2]
    if story:
        said += ["", story]
    return "\n".join(said)


def settings(config: type) -> tuple[Setting, ...]:
    """The fields of a config, as a sweep file sets them."""
    hints, comments = typing.get_type_hints(config, include_extras=True), comments_of(config)
    return tuple(
        Setting(f.name, default_of(f), allowed(hints[f.name]), comments.get(f.name, ""))
        for f in dataclasses.fields(config)
        if f.init
    )


def model_settings(model: type[BaseModel]) -> tuple[Setting, ...]:
    """The keys below a key, as a sweep file sets them."""
    hints = typing.get_type_hints(model, include_extras=True)
    comments = {name: text for base in reversed(model.__mro__) for name, text in comments_of(base).items()}
    defaults = {
        name: "(needed)" if field.is_required() else "null" if field.default is None else str(field.default)
        for name, field in model.model_fields.items()
    }
    return tuple(Setting(name, defaults[name], allowed(hints[name]), comments.get(name, "")) for name in defaults)


def default_of(field: dataclasses.Field[Any]) -> str:
    """A field's default as a file would have it."""
    if field.default is dataclasses.MISSING:
        return "(needed)"
    value = field.default
    if isinstance(value, float):
        return naming.number(value)
    words: Mapping[Any, str] = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def allowed(hint: Any) -> str:
    """A type as text: `a number from 0, below 1`, `one, all`, `true or false`."""
    if typing.get_origin(hint) is typing.Annotated:
        bounds = [bound(mark) for mark in hint.__metadata__]
        return ", ".join([allowed(hint.__origin__), *filter(None, bounds)])
    options = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return ", ".join(str(option).lower() if isinstance(option, bool) else str(option) for option in options)
    if type(None) in options:
        return f"{allowed(next(option for option in options if option is not type(None)))}, or null"
    kinds: Mapping[Any, str] = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}
    return kinds.get(hint, str(hint))


def bound(mark: Any) -> str:
    """A limit as text."""
    if isinstance(mark, FieldInfo):
        return ", ".join(filter(None, map(bound, mark.metadata)))
    texts = {
        annotated_types.Ge: ("at least", "ge"),
        annotated_types.Gt: ("above", "gt"),
        annotated_types.Le: ("at most", "le"),
        annotated_types.Lt: ("below", "lt"),
    }
    word, attribute = texts.get(type(mark), ("", ""))
    return f"{word} {getattr(mark, attribute)}" if word else ""


def comments_of(config: type) -> dict[str, str]:
    """Field -> its comment: beside it, else the lines above it. Empty where there is no source to read."""
    comments = comments_of(config.__base__) if dataclasses.is_dataclass(config.__base__) else {}
    try:
        source = inspect.getsource(config)
    except (OSError, TypeError):
        return comments
    above: list[str] = []
    for line in textwrap.dedent(source).splitlines():
        text, _, beside = line.partition("  # ")
        field = re.match(r" {4}(\w+): ", text)
        if line.strip().startswith("#"):
            above.append(line.strip("# "))
            continue
        if field and (above or beside):
            comments[field[1]] = " ".join([*above, beside]).strip()
        above = []
    return comments


def docstring(path: Path) -> str:
    """A module's docstring, without importing it."""
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def first(text: str) -> str:
    """The first paragraph of a docstring, as a line."""
    return " ".join(text.partition("\n\n")[0].split())
