"""From statements that each fill an array to the lines of a function: which share a loop, and where results are put.

Pointwise statements over the same shape become one loop, whose intermediate values stay in registers; a result that
replaces an argument is written in its place where nobody reads the old one afterwards, else copied at the end, all
copies as if at once. A statement names arrays as @name@, so that they can be renamed when their places are known.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

MOST_ON_STACK = 512  # vectors in one array: 32 to 64 KiB
UNROLL = 8  # short loops are written out by the compiler up to this many times

Index = list[str]


@dataclass(slots=True)
class Statement:
    """A loop nest that fills one array. `reads` are (array, index) of what its body loads."""

    target: str
    kind: str
    shape: tuple[int, ...]
    lines: list[str]
    reads: set[tuple[str, str]] = field(default_factory=set)
    pointwise: str | None = None  # the expression, where the nest is one expression per element
    dense: bool = False  # filled through a pointer: a state's elements are apart where members come one at a time


def linear(shape: Sequence[int], index: Index) -> str:
    """The place of an element in its array, row by row."""
    parts, stride = [], 1
    for length, at in zip(reversed(shape), reversed(index), strict=True):
        if length != 1 and at != "0":
            parts.append(f"({at})*{stride}" if stride != 1 else f"({at})")
        stride *= length
    return "+".join(reversed(parts)) or "0"


def scheduled(
    statements: Sequence[Statement], arguments: Mapping[str, tuple[str, int]], results: Mapping[str, list[str]]
) -> list[str]:
    """The lines that carry out the statements, which stand in an order that satisfies their reads.

    `arguments`: name -> (kind, elements); `results`: array -> the arguments whose new value it is.
    """
    groups = grouped(statements)
    homes, copies = homes_and_copies(groups, results, arguments)
    passing = passing_arrays(groups, results)
    sizes = {s.target: (s.kind, math.prod(s.shape)) for group in groups for s in group}
    lines = [
        array(f"{kind}v", name, size)
        for name, (kind, size) in sizes.items()
        if name not in homes and name not in passing and name not in arguments
    ]
    for group in groups:
        lines += emitted(group, passing)
    lines += copied(copies, arguments)
    text = "\n".join(lines)
    return [re.sub(r"@(\w+)@", lambda m: homes.get(m[1], m[1]), text)]


def grouped(statements: Sequence[Statement]) -> list[list[Statement]]:
    """Statements in order; pointwise ones of one shape together where no other has to come between."""
    groups: list[list[Statement]] = []
    made_in: dict[str, int] = {}
    for statement in statements:
        place = None
        earliest = max((made_in[name] for name, _ in statement.reads if name in made_in), default=0)
        if statement.pointwise is not None:
            for number in range(earliest, len(groups)):
                group = groups[number]
                if group[0].pointwise is None or group[0].shape != statement.shape:
                    continue
                own = {s.target for s in group}
                if all(at == here(statement) for name, at in statement.reads if name in own):
                    place = number
                    break
        if place is None:
            groups.append([])
            place = len(groups) - 1
        groups[place].append(statement)
        made_in[statement.target] = place
    return groups


def here(statement: Statement) -> str:
    """The place of the element that a pointwise statement is at."""
    return linear(statement.shape, [f"i{k}" if n != 1 else "0" for k, n in enumerate(statement.shape)])


def homes_and_copies(
    groups: list[list[Statement]], results: Mapping[str, list[str]], arguments: Container[str]
) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Array -> the argument it may be written into at once; and what is left to copy at the end."""
    last_read: dict[str, int] = {}
    elsewhere: set[tuple[str, int]] = set()  # (array, group) that reads it at another place than it is at
    for number, group in enumerate(groups):
        for statement in group:
            for name, at in statement.reads:
                last_read[name] = number
                if statement.pointwise is None or at != here(statement):
                    elsewhere.add((name, number))
    homes: dict[str, str] = {}
    copies: list[tuple[str, str]] = []
    sources = set(results)
    for number, group in enumerate(groups):
        for statement in group:
            for target in results.get(statement.target, []):
                free = last_read.get(target, -1) <= number and (target, number) not in elsewhere
                free = free and not statement.dense
                # An argument that is itself copied somewhere at the end must still be whole then.
                if statement.target not in homes and free and target not in sources:
                    homes[statement.target] = target
                else:
                    copies.append((statement.target, target))
    copies += [(source, target) for source, targets in results.items() if source in arguments for target in targets]
    return homes, copies


def passing_arrays(groups: list[list[Statement]], results: Container[str]) -> set[str]:
    """Arrays that only their own loop reads: their values need no place in memory."""
    arrays: set[str] = set()
    for group in groups:
        outside = {name for other in groups if other is not group for s in other for name, _ in s.reads}
        own = {s.target for s in group if s.pointwise is not None} - outside
        arrays |= {name for name in own if name not in results}
    return arrays


def emitted(group: list[Statement], passing: Container[str]) -> list[str]:
    """The lines of one loop; what only its own statements read stays in registers."""
    first = group[0]
    if first.pointwise is None:
        return ["{", *first.lines, "}"]
    at = here(first)
    body, stores = [], []
    for statement in group:
        text = statement.pointwise or ""
        for other in group:
            text = text.replace(f"@{other.target}@[{at}]", f"v_{other.target}")
        body.append(f"const {statement.kind}v v_{statement.target}={text};")
        if statement.target not in passing:
            stores.append(f"@{statement.target}@[{at}]=v_{statement.target};")
    return nest(first.shape, body + stores)


def copied(copies: list[tuple[str, str]], arguments: Mapping[str, tuple[str, int]]) -> list[str]:
    """Copies as if all happened at once: an argument that is itself replaced is put aside before any."""
    replaced = {target for _, target in copies}
    aside = [name for name in dict.fromkeys(source for source, _ in copies) if name in replaced]
    lines = []
    for name in aside:
        kind, size = arguments[name]
        lines.append(array(f"{kind}v", f"old_{name}", size))
        lines.append(f"for(int i=0;i<{size};++i) old_{name}[i]=@{name}@[i];")
    for source, target in copies:
        _, size = arguments[target]
        origin = f"old_{source}" if source in aside else f"@{source}@"
        lines.append(f"for(int i=0;i<{size};++i) @{target}@[i]={origin}[i];")
    return lines


def nest(shape: Sequence[int], body: list[str], *, letter: str = "i") -> list[str]:
    """`body` inside one loop per axis longer than one."""
    loops = []
    for axis, length in enumerate(shape):
        if length != 1:
            unroll = f'_Pragma("GCC unroll {length}") ' if length <= UNROLL and axis == len(shape) - 1 else ""
            loops.append(f"{unroll}for(int {letter}{axis}=0;{letter}{axis}<{length};++{letter}{axis}){{")
        else:
            loops.append(f"{{constexpr int {letter}{axis}=0;")
    return [*loops, "{", *body, "}" * (len(loops) + 1)]


def array(kind: str, name: str, size: int) -> str:
    """The declaration of a local array; a large one is kept off the stack, which a thread may have little of."""
    # Said, since a compiler that counts on more than the type's own alignment does not always get it there.
    return f"{'alignas(64) static thread_local ' * (size > MOST_ON_STACK)}{kind} {name}[{size}];"
