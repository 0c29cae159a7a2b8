"""What a node of a trace is in C++: an expression of one element, or an array filled by a loop nest.

An expression with one user is written into its user; one that a larger result would compute again and again is kept in
an array. Sums run with up to TILE results at a time, so that additions overlap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from workloads.engine.schedule import Index, Statement, linear, nest
from workloads.engine.trace import NotLowered

TILE = 8  # results summed side by side: enough to hide the latency of an addition, and few enough for registers

Load = Callable[[Index], str]

KINDS = {
    torch.float32: "f32",
    torch.float64: "f64",
    torch.int32: "i32",
    torch.int64: "i64",
    torch.bool: "mask",
}
SCALARS = {"f32": "float", "f64": "double", "i32": "int32_t", "i64": "int64_t", "mask": "int32_t"}


@dataclass(frozen=True, slots=True)
class Value:
    """What a node of the graph is in C++. `load(index)` is the expression of one element."""

    shape: tuple[int, ...]
    kind: str
    load: Load
    trivial: bool  # a load or a constant: to write it twice costs nothing
    store: str | None = None  # the array it lies in, row by row


class Values:
    """The values of a trace's nodes as they are found, and the statements that they need before them."""

    def __init__(self, seen: dict[fx.Node, Any]) -> None:
        """`seen`: every node's value on the example arguments."""
        self.seen = seen
        self.values: dict[fx.Node, Value] = {}
        self.statements: list[Statement] = []
        self.constants: list[str] = []  # declarations of tables that all lanes share
        self.reads: set[tuple[str, str]] = set()  # what the expression that is being written loads
        self.counter = 0

    def of(self, argument: Any, kind: str = "f32") -> Value:
        """An argument's value: a node's, or a Python number as a constant of `kind`."""
        if not isinstance(argument, fx.Node):
            return self.number(argument, kind)
        if argument not in self.values:  # one of the constant nodes, the first time that something else needs it
            self.values[argument] = self.constant(self.seen[argument])
        return self.values[argument]

    def number(self, number: float | int | bool, kind: str) -> Value:
        """A Python number in every lane."""
        text = literal(number, kind)
        return Value((), kind, lambda index: text, trivial=True)

    def constant(self, tensor: Tensor) -> Value:
        """A tensor known now: one number, or a table all lanes share."""
        kind, shape = kind_of(tensor), tuple(tensor.shape)
        flat = tensor.reshape(-1).tolist()
        if len(set(map(repr, flat))) == 1:
            return Value(shape, kind, self.number(flat[0], kind).load, trivial=True)
        name = self.fresh("c")
        numbers = ",".join(plain(v, kind) for v in flat)
        self.constants.append(f"static const {SCALARS[kind]} {name}[]={{{numbers}}};")
        return Value(shape, kind, lambda index: f"{kind}_all({name}[{linear(shape, index)}])", trivial=True)

    def stored(self, name: str, shape: tuple[int, ...], kind: str) -> Value:
        """What lies in an array, row by row."""

        def load(index: Index) -> str:
            place = linear(shape, index)
            self.reads.add((name, place))
            return f"@{name}@[{place}]"

        return Value(shape, kind, load, trivial=True, store=name)

    def fresh(self, prefix: str) -> str:
        """A name that nothing has yet."""
        self.counter += 1
        return f"{prefix}{self.counter}"

    def pointwise(self, shape: tuple[int, ...], kind: str, operands: Sequence[Value], pattern: str) -> Value:
        """The pattern of the operands' elements, which broadcast to `shape`."""
        operands = [self.once(o, shape) for o in operands]

        def load(index: Index) -> str:
            return pattern.format(*(o.load(broadcast(o.shape, index)) for o in operands))

        return Value(shape, kind, load, trivial=False)

    def once(self, value: Value, shape: tuple[int, ...]) -> Value:
        """The value, kept in an array where a result of `shape` would compute each of its elements several times."""
        return value if value.trivial or math.prod(value.shape) >= math.prod(shape) else self.kept(value)

    def cast(self, value: Value, kind: str) -> Value:
        """The value converted to another kind."""
        if value.kind == kind:
            return value
        convert = f"to_{kind}({{0}})" if value.kind != "mask" else f"{kind}_of_truth({{0}})"
        if kind == "mask":
            convert = f"truth({{0}}!={literal(0, value.kind)})"
        return Value(value.shape, kind, lambda i: convert.format(value.load(i)), value.trivial)

    def kept(self, value: Value) -> Value:
        """The value computed once, into an array."""
        if value.store is not None:
            return value
        name = self.fresh("t")
        index = [f"i{k}" if n != 1 else "0" for k, n in enumerate(value.shape)]
        outer, self.reads = self.reads, set()
        expression = value.load(index)
        self.statements.append(Statement(name, value.kind, value.shape, [], self.reads, pointwise=expression))
        self.reads = outer
        return self.stored(name, value.shape, value.kind)

    def reduced(
        self,
        shape: tuple[int, ...],
        kind: str,
        outer: Sequence[int],
        inner: Sequence[int],
        term: Callable[[Index, Index], str],
        *,
        start: str,
        join: str = "{0}+={1};",
        finish: str = "{0}",
    ) -> Value:
        """Results over `outer`, each joined from terms over `inner`; `term(outer index, inner index)`."""
        statement = Statement(self.fresh("t"), kind, shape, [])
        before, self.reads = self.reads, statement.reads
        index = [f"i{k}" if n != 1 else "0" for k, n in enumerate(outer)]
        within = [f"r{k}" if n != 1 else "0" for k, n in enumerate(inner)]
        wide = max((k for k, n in enumerate(outer) if n > 1), default=None)
        text = term(index, within)
        self.reads = before
        target = f"@{statement.target}@[{linear(outer, index)}]"
        if wide is None:
            lines = [f"{kind}v sum={start};", *nest(inner, [join.format("sum", text)], letter="r")]
            statement.lines = ["{", *lines, f"{target}={finish.format('sum')};", "}"]
        else:
            length = outer[wide]
            rest = [1 if k == wide else n for k, n in enumerate(outer)]
            blocks = []
            for first, count, size in tiles(length):
                at = f"const int i{wide}=first+u;"
                each = f"for(int u=0;u<{size};++u)"
                unrolled = f'_Pragma("GCC unroll {size}") {each}'
                summed = nest(inner, [f"{unrolled}{{{at}{join.format('sum[u]', text)}}}"], letter="r")
                done = f"{unrolled}{{{at}{target}={finish.format('sum[u]')};}}"
                clear = f"{kind}v sum[{size}];{unrolled}sum[u]={start};"
                blocks += [
                    f"for(int first={first};first<{first + count * size};first+={size}){{",
                    clear,
                    *summed,
                    done,
                    "}",
                ]
            statement.lines = nest(rest, blocks)
        self.statements.append(statement)
        return self.stored(statement.target, shape, kind)


