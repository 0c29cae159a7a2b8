"""A user's own methods, optimizers, streams and networks: Python files that join the registries.

A file may define any of four dicts, name -> class:

    METHODS, OPTIMIZERS  a subclass of `workloads.methods.base.Method` with `Config` (a frozen dataclass),
                         `varies` (scalars that may differ inside a pack) and `semantics` (an int)
    STREAMS              a class as in `workloads.streams`, with its own `Config`, `semantics`, `name`, `loss`,
                         `online_metric`, `default_every` and `default_probe` (see `workloads.streams.base.Stream`); a
                         subclass of `workloads.streams.base.TaskStream` where it holds examples out
    NETWORKS             a subclass of `workloads.networks.base.Network` with `Config` (that has
                         `parameters(inputs, outputs)`) and `semantics`; perhaps `liftable = False`, or
                         `pictures = True`, to be built for (channels, height, width), and `convolutional = True`
                         where vmap would make grouped convolutions of its layers

Raise `semantics` when results change. Methods, optimizers and networks may declare `paths` (see `workloads.paths`),
methods and optimizers `cost` and `copies` (see `MethodSpec`), for planning to go by.

The source travels with the pack, so that every worker has the same; a file therefore stands alone and imports
only what is installed. Files are loaded in the order in which a sweep lists them, which is the order in which their
methods act.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import linecache
import sys
import traceback
from collections.abc import Callable, Collection, Mapping
from inspect import signature
from types import ModuleType
from typing import Any, get_args

from workloads.errors import InputError
from workloads.paths import Paths
from workloads.registry import nearest

TABLES = ("METHODS", "OPTIMIZERS", "STREAMS", "NETWORKS")

# What a class of each table must say of itself, beside its Config and semantics.
SAYS = {"STREAMS": ("name", "loss", "online_metric", "default_every", "default_probe")}

# What planning takes a class for that does not say: as dear as plain SGD, an optimizer as large as Adam and its work.
COST = 1.0
COPIES = {"METHODS": 0, "OPTIMIZERS": 4}

_loaded: dict[str, str] = {}  # file name -> source now in the registries
_owners: dict[tuple[str, str], str] = {}  # (table, name) -> the file that defines it
_undo: list[Callable[[], Any]] = []  # takes the loaded entries out again


def entries() -> list[tuple[str, str]]:
    """(table, name) of everything that the user's files define, in order."""
    return list(_owners)


def owner(table: str, name: str) -> str | None:
    """The user's file that defines an entry of a table now; None for one that ships."""
    return _owners.get((table, name))


def sources_of(entries: Collection[tuple[str, str]]) -> dict[str, str]:
    """File name -> source, in the order listed, of the user's files that define any of these (table, name)."""
    used = {_owners[entry] for entry in entries if entry in _owners}
    return {file: source for file, source in _loaded.items() if file in used}


def place_of(error: BaseException, files: Collection[str] = _loaded) -> str | None:
    """`clipping.py:21`, the innermost line of a user's file that an error passed through; None where it met none.

    Such an error comes again whenever the same is tried: training draws on nothing but its config and seed. `files` are
    the user's, those loaded now unless given.
    """
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f"{frame.filename}:{frame.lineno}" for frame in frames if frame.filename in files]
    return lines[-1] if lines else None


def told(error: BaseException) -> str:
    """`clipping.py:21: TypeError: ...`: an error of a user's code in one line."""
    said = (str(error).splitlines() or [""])[0]
    if isinstance(error, SystemExit):
        said = f"it ends the program (SystemExit: {said or 0})"
    elif not isinstance(error, InputError):
        said = f"{type(error).__name__}: {said[:160]}"
    place = place_of(error)
    return said if place is None or place in said else f"{place}: {said}"


def load_code(files: Mapping[str, str]) -> None:
    """Make the registries hold the built-in entries and those of `files` (name -> source), nothing else.

    The same files again change nothing; others replace the earlier ones. Runs the files, so it trusts them.

    Raises: InputError naming the file, for code that fails, for an entry that lacks what its registry needs
    and for a name that is taken; the registries then hold the built-in entries alone.
    """
    if list(files.items()) == list(_loaded.items()):
        return
    _unload()
    try:
        for name, source in files.items():
            _loaded[name] = source
            module = _executed(name, source)
            found = [(table, _table_of(module, table, name)) for table in TABLES]
            if not any(entries for _, entries in found):
                raise InputError(f"{name}: defines none of {', '.join(TABLES)}, so it adds nothing")
            for table, entries in found:
                for entry, implementation in entries.items():
                    _register(table, entry, implementation, file=name)
    except InputError:
        _unload()
        raise


