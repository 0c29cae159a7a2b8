"""From ONE network's step, written in torch, to C++ in which every scalar is a vector over members.

The step is traced to a graph of core operations on the tensors of one network. A tensor of shape s becomes an array
of prod(s) vectors, one lane per member; an operation becomes loops over s whose body is the operation on vectors.
What keeps memory traffic low:

- pointwise operations with one user are written into their user; those with several, or that a larger result would
  compute again and again, are kept in a small array on the stack;
- pointwise loops over the same shape become one loop, whose intermediate values stay in registers;
- sums (and matrix products, which are sums) run with up to TILE results at a time, so that additions overlap;
- a result that replaces a tensor of the state is written in its place, where nobody reads the old one afterwards;
- what depends on no argument is computed while lowering.

Supported: pointwise operations, views, sums, means, extrema, matrix products, concatenation, softmax, and random
draws. Anything else raises NotLowered, which names it.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, fx
from torch._decomp import core_aten_decompositions
from torch._functorch.compile_utils import fx_graph_cse
from torch.fx.experimental.proxy_tensor import make_fx

from workloads.random import Draw, what_code

TILE = 8  # results summed side by side: enough to hide the latency of an addition, and few enough for registers
MOST_ON_STACK = 512  # vectors in one array: 32 to 64 KiB
UNROLL = 8  # short loops are written out by the compiler up to this many times

aten = torch.ops.aten
Index = list[str]
Load = Callable[[Index], str]

KINDS = {
    torch.float32: "f32",
    torch.float64: "f64",
    torch.int32: "i32",
    torch.int64: "i64",
    torch.bool: "mask",
}
SCALARS = {"f32": "float", "f64": "double", "i32": "int32_t", "i64": "int64_t", "mask": "int32_t"}


class NotLowered(Exception):
    """The step has an operation that no C++ is known for; the text names it."""


# Random draws stay whole in the trace: a call, not the hundreds of integer operations it is made of.


@torch.library.custom_op("pliant::drawn", mutates_args=())
def drawn(seed: Tensor, step: Tensor, offset: Tensor, what: str, normal: bool, count: int, double: bool) -> Tensor:
    """`Draw.normal` or `Draw.uniform` as one operation."""
    draw = Draw(seed, step, torch.float64 if double else torch.float32)
    return draw.normal(what, count, offset=offset) if normal else draw.uniform(what, count, offset=offset)


class MarkedDraw(Draw):
    """Draws that a trace shows as one operation each."""

    def _drawn(self, what: str, count: int, offset: Tensor | int, *, normal: bool) -> Tensor:
        at = offset if isinstance(offset, Tensor) else torch.full((), offset, dtype=torch.int64)
        result: Tensor = drawn(self.seed, self.step, at, what, normal, count, self.dtype == torch.float64)
        return result

    def uniform(self, what: str, count: int, *, offset: Tensor | int = 0) -> Tensor:
        """See Draw."""
        return self._drawn(what, count, offset, normal=False)

    def normal(self, what: str, count: int, *, offset: Tensor | int = 0) -> Tensor:
        """See Draw."""
        return self._drawn(what, count, offset, normal=True)


@dataclass(frozen=True, slots=True)
class Value:
    """What a node of the graph is in C++. `load(index)` is the expression of one element."""

    shape: tuple[int, ...]
    kind: str
    load: Load
    trivial: bool  # a load or a constant: to write it twice costs nothing
    store: str | None = None  # the array it lies in, row by row


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


def broadcast(shape: Sequence[int], index: Index) -> Index:
    """The element of a tensor of `shape` that broadcasting shows at `index`."""
    last = index[len(index) - len(shape) :]
    return ["0" if length == 1 else at for length, at in zip(shape, last, strict=True)]


# Every pattern is a call or stands in parentheses, so that any may be put into any other.
UNARY = {
    aten.neg.default: "(-{0})",
    aten.abs.default: "absolute({0})",
    aten.sqrt.default: "root({0})",
    aten.rsqrt.default: "(1/root({0}))",
    aten.exp.default: "exponential({0})",
    aten.expm1.default: "exponential_minus_one({0})",
    aten.log.default: "logarithm({0})",
    aten.tanh.default: "hyperbolic_tangent({0})",
    aten.sigmoid.default: "logistic({0})",
    aten.floor.default: "rounded_down({0})",
    aten.reciprocal.default: "(1/{0})",
    aten.relu.default: "positive_part({0})",
    aten.square.default: "squared({0})",
    aten.sign.default: "signum({0})",
}
BINARY = {
    aten.add.Tensor: "({0}+{1})",
    aten.add.Scalar: "({0}+{1})",
    aten.sub.Tensor: "({0}-{1})",
    aten.sub.Scalar: "({0}-{1})",
    aten.rsub.Scalar: "({1}-{0})",
    aten.mul.Tensor: "({0}*{1})",
    aten.mul.Scalar: "({0}*{1})",
    aten.div.Tensor: "({0}/{1})",
    aten.div.Scalar: "({0}/{1})",
    aten.maximum.default: "larger({0},{1})",
    aten.minimum.default: "smaller({0},{1})",
    aten.bitwise_and.Tensor: "({0}&{1})",
    aten.bitwise_or.Tensor: "({0}|{1})",
    aten.bitwise_xor.Tensor: "({0}^{1})",
    aten.bitwise_and.Scalar: "({0}&{1})",
    aten.bitwise_or.Scalar: "({0}|{1})",
    aten.bitwise_xor.Scalar: "({0}^{1})",
    aten.logical_and.default: "({0}&{1})",
    aten.logical_or.default: "({0}|{1})",
}
OF_TRUTH = {  # arithmetic of booleans, whose true is -1 here
    aten.add.Tensor: "({0}|{1})",
    aten.mul.Tensor: "({0}&{1})",
    aten.maximum.default: "({0}|{1})",
    aten.minimum.default: "({0}&{1})",
}
COMPARE = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
COMPARISONS = {
    getattr(getattr(aten, name), overload): sign for name, sign in COMPARE.items() for overload in ("Tensor", "Scalar")
}
FILLS = {aten.full_like.default, aten.zeros_like.default, aten.ones_like.default}  # take a shape from their argument
SAME = {aten._to_copy.default, aten.clone.default, aten.alias.default, aten.detach.default}


@functools.lru_cache(maxsize=1)
def decompositions() -> dict[Any, Any]:
    """Operation -> its core operations. Torch finds these anew, in a tenth of a second, whenever it is asked."""
    table: Any = core_aten_decompositions()
    return dict(table.items())


class Lowering:
    """One function's C++. `arguments` name the arrays of its flat arguments, `results` which of them it replaces."""

    def __init__(
        self, function: Callable[..., Sequence[Tensor]], examples: Sequence[Tensor], names: Sequence[str]
    ) -> None:
        """`function` takes and returns flat lists; its i-th result replaces its i-th argument."""
        self.names = list(names)
        traced = make_fx(torch.func.functionalize(function), decomposition_table=decompositions())
        graph = traced(*[e.clone() for e in examples])
        graph.graph.eliminate_dead_code()
        graph = fx.GraphModule(graph, fx_graph_cse(graph.graph))
        graph.graph.eliminate_dead_code()
        recorder = _Recorder(graph)
        recorder.run(*examples)
        self.seen: dict[fx.Node, Any] = recorder.seen
        self.graph = graph.graph
        self.values: dict[fx.Node, Value] = {}
        self.statements: list[Statement] = []
        self.constants: list[str] = []
        self.reads: set[tuple[str, str]] = set()
        self.counter = 0
        self.outputs: list[fx.Node] = [n for n in self.graph.nodes if n.op == "output"][0].args[0]
        self.kept = set(self.outputs)
        self.constant_nodes = self._constant_nodes()
        self._lower()

    # The graph

    def _constant_nodes(self) -> set[fx.Node]:
        """Nodes that depend on no argument."""
        found: set[fx.Node] = set()
        for node in self.graph.nodes:
            if node.op == "get_attr":
                found.add(node)
            elif node.op == "call_function" and node.target != torch.ops.pliant.drawn.default:
                if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
                    # It depends on no argument, and would be drawn once, now.
                    raise NotLowered(f"{node.target}, whose numbers are not the step's own: use draw")
                if node.target in FILLS or all(source in found for source in node.all_input_nodes):
                    found.add(node)
        return found

    def _lower(self) -> None:
        places = iter(self.names)
        for node in self.graph.nodes:
            if node.op == "placeholder":
                example = self.seen[node]
                self.values[node] = self._stored(next(places), tuple(example.shape), self._kind(example))
            elif node.op == "call_function" and node not in self.constant_nodes:
                self.values[node] = self._settled(node, self._value(node))

    def _kind(self, tensor: Tensor) -> str:
        if tensor.dtype not in KINDS:
            raise NotLowered(f"tensors of {tensor.dtype}")
        return KINDS[tensor.dtype]

    def _value(self, node: fx.Node) -> Value:
        """The node as an expression, with whatever loops it needs before it."""
        target: Any = node.target
        example = self.seen[node]
        if not isinstance(example, Tensor):
            raise NotLowered(str(target))
        shape, kind = tuple(example.shape), self._kind(example)
        if target in SAME or (target == aten.floor.default and kind in ("i32", "i64")):
            source = self._of(node.args[0])
            return self._cast(source, kind)
        if target in UNARY and kind != "mask":
            return self._pointwise(shape, kind, [self._cast(self._of(node.args[0]), kind)], UNARY[target])
        if target in (aten.logical_not.default, aten.bitwise_not.default):
            return self._pointwise(shape, kind, [self._cast(self._of(node.args[0]), kind)], "(~{0})")
        if target in BINARY:
            return self._binary(node, shape, kind)
        if target in COMPARISONS:
            left, right = self.seen_arguments(node)
            common = KINDS[torch.result_type(left, right)].replace("mask", "i32")  # since true is more than false
            operands = [self._cast(self._of(a, common), common) for a in node.args[:2]]
            return self._pointwise(shape, kind, operands, f"truth({{0}}{COMPARISONS[target]}{{1}})")
        if target == aten.where.self:
            operands = [self._of(node.args[0]), *(self._cast(self._of(a, kind), kind) for a in node.args[1:])]
            return self._pointwise(shape, kind, operands, "chosen({0},{1},{2})")
        if target == aten.pow.Tensor_Scalar:
            return self._power(node, shape, kind)
        if target in (aten.clamp.default, aten.clamp.Tensor, aten.clamp_min.default, aten.clamp_max.default):
            return self._clamp(node, shape, kind)
        if target in (aten.elu.default, aten.leaky_relu.default):
            return self._activation(node, shape, kind)
        if target in VIEWS:
            return VIEWS[target](self, node, shape, kind)
        if target in REDUCTIONS:
            return REDUCTIONS[target](self, node, shape, kind)
        if target == torch.ops.pliant.drawn.default:
            return self._draw(node, shape, kind)
        raise NotLowered(str(target))

    def seen_arguments(self, node: fx.Node) -> tuple[Any, Any]:
        """The example values of a node's first two arguments."""
        left, right = (self.seen[a] if isinstance(a, fx.Node) else a for a in node.args[:2])
        return left, right

    def _of(self, argument: Any, kind: str = "f32") -> Value:
        """An argument's value: a node's, or a Python number as a constant of `kind`."""
        if not isinstance(argument, fx.Node):
            return self._number(argument, kind)
        if argument not in self.values:  # one of the constant nodes, the first time that something else needs it
            self.values[argument] = self._constant(self.seen[argument])
        return self.values[argument]

    # Values

    def _number(self, number: float | int | bool, kind: str) -> Value:
        text = literal(number, kind)
        return Value((), kind, lambda index: text, trivial=True)

    def _constant(self, tensor: Tensor) -> Value:
        """A tensor known now: one number, or a table all lanes share."""
        kind, shape = self._kind(tensor), tuple(tensor.shape)
        flat = tensor.reshape(-1).tolist()
        if len(set(map(repr, flat))) == 1:
            return Value(shape, kind, self._number(flat[0], kind).load, trivial=True)
        name = self._name("c")
        numbers = ",".join(plain(v, kind) for v in flat)
        self.constants.append(f"static const {SCALARS[kind]} {name}[]={{{numbers}}};")
        return Value(shape, kind, lambda index: f"{kind}_all({name}[{linear(shape, index)}])", trivial=True)

    def _stored(self, name: str, shape: tuple[int, ...], kind: str) -> Value:
        def load(index: Index) -> str:
            place = linear(shape, index)
            self.reads.add((name, place))
            return f"@{name}@[{place}]"

        return Value(shape, kind, load, trivial=True, store=name)

    def _name(self, prefix: str) -> str:
        self.counter += 1
        return f"{prefix}{self.counter}"

    def _pointwise(self, shape: tuple[int, ...], kind: str, operands: Sequence[Value], pattern: str) -> Value:
        operands = [self._once(o, shape) for o in operands]

        def load(index: Index) -> str:
            return pattern.format(*(o.load(broadcast(o.shape, index)) for o in operands))

        return Value(shape, kind, load, trivial=False)

    def _once(self, value: Value, shape: tuple[int, ...]) -> Value:
        """The value, kept in an array where a result of `shape` would compute each of its elements several times."""
        return value if value.trivial or math.prod(value.shape) >= math.prod(shape) else self._kept(value)

    def _cast(self, value: Value, kind: str) -> Value:
        if value.kind == kind:
            return value
        convert = f"to_{kind}({{0}})" if value.kind != "mask" else f"{kind}_of_truth({{0}})"
        if kind == "mask":
            convert = f"truth({{0}}!={literal(0, value.kind)})"
        return Value(value.shape, kind, lambda i: convert.format(value.load(i)), value.trivial)

    def _settled(self, node: fx.Node, value: Value) -> Value:
        """The value in an array of its own where that is due: it is a result, or is used more than once."""
        if value.trivial and node not in self.kept:
            return value
        return self._kept(value) if node in self.kept or len(node.users) > 1 else value

    def _kept(self, value: Value) -> Value:
        """The value computed once, into an array."""
        if value.store is not None:
            return value
        name = self._name("t")
        index = [f"i{k}" if n != 1 else "0" for k, n in enumerate(value.shape)]
        outer, self.reads = self.reads, set()
        expression = value.load(index)
        self.statements.append(Statement(name, value.kind, value.shape, [], self.reads, pointwise=expression))
        self.reads = outer
        return self._stored(name, value.shape, value.kind)

    # Operations

    def _binary(self, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
        left, right = (self._cast(self._of(a, kind), kind) for a in node.args[:2])
        scale: Any = node.kwargs.get("alpha", 1)
        if scale != 1:
            right = self._pointwise(right.shape, kind, [right, self._number(scale, kind)], "({0}*{1})")
        if node.target in (aten.div.Tensor, aten.div.Scalar) and kind in ("f32", "f64"):
            if isinstance(node.args[1], fx.Node) and math.prod(right.shape) < math.prod(shape):
                # One division instead of many: a product with the reciprocal, a rounding away at most.
                inverse = self._kept(self._pointwise(right.shape, kind, [right], "(1/{0})"))
                return self._pointwise(shape, kind, [left, inverse], "({0}*{1})")
        patterns: Any = BINARY | OF_TRUTH if kind == "mask" else BINARY
        return self._pointwise(shape, kind, [left, right], patterns[node.target])

    def _power(self, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
        exponent: Any = node.args[1]
        patterns = {2: "squared({0})", 1: "{0}", 0.5: "root({0})", -1: "(1/{0})", 3: "({0}*squared({0}))"}
        if exponent not in patterns:
            raise NotLowered(f"a power of {exponent}")
        source = self._cast(self._of(node.args[0]), kind)
        return self._pointwise(shape, kind, [self._kept(source) if exponent == 3 else source], patterns[exponent])

    def _clamp(self, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
        low: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("min")
        high: Any = node.args[2] if len(node.args) > 2 else node.kwargs.get("max")
        if node.target == aten.clamp_max.default:
            low, high = None, low
        value = self._cast(self._of(node.args[0]), kind)
        for bound, pattern in ((low, "larger({0},{1})"), (high, "smaller({0},{1})")):
            if bound is not None:
                value = self._pointwise(shape, kind, [value, self._cast(self._of(bound, kind), kind)], pattern)
        return value

    def _activation(self, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
        source = self._kept(self._of(node.args[0]))
        numbers = [self._number(a, kind) for a in node.args[1:] if isinstance(a, int | float)]
        if node.target == aten.leaky_relu.default:
            slope = numbers[0] if numbers else self._number(0.01, kind)
            zero = self._number(0, kind)
            return self._pointwise(shape, kind, [source, zero, slope], "chosen(truth({0}>{1}),{0},{0}*{2})")
        alpha, scale, inner = (*numbers, *[self._number(1, kind)] * 3)[:3]
        pattern = "chosen(truth({0}>{4}),{0}*{2},{1}*{2}*exponential_minus_one({0}*{3}))"
        return self._pointwise(shape, kind, [source, alpha, scale, inner, self._number(0, kind)], pattern)

    # Views: the same elements, asked for by another index

    def _view(self, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
        source = self._of(node.args[0])
        longer = [n for n in source.shape if n != 1]
        if longer == [n for n in shape if n != 1]:

            def load(index: Index) -> str:
                at = iter(i for i, n in zip(index, shape, strict=True) if n != 1)
                return source.load(["0" if n == 1 else next(at) for n in source.shape])

            return Value(shape, kind, load, source.trivial, source.store)
        kept = self._kept(source)
        assert kept.store is not None
        return self._stored(kept.store, shape, kind)

    def _permute(self, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
        source, axes = self._of(node.args[0]), node.args[1]
        order = [d % len(shape) for d in axes]  # type: ignore[union-attr, operator]
        return Value(shape, kind, lambda i: source.load([i[order.index(d)] for d in range(len(order))]), source.trivial)

    def _expand(self, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
        source = self._once(self._of(node.args[0]), shape)
        return Value(shape, kind, lambda i: source.load(broadcast(source.shape, i)), source.trivial)

    def _slice(self, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
        source = self._of(node.args[0])
        axis: Any = (node.args[1] if len(node.args) > 1 else 0) % len(shape)  # type: ignore[operator]
        start: Any = node.args[2] if len(node.args) > 2 and node.args[2] is not None else 0
        stride: Any = node.args[4] if len(node.args) > 4 else 1
        start = max(start + source.shape[axis], 0) if start < 0 else start

        def load(index: Index) -> str:
            moved = list(index)
            moved[axis] = f"({index[axis]})*{stride}+{start}"
            return source.load(moved)

        return Value(shape, kind, load, source.trivial)

    def _select(self, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
        source, axis, at = self._of(node.args[0]), int(node.args[1]), int(node.args[2])  # type: ignore[arg-type]
        axis, at = axis % len(source.shape), at % source.shape[axis]
        return Value(shape, kind, lambda i: source.load([*i[:axis], str(at), *i[axis:]]), source.trivial)

    def _cat(self, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
        parts = [self._cast(self._of(a), kind) for a in node.args[0]]  # type: ignore[union-attr]
        axis = int(node.args[1]) % len(shape) if len(node.args) > 1 else 0  # type: ignore[arg-type]
        starts = accumulate((p.shape[axis] for p in parts), initial=0)
        statement = Statement(self._name("t"), kind, shape, [])
        outer, self.reads = self.reads, statement.reads
        for part, start in zip(parts, starts, strict=False):
            index = [f"i{k}" for k in range(len(part.shape))]
            place = linear(shape, [f"{i}+{start}" if k == axis else i for k, i in enumerate(index)])
            body = f"@{statement.target}@[{place}]={part.load(index)};"
            statement.lines += nest(part.shape, [body])
        self.reads = outer
        self.statements.append(statement)
        return self._stored(statement.target, shape, kind)

    # Sums and what is like them

    def _reduce(
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
        statement = Statement(self._name("t"), kind, shape, [])
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
        return self._stored(statement.target, shape, kind)

    def _sum(self, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
        source = self._cast(self._of(node.args[0]), kind)
        axes: Any = node.args[1] if len(node.args) > 1 and node.args[1] else range(len(source.shape))
        axes = [a % len(source.shape) for a in axes]
        count = math.prod(source.shape[a] for a in axes)
        finish = f"{{0}}/{literal(count, kind)}" if "mean" in str(node.target) else "{0}"
        if count & (count - 1) == 0 and finish != "{0}":
            finish = f"{{0}}*{literal(1 / count, kind)}"  # exact
        term, outer, inner = self._over(source, axes)
        return self._reduce(shape, kind, outer, inner, term, start=literal(0, kind), finish=finish)

    def _extreme(self, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
        source = self._of(node.args[0])
        given: Any = node.args[1] if len(node.args) > 1 and node.args[1] else range(len(source.shape))
        axes = [a % len(source.shape) for a in given]
        name = "larger" if "max" in str(node.target) else "smaller"
        first = {"larger": -math.inf, "smaller": math.inf}[name]
        if kind not in ("f32", "f64"):
            raise NotLowered(f"{node.target} of whole numbers")
        term, outer, inner = self._over(source, axes)
        join = f"{{0}}={name}({{0}},{{1}});"
        return self._reduce(shape, kind, outer, inner, term, start=literal(first, kind), join=join)

    def _over(self, source: Value, axes: Sequence[int]) -> tuple[Callable[[Index, Index], str], list[int], list[int]]:
        """(term, outer, inner) of a reduction of `source` over `axes`."""
        kept = [d for d in range(len(source.shape)) if d not in axes]

        def term(index: Index, within: Index) -> str:
            at = dict(zip(kept, index, strict=True)) | dict(zip(axes, within, strict=True))
            return source.load([at[d] for d in range(len(source.shape))])

        return term, [source.shape[d] for d in kept], [source.shape[d] for d in axes]

    def _position(self, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
        """argmin or argmax along one axis: the first of equals."""
        source = self._kept(self._of(node.args[0]))
        axis: Any = node.args[1] if len(node.args) > 1 and node.args[1] is not None else None
        if axis is None and len(source.shape) != 1:
            raise NotLowered(f"{node.target} over several axes")
        axis = (axis or 0) % len(source.shape)
        sign = ">" if "argmax" in str(node.target) else "<"
        kept = [n for d, n in enumerate(source.shape) if d != axis]
        index = [f"i{k}" if n != 1 else "0" for k, n in enumerate(kept)]
        statement = Statement(self._name("t"), kind, shape, [])
        before, self.reads = self.reads, statement.reads
        first = source.load([*index[:axis], "0", *index[axis:]])
        other = source.load([*index[:axis], "r0", *index[axis:]])
        self.reads = before
        statement.lines = nest(
            kept,
            [
                f"{source.kind}v best={first};i64v at={literal(0, 'i64')};",
                f"for(int r0=1;r0<{source.shape[axis]};++r0){{const {source.kind}v other={other};",
                f"const maskv better=truth(other{sign}best);",
                "best=chosen(better,other,best);at=chosen(better,i64_all(r0),at);}",
                f"@{statement.target}@[{linear(kept, index)}]=at;",
            ],
        )
        self.statements.append(statement)
        return self._stored(statement.target, shape, kind)

    def _product(self, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
        """A matrix product, with a bias added where the operation has one."""
        arguments = [self._of(a) for a in node.args]
        bias = arguments.pop(0) if node.target == aten.addmm.default else None
        left, right = arguments
        if bias is not None and (node.kwargs.get("alpha", 1) != 1 or node.kwargs.get("beta", 1) != 1):
            raise NotLowered("addmm with factors")
        length = left.shape[-1]
        if length == 1 and bias is None:
            zero = Value(left.shape[:-1], kind, lambda i: left.load([*i, "0"]), left.trivial)
            column = Value((*left.shape[:-1], 1), kind, lambda i: zero.load(i[:-1]), left.trivial)
            return self._pointwise(shape, kind, [column, right], "({0}*{1})")
        left, right = self._once(left, shape), self._once(right, shape)
        left = left if left.trivial or shape[-1] == 1 else self._kept(left)
        right = right if right.trivial or shape[-2] == 1 else self._kept(right)

        def term(index: Index, within: Index) -> str:
            *batch, row, column = index
            return f"{left.load([*batch, row, *within])}*{right.load([*batch, *within, column])}"

        summed = self._reduce(shape, kind, shape, [length], term, start=literal(0, kind))
        return summed if bias is None else self._pointwise(shape, kind, [summed, bias], "({0}+{1})")

    def _log_softmax(self, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
        source = self._kept(self._of(node.args[0]))
        axis = int(node.args[1]) % len(shape)  # type: ignore[arg-type]
        one = tuple(1 if d == axis else n for d, n in enumerate(shape))
        term, outer, inner = self._over(source, [axis])
        top = self._reduce(one, kind, outer, inner, term, start=literal(-math.inf, kind), join="{0}=larger({0},{1});")
        moved = self._kept(self._pointwise(shape, kind, [source, top], "({0}-{1})"))
        term, outer, inner = self._over(moved, [axis])
        total = self._reduce(
            one,
            kind,
            outer,
            inner,
            term,
            start=literal(0, kind),
            join="{0}+=exponential({1});",
            finish="logarithm({0})",
        )
        return self._pointwise(shape, kind, [moved, total], "({0}-{1})")

    def _draw(self, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
        what, normal, count, _ = node.args[3:]
        statement = Statement(self._name("t"), kind, shape, [], dense=True)
        before, self.reads = self.reads, statement.reads
        seed, step, offset = (self._cast(self._of(a, "i64"), "i64").load([]) for a in node.args[:3])
        self.reads = before
        call = "draw_normal" if normal else "draw_uniform"
        statement.lines = [f"{call}<{count}>(&@{statement.target}@[0],{seed},{step},{what_code(str(what))}u,{offset});"]
        self.statements.append(statement)
        return self._stored(statement.target, shape, kind)

    # The code

    def code(self) -> list[str]:
        """The function's body. Arguments are arrays by their names; results end in the arguments they replace."""
        results: dict[str, list[str]] = {}  # array -> the arguments it becomes
        arguments = [node for node in self.graph.nodes if node.op == "placeholder"]
        for name, argument, node in zip(self.names, arguments, self.outputs, strict=False):
            own, value = self.values[argument], self._of(node)
            if (value.shape, value.kind) != (own.shape, own.kind):
                raise NotLowered(f"a result {value.kind}{value.shape} in the place of {own.kind}{own.shape}")
            store = self._kept(value).store
            assert store is not None
            if store != name:
                results.setdefault(store, []).append(name)
        groups = self._grouped()
        homes, copies = self._homes(groups, results)
        passing = self._passing(groups, results)
        sizes = {s.target: (s.kind, math.prod(s.shape)) for group in groups for s in group}
        lines = [
            *self.constants,
            *(
                array(f"{kind}v", name, size)
                for name, (kind, size) in sizes.items()
                if name not in homes and name not in passing
            ),
        ]
        for group in groups:
            lines += self._emitted(group, passing)
        lines += self._copied(copies, dict(zip(self.names, (self.values[n] for n in arguments), strict=True)))
        text = "\n".join(lines)
        return [re.sub(r"@(\w+)@", lambda m: homes.get(m[1], m[1]), text)]

    @staticmethod
    def _copied(copies: list[tuple[str, str]], arguments: dict[str, Value]) -> list[str]:
        """Copies as if all happened at once: an argument that is itself replaced is put aside before any."""
        replaced = {target for _, target in copies}
        aside = [name for name in dict.fromkeys(source for source, _ in copies) if name in replaced]
        lines = []
        for name in aside:
            size = math.prod(arguments[name].shape)
            lines.append(array(f"{arguments[name].kind}v", f"old_{name}", size))
            lines.append(f"for(int i=0;i<{size};++i) old_{name}[i]=@{name}@[i];")
        for source, target in copies:
            size = math.prod(arguments[target].shape)
            origin = f"old_{source}" if source in aside else f"@{source}@"
            lines.append(f"for(int i=0;i<{size};++i) @{target}@[i]={origin}[i];")
        return lines

    def _grouped(self) -> list[list[Statement]]:
        """Statements in order; pointwise ones of one shape together where no other has to come between."""
        groups: list[list[Statement]] = []
        made_in: dict[str, int] = {}
        for statement in self.statements:
            place = None
            earliest = max((made_in[name] for name, _ in statement.reads if name in made_in), default=0)
            if statement.pointwise is not None:
                for number in range(earliest, len(groups)):
                    group = groups[number]
                    if group[0].pointwise is None or group[0].shape != statement.shape:
                        continue
                    own = {s.target for s in group}
                    if all(at == self._here(statement) for name, at in statement.reads if name in own):
                        place = number
                        break
            if place is None:
                groups.append([])
                place = len(groups) - 1
            groups[place].append(statement)
            made_in[statement.target] = place
        return groups

    def _here(self, statement: Statement) -> str:
        """The place of the element that a pointwise statement is at."""
        return linear(statement.shape, [f"i{k}" if n != 1 else "0" for k, n in enumerate(statement.shape)])

    def _homes(
        self, groups: list[list[Statement]], results: dict[str, list[str]]
    ) -> tuple[dict[str, str], list[tuple[str, str]]]:
        """Array -> the argument it may be written into at once; and what is left to copy at the end."""
        last_read: dict[str, int] = {}
        elsewhere: set[tuple[str, int]] = set()  # (array, group) that reads it at another place than it is at
        for number, group in enumerate(groups):
            for statement in group:
                for name, at in statement.reads:
                    last_read[name] = number
                    if statement.pointwise is None or at != self._here(statement):
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
        arguments = set(self.names)
        copies += [(source, target) for source, targets in results.items() if source in arguments for target in targets]
        return homes, copies

    @staticmethod
    def _passing(groups: list[list[Statement]], results: dict[str, list[str]]) -> set[str]:
        """Arrays that only their own loop reads: their values need no place in memory."""
        found = set()
        for group in groups:
            outside = {name for other in groups if other is not group for s in other for name, _ in s.reads}
            found |= {s.target for s in group if s.pointwise is not None} - outside - set(results)
        return found

    def _emitted(self, group: list[Statement], passing: set[str]) -> list[str]:
        first = group[0]
        if first.pointwise is None:
            return ["{", *first.lines, "}"]
        here = self._here(first)
        body, stores = [], []
        for statement in group:
            text = statement.pointwise or ""
            for other in group:
                text = text.replace(f"@{other.target}@[{here}]", f"v_{other.target}")
            body.append(f"const {statement.kind}v v_{statement.target}={text};")
            if statement.target not in passing:
                stores.append(f"@{statement.target}@[{here}]=v_{statement.target};")
        return nest(first.shape, body + stores)


class _Recorder(fx.Interpreter):
    """Remembers every node's value on the example arguments: shapes, types, and what constants are."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph, garbage_collect_values=False)
        self.seen: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        """See Interpreter."""
        self.seen[n] = super().run_node(n)
        return self.seen[n]


def tiles(length: int) -> list[tuple[int, int, int]]:
    """(first, number, size) of the tiles that `length` results are summed in."""
    whole = length // TILE
    found = [(0, whole, TILE)] if whole else []
    return found + ([(whole * TILE, 1, length % TILE)] if length % TILE else [])


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
    return f"{'static thread_local ' * (size > MOST_ON_STACK)}{kind} {name}[{size}];"


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


VIEWS: dict[Any, Callable[[Lowering, fx.Node, tuple[int, ...], str], Value]] = {
    aten.view.default: Lowering._view,
    aten.unsqueeze.default: Lowering._view,
    aten.squeeze.dims: Lowering._view,
    aten.squeeze.dim: Lowering._view,
    aten.permute.default: Lowering._permute,
    aten.expand.default: Lowering._expand,
    aten.slice.Tensor: Lowering._slice,
    aten.select.int: Lowering._select,
    aten.cat.default: Lowering._cat,
}
REDUCTIONS: dict[Any, Callable[[Lowering, fx.Node, tuple[int, ...], str], Value]] = {
    aten.sum.dim_IntList: Lowering._sum,
    aten.sum.default: Lowering._sum,
    aten.mean.dim: Lowering._sum,
    aten.mean.default: Lowering._sum,
    aten.amax.default: Lowering._extreme,
    aten.amin.default: Lowering._extreme,
    aten.argmin.default: Lowering._position,
    aten.argmax.default: Lowering._position,
    aten.mm.default: Lowering._product,
    aten.addmm.default: Lowering._product,
    aten.bmm.default: Lowering._product,
    aten._log_softmax.default: Lowering._log_softmax,
}
