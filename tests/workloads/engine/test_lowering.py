"""Lowered functions against torch: every operation, draws to the bit, and results that replace what others still read.

A function is compiled as the lanes path does it (16 members, one per lane, or one member at a time as for repairs) and
compared with the same function run by torch on one member after the other. Many functions share a compilation.
"""

from __future__ import annotations

import ctypes
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from workloads import native
from workloads.engine.lowering import Lowering
from workloads.engine.operations import REDUCTIONS, UNARY, VIEWS
from workloads.engine.trace import MarkedDraw, NotLowered
from workloads.engine.values import KINDS
from workloads.paths import LANES
from workloads.random import Draw, words

Function = Callable[..., Sequence[Tensor]]
aten = torch.ops.aten
F32, F64 = torch.float32, torch.float64


@dataclass
class Case:
    """A function whose i-th result replaces its i-th argument, and arguments (LANES, ...) to try it on."""

    function: Function
    arguments: list[Tensor]


def ran(cases: Sequence[Case], *, width: int = LANES, tried: set[Any] | None = None) -> list[list[Tensor]]:
    """All arguments of every case after its compiled function ran, `width` members at a time.

    The operations in the traces are added to `tried`.
    """
    parts = [
        "#include <cmath>\n#include <cstdint>\n#include <cstring>",
        "#ifdef __AVX512F__\n#include <immintrin.h>\n#endif",
        f"#define W {width}\n#define STRIDE {LANES}",
        files("workloads.engine").joinpath("lanes.h").read_text(),
    ]
    for number, case in enumerate(cases):
        names = [f"p{k}" for k in range(len(case.arguments))]
        lowering = Lowering(case.function, [a[0].clone() for a in case.arguments], names)
        if tried is not None:
            tried.update(node.target for node in lowering.trace.graph.nodes)
        kinds = [KINDS[a.dtype] for a in case.arguments]
        slots = ", ".join(f"const slot<{kind}v> {name}" for kind, name in zip(kinds, names, strict=True))
        given = ", ".join(f"{{arrays[{k}]+lane*(sizeof({kind}v)/W)}}" for k, kind in enumerate(kinds))
        parts += [f"static void f{number}({slots}) {{", *lowering.code(), "}"]
        parts.append(f'extern "C" void run{number}(char** arrays) {{')
        parts.append(f"for (int lane = 0; lane < {LANES}; lane += W) f{number}({given});}}")
    library = native.compiled("\n".join(parts))
    found = []
    for number, case in enumerate(cases):
        arrays = [aligned(lanes_last(a)) for a in case.arguments]
        pointers = (ctypes.c_void_p * len(arrays))(*[a.ctypes.data for a in arrays])
        getattr(library, f"run{number}")(pointers)
        found.append([members_first(torch.from_numpy(a), like) for a, like in zip(arrays, case.arguments, strict=True)])
    return found


def lanes_last(argument: Tensor) -> np.ndarray[Any, Any]:
    """An argument (LANES, ...) as a program holds it: (elements, LANES), truth as 0 and -1."""
    flat = argument.reshape(LANES, -1).T
    return (-flat.int() if flat.dtype == torch.bool else flat).numpy()


def members_first(array: Tensor, like: Tensor) -> Tensor:
    """The inverse of `lanes_last`; truth must be 0 or -1, since all else counts on it."""
    if like.dtype == torch.bool:
        assert ((array == 0) | (array == -1)).all()
        array = array != 0
    return array.T.reshape(like.shape)


