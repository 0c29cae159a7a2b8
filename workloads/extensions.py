"""A user's own methods, optimizers, streams, networks and diagnostics: Python files that join the registries.

A file may define any of five dicts, name -> class (`sweep init` writes an example of each):

    METHODS, OPTIMIZERS  a subclass of `workloads.methods.base.Method` that overrides a hook; `Config`, `semantics`, and
                         `varies`, the scalars of the Config that may differ inside a pack
    STREAMS              a subclass of `workloads.streams.base.EqualTasks` (or `TaskStream`) with `examples`; `Config`,
                         `semantics`, `loss`; what else a `Stream` has, those give it, and it may say otherwise
    NETWORKS             a subclass of `workloads.networks.base.Network` with `parameter_shapes` and `apply`; `Config`,
                         `semantics`; perhaps `distribution`, `sites`, `pictures`, `liftable`, `convolutional`
    DIAGNOSTICS          a subclass of `workloads.diagnostics.base.Diagnostic` with `measure`; `semantics`, `needs`

`Config` is a dataclass, frozen; `semantics` is raised when results change. Methods, optimizers and networks may declare
`paths` (see `workloads.paths`), methods and optimizers `cost`, `products` and `copies` (see `MethodSpec`), for planning
to go by. An optimizer's `Config` may say which of its scalars a stream's schedule scales, `step_sizes`, unless that is
`step_size` alone, and which `follows` another where it is null (see `MethodSpec.step_sizes` and `follows`).
What a class lacks or has of another signature is all said when its file is loaded (`workloads.checks.classes`).

The source travels with the pack, so that every worker has the same; a file therefore stands alone and imports
only what is installed. Files are loaded in the order in which a sweep lists them, which is the order in which their
methods act.
"""

from __future__ import annotations

import contextlib
import linecache
import sys
import traceback
from collections.abc import Callable, Collection, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from workloads.errors import InputError
from workloads.paths import Paths

if TYPE_CHECKING:
    from workloads.methods.config import MethodSpec

# What planning takes a class for that does not say: as dear as plain SGD, an optimizer as large as Adam and its work.
COST = 1.0
COPIES = {"METHODS": 0, "OPTIMIZERS": 4}

_loaded: dict[str, str] = {}  # file name -> source now in the registries
_owners: dict[tuple[str, str], str] = {}  # (table, name) -> the file that defines it
_undo: list[Callable[[], object]] = []  # takes the loaded entries out again


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
            tables = [(table, _table_of(module, table, name)) for table in ENTRIES]
            if not any(entries for _, entries in tables):
                raise InputError(f"{name}: defines none of {', '.join(ENTRIES)}, so it adds nothing")
            for table, entries in tables:
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
    entries = getattr(module, table, {})
    if not isinstance(entries, dict) or not all(isinstance(name, str) for name in entries):
        raise InputError(f'{file}: {table} must be a dict, name -> class, such as {table} = {{"mine": Mine}}')
    return entries


def _register(table: str, name: str, implementation: object, *, file: str) -> None:
    """Put one entry where the built-in ones are."""
    from workloads.checks.classes import check_class
    from workloads.metrics import MEASURED

    place = f"{file}: {table}[{name!r}]"
    if table == "DIAGNOSTICS" and name.partition("/")[0] in MEASURED:
        raise InputError(f"{place}: the name {name!r} is another metric's; choose another")
    check_class(table, implementation, place)
    _owners[table, name] = file
    for registry, entry in ENTRIES[table](name, implementation):
        _put(registry, name, entry, place)


Class = Any  # of a user's file: `check_class` has seen that it has what its table asks for
Places = list[tuple[dict[str, Any], object]]  # registries, and what they hold of an entry


def _of_stream(name: str, kind: Class) -> Places:
    """The class itself."""
    from workloads.streams import STREAMS

    if not getattr(kind, "name", ""):
        kind.name = name
    return [(STREAMS, kind)]


def _of_network(name: str, kind: Class) -> Places:
    """What planning knows of it, and the class."""
    from workloads.networks.base import offers_layers
    from workloads.networks.config import NETWORKS, NetworkSpec
    from workloads.networks.implementations import IMPLEMENTATIONS

    if not hasattr(kind.Config, "parameters"):  # then it is built to be counted
        kind.Config.parameters = lambda config, inputs, outputs: kind(config, inputs, outputs).parameter_count()
    spec = NetworkSpec(
        config=kind.Config,
        semantics=kind.semantics,
        paths=_paths_of(kind),
        pictures=kind.pictures,
        layered=offers_layers(kind),
        convolutional=kind.convolutional,
    )
    return [(NETWORKS, spec), (IMPLEMENTATIONS, kind)]


def _of_optimizer(name: str, kind: Class) -> Places:
    """What planning knows of it, and the class."""
    from workloads.methods.config import OPTIMIZERS
    from workloads.methods.implementations import IMPLEMENTATIONS

    return [(OPTIMIZERS, _method_spec(kind, copies=COPIES["OPTIMIZERS"])), (IMPLEMENTATIONS, kind)]


def _of_method(name: str, kind: Class) -> Places:
    """What planning knows of it, and the class."""
    from workloads.methods.config import METHODS
    from workloads.methods.implementations import IMPLEMENTATIONS

    return [(METHODS, _method_spec(kind, copies=COPIES["METHODS"])), (IMPLEMENTATIONS, kind)]


def _paths_of(kind: Class) -> Paths:
    """What a class declares of the paths; a network's `liftable = False` is short for `Paths(lifted=False)`."""
    paths: Paths = getattr(kind, "paths", Paths(lifted=getattr(kind, "liftable", True)))
    return paths


def _method_spec(kind: Class, *, copies: int) -> MethodSpec:
    """What planning knows of a method or an optimizer; `copies` of the weights unless the class says how many."""
    from workloads.methods.base import Method
    from workloads.methods.config import MethodSpec

    kind.varies = tuple(getattr(kind, "varies", ()))
    return MethodSpec(
        config=kind.Config,
        varies=kind.varies,
        semantics=kind.semantics,
        replaces=kind.repair is not Method.repair or kind.renew is not Method.renew,
        ages=kind.ages is not Method.ages,
        paths=_paths_of(kind),
        cost=getattr(kind, "cost", COST),
        products=getattr(kind, "products", 0.0),
        copies=getattr(kind, "copies", copies),
    )


def _of_diagnostic(name: str, kind: Class) -> Places:
    """What planning knows of it, and the class."""
    from workloads.diagnostics import DIAGNOSTICS
    from workloads.diagnostics.base import OWN, spec_of

    return [(DIAGNOSTICS, spec_of(kind)), (OWN, kind)]


ENTRIES: dict[str, Callable[[str, Class], Places]] = {
    "METHODS": _of_method,
    "OPTIMIZERS": _of_optimizer,
    "STREAMS": _of_stream,
    "NETWORKS": _of_network,
    "DIAGNOSTICS": _of_diagnostic,
}


def _put(registry: dict[str, Any], name: str, entry: object, place: str) -> None:
    """Add an entry and note how to take it out."""
    if name in registry:
        raise InputError(f"{place}: the name {name!r} is taken; choose another")
    registry[name] = entry
    _undo.append(lambda: registry.pop(name, None))
