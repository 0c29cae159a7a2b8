"""The operations that C++ is known for: pointwise ones, views, sums and their kin, matrix products, random draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, fx

from workloads.engine.schedule import Index, Statement, linear, nest
from workloads.engine.trace import NotLowered
from workloads.engine.values import KINDS, Value, Values, broadcast, kind_of, literal
from workloads.random import what_code

aten = torch.ops.aten
Operation = Callable[[Values, fx.Node, tuple[int, ...], str], Value]  # of a node whose result has this shape and kind

# Every pattern is a call or stands in parentheses, so that any may be put into any other.
UNARY = {
    aten.neg.default: "(-{0})",
    aten.abs.default: "absolute({0})",
    aten.sqrt.default: "root({0})",
    aten.rsqrt.default: "(1/root({0}))",
    aten.exp.default: "exponential({0})",
    aten.expm1.default: "exponential_minus_one({0})",
    aten.log.default: "logarithm({0})",
    aten.sin.default: "sine({0})",
    aten.cos.default: "cosine({0})",
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
SAME = {aten._to_copy.default, aten.clone.default, aten.alias.default, aten.detach.default}


def value_of(into: Values, node: fx.Node) -> Value:
    """The node as an expression, with whatever loops it needs before it."""
    target: Any = node.target
    example = into.seen[node]
    if not isinstance(example, Tensor):
        raise NotLowered(str(target))
    shape, kind = tuple(example.shape), kind_of(example)
    if target in SAME or (target == aten.floor.default and kind in ("i32", "i64")):
        source = into.of(node.args[0])
        return into.cast(source, kind)
    if target in UNARY and kind != "mask":
        return into.pointwise(shape, kind, [into.cast(into.of(node.args[0]), kind)], UNARY[target])
    if target in (aten.logical_not.default, aten.bitwise_not.default):
        return into.pointwise(shape, kind, [into.cast(into.of(node.args[0]), kind)], "(~{0})")
    if target in BINARY:
        return binary(into, node, shape, kind)
    if target in COMPARISONS:
        left, right = examples_of(into, node)
        common = KINDS[torch.result_type(left, right)].replace("mask", "i32")  # since true is more than false
        operands = [into.cast(into.of(a, common), common) for a in node.args[:2]]
        return into.pointwise(shape, kind, operands, f"truth({{0}}{COMPARISONS[target]}{{1}})")
    if target == aten.where.self:
        operands = [into.of(node.args[0]), *(into.cast(into.of(a, kind), kind) for a in node.args[1:])]
        return into.pointwise(shape, kind, operands, "chosen({0},{1},{2})")
    if target == aten.pow.Tensor_Scalar:
        return power(into, node, shape, kind)
    if target in (aten.clamp.default, aten.clamp.Tensor, aten.clamp_min.default, aten.clamp_max.default):
        return clamped(into, node, shape, kind)
    if target in (aten.elu.default, aten.leaky_relu.default):
        return activation(into, node, shape, kind)
    if target in VIEWS:
        return VIEWS[target](into, node, shape, kind)
    if target in REDUCTIONS:
        return REDUCTIONS[target](into, node, shape, kind)
    if target == torch.ops.pliant.drawn.default:
        return draw(into, node, shape, kind)
    raise NotLowered(str(target))


def examples_of(into: Values, node: fx.Node) -> tuple[Any, Any]:
    """The example values of a node's first two arguments."""
    left, right = (into.seen[a] if isinstance(a, fx.Node) else a for a in node.args[:2])
    return left, right