def aligned(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A copy that begins at a multiple of 64 bytes."""
    room = np.empty(values.nbytes + 64, np.uint8)
    first = -room.ctypes.data % 64
    copy = room[first : first + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


def each_member(function: Function, arguments: Sequence[Tensor]) -> list[Tensor]:
    """What torch makes of every member alone, stacked."""
    per_member = [function(*(a[i].clone() for a in arguments)) for i in range(LANES)]
    return [torch.stack(list(results)) for results in zip(*per_member, strict=True)]


def operation(function: Callable[..., Tensor], *inputs: Tensor) -> Case:
    """A case that puts one result into an argument of its own."""
    out = torch.stack([function(*(v[i] for v in inputs)) for i in range(LANES)])
    return Case(lambda _, *values: [function(*values)], [torch.zeros_like(out), *inputs])


def gradient_of(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The gradient of a sum of squares of the function's values, by its first argument."""
    found: Callable[..., Tensor] = torch.func.grad(lambda *inputs: (function(*inputs) ** 2).sum())
    return found


def noise(*shape: int, dtype: torch.dtype = F64, seed: int = 0) -> Tensor:
    """Normal numbers, (LANES, *shape)."""
    return torch.randn(LANES, *shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(dtype)


def whole(*shape: int, seed: int = 0, dtype: torch.dtype = F64, low: int = -4, high: int = 5) -> Tensor:
    """Small whole numbers, (LANES, *shape)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, (LANES, *shape), generator=generator).to(dtype)


def ulps(got: Tensor, truth: Tensor) -> Tensor:
    """The distance from the truth (float64) in units in the last place of float32 there."""
    spacing = torch.from_numpy(np.spacing(truth.abs().float().clamp(min=2.0**-126).numpy())).double()
    return (got.double() - truth).abs() / spacing


# Elementary functions over their range


def sweep_of(low: float, high: float, *, logarithmic: bool = False) -> Tensor:
    """Points over a range, (LANES, 64), float32."""
    at = torch.linspace(0, 1, LANES * 64, dtype=F64)
    points = low * (high / low) ** at if logarithmic else low + (high - low) * at
    return points.float().view(LANES, 64)


SPECIAL = [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, 0.5, -0.5, 1e-45, -1e-45, 1e-39, -1e-39, 1.2e-38, 3e38]
EDGES = [88.0, 88.01, 88.5, 88.7, 88.71, 88.722, 88.7228, 88.73, 89.0, -87.0, -87.31, -87.33, -87.34, -88.0, -95.0]
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    name: getattr(torch, name)
    for name in ("exp", "expm1", "log", "tanh", "sigmoid", "sqrt", "rsqrt", "reciprocal", "floor")
} | {name: getattr(torch, name) for name in ("abs", "neg", "relu", "square", "sign")}


def test_functions_are_torchs_within_four_units_in_the_last_place() -> None:
    signed = torch.cat([sweep_of(-12, 12), sweep_of(-87, 88), sweep_of(-1e-3, 1e-3), sweep_of(-110, 95)], 1)
    positive = torch.cat([sweep_of(1e-38, 3e38, logarithmic=True), sweep_of(0.4, 2.5), sweep_of(0.9999, 1.0001)], 1)
    cases = {
        (name, dtype): operation(function, (positive if name in ("log", "sqrt", "rsqrt") else signed).to(dtype))
        for name, function in FUNCTIONS.items()
        for dtype in (F32, F64)
    }
    for (name, dtype), (got, given) in zip(cases, ran(list(cases.values())), strict=True):
        truth = FUNCTIONS[name](given.double())
        if dtype == F64:
            torch.testing.assert_close(got, truth, rtol=1e-14, atol=0, msg=name)
        else:
            kept = truth.abs() <= torch.finfo(F32).max
            if name == "sigmoid":  # torch's own is 0 where 1 + e^-x is beyond the range
                kept &= truth > torch.finfo(F32).tiny
                got[~kept], given[~kept] = 0, -math.inf
            worst = ulps(got, truth)[kept].max().item()
            assert worst <= 4, f"{name} in float32: {worst} ulp at {given[kept][ulps(got, truth)[kept].argmax()]}"
            assert got[~kept].equal(FUNCTIONS[name](given)[~kept]), name


@pytest.mark.parametrize("width", [LANES, pytest.param(1, marks=pytest.mark.slow)])
def test_functions_of_special_numbers(width: int) -> None:
    """NaN stays NaN, what overflows is infinite, and numbers below the normal range are not lost."""
    numbers = torch.tensor(SPECIAL + EDGES + [0.0, 0.0]).view(1, -1).expand(LANES, -1)
    cases = {
        (name, dtype): operation(function, numbers.to(dtype).clone())
        for name, function in FUNCTIONS.items()
        for dtype in (F32, F64)
    }
    for (name, dtype), (got, given) in zip(cases, ran(list(cases.values()), width=width), strict=True):
        expected = FUNCTIONS[name](given)
        # 1e-44 allows what is below the normal range a few of the smallest steps there are.
        tolerance = {"rtol": 5e-7, "atol": 1e-44} if dtype == F32 else {"rtol": 1e-14, "atol": 0}
        torch.testing.assert_close(got, expected, **tolerance, equal_nan=True, msg=lambda m, n=name: f"{n}: {m}")


# Every operation

M, N, V, S = (3, 4), (4, 3), (4,), ()


def table(dtype: torch.dtype) -> dict[str, Case]:
    """A case for every operation there is, on floating-point numbers of one type."""
    a, b, c, v, s = (noise(*shape, dtype=dtype, seed=k) for k, shape in enumerate([M, M, N, V, S]))
    ties = whole(*M, dtype=dtype, low=-1, high=2)
    return {
        name: operation(function, *inputs)
        for name, function, *inputs in [
            ("add", torch.add, a, b),
            ("add scalar", lambda x: x + 0.1, a),
            ("add alpha", lambda x, y: torch.add(x, y, alpha=0.3), a, v),
            ("sub alpha", lambda x, y: torch.sub(x, y, alpha=-2), a, v),
            ("sub scalar", lambda x: x - 3, a),
            ("rsub", lambda x: 1 - x, a),
            ("rsub alpha", lambda x: torch.rsub(x, 2.0, alpha=3.0), a),
            ("rsub alpha tensor", lambda x, y: torch.rsub(x, y, alpha=3.0), a, b),
            ("mul", torch.mul, a, s),
            ("mul scalar", lambda x: 0.3 * x, a),
            ("div", torch.div, a, b),
            ("div by a smaller one", torch.div, a, v),
            ("div by one number", lambda x: x / 3, a),
            ("number divided", lambda x: 3 / x, a),
            ("minus a negative", lambda x, y: x - (-y), a, b),
            ("minus minus", lambda x: x.neg().neg(), a),
            ("divided by a reciprocal", lambda x, y: x / y.reciprocal(), a, b),
            ("divided by an inverse root", lambda x, y: x / y.abs().rsqrt(), a, b),
            ("divided by a power", lambda x, y: x / y**-1, a, b),
            ("reciprocal of a reciprocal", lambda x: (1 / x).reciprocal(), a),
            ("product of reciprocals", lambda x, y: (1 / x) * (1 / y), a, b),
            ("product with a reciprocal", lambda x, y: x @ y.reciprocal(), a, c),
            ("maximum", torch.maximum, ties, b),
            ("minimum", torch.minimum, ties, v),
            ("pow 2", lambda x: x**2, a),
            ("pow 3", lambda x: x**3, a),
            ("pow 3 of an expression", lambda x, y: (x + y) ** 3, a, b),
            ("pow 1", lambda x: x**1, a),
            ("pow 0.5", lambda x: x.abs() ** 0.5, a),
            ("clamp", lambda x: x.clamp(-0.5, 0.7), a),
            ("clamp low", lambda x: x.clamp(min=-0.5), a),
            ("clamp high", lambda x: x.clamp(max=0.3), a),
            ("clamp crossed", lambda x: x.clamp(0.5, -0.5), a),
            ("clamp by tensors", lambda x, y: x.clamp(-y.abs(), y.abs()), a, s),
            ("clamp by a low tensor", lambda x, y: x.clamp(min=y), a, s),
            ("clamp by a high tensor", lambda x, y: x.clamp(max=y), a, s),
            ("where", lambda x, y: torch.where(x > y, x, y * 2), a, b),
            ("where broadcast", lambda x, y: torch.where(y > 0, x, y), a, v),
            ("where number", lambda x: torch.where(x > 0, x, 0), a),
            ("where condition", lambda x, y: torch.where((x > 0) & ~(y > 0) | (x < -1) ^ (y < x), 1.0, x), a, b),
            ("masked fill", lambda x, y: x.masked_fill(y > 0, 2.0), a, b),
            ("elu", functional.elu, a),
            ("elu alpha", lambda x: functional.elu(x, 0.3), a),
            ("selu", functional.selu, a),
            ("leaky relu", functional.leaky_relu, a),
            ("leaky relu slope", lambda x: functional.leaky_relu(x, 0.2), a),
            ("silu", functional.silu, a),
            ("sum", torch.sum, a),
            ("sum 0", lambda x: x.sum(0), a),
            ("sum -1 keep", lambda x: x.sum(-1, keepdim=True), a),
            ("sum both", lambda x: x.sum((0, 1)), a),
            ("sum of an outer", lambda x, y: (x.unsqueeze(0) * y.unsqueeze(1)).sum(2), a, b),
            ("sum middle", lambda x, y: (x.unsqueeze(0) * y.unsqueeze(1)).sum(1), a, b),
            ("sum of nothing", lambda x: x.sum(), s),
            ("sum of 17", lambda x: x.sum(0), noise(5, 17, dtype=dtype)),
            ("mean", torch.mean, a),
            ("mean 0", lambda x: x.mean(0), a),
            ("mean 1", lambda x: x.mean(1), a),
            ("mean of eight", lambda x: x.mean(0), noise(8, 3, dtype=dtype)),
            ("amax", lambda x: x.amax(0), a),
            ("amin", lambda x: x.amin((0, 1)), a),
            ("amax keep", lambda x: x.amax(-1, keepdim=True), a),
            ("argmax", lambda x: x.argmax(-1), ties),
            ("argmin", lambda x: x.argmin(0), ties),
            ("argmin of a vector", lambda x: x.argmin(), v),
            ("argmax keep", lambda x: x.argmax(1, keepdim=True), ties),
            ("log softmax", lambda x: functional.log_softmax(30 * x, -1), a),
            ("log softmax 0", lambda x: functional.log_softmax(x, 0), a),
            ("logsumexp", lambda x: x.logsumexp(-1), a),
            ("mm", torch.mm, a, c),
            ("mm of expressions", lambda x, y: torch.mm(x * 2 + 1, y.exp()), a, c),
            ("mm to a column", lambda x, y: x @ y[:, :1], a, c),
            ("mm of a row", lambda x, y: x[:1] @ y, a, c),
            ("mv", torch.mv, a, v),
            ("dot", torch.dot, v, noise(*V, dtype=dtype, seed=9)),
            ("outer", torch.outer, v, noise(*V, dtype=dtype, seed=9)),
            ("outer by mm", lambda x, y: x[:, :1] @ y[:1], a, b),
            ("outer of expressions", lambda x, y: (x[:, :1] * 2) @ (y[:1] + 1), a, b),
            ("addmm", lambda x, y, z: torch.addmm(z.sum(0)[:3], x, y), a, c, b),
            ("addmm of length one", lambda x, y, z: torch.addmm(z[:3], x[:, :1], y[:1]), a, c, v),
            ("linear", lambda x, y, z: functional.linear(x, y, z[:3]), a, b, v),
            ("linear of wide inputs", functional.linear, noise(2, 19, dtype=dtype), noise(11, 19, dtype=dtype)),
            ("bmm", torch.bmm, noise(2, 3, 4, dtype=dtype), noise(2, 4, 5, dtype=dtype)),
            ("bmm outer", torch.bmm, noise(2, 3, 1, dtype=dtype), noise(2, 1, 5, dtype=dtype)),
            ("cat", lambda x, y: torch.cat([x, y * 2, x[:1]]), a, b),
            ("cat 1", lambda x, y: torch.cat([x, y.unsqueeze(-1)[..., 0]], -1), a, b),
            ("cat of single ones", lambda x, y: torch.cat([x[:, :1], y[:, 1:2]], 1), a, b),
            ("stack", lambda x, y: torch.stack([x, y], 1), a, b),
            ("slice", lambda x: x[1:], a),
            ("slice from behind", lambda x: x[:, -2:], a),
            ("slice beyond the start", lambda x: x[-9:], a),
            ("slice step", lambda x: x[:, ::2] + x[:, 1::2], a),
            ("slice one", lambda x: x[2:3], a),
            ("slice of a permuted", lambda x: x.T[1:3], a),
            ("select", lambda x: x[1], a),
            ("select last", lambda x: x[:, -1], a),
            ("transpose", lambda x: x.T, a),
            ("permute", lambda x: x.unsqueeze(0).expand(2, 3, 4).permute(2, 0, 1), a),
            ("view", lambda x: x.view(2, 6), a),
            ("view of a permuted", lambda x: x.T.reshape(2, 6), a),
            ("view of an expression", lambda x: (x * 2).view(4, 3).T, a),
            ("unsqueeze and squeeze", lambda x: x.unsqueeze(1).squeeze(1) * x.view(3, 1, 4).squeeze(), a),
            ("expand", lambda x: x.expand(3, 4), v),
            ("expand an expression", lambda x: (x.exp() + 1).expand(3, 4), v),
            ("broadcast an expression", lambda x, y: x * (y.exp() + 1), a, v),
            ("constants", lambda x: x + torch.arange(12, dtype=dtype).view(3, 4) * torch.eye(3, 4, dtype=dtype), a),
            ("infinite constants", lambda x: torch.minimum(x, torch.tensor([math.inf, -math.inf, 0.0, -0.0])), a),
            ("full", lambda x: torch.full_like(x, 0.1) + torch.zeros_like(x) - torch.ones_like(x), a),
            ("small constants", lambda x: x * 1e-45 + x * 1e-30, a),
            ("fused", lambda x, y: (x.exp() * y).sum(0) / (1 + (x * x).sum(0)).sqrt(), a, b),
            ("used twice", lambda x, y: (x + y) * (x + y).T.T.sum(0), a, b),
            ("pow 4", lambda x: x**4, a),
            ("layer norm", lambda x: functional.layer_norm(x, (4,)), a),
            ("layer norm with gain and shift", lambda x, y, z: functional.layer_norm(x, (4,), y, z[0]), a, v, b),
            ("layer norm over two axes", lambda x: functional.layer_norm(x, (3, 4)), a),
            ("layer norm backward", gradient_of(lambda x: functional.layer_norm(x, (4,))), a),
            ("layer norm backward to the gain", gradient_of(lambda y, x: functional.layer_norm(x, (4,), y, y)), v, a),
            ("rms norm backward", gradient_of(lambda x, y: functional.rms_norm(x, (4,), y)), a, v),
            ("crelu", lambda x: torch.cat([functional.relu(x), functional.relu(-x)], -1), a),
            ("crelu backward", gradient_of(lambda x: torch.cat([functional.relu(x), functional.relu(-x)], -1)), a),
            ("softmax", lambda x: functional.softmax(x, -1), a),
            ("softmax backward", gradient_of(lambda x: functional.softmax(x, -1)), a),
            ("var", lambda x: x.var(0), a),
            ("var of all", lambda x: x.var(correction=0), a),
            ("std backward", gradient_of(lambda x: x.std(-1, keepdim=True)), a),
            ("var and mean", lambda x: torch.add(*torch.var_mean(x, -1)), a),
            ("norm", lambda x: torch.linalg.vector_norm(x, dim=-1), a),
            ("normalize", lambda x: functional.normalize(x, dim=0), a),
            ("split", lambda x: x.split([1, 3], -1)[1], a),
            ("split backward", gradient_of(lambda x: x.chunk(2, -1)[0]), a),
            ("hardtanh", lambda x: functional.hardtanh(x, -0.5, 0.7), a),
            ("relu6 backward", gradient_of(functional.relu6), a),
            ("clamp backward", gradient_of(lambda x: x.clamp(-0.5, 0.7)), a),
            ("repeat", lambda x: x.repeat(2, 1), a),
            ("var by hand", lambda x: ((x - x.mean(0)) ** 2).mean(0), a),
        ]
    }


# Traces do not have these, since they are decomposed before; another version of torch may leave them.
DECOMPOSED = {aten.square.default, aten.sum.default, aten.squeeze.dim}


@pytest.mark.parametrize("dtype", [pytest.param(F32, marks=pytest.mark.slow), F64], ids=str)
def test_operations_are_torchs(dtype: torch.dtype) -> None:
    """float32 within 4e-6 of torch's own float32, which sums in another order; float64 within 4e-14."""
    cases = table(dtype)
    tolerance = 4e-6 if dtype == F32 else 4e-14
    tried: set[Any] = set()
    others = [operation(function, noise(3)) for function in FUNCTIONS.values()]
    for (name, case), results in zip(cases.items(), ran([*cases.values(), *others], tried=tried), strict=False):
        (expected,) = each_member(case.function, case.arguments)
        torch.testing.assert_close(
            results[0], expected, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )
        assert all(a.equal(b) for a, b in zip(results[1:], case.arguments[1:], strict=True)), name  # nothing else moved
    # A new entry in the tables of operations needs a case above.
    assert {*UNARY, *VIEWS, *REDUCTIONS} - tried == DECOMPOSED


def test_whole_numbers_and_truth_are_torchs() -> None:
    """Conversions between all kinds there are, and arithmetic whose meaning they change."""
    i, j = whole(3, dtype=torch.int32), whole(3, seed=1, dtype=torch.int64, low=1)
    p, q = whole(3, seed=2) > 0, whole(3, seed=3) > 0
    f, d = noise(3, dtype=F32) * 3, noise(3, seed=5) * 3
    cases = {
        name: operation(function, *inputs)
        for name, function, *inputs in [
            *((f"{x.dtype} to {to}", lambda x, to=to: x.to(to), x) for x in (i, j, p, f, d) for to in KINDS),
            ("mixed sum", lambda i, j, f, d, p: i + j + f + d + p, i, j, f, d, p),
            ("int32 and int64", torch.add, i, j),
            ("sum of int32", torch.sum, i),
            ("sum of truth", torch.sum, p),
            ("mean of truth", lambda p: p.float().mean(), p),
            ("division of whole numbers", torch.div, i, j),
            ("clamp of whole numbers by a fraction", lambda i: i.clamp(min=0.5), i),
            ("clamp of whole numbers", lambda i: i.clamp(-1, 2), i),
            ("absolute", torch.abs, i),
            ("sign", torch.sign, i),
            ("floor of whole numbers", torch.floor, i),
            ("relu of whole numbers", torch.relu, j),
            ("root of whole numbers", lambda j: j.abs().sqrt(), j),
            ("power of whole numbers", lambda j: j**3, j),
            ("float64 of float32", lambda f, d: f.double() + d, f, d),
            ("float64 number by a float32 tensor", lambda f, d: f * d.sum(), f, d),
            ("class", lambda f, j: (f.argmax() == j).float().mean(), f, j),
            ("truth times truth", lambda p, q: (p * q).float(), p, q),
            ("truth plus truth", lambda p, q: (p + q).float(), p, q),
            ("larger truth", lambda p, q: torch.maximum(p, q).float(), p, q),
            ("smaller truth", lambda p, q: torch.minimum(p, q).float(), p, q),
            ("truth less than truth", lambda p, q: p < q, p, q),
            ("truth equal", lambda p, q: (p == q) | (p != q) & p, p, q),
            ("truth and", lambda p, q: p & ~q | (p ^ q), p, q),
            ("truth where", lambda p, q, i: torch.where(i > 0, p, q), p, q, i),
            ("truth is constant", lambda p: p & torch.tensor([True, False, True]), p),
            ("not a number", lambda i: torch.logical_not(i), i),
            ("not a fraction", lambda f: torch.logical_not(f.floor()), f),
            ("and of numbers", lambda i, f: torch.logical_and(i, f.floor()), i, f),
            ("or of numbers", lambda i, j: torch.logical_or(i, j - 1), i, j),
            ("bits", lambda i: ~(i & 3 | 4) ^ 1, i),
            ("counting", lambda i: i + torch.ones_like(i), i),
            ("argmin as an index", lambda f: (torch.arange(3) == f.argmin()).int(), f),
        ]
    }
    for (name, case), results in zip(cases.items(), ran(list(cases.values())), strict=True):
        torch.testing.assert_close(
            results[0], each_member(case.function, case.arguments)[0], msg=lambda m, n=name: f"{n}: {m}"
        )


def test_comparisons_and_choices_of_special_numbers() -> None:
    """Every pair of special numbers; NaN is neither less nor more nor equal, and wins a maximum."""
    numbers = torch.tensor([0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 1e-45])
    a, b = (v.flatten() for v in torch.meshgrid(numbers, numbers, indexing="ij"))
    functions: dict[str, Callable[..., Tensor]] = {
        name: getattr(torch, name) for name in ("lt", "le", "gt", "ge", "eq", "ne", "maximum", "minimum")
    }
    functions |= {f"{f.__name__} 0": lambda x, y, f=f: f(x, 0) for f in (torch.lt, torch.le, torch.gt, torch.ge)}
    functions["where"] = lambda x, y: torch.where(x < y, x, y)
    functions["where of truth"] = lambda x, y: torch.where(x.bool(), x, y)
    functions["clamp"] = lambda x, y: x.clamp(-1, 1) + y.clamp(min=0).clamp(max=2)
    functions["clamp by tensors"] = lambda x, y: x.clamp(y, y + 1)
    functions["amax"] = lambda x, y: torch.stack([x, y]).amax(0)
    functions["amin"] = lambda x, y: torch.stack([x, y]).amin(0)
    functions["leaky relu"] = lambda x, y: functional.leaky_relu(x) + y
    cases = {
        (name, dtype): operation(function, *(v.expand(LANES, -1).to(dtype).clone() for v in (a, b)))
        for name, function in functions.items()
        for dtype in (F32, F64)
    }
    for (name, dtype), results in zip(cases, ran(list(cases.values())), strict=True):
        expected = functions[name](a.to(dtype), b.to(dtype)).expand(LANES, -1)
        assert torch.equal(torch.nan_to_num(results[0], 7), torch.nan_to_num(expected, 7)), (name, dtype)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x: [torch.linalg.svdvals(x)[0] * x], "aten._linalg_svd"),
        (lambda x: [x.sort(-1)[0]], "aten.sort"),
        (lambda x: [torch.erf(x)], "aten.erf"),
        (lambda x: [x**1.5], "a power of 1.5"),
        (lambda x: [x.half().float()], "tensors of torch.float16"),
        (lambda x: [x.int().amax(0).expand(3, 3).float()], "of whole numbers"),
        (lambda x: [torch.rand(3, 3)], "aten.rand"),
        (lambda x: [x + torch.randn_like(x)], "aten.randn_like"),
        (lambda x: [x + torch.bernoulli(torch.full((3, 3), 0.5))], "aten.(bernoulli|rand)"),
        (lambda x: [x.sum()], r"a result f32\(\) in the place of f32\(3, 3\)"),
        (lambda x: [x.double()], "a result f64"),
    ],
)
def test_what_cannot_be_lowered_is_named(function: Function, name: str) -> None:
    with pytest.raises(NotLowered, match=name):
        Lowering(function, [torch.ones(3, 3)], ["p0"]).code()


