"""Which path a pack takes, and why: the one rule for whoever plans and for the engine. Imports no torch.

Every optimizer, method, network and loss declares what of it each path takes (`Paths`), by setting where that matters.
A path's declaration is True (all of it), False (none of it), or the settings it knows: field -> True for whatever
value, or the values. A field that is not named is refused: a setting, or a value of one, that nobody has thought of on
a path shall not train there as something else.

The choice is a function of these declarations, the sizes and the kind of device, never of a timer: two runs agree.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal

from workloads.errors import InputError
from workloads.settings import Settings

PATHS = ("plain", "looped", "lifted", "lanes", "online")
COMPILED = ("lanes", "online", "lifted")  # paths that want a C++ compiler on a CPU

SMALL = 4096  # parameters up to which a pack keeps its members side by side in memory, one SIMD lane each
LANES = 16  # members that cost as much as one there: they are padded to a multiple of it
MOST_INPUTS = 16_384  # numbers in a batch up to which lanes, which hold one for every member, keep it in cache
LARGEST_BATCH = 32  # examples up to which reading a large network row by row, online, beats dense products
RAREST = 100  # steps of a period from which on a step of it, in torch, is not what a loop of the online path costs

Takes = bool | Mapping[str, Literal[True] | Container[object]]


class OnceOrRarely:
    """Periods that the online path takes of what is part of a step: every step, or rare ones."""

    def __contains__(self, period: object) -> bool:
        return period == 1 or (isinstance(period, int) and period >= RAREST)


@dataclass(frozen=True, kw_only=True, slots=True)
class Paths:
    """What of an optimizer, method, network or loss the paths take; `plain` and `looped` take everything.

    A class of a user's own may say `paths = Paths(...)`. Where it does not say whether lanes or online take it, its
    step is traced to find out.
    """

    lifted: Takes = True  # batched over members by vmap
    lanes: Takes | None = None  # lowered to C++, members side by side
    online: Takes | None = None  # the sparse loop over steps, made from its step
    written: Takes = False  # that loop where it is written by hand: for what is more than a chain per weight

    def of(self, path: str) -> Takes | None:
        """The declaration for a path; None where there is none."""
        declared: Mapping[str, Takes | None] = {
            "lifted": self.lifted,
            "lanes": self.lanes,
            "online": self.online,
            "written": self.written,
        }
        return declared.get(path, True)


@dataclass(frozen=True, slots=True)
class NoSettings:
    """A loss's, which has none."""


@dataclass(frozen=True, slots=True)
class Part:
    """An optimizer, method, network or loss at its settings, with what it declares."""

    name: str
    paths: Paths
    config: Settings

    def refusal(self, path: str) -> str | None:
        """What of this part a path does not take, in words; None where it takes it, or nobody has said."""
        takes = self.paths.of(path)
        if takes is None or takes is True:
            return None
        if takes is False:
            return self.name
        for field in fields(self.config):
            value, taken = getattr(self.config, field.name), takes.get(field.name, ())
            if taken is not True and value not in taken:
                return f"{self.name} with {field.name} {value}"
        return None


def written(parts: Sequence[Part]) -> bool:
    """Whether the online loop that is written by hand takes all of what learns."""
    return all(part.refusal("written") is None for part in parts)


def refusal(path: str, parts: Sequence[Part]) -> str | None:
    """Why a path does not take what learns, as a clause; None where it does, or where only tracing can tell."""
    if path == "online" and written(parts):
        return None
    refused = next((part for part in parts if part.refusal(path)), None)
    if refused is None:
        return None
    said = f"{path} does not take {refused.refusal(path)}"
    other = next((part for part in parts if part.refusal("written")), None)
    alone = path == "online" and refused.refusal("written") is None and other is not None
    return f"{said} together with {other.refusal('written')}" if alone and other else said


def untold(path: str, parts: Sequence[Part]) -> bool:
    """Whether a path refuses nothing by declaration, and only tracing the step can tell whether it takes it."""
    if path == "online" and written(parts):
        return False
    return any(part.paths.of(path) is None for part in parts)


def declined(path: str, parts: Sequence[Part], traced: Callable[[str], str | None]) -> str | None:
    """Why a path does not take what learns, asking `traced` where only that can tell; None where it does."""
    if refused := refusal(path, parts):
        return refused
    why = traced(path) if untold(path, parts) else None
    return f"not {path}, since {why}" if why else None


def check(path: str, parts: Sequence[Part]) -> None:
    """Raises InputError where a path does not take what learns."""
    if refused := refusal(path, parts):
        raise InputError(refused)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What the choice of a path depends on."""

    parts: Sequence[Part]  # network, loss, optimizer and methods
    batch: int
    inputs: int
    parameters: int
    convolutional: bool  # under vmap such layers become grouped convolutions, which a CPU is slow at
    device: str


def choice(case: Case, traced: Callable[[str], str | None]) -> tuple[str, str]:
    """(path, why). `traced` says why a step cannot be lowered for a path; asked where a part does not declare it."""
    if refused := refusal("lifted", case.parts):
        return "looped", f"one network after the other: {refused}, which batches over members"
    if case.device != "cpu":
        return "lifted", "one vmapped program on the GPU for all members"
    if case.convolutional:
        return "looped", "one network after the other: the fastest for convolutions on a CPU"
    together = "one vmapped, compiled program for all members"
    if case.parameters > SMALL:
        if case.batch > LARGEST_BATCH:
            return "lifted", f"{together}: not online, since batches are larger than {LARGEST_BATCH}"
        if refused := declined("online", case.parts, traced):
            return "lifted", f"{together}: {refused}"
        return "online", "one compiled loop over steps that skips silent rows"
    if case.batch * case.inputs > MOST_INPUTS:
        return "lifted", f"{together}: no lanes, since batches are large"
    if refused := declined("lanes", case.parts, traced):
        return "lifted", f"{together}: {refused}"
    return "lanes", "members as SIMD lanes of one compiled kernel"
