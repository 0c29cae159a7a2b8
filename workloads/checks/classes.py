"""What a class of a user's file must have: all that it lacks and all that is wrong of it, in one sentence.

Asked when the file is loaded, before anything is built of the class: what its instances have is read off the code
that sets it. Whether shapes and values are right is asked of a first instance, by the other modules here.
"""

from __future__ import annotations

import dataclasses
import dis
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, get_args

from workloads.errors import InputError
from workloads.paths import Paths
from workloads.registry import nearest

SEMANTICS = {"semantics": "a whole number from 1 on, raised when results change"}
CONFIG = {"Config": "a dataclass of its settings", **SEMANTICS}
BY_NAME = {"setattr", "__setattr__", "vars", "__dict__"}  # code with these may set anything


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What is asked of the classes of one table."""

    base: type  # has the functions, as they are called
    derived: bool = True  # must a class derive from `base`, or is it enough to have what that has?
    says: Mapping[str, str] = field(default_factory=lambda: CONFIG)  # what a class says of itself, and what that is
    sets: Mapping[str, str] = field(default_factory=dict)  # what its instances have
    easier: type | None = None  # has most of it, for a class of no family
    values: Callable[[Any], Iterator[str]] = lambda kind: iter(())  # what is wrong of a class that lacks nothing


def check_class(table: str, kind: Any, place: str) -> None:
    """Raises InputError at `place`, a file's entry, that says everything which is missing or wrong."""
    if not isinstance(kind, type):
        raise InputError(f"{place} must be a class, not {type(kind).__name__}")
    contract = CONTRACTS[table]()
    wrong = [*lacking(kind, contract), *of_itself(kind), *of_paths(kind)]
    if not contract.derived or issubclass(kind, contract.base):
        wrong += signatures(kind, contract.base)
    wrong = wrong or list(contract.values(kind))
    if wrong:
        raise InputError(f"{place}: {'; '.join(wrong)}")


def lacking(kind: type, contract: Contract) -> Iterator[str]:
    """All that a class does not have, and that it is of another family."""
    base, attributes = contract.base, set_by(kind)
    missing = [f"{name} ({text})" for name, text in contract.says.items() if not hasattr(kind, name)]
    if contract.derived and not issubclass(kind, base):
        said = [f"lacks {listed(missing)}"] if missing else []
        yield from [*said, f"must be a subclass of {named(base)}"]
        return
    missing += [f"self.{n} ({text})" for n, text in contract.sets.items() if not (hasattr(kind, n) or n in attributes)]
    inherited, wanted = getattr(kind, "__init__", None), getattr(base, "__init__", None)
    if isinstance(wanted, FunctionType) and "__init__" not in own(kind) and not fits(inherited, wanted):
        missing.append(f"__init__({takes(wanted)})")
    above = [] if contract.derived else functions(base)
    missing += [f"{name}({takes(getattr(base, name))})" for name in above if not hasattr(kind, name)]
    missing += [f"{name}({takes(getattr(kind, name))})" for name in abstract(kind)]
    if missing:
        easier = contract.easier and not issubclass(kind, contract.easier) and named(contract.easier)
        yield f"lacks {listed(missing)}" + (f"; a subclass of {easier} has most of it" if easier else "")


def signatures(kind: type, base: type) -> Iterator[str]:
    """What cannot be called as it is called of the class that first had it."""
    for name, mine in own(kind).items():
        first = base if name == "__init__" else next((c for c in foreign(kind) if name in vars(c)), base)
        like = vars(first).get(name)
        if isinstance(like, FunctionType) and not fits(mine, like):
            yield f"{name}({takes(mine)}) must take ({takes(like)})"


def of_itself(kind: Any) -> Iterator[str]:
    """What is wrong of a class's semantics and Config."""
    semantics, config = getattr(kind, "semantics", 1), getattr(kind, "Config", None)
    if type(semantics) is not int or semantics < 1:
        yield f"semantics must be a whole number from 1 on, not {semantics!r}"
    if config is None:
        return
    if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        yield "Config must be a dataclass"
        return
    for each in dataclasses.fields(config):
        default = each.default_factory() if callable(each.default_factory) else each.default
        try:
            json.dumps(None if default is dataclasses.MISSING else default, allow_nan=False)
        except (TypeError, ValueError):
            text = f"Config.{each.name} = {default!r}, a {type(default).__name__}, cannot be part of a trial"
            yield f"{text}: JSON holds numbers that are finite, text, true, false, null, lists"