# Results that replace arguments, while others still read the old ones


Aliased = Callable[..., list[Tensor]]
MATRICES = [whole(3, 3, seed=s) for s in range(3)]
ALIASED: dict[str, Aliased] = {  # a, b and c (3, 3); up to three results, in the places of a, b and c
    "swapped": lambda a, b, c: [b, a],
    "rotated": lambda a, b, c: [b, c, a],
    "rotated back": lambda a, b, c: [c, a, b],
    "swapped and scaled": lambda a, b, c: [2 * b, 3 * a],
    "the last value is kept": lambda a, b, c: [a + 1, a],
    "the last two values are kept": lambda a, b, c: [a + c, a, b],
    "kept, from behind": lambda a, b, c: [b, c, c + a],
    "shifted, one result for two places": lambda a, b, c: [b * c, b * c, b],
    "an elementwise result beside a sum of the old": lambda a, b, c: [a * b, b + a.sum(0)],
    "a sum before an elementwise result": lambda a, b, c: [b * a.sum(), a * 2, c + a.sum(1)],
    "a sum of what replaces": lambda a, b, c: [a + b, b + (a + b).sum(0), c + a],
    "updated from its own row sums": lambda a, b, c: [a - a.sum(1, keepdim=True)],
    "updated from its own column sums": lambda a, b, c: [a - a.sum(0), a - a.sum(0) + b],
    "transposed in place": lambda a, b, c: [a.T],
    "plus its own transpose": lambda a, b, c: [a + a.T, b.T * a, c],
    "transposes swapped": lambda a, b, c: [b.T, a.T],
    "rows rolled": lambda a, b, c: [torch.cat([a[1:], a[:1]]), b],
    "rows rolled into another": lambda a, b, c: [b + 1, torch.cat([a[1:], b[:1]])],
    "one row read by all": lambda a, b, c: [a - a[0], b + a[:, 1:2]],
    "last row read by all": lambda a, b, c: [a - a[2]],
    "flat, read in another order": lambda a, b, c: [a.T.reshape(9).view(3, 3) + a],
    "seen flat": lambda a, b, c: [(a.view(9) + 1).view(3, 3), (a.view(9) * b.view(9)).view(3, 3)],
    "its own product": lambda a, b, c: [a @ a, b @ a],
    "product of what is replaced": lambda a, b, c: [b @ c, a @ b, a],
    "unchanged in another's place": lambda a, b, c: [a, a, b],
    "unchanged for two others": lambda a, b, c: [b + c, a, a],
    "one result for three places": lambda a, b, c: [a + b + c] * 3,
    "constants": lambda a, b, c: [torch.eye(3, dtype=F64), torch.zeros(3, 3, dtype=F64), a],
    "one constant for two places": lambda a, b, c: [torch.eye(3, dtype=F64)] * 2,
    "a constant that depends on a shape": lambda a, b, c: [torch.zeros_like(a), torch.ones_like(a) + a],
    "expanded": lambda a, b, c: [a.sum().expand(3, 3), b[0].expand(3, 3), a],
    "elementwise, each from the others": lambda a, b, c: [b - c, c - a, a - b],
    "in place, as users may write it": lambda a, b, c: [a.clone().mul_(2).add_(b), a + 1],
    "a row written into a copy": lambda a, b, c: [torch.where(torch.arange(3).view(3, 1) == 1, b[0], a), a, b],
    "position of the old": lambda a, b, c: [a + b, b + (torch.arange(3) == a.argmax(1)).double(), c],
    "log softmax of the old": lambda a, b, c: [b, b + (functional.log_softmax(a, 1) > -1).double()],
    "momentum": lambda a, b, c: [a - (b * 2 + c), b * 2 + c, c],
}