def _unload() -> None:
    """Take every user's entry out of the registries."""
    while _undo:
        _undo.pop()()
    _loaded.clear()
    _owners.clear()


def _executed(name: str, source: str) -> ModuleType:
    """The module that `source` makes."""
    module = ModuleType("user_code." + name.removesuffix(".py"))
    module.__file__ = name
    # Dataclasses and typing look a class's module up by name; tracebacks look its lines up by file.
    sys.modules[module.__name__] = module
    _undo.append(lambda: sys.modules.pop(module.__name__, None))
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is the command's own, JSON perhaps
            exec(compile(source, name, "exec"), module.__dict__)
    except SyntaxError as error:
        raise InputError(f"{name}:{error.lineno or 1}: SyntaxError: {error.msg}") from error
    except (Exception, SystemExit) as error:
        raise InputError(told(error) if place_of(error) else f"{name}: {told(error)}") from error
    return module


def _table_of(module: ModuleType, table: str, file: str) -> dict[str, Any]:
    """One of a module's tables; empty where it has none."""
    found = getattr(module, table, {})
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise InputError(f'{file}: {table} must be a dict, name -> class, such as {table} = {{"mine": Mine}}')
    return found


def _register(table: str, name: str, implementation: Any, *, file: str) -> None:
    """Put one entry where the built-in ones are."""
    place = f"{file}: {table}[{name!r}]"
    _check_class(table, implementation, place)
    _owners[table, name] = file
    if table == "STREAMS":
        from workloads.streams import STREAMS

        _check_stream(implementation, place)
        _put(STREAMS, name, implementation, place)
        return
    if table == "NETWORKS":
        from workloads.networks.config import NETWORKS, NetworkSpec
        from workloads.networks.implementations import IMPLEMENTATIONS as networks

        if not hasattr(implementation.Config, "parameters"):
            raise InputError(f"{place}: Config lacks parameters(inputs, outputs), the number of weights")
        spec = NetworkSpec(
            config=implementation.Config,
            semantics=implementation.semantics,
            paths=_paths_of(implementation, place),
            pictures=getattr(implementation, "pictures", False),
            convolutional=getattr(implementation, "convolutional", False),
        )
        _put(NETWORKS, name, spec, place)
        _put(networks, name, implementation, place)
        return
    from workloads.methods.base import Method
    from workloads.methods.config import METHODS, OPTIMIZERS, MethodSpec
    from workloads.methods.implementations import IMPLEMENTATIONS as methods

    _check_method(table, implementation, place)
    varies = tuple(implementation.varies)
    _put(
        METHODS if table == "METHODS" else OPTIMIZERS,
        name,
        MethodSpec(
            config=implementation.Config,
            varies=varies,
            semantics=implementation.semantics,
            replaces=implementation.repair is not Method.repair,
            paths=_paths_of(implementation, place),
            cost=getattr(implementation, "cost", COST),
            copies=getattr(implementation, "copies", COPIES[table]),
        ),
        place,
    )
    _put(methods, name, implementation, place)


def _paths_of(implementation: Any, place: str) -> Paths:
    """What a class declares of the paths; a network's `liftable = False` is short for `Paths(lifted=False)`."""
    paths = getattr(implementation, "paths", Paths(lifted=getattr(implementation, "liftable", True)))
    if not isinstance(paths, Paths):
        raise InputError(f"{place}: paths must be a workloads.paths.Paths, such as Paths(lanes=False), not {paths!r}")
    fields = {field.name for field in dataclasses.fields(implementation.Config)}
    for path in ("lifted", "lanes", "online"):
        takes = paths.of(path)
        if not isinstance(takes, Mapping):
            continue
        if strange := sorted(set(takes) - fields):
            raise InputError(f"{place}: paths names {strange[0]} for {path}, not among its Config's fields")
        if some := [name for name in getattr(implementation, "varies", ()) if takes.get(name) is not True]:
            raise InputError(f"{place}: {some[0]} varies inside a pack: {path} must take every value of it, True")
    return paths