def of_paths(kind: Any) -> Iterator[str]:
    """What is wrong of the paths that a class declares."""
    paths, config = getattr(kind, "paths", Paths()), getattr(kind, "Config", None)
    if not isinstance(paths, Paths):
        yield f"paths must be a workloads.paths.Paths, such as Paths(lanes=False), not {paths!r}"
        return
    fields = {each.name for each in dataclasses.fields(config)} if dataclasses.is_dataclass(config) else set()
    for path in ("lifted", "lanes", "online", "written"):
        takes = paths.of(path)
        if not isinstance(takes, Mapping):
            continue
        if strange := sorted(set(takes) - fields):
            yield f"paths names {strange[0]} for {path}, not among its Config's fields"
        if some := [name for name in getattr(kind, "varies", ()) if takes.get(name) is not True]:
            yield f"{some[0]} varies inside a pack: {path} must take every value of it, True"


def fits(function: Any, like: FunctionType) -> bool:
    """Whether a function of a class can be called as another one is."""
    parameters = inspect.signature(like).parameters.values()
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty]
    named = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    try:
        inspect.signature(function).bind(*positional, **dict.fromkeys(named))
    except (TypeError, ValueError):
        return False
    return True


def takes(function: Any) -> str:
    """The arguments of a function of a class, without the instance."""
    return ", ".join(
        ("*" * (p.kind is p.VAR_POSITIONAL) or "**" * (p.kind is p.VAR_KEYWORD)) + p.name
        for p in inspect.signature(function).parameters.values()
        if p.name != "self"
    )


def functions(kind: type) -> list[str]:
    """The names of what a class itself defines to be called, in order."""
    return [n for n, value in vars(kind).items() if isinstance(value, FunctionType) and not n.startswith("_")]


def abstract(kind: type) -> list[str]:
    """The functions that a class must define and does not, in the order of its bases."""
    names: frozenset[str] = getattr(kind, "__abstractmethods__", frozenset())
    return list(dict.fromkeys(name for each in kind.__mro__ for name in vars(each) if name in names))


def foreign(kind: type) -> list[type]:
    """The classes that a class of the user's is made of and that are not the user's."""
    return [each for each in kind.__mro__ if not each.__module__.startswith("user_code.") and each is not object]


def own(kind: type) -> dict[str, FunctionType]:
    """The functions that the user's own classes define, the nearest of each name; those for themselves left out."""
    mine = [each for each in kind.__mro__ if each not in foreign(kind)]
    members = [(n, f) for each in reversed(mine) for n, f in vars(each).items() if isinstance(f, FunctionType)]
    return {name: function for name, function in members if name == "__init__" or not name.startswith("_")}


class Everything(set[str]):
    """What code may set that sets attributes by name."""

    def __contains__(self, name: object) -> bool:
        return True


def set_by(kind: type) -> set[str]:
    """The attributes that a class's code sets."""
    attributes: set[str] = set()
    for code in (f.__code__ for each in kind.__mro__ for f in vars(each).values() if isinstance(f, FunctionType)):
        if BY_NAME.intersection(code.co_names):
            return Everything()
        attributes |= {str(step.argval) for step in dis.get_instructions(code) if step.opname == "STORE_ATTR"}
    return attributes


def named(kind: type) -> str:
    """Where a class is to be had."""
    return f"{kind.__module__}.{kind.__name__}"