def test_results_replace_arguments_as_if_all_at_once() -> None:
    cases = [Case(function, MATRICES) for function in ALIASED.values()]
    for (name, function), results in zip(ALIASED.items(), ran(cases), strict=True):
        expected = each_member(function, MATRICES)
        expected += MATRICES[len(expected) :]
        for place, (got, want) in enumerate(zip(results, expected, strict=True)):
            assert got.equal(want), f"{name}, place {place}"


class Grown:
    """A random function of a, b, c (3, 3), v, w (3,) and s (); exact, for its numbers stay small whole ones."""

    places = ("matrix", "matrix", "matrix", "row", "row", "number")

    def __init__(self, seed: int) -> None:
        self.choose = random.Random(seed)
        self.plan: list[tuple[str, Callable[..., Tensor], list[int]]] = []
        self.pool: dict[str, int] = {"matrix": 3, "row": 2, "number": 1}  # how many of each there are
        for _ in range(self.choose.randint(2, 9)):
            kind, function, operands = self.choose.choice(STEPS)
            picks = [self.choose.randrange(self.pool[o]) for o in operands]
            self.plan.append((kind, self._applied(function, operands), picks))
            self.pool[kind] += 1
        self.results = [self._result(kind) for kind in self.places[: self.choose.randint(1, 6)]]

    def _applied(self, function: Callable[..., Tensor], operands: Sequence[str]) -> Callable[..., Tensor]:
        return lambda pool, picks: function(*(pool[o][p] for o, p in zip(operands, picks, strict=True)))

    def _result(self, kind: str) -> int:
        """Any value of the kind, arguments among them, but rather one computed late."""
        return self.pool[kind] - 1 - int(self.choose.random() ** 2 * self.pool[kind])

    def __call__(self, *arguments: Tensor) -> list[Tensor]:
        pool: dict[str, list[Tensor]] = {"matrix": [], "row": [], "number": []}
        for kind, argument in zip(self.places, arguments, strict=True):
            pool[kind].append(argument)
        for kind, function, picks in self.plan:
            pool[kind].append(function(pool, picks))
        return [pool[kind][pick] for kind, pick in zip(self.places, self.results, strict=False)]