def _check_class(table: str, implementation: Any, place: str) -> None:
    """An entry has a Config whose defaults a trial can hold, and says what its table asks for."""
    if not isinstance(implementation, type):
        raise InputError(f"{place} must be a class, not {type(implementation).__name__}")
    kind: Any = implementation
    missing = [name for name in ("Config", "semantics", *SAYS.get(table, ())) if not hasattr(kind, name)]
    if missing:
        raise InputError(f"{place} lacks {' and '.join(missing)}")
    config = kind.Config
    if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        raise InputError(f"{place}: Config must be a dataclass")
    if type(kind.semantics) is not int or kind.semantics < 1:
        raise InputError(f"{place}: semantics must be a whole number from 1 on, not {kind.semantics!r}")
    for field in dataclasses.fields(config):
        default = field.default_factory() if callable(field.default_factory) else field.default
        try:
            json.dumps(None if default is dataclasses.MISSING else default, allow_nan=False)
        except (TypeError, ValueError):
            text = f"{place}: Config.{field.name} = {default!r}, a {type(default).__name__}, cannot be part of a trial"
            raise InputError(f"{text}: JSON holds numbers that are finite, text, true, false, null, lists") from None


def _check_stream(implementation: Any, place: str) -> None:
    """A stream's loss and metric are ones that are known, and go together."""
    from workloads.metrics import OnlineMetric
    from workloads.streams.base import Loss

    for name, allowed in (("loss", get_args(Loss)), ("online_metric", get_args(OnlineMetric))):
        value = getattr(implementation, name)
        if value not in allowed:
            close = nearest(str(value), allowed)
            hint = f"; did you mean {close!r}?" if close else ";"
            raise InputError(f"{place}: unknown {name} {value!r}{hint} allowed: {', '.join(allowed)}")
    if implementation.loss == "squared_error" and implementation.online_metric == "online_accuracy":
        raise InputError(f"{place}: online_accuracy needs classes, and its loss is squared_error: say online_error")


def _check_method(table: str, implementation: Any, place: str) -> None:
    """A method acts where its table is asked, and what varies are fields of its Config."""
    from workloads.methods.base import AFTER, PLACES, Method

    if not issubclass(implementation, Method):
        raise InputError(f"{place} must be a subclass of workloads.methods.base.Method")
    varies = getattr(implementation, "varies", ())
    known = {field.name for field in dataclasses.fields(implementation.Config)}
    if isinstance(varies, str) or (unknown := sorted(set(varies) - known)):
        named = varies if isinstance(varies, str) else ", ".join(unknown)
        raise InputError(f"{place}: varies names {named}, not among its Config's fields; it is a tuple of their names")
    implementation.varies = tuple(varies)
    wanted = {"optimizer"} if table == "OPTIMIZERS" else set(PLACES) - {"optimizer"}
    if foreign := sorted(implementation.acts - wanted):
        other = "METHODS" if table == "OPTIMIZERS" else "OPTIMIZERS"
        raise InputError(f"{place} overrides {' and '.join(foreign)}, which is not asked of {table}: that is {other}")
    for hook in (*PLACES, *AFTER):
        told, wanted_of = (list(signature(getattr(kind, hook)).parameters)[1:] for kind in (implementation, Method))
        if len(told) != len(wanted_of):
            raise InputError(f"{place}: {hook}({', '.join(told)}) is to be {hook}({', '.join(wanted_of)})")
    if not implementation.acts:
        own = [name for name in vars(implementation) if callable(getattr(implementation, name))]
        meant = [f"{name} (did you mean {nearest(name, wanted)}?)" for name in own if nearest(name, wanted)]
        has = f"; it has {', '.join(meant)}" if meant else ""
        raise InputError(f"{place} overrides none of {', '.join(sorted(wanted))}, so it would change nothing{has}")


def _put(registry: dict[str, Any], name: str, entry: Any, place: str) -> None:
    """Add an entry and note how to take it out."""
    if name in registry:
        raise InputError(f"{place}: the name {name!r} is taken; choose another")
    registry[name] = entry
    _undo.append(lambda: registry.pop(name, None))