def kind_of(tensor: Tensor) -> str:
    """The kind of a tensor's numbers. Raises NotLowered."""
    if tensor.dtype not in KINDS:
        raise NotLowered(f"tensors of {tensor.dtype}")
    return KINDS[tensor.dtype]


def broadcast(shape: Sequence[int], index: Index) -> Index:
    """The element of a tensor of `shape` that broadcasting shows at `index`."""
    last = index[len(index) - len(shape) :]
    return ["0" if length == 1 else at for length, at in zip(shape, last, strict=True)]


def tiles(length: int) -> list[tuple[int, int, int]]:
    """(first, number, size) of the tiles that `length` results are summed in."""
    whole = length // TILE
    parts = [(0, whole, TILE)] if whole else []
    return parts + ([(whole * TILE, 1, length % TILE)] if length % TILE else [])


def plain(number: float | int | bool, kind: str) -> str:
    """A number as C++ writes it."""
    if kind == "mask":
        return "-1" if number else "0"
    if kind in ("i32", "i64"):
        return f"{int(number)}" + ("LL" if kind == "i64" else "")
    if math.isnan(number) or math.isinf(number):
        name = "NAN" if math.isnan(number) else "INFINITY"
        return f"{'-' if number < 0 else ''}({SCALARS[kind]}){name}"
    return f"({SCALARS[kind]}){float(number)!r}"


def literal(number: float | int | bool, kind: str) -> str:
    """A number in every lane."""
    return f"{kind}_all({plain(number, kind)})"