STEPS: list[tuple[str, Callable[..., Tensor], list[str]]] = [
    ("matrix", torch.add, ["matrix", "matrix"]),
    ("matrix", torch.add, ["matrix", "matrix"]),
    ("matrix", lambda x, y: x - (-y), ["matrix", "matrix"]),
    ("matrix", lambda x, y: (x * y).clamp(-9, 9), ["matrix", "matrix"]),
    ("matrix", lambda x, y: torch.where(x > y, x, 1 - y), ["matrix", "matrix"]),
    ("matrix", lambda x: x.T, ["matrix"]),
    ("matrix", lambda x: x.T.reshape(9).view(3, 3), ["matrix"]),
    ("matrix", lambda x: x.reshape(9).view(3, 3).abs(), ["matrix"]),
    ("matrix", lambda x, y: torch.cat([x[1:], y[:1]]), ["matrix", "matrix"]),
    ("matrix", lambda x, y: torch.cat([y[:, 2:], x[:, :2]], 1), ["matrix", "matrix"]),
    ("matrix", lambda x, y: (x @ y).clamp(-9, 9), ["matrix", "matrix"]),
    ("matrix", lambda x, v: x + v, ["matrix", "row"]),
    ("matrix", lambda x, v: x - v.unsqueeze(1), ["matrix", "row"]),
    ("matrix", lambda v, w: torch.outer(v, w).clamp(-9, 9), ["row", "row"]),
    ("matrix", lambda v: v.expand(3, 3), ["row"]),
    ("matrix", lambda x: x - x.sum(1, keepdim=True).clamp(-9, 9), ["matrix"]),
    ("matrix", lambda x, s: torch.where(s > 0, x, x.T), ["matrix", "number"]),
    ("matrix", lambda x: torch.eye(3, dtype=F64), ["matrix"]),
    ("row", lambda x: x.sum(0).clamp(-9, 9), ["matrix"]),
    ("row", lambda x: x.sum(1).clamp(-9, 9), ["matrix"]),
    ("row", lambda x: x[1], ["matrix"]),
    ("row", lambda x: x[:, 2], ["matrix"]),
    ("row", lambda x: x.amax(0), ["matrix"]),
    ("row", lambda x: (x * torch.eye(3, dtype=F64)).sum(1), ["matrix"]),
    ("row", lambda v, w: torch.maximum(v, 2 - w), ["row", "row"]),
    ("row", lambda v: torch.cat([v[1:], v[:1]]), ["row"]),
    ("row", lambda x: (torch.arange(3) == x.sum(0).argmin()).double(), ["matrix"]),
    ("row", lambda v, s: v * s.clamp(-2, 2), ["row", "number"]),
    ("number", lambda x: x.sum().clamp(-9, 9), ["matrix"]),
    ("number", lambda v: v.argmax().double(), ["row"]),
    ("number", lambda x: x[2, 1], ["matrix"]),
    ("number", lambda s, v: s + v[0], ["number", "row"]),
]


