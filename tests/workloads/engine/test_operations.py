"""Every operation that C++ is known for, against torch: forward, backward, special numbers; what is none is named."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from lowered import F32, F64, Case, Function, aten, each_member, gradient_of, noise, operation, ran, ulps, whole
from torch import Tensor
from torch.nn import functional

from workloads.engine.lowering import Lowering
from workloads.engine.operations import REDUCTIONS, UNARY, VIEWS
from workloads.engine.trace import NotLowered
from workloads.engine.values import KINDS
from workloads.networks.activations import ACTIVATIONS
from workloads.paths import LANES


def sweep_of(low: float, high: float, *, logarithmic: bool = False) -> Tensor:
    """Points over a range, (LANES, 64), float32."""
    at = torch.linspace(0, 1, LANES * 64, dtype=F64)
    points = low * (high / low) ** at if logarithmic else low + (high - low) * at
    return points.float().view(LANES, 64)


SPECIAL = [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, 0.5, -0.5, 1e-45, -1e-45, 1e-39, -1e-39, 1.2e-38, 3e38]
EDGES = [88.0, 88.01, 88.5, 88.7, 88.71, 88.722, 88.7228, 88.73, 89.0, -87.0, -87.31, -87.33, -87.34, -88.0, -95.0]
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    name: getattr(torch, name)
    for name in ("exp", "expm1", "log", "tanh", "sin", "cos", "sigmoid", "sqrt", "rsqrt", "reciprocal", "floor")
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
            ("groups in order", ACTIVATIONS["groupsort_4"], a),
            ("groups in order backward", gradient_of(ACTIVATIONS["groupsort_4"]), ties),
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