def binary(into: Values, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
    """Two operands that broadcast, with the factor `alpha` on the second where one is given."""
    left, right = (into.cast(into.of(a, kind), kind) for a in node.args[:2])
    scale: Any = node.kwargs.get("alpha", 1)
    if scale != 1:
        right = into.pointwise(right.shape, kind, [right, into.number(scale, kind)], "({0}*{1})")
    if node.target in (aten.div.Tensor, aten.div.Scalar) and kind in ("f32", "f64"):
        if isinstance(node.args[1], fx.Node) and math.prod(right.shape) < math.prod(shape):
            # One division instead of many: a product with the reciprocal, a rounding away at most.
            inverse = into.kept(into.pointwise(right.shape, kind, [right], "(1/{0})"))
            return into.pointwise(shape, kind, [left, inverse], "({0}*{1})")
    patterns: Any = BINARY | OF_TRUTH if kind == "mask" else BINARY
    return into.pointwise(shape, kind, [left, right], patterns[node.target])


def power(into: Values, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
    """A power that multiplications and roots can do."""
    exponent: Any = node.args[1]
    patterns = {
        2: "squared({0})",
        1: "{0}",
        0.5: "root({0})",
        -1: "(1/{0})",
        3: "({0}*squared({0}))",
        4: "squared(squared({0}))",
    }
    if exponent not in patterns:
        raise NotLowered(f"a power of {exponent}")
    source = into.cast(into.of(node.args[0]), kind)
    return into.pointwise(shape, kind, [into.kept(source) if exponent == 3 else source], patterns[exponent])


def clamped(into: Values, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
    """Between bounds, either of which may be missing."""
    low: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("min")
    high: Any = node.args[2] if len(node.args) > 2 else node.kwargs.get("max")
    if node.target == aten.clamp_max.default:
        low, high = None, low
    value = into.cast(into.of(node.args[0]), kind)
    for bound, pattern in ((low, "larger({0},{1})"), (high, "smaller({0},{1})")):
        if bound is not None:
            value = into.pointwise(shape, kind, [value, into.cast(into.of(bound, kind), kind)], pattern)
    return value


def activation(into: Values, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
    """elu and its scaled kin, or leaky_relu."""
    source = into.kept(into.of(node.args[0]))
    numbers = [into.number(a, kind) for a in node.args[1:] if isinstance(a, int | float)]
    if node.target == aten.leaky_relu.default:
        slope = numbers[0] if numbers else into.number(0.01, kind)
        zero = into.number(0, kind)
        return into.pointwise(shape, kind, [source, zero, slope], "chosen(truth({0}>{1}),{0},{0}*{2})")
    alpha, scale, inner = (*numbers, *[into.number(1, kind)] * 3)[:3]
    pattern = "chosen(truth({0}>{4}),{0}*{2},{1}*{2}*exponential_minus_one({0}*{3}))"
    return into.pointwise(shape, kind, [source, alpha, scale, inner, into.number(0, kind)], pattern)


def viewed(into: Values, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
    """Another shape over the same elements in the same order."""
    source = into.of(node.args[0])
    longer = [n for n in source.shape if n != 1]
    if longer == [n for n in shape if n != 1]:

        def load(index: Index) -> str:
            at = iter(i for i, n in zip(index, shape, strict=True) if n != 1)
            return source.load(["0" if n == 1 else next(at) for n in source.shape])

        return Value(shape, kind, load, source.trivial, source.store)
    kept = into.kept(source)
    assert kept.store is not None
    return into.stored(kept.store, shape, kind)


def permuted(into: Values, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
    """Axes in another order."""
    source, axes = into.of(node.args[0]), node.args[1]
    order = [d % len(shape) for d in axes]  # type: ignore[union-attr, operator]
    return Value(shape, kind, lambda i: source.load([i[order.index(d)] for d in range(len(order))]), source.trivial)


def expanded(into: Values, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
    """Axes of length one repeated."""
    source = into.once(into.of(node.args[0]), shape)
    return Value(shape, kind, lambda i: source.load(broadcast(source.shape, i)), source.trivial)


def sliced(into: Values, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
    """A stretch of one axis, perhaps every n-th of it."""
    source = into.of(node.args[0])
    axis: Any = (node.args[1] if len(node.args) > 1 else 0) % len(shape)  # type: ignore[operator]
    start: Any = node.args[2] if len(node.args) > 2 and node.args[2] is not None else 0
    stride: Any = node.args[4] if len(node.args) > 4 else 1
    start = max(start + source.shape[axis], 0) if start < 0 else start

    def load(index: Index) -> str:
        moved = list(index)
        moved[axis] = f"({index[axis]})*{stride}+{start}"
        return source.load(moved)

    return Value(shape, kind, load, source.trivial)


def selected(into: Values, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
    """One place of one axis."""
    source, axis, at = into.of(node.args[0]), int(node.args[1]), int(node.args[2])  # type: ignore[arg-type]
    axis, at = axis % len(source.shape), at % source.shape[axis]
    return Value(shape, kind, lambda i: source.load([*i[:axis], str(at), *i[axis:]]), source.trivial)


def concatenated(into: Values, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
    """Several side by side along one axis, in an array of their own."""
    parts = [into.cast(into.of(a), kind) for a in node.args[0]]  # type: ignore[union-attr]
    axis = int(node.args[1]) % len(shape) if len(node.args) > 1 else 0  # type: ignore[arg-type]
    starts = accumulate((p.shape[axis] for p in parts), initial=0)
    statement = Statement(into.fresh("t"), kind, shape, [])
    outer, into.reads = into.reads, statement.reads
    for part, start in zip(parts, starts, strict=False):
        index = [f"i{k}" for k in range(len(part.shape))]
        place = linear(shape, [f"{i}+{start}" if k == axis else i for k, i in enumerate(index)])
        body = f"@{statement.target}@[{place}]={part.load(index)};"
        statement.lines += nest(part.shape, [body])
    into.reads = outer
    into.statements.append(statement)
    return into.stored(statement.target, shape, kind)


def total(into: Values, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
    """Sum or mean over some axes or all."""
    source = into.cast(into.of(node.args[0]), kind)
    axes: Any = node.args[1] if len(node.args) > 1 and node.args[1] else range(len(source.shape))
    axes = [a % len(source.shape) for a in axes]
    count = math.prod(source.shape[a] for a in axes)
    finish = f"{{0}}/{literal(count, kind)}" if "mean" in str(node.target) else "{0}"
    if count & (count - 1) == 0 and finish != "{0}":
        finish = f"{{0}}*{literal(1 / count, kind)}"  # exact
    term, outer, inner = over(source, axes)
    return into.reduced(shape, kind, outer, inner, term, start=literal(0, kind), finish=finish)


def extreme(into: Values, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
    """Largest or smallest over some axes or all."""
    source = into.of(node.args[0])
    given: Any = node.args[1] if len(node.args) > 1 and node.args[1] else range(len(source.shape))
    axes = [a % len(source.shape) for a in given]
    name = "larger" if "max" in str(node.target) else "smaller"
    first = {"larger": -math.inf, "smaller": math.inf}[name]
    if kind not in ("f32", "f64"):
        raise NotLowered(f"{node.target} of whole numbers")
    term, outer, inner = over(source, axes)
    join = f"{{0}}={name}({{0}},{{1}});"
    return into.reduced(shape, kind, outer, inner, term, start=literal(first, kind), join=join)


def over(source: Value, axes: Sequence[int]) -> tuple[Callable[[Index, Index], str], list[int], list[int]]:
    """(term, outer, inner) of a reduction of `source` over `axes`."""
    kept = [d for d in range(len(source.shape)) if d not in axes]

    def term(index: Index, within: Index) -> str:
        at = dict(zip(kept, index, strict=True)) | dict(zip(axes, within, strict=True))
        return source.load([at[d] for d in range(len(source.shape))])

    return term, [source.shape[d] for d in kept], [source.shape[d] for d in axes]


def position(into: Values, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
    """argmin or argmax along one axis: the first of equals, and what is no number before all others, as in torch."""
    source = into.kept(into.of(node.args[0]))
    axis: Any = node.args[1] if len(node.args) > 1 and node.args[1] is not None else None
    if axis is None and len(source.shape) != 1:
        raise NotLowered(f"{node.target} over several axes")
    axis = (axis or 0) % len(source.shape)
    sign = ">" if "argmax" in str(node.target) else "<"
    kept = [n for d, n in enumerate(source.shape) if d != axis]
    index = [f"i{k}" if n != 1 else "0" for k, n in enumerate(kept)]
    statement = Statement(into.fresh("t"), kind, shape, [])
    before, into.reads = into.reads, statement.reads
    first = source.load([*index[:axis], "0", *index[axis:]])
    other = source.load([*index[:axis], "r0", *index[axis:]])
    into.reads = before
    statement.lines = nest(
        kept,
        [
            f"{source.kind}v best={first};i64v at={literal(0, 'i64')};",
            f"for(int r0=1;r0<{source.shape[axis]};++r0){{const {source.kind}v other={other};",
            f"const maskv better=truth(other{sign}best)|(truth(other!=other)&truth(best==best));",
            "best=chosen(better,other,best);at=chosen(better,i64_all(r0),at);}",
            f"@{statement.target}@[{linear(kept, index)}]=at;",
        ],
    )
    into.statements.append(statement)
    return into.stored(statement.target, shape, kind)


def product(into: Values, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
    """A matrix product, with a bias added where the operation has one."""
    arguments = [into.of(a) for a in node.args]
    bias = arguments.pop(0) if node.target == aten.addmm.default else None
    left, right = arguments
    if bias is not None and (node.kwargs.get("alpha", 1) != 1 or node.kwargs.get("beta", 1) != 1):
        raise NotLowered("addmm with factors")
    length = left.shape[-1]
    if length == 1 and bias is None:
        zero = Value(left.shape[:-1], kind, lambda i: left.load([*i, "0"]), left.trivial)
        column = Value((*left.shape[:-1], 1), kind, lambda i: zero.load(i[:-1]), left.trivial)
        return into.pointwise(shape, kind, [column, right], "({0}*{1})")
    left, right = into.once(left, shape), into.once(right, shape)
    left = left if left.trivial or shape[-1] == 1 else into.kept(left)
    right = right if right.trivial or shape[-2] == 1 else into.kept(right)

    def term(index: Index, within: Index) -> str:
        *batch, row, column = index
        return f"{left.load([*batch, row, *within])}*{right.load([*batch, *within, column])}"

    summed = into.reduced(shape, kind, shape, [length], term, start=literal(0, kind))
    return summed if bias is None else into.pointwise(shape, kind, [summed, bias], "({0}+{1})")


def log_softmax(into: Values, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
    """Logarithm of softmax along one axis, by the difference from the largest."""
    source = into.kept(into.of(node.args[0]))
    axis = int(node.args[1]) % len(shape)  # type: ignore[arg-type]
    one = tuple(1 if d == axis else n for d, n in enumerate(shape))
    term, outer, inner = over(source, [axis])
    top = into.reduced(one, kind, outer, inner, term, start=literal(-math.inf, kind), join="{0}=larger({0},{1});")
    moved = into.kept(into.pointwise(shape, kind, [source, top], "({0}-{1})"))
    term, outer, inner = over(moved, [axis])
    total = into.reduced(
        one,
        kind,
        outer,
        inner,
        term,
        start=literal(0, kind),
        join="{0}+=exponential({1});",
        finish="logarithm({0})",
    )
    return into.pointwise(shape, kind, [moved, total], "({0}-{1})")


def draw(into: Values, node: fx.Node, shape: tuple[int, ...], kind: str) -> Value:
    """Random numbers: whole arrays, by the functions of philox.h."""
    what, normal, count, _ = node.args[3:]
    statement = Statement(into.fresh("t"), kind, shape, [], dense=True)
    before, into.reads = into.reads, statement.reads
    seed, step, offset = (into.cast(into.of(a, "i64"), "i64").load([]) for a in node.args[:3])
    into.reads = before
    call = "draw_normal" if normal else "draw_uniform"
    statement.lines = [f"{call}<{count}>(&@{statement.target}@[0],{seed},{step},{what_code(str(what))}u,{offset});"]
    into.statements.append(statement)
    return into.stored(statement.target, shape, kind)


VIEWS: dict[Any, Operation] = {
    aten.view.default: viewed,
    aten.unsqueeze.default: viewed,
    aten.squeeze.dims: viewed,
    aten.squeeze.dim: viewed,
    aten.permute.default: permuted,
    aten.expand.default: expanded,
    aten.slice.Tensor: sliced,
    aten.select.int: selected,
    aten.cat.default: concatenated,
}
REDUCTIONS: dict[Any, Operation] = {
    aten.sum.dim_IntList: total,
    aten.sum.default: total,
    aten.mean.dim: total,
    aten.mean.default: total,
    aten.amax.default: extreme,
    aten.amin.default: extreme,
    aten.argmin.default: position,
    aten.argmax.default: position,
    aten.mm.default: product,
    aten.addmm.default: product,
    aten.bmm.default: product,
    aten._log_softmax.default: log_softmax,
}