@pytest.mark.parametrize("seeds", [range(40), pytest.param(range(40, 1000), marks=pytest.mark.slow)], ids=len)
def test_random_functions_are_torchs_to_the_bit(seeds: range) -> None:
    arguments = [*MATRICES, whole(3, seed=8), whole(3, seed=9), whole(seed=10)]
    for first in range(0, len(seeds), 40):
        grown = [Grown(seed) for seed in seeds[first : first + 40]]
        for seed, function, results in zip(
            seeds[first:], grown, ran([Case(g, arguments) for g in grown]), strict=False
        ):
            expected = each_member(function, arguments)
            expected += arguments[len(expected) :]
            for place, (got, want) in enumerate(zip(results, expected, strict=True)):
                assert got.equal(want), f"seed {seed}, place {place}"


# Draws

# Steps beyond 32 bits, and seeds at the ends of what a seed may be.
SEEDS = torch.tensor([0, 1, 2, 3, 1000, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1, *range(7, 14)])
TIMES = torch.tensor([0, 1, 2, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**33 + 5, 2**40, *range(7)])
OFFSETS = torch.tensor([0, 1, 2, 3, 99, 1000, *range(10)])
COUNTS = (1, 3, 4, 5, 100)


def drawn(dtype: torch.dtype, normal: bool, count: int, *, constant: int | None = None) -> Case:
    """A case that draws at its arguments seed, step and offset, or at a constant offset."""

    def function(out: Tensor, seed: Tensor, step: Tensor, offset: Tensor) -> list[Tensor]:
        draw = MarkedDraw(seed, step, dtype)
        return [(draw.normal if normal else draw.uniform)("noise", count, offset=constant or offset)]

    return Case(function, [torch.zeros(LANES, count, dtype=dtype), SEEDS, TIMES, OFFSETS])