def listed(parts: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def of_stream() -> Contract:
    """A stream need not derive from anything, and does better to derive from EqualTasks."""
    from workloads.losses import LOSSES
    from workloads.metrics import OnlineMetric
    from workloads.streams.base import EqualTasks, Stream

    def values(kind: Any) -> Iterator[str]:
        for name, allowed in (("loss", tuple(LOSSES)), ("online_metric", get_args(OnlineMetric))):
            value = getattr(kind, name)
            if value not in allowed:
                close = nearest(str(value), allowed)
                hint = f"; did you mean {close!r}?" if close else ";"
                yield f"unknown {name} {value!r}{hint} allowed: {', '.join(allowed)}"
        if kind.loss in LOSSES and not LOSSES[kind.loss].classes and kind.online_metric == "online_accuracy":
            yield f"online_accuracy needs classes, and its loss is {kind.loss}: say online_error"

    says = {
        "loss": " or ".join(LOSSES),
        "online_metric": " or ".join(get_args(OnlineMetric)),
        "default_every": "tasks between two diagnostics, unless a sweep says otherwise",
        "default_probe": "examples that they look at",
    }
    sets = {
        "inputs": "numbers in an example",
        "outputs": "values that a network gives, or classes",
        "batch": "examples in a step",
        "tasks": "tasks of the stream",
        "boundaries_shown": "true or false: may methods be told when the task changes?",
    }
    return Contract(base=Stream, derived=False, says={**CONFIG, **says}, sets=sets, easier=EqualTasks, values=values)


def of_network() -> Contract:
    """A network is made for the numbers of its stream, or the shape of its pictures."""
    from workloads.networks.base import Network

    return Contract(base=Network)


def of_method(table: str) -> Contract:
    """A method acts where its table is asked, and what varies are fields of its Config."""
    from workloads.methods.base import PLACES, Method

    wanted = {"optimizer"} if table == "OPTIMIZERS" else set(PLACES) - {"optimizer"}

    def values(kind: Any) -> Iterator[str]:
        varies = getattr(kind, "varies", ())
        fields = {each.name for each in dataclasses.fields(kind.Config)}
        if isinstance(varies, str) or (unknown := sorted(set(varies) - fields)):
            named = varies if isinstance(varies, str) else ", ".join(unknown)
            yield f"varies names {named}, not among its Config's fields; it is a tuple of their names"
        follows = getattr(kind.Config, "follows", {})
        scalars = {"step_sizes": getattr(kind.Config, "step_sizes", ()), "follows": {*follows, *follows.values()}}
        for said, names in scalars.items():
            if strange := sorted(set(names) - set(varies)):
                yield f"Config.{said} names {strange[0]}, not among varies, the scalars that a member has to itself"
        if foreign := sorted(kind.acts - wanted):
            other = "METHODS" if table == "OPTIMIZERS" else "OPTIMIZERS"
            yield f"overrides {listed(foreign)}, which is not asked of {table}: that is {other}"
        if not kind.acts:
            meant = [f"{name} (did you mean {nearest(name, wanted)}?)" for name in own(kind) if nearest(name, wanted)]
            has = f"; it has {', '.join(meant)}" if meant else ""
            yield f"overrides none of {', '.join(sorted(wanted))}, so it would change nothing{has}"

    return Contract(base=Method, values=values)


def of_diagnostic() -> Contract:
    """A diagnostic has no settings, and reads what a look has."""
    from workloads.diagnostics import Part
    from workloads.diagnostics.base import Diagnostic

    def values(kind: Any) -> Iterator[str]:
        parts = get_args(Part)
        needs = kind.needs
        if isinstance(needs, str) or not set(needs) <= set(parts):
            named = needs if isinstance(needs, str) else ", ".join(sorted(set(needs) - set(parts)))
            yield f"needs names {named}; it is a tuple of parts of a look: {', '.join(parts)}"
        if not (kind.__doc__ or "").strip():
            yield "has no docstring; its first line is what `sweep describe` says of it"

    return Contract(base=Diagnostic, says=SEMANTICS, values=values)


CONTRACTS: dict[str, Callable[[], Contract]] = {
    "METHODS": lambda: of_method("METHODS"),
    "OPTIMIZERS": lambda: of_method("OPTIMIZERS"),
    "STREAMS": of_stream,
    "NETWORKS": of_network,
    "DIAGNOSTICS": of_diagnostic,
}
