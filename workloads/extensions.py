"""A user's own methods, optimizers, streams and networks: Python files that join the registries.

A file may define any of four dicts, name -> class:

    METHODS, OPTIMIZERS  a subclass of `workloads.methods.base.Method` with `Config` (a frozen dataclass),
                         `varies` (scalars that may differ inside a pack) and `semantics` (an int)
    STREAMS              a class as in `workloads.streams`, with its own `Config`, `semantics` and `name`; a subclass of
                         `workloads.streams.base.TaskStream` where it holds examples out
    NETWORKS             a subclass of `workloads.networks.base.Network` with `Config` (that has
                         `parameters(inputs, outputs)`) and `semantics`; perhaps `liftable = False`, or
                         `pictures = True`, to be built for (channels, height, width), and `convolutional = True`
                         where vmap would make grouped convolutions of its layers

Raise `semantics` when results change.

The source travels with the pack, so that every worker has the same; a file therefore stands alone and imports
only what is installed.
"""

from __future__ import annotations

import dataclasses
import linecache
import sys
import traceback
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from workloads.errors import InputError

TABLES = ("METHODS", "OPTIMIZERS", "STREAMS", "NETWORKS")

_loaded: dict[str, str] = {}  # file name -> source now in the registries
_undo: list[Callable[[], Any]] = []  # takes the loaded entries out again


def load_code(files: Mapping[str, str]) -> None:
    """Make the registries hold the built-in entries and those of `files` (name -> source), nothing else.

    The same files again change nothing; others replace the earlier ones. Runs the files, so it trusts them.

    Raises: InputError naming the file, for code that fails, for an entry that lacks what its registry needs
    and for a name that is taken; the registries then hold the built-in entries alone.
    """
    if dict(files) == _loaded:
        return
    _unload()
    try:
        for name, source in files.items():
            module = _executed(name, source)
            entries = [(t, n, e) for t in TABLES for n, e in getattr(module, t, {}).items()]
            if not entries:
                raise InputError(f"{name}: defines none of {', '.join(TABLES)}, so it adds nothing")
            for table, entry, implementation in entries:
                _register(table, entry, implementation, file=name)
    except InputError:
        _unload()
        raise
    _loaded.update(files)


def _unload() -> None:
    """Take every user's entry out of the registries."""
    while _undo:
        _undo.pop()()
    _loaded.clear()


def _executed(name: str, source: str) -> ModuleType:
    """The module that `source` makes."""
    module = ModuleType("user_code." + name.removesuffix(".py"))
    module.__file__ = name
    # Dataclasses and typing look a class's module up by name; tracebacks look its lines up by file.
    sys.modules[module.__name__] = module
    _undo.append(lambda: sys.modules.pop(module.__name__, None))
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    try:
        exec(compile(source, name, "exec"), module.__dict__)
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else 1
        raise InputError(f"{name}:{line}: {type(error).__name__}: {error}") from error
    return module


def _register(table: str, name: str, implementation: Any, *, file: str) -> None:
    """Put one entry where the built-in ones are."""
    place = f"{file}: {table}[{name!r}]"
    missing = [a for a in ("Config", "semantics") if not hasattr(implementation, a)]
    if missing:
        raise InputError(f"{place} lacks {' and '.join(missing)}")
    if not (isinstance(implementation.Config, type) and dataclasses.is_dataclass(implementation.Config)):
        raise InputError(f"{place}: Config must be a dataclass")
    known = {f.name for f in dataclasses.fields(implementation.Config)}
    varies = tuple(getattr(implementation, "varies", ()))
    if unknown := sorted(set(varies) - known):
        raise InputError(f"{place}: varies names {', '.join(unknown)}, not among its Config's fields")
    if table == "STREAMS":
        from workloads.streams import STREAMS

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
            liftable=getattr(implementation, "liftable", True),
            pictures=getattr(implementation, "pictures", False),
            convolutional=getattr(implementation, "convolutional", False),
        )
        _put(NETWORKS, name, spec, place)
        _put(networks, name, implementation, place)
        return
    from workloads.methods.config import METHODS, OPTIMIZERS, MethodSpec
    from workloads.methods.implementations import IMPLEMENTATIONS as methods

    _put(
        METHODS if table == "METHODS" else OPTIMIZERS,
        name,
        MethodSpec(config=implementation.Config, varies=varies, semantics=implementation.semantics),
        place,
    )
    _put(methods, name, implementation, place)


def _put(registry: dict[str, Any], name: str, entry: Any, place: str) -> None:
    """Add an entry and note how to take it out."""
    if name in registry:
        raise InputError(f"{place}: the name {name!r} is taken; choose another")
    registry[name] = entry
    _undo.append(lambda: registry.pop(name, None))