def expected_draws(normal: bool, count: int, dtype: torch.dtype, constant: int | None = None) -> Tensor:
    """What `Draw` gives the members."""
    made = []
    for seed, step, offset in zip(SEEDS, TIMES, OFFSETS, strict=True):
        draw = Draw(seed, step, dtype)
        made.append((draw.normal if normal else draw.uniform)("noise", count, offset=constant or offset))
    return torch.stack(made)


@pytest.mark.parametrize("width", [LANES, 1])
def test_uniform_draws_are_draws_to_the_bit(width: int) -> None:
    asked = [(dtype, count, constant) for dtype in (F32, F64) for count in COUNTS for constant in (None, 7)]
    cases = [drawn(dtype, False, count, constant=constant) for dtype, count, constant in asked]
    for (dtype, count, constant), results in zip(asked, ran(cases, width=width), strict=True):
        assert results[0].equal(expected_draws(False, count, dtype, constant)), (dtype, count, constant)


@pytest.mark.parametrize("width", [LANES, 1])
def test_normal_draws_are_draws_within_rounding(width: int) -> None:
    """float64 within 1e-14; float32 within 3 ulp of the float64 truth, or within 1e-8 where cos or sin is nearly 0."""
    asked = [(dtype, count) for dtype in (F32, F64) for count in COUNTS]
    cases = [drawn(dtype, True, count) for dtype, count in asked]
    for (dtype, count), results in zip(asked, ran(cases, width=width), strict=True):
        truth = expected_draws(True, count, F64)
        if dtype == F64:
            torch.testing.assert_close(results[0], truth, rtol=1e-14, atol=1e-15)
        else:
            off = (results[0].double() - truth).abs()
            assert (ulps(results[0], truth)[off > 1e-8] <= 3).all(), f"{count} draws"


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("distinct", [1, 2, 4, 5])
def test_members_of_few_seeds_draw_what_each_draws_among_others(distinct: int, together: bool) -> None:
    """The same bits, whether a vector draws seed by seed or, as where offsets differ, member by member."""

    def function(*arguments: Tensor) -> list[Tensor]:
        *out, seed, step, offset = arguments
        draw = MarkedDraw(seed, step, F32)
        return [draw.normal("noise", place.numel(), offset=offset) for place in out]

    out = [torch.zeros(LANES, count) for count in (*COUNTS, 37)]
    steps, offset = torch.full((LANES,), 2**33 + 5), torch.full((LANES,), 3)
    who = torch.arange(LANES) * 7 % distinct  # not one after the other
    few = ran([Case(function, [*out, SEEDS[who], steps, offset if together else OFFSETS[who]])])[0]
    for member in (0, 1, 6, LANES - 1):
        seeds, offsets = SEEDS.clone(), OFFSETS.clone()
        seeds[3], offsets[3] = SEEDS[who[member]], 3 if together else OFFSETS[who[member]]
        among = ran([Case(function, [*out, seeds, steps, offsets])])[0]
        for got, want in zip(few, among, strict=True):
            assert got[member].numpy().tobytes() == want[3].numpy().tobytes()


