"""What computes a diagnostic: a class with one function of a `Look`, here and in a user's own files alike.

A file says `DIAGNOSTICS = {"name": Class}`. Of one that ships, everything else about it stands in the registry, which
needs no torch; a user's says it in the class, by the same names.
"""

from __future__ import annotations

import importlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, ClassVar

from workloads.diagnostics import DIAGNOSTICS, Better, Bounds, DiagnosticSpec, Part
from workloads.registry import lookup

if TYPE_CHECKING:
    from torch import Tensor

    from workloads.diagnostics.look import Look

OWN: dict[str, type[Diagnostic]] = {}  # a user's, as long as their file is loaded


class Diagnostic(ABC):
    """A number, or one per hidden layer or weight matrix, or many per weight matrix, read off every member of a pack.

    The docstring's first line says its meaning.

    Pure: of the look alone, and of each member whatever its neighbours are. A member whose numbers are not finite gets
    NaN (or infinity) and leaves the others as they are.
    """

    needs: ClassVar[tuple[Part, ...]] = ()  # the parts of the look that it reads, and no others
    per_layer: ClassVar[bool] = False  # a value for every hidden layer
    per_matrix: ClassVar[bool] = False  # a value for every weight matrix
    deciles: ClassVar[bool] = False  # many values for every matrix or layer, of which mean and deciles are recorded
    unit: ClassVar[str] = ""
    bounds: ClassVar[Bounds] = (None, None)  # which its values cannot leave
    label: ClassVar[str] = ""  # on an axis; its name in words where empty
    better: ClassVar[Better | None] = None  # which way a network that learns well goes, if either
    source: ClassVar[str] = ""  # the paper that defines it
    probe: ClassVar[int | None] = None  # examples it looks at; None: what the sweep says
    cost: ClassVar[float] = 0.0  # of its own, in forward passes of its probe
    semantics: ClassVar[int]  # raised whenever its values change

    @abstractmethod
    def measure(self, look: Look) -> Tensor | Sequence[Tensor]:
        """(P,) of all members; or per hidden layer, or matrix, from the input up, (P,); or, with `deciles`, (P, K)."""


def spec_of(kind: type[Diagnostic]) -> DiagnosticSpec:
    """The registry entry of a user's class."""
    meaning = (inspect.getdoc(kind) or "").partition("\n")[0].rstrip(".")
    said = {each.name: getattr(kind, each.name) for each in fields(DiagnosticSpec) if hasattr(kind, each.name)}
    return DiagnosticSpec(**{**said, "meaning": meaning, "needs": tuple(kind.needs)})


def diagnostic(name: str) -> Diagnostic:
    """What computes the diagnostic called `name`. Raises InputError that names the nearest one there is."""
    spec = lookup(DIAGNOSTICS, name, "diagnostic")
    if name in OWN:
        return OWN[name]()
    table: dict[str, type[Diagnostic]] = importlib.import_module(f"{__package__}.{spec.file or name}").DIAGNOSTICS
    return table[name]()
