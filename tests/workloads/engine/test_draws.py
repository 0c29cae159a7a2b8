"""Random numbers inside kernels against Draw: uniform ones to the bit, normal ones within rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lowered import F32, F64, Case, Function, each_member, ran, ulps, whole
from torch import Tensor

from workloads.engine.trace import MarkedDraw
from workloads.paths import LANES
from workloads.random import Draw, words

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