# Steps at which seed 3 draws the words that are extreme, found by search: the least and the largest radius, and angles
# at and beside the ends of the eighths of a turn that cos and sin are computed from.
EXTREMES = [20241583, 11153661, 2642741, 14896883, 6143980, 10360007, 2628352, 8164446, 31937485]


@pytest.mark.parametrize("width", [LANES, 1])
def test_normal_draws_of_extreme_words(width: int) -> None:
    steps = torch.tensor([EXTREMES[i % len(EXTREMES)] for i in range(LANES)])
    seeds = torch.full((LANES,), 3)
    bits = words(3, "noise", np.array(EXTREMES), 2) >> 8
    assert bits[:3, 0].tolist() == [0, 2**24 - 1, 2**24 - 2]
    assert bits[3:, 1].tolist() == [0, 2**24 - 1, 2**21, 2**21 - 1, 2**22, 3 * 2**22]
    truth = torch.stack([Draw(torch.tensor(3), step, F64).normal("noise", 2) for step in steps])

    def function(dtype: torch.dtype) -> Function:
        return lambda out, seed, step: [MarkedDraw(seed, step, dtype).normal("noise", 2)]

    cases = [Case(function(d), [torch.zeros(LANES, 2, dtype=d), seeds, steps]) for d in (F32, F64)]
    (single, *_), (double, *_) = ran(cases, width=width)
    torch.testing.assert_close(double, truth, rtol=1e-14, atol=1e-15)
    off = (single.double() - truth).abs()
    assert (ulps(single, truth)[off > 1e-8] <= 3).all()


def test_a_draw_knows_the_old_value_of_what_its_offset_is_made_of() -> None:
    def function(count: Tensor, out: Tensor, seed: Tensor, step: Tensor) -> list[Tensor]:
        offset = (count + 1) * 2
        return [count + 5, MarkedDraw(seed, step, F64).uniform("noise", 3, offset=offset)]

    def expected(count: Tensor, out: Tensor, seed: Tensor, step: Tensor) -> list[Tensor]:
        return [count + 5, Draw(seed, step, F64).uniform("noise", 3, offset=int((count + 1) * 2))]

    arguments = [whole(dtype=torch.int32, low=0), torch.zeros(LANES, 3, dtype=F64), SEEDS, TIMES]
    results = ran([Case(function, arguments)])[0]
    assert all(got.equal(want) for got, want in zip(results, each_member(expected, arguments), strict=False))
