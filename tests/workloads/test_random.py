"""Counter-based random numbers: published vectors, purity, numpy against torch, and the distributions of the draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.fx.experimental.proxy_tensor import make_fx

from workloads import random
from workloads.random import Draw

# Salmon et al. 2011, the known-answer vectors that ship with Random123, philox4x32 at 10 rounds: counter, key, words.
VECTORS = [
    (
        (0x00000000, 0x00000000, 0x00000000, 0x00000000),
        (0x00000000, 0x00000000),
        (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    ),
    (
        (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def drawn(seed: int, step: int, dtype: torch.dtype = torch.float64) -> Draw:
    return Draw(torch.tensor(seed), torch.tensor(step), dtype)


@pytest.mark.parametrize(("counter", "key", "words"), VECTORS)
def test_philox_gives_the_published_words_as_ints_arrays_and_tensors(counter, key, words) -> None:
    assert random.philox(counter, key) == words
    arrays = random.philox(tuple(np.array([c, c]) for c in counter), tuple(np.array([k, k]) for k in key))
    assert [a.tolist() for a in arrays] == [[w, w] for w in words]
    tensors = random.philox(tuple(torch.tensor([c, c]) for c in counter), tuple(torch.tensor(k) for k in key))
    assert [t.tolist() for t in tensors] == [[w, w] for w in words]


def test_a_purpose_is_keyed_by_its_crc32() -> None:
    assert random.what_code("123456789") == 0xCBF43926  # the check value of CRC-32


def test_words_are_the_blocks_of_the_documented_counters() -> None:
    """Six words need two blocks: words 0 of blocks 0 and 1, then words 1 of both, then words 2 of both."""
    step = (7 << 32) + 5
    blocks = [random.philox((block, 5, 7, 0), (42, random.what_code("x"))) for block in (0, 1)]
    expected = [blocks[0][0], blocks[1][0], blocks[0][1], blocks[1][1], blocks[0][2], blocks[1][2]]
    assert random.words(42, "x", step, 6).tolist() == expected


def test_draws_depend_on_seed_purpose_step_and_nothing_else() -> None:
    base = random.words(1, "x", 3, 8)
    np.random.seed(0)
    torch.manual_seed(0)
    np.testing.assert_array_equal(random.words(1, "x", 3, 8), base)
    others = [random.words(2, "x", 3, 8), random.words(1, "y", 3, 8), random.words(1, "x", 4, 8)]
    others.append(random.words(1, "x", 3 + (1 << 32), 8))  # the high half of the step counts
    values = [word for row in [base, *others] for word in row.tolist()]
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("name", ["words", "uniform", "normal"])
def test_many_steps_at_once_are_the_steps_one_by_one(name: str) -> None:
    draw = getattr(random, name)
    steps = np.array([[0, 1, 2], [999_999, 1 << 33, 5]])
    together = draw(9, "x", steps, 7)
    assert together.shape == (2, 3, 7)
    for place in np.ndindex(steps.shape):
        np.testing.assert_array_equal(together[place], draw(9, "x", int(steps[place]), 7))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 13])
@pytest.mark.parametrize("step", [0, 1, 10**6, (1 << 32) + 3])
def test_torch_draws_what_numpy_draws(count: int, step: int) -> None:
    draw = drawn(31, step)
    uniform, normal = draw.uniform("x", count), draw.normal("x", count)
    assert uniform.shape == normal.shape == (count,)
    np.testing.assert_array_equal(uniform.numpy(), random.uniform(31, "x", step, count))
    np.testing.assert_allclose(normal.numpy(), random.normal(31, "x", step, count), rtol=1e-14, atol=1e-15)


def test_uniforms_are_24_bit_and_the_same_in_float32() -> None:
    wide = random.uniform(5, "x", 0, 100_000)
    assert wide.dtype == np.float64
    scaled = wide * 2.0**24
    np.testing.assert_array_equal(scaled, np.floor(scaled))
    assert wide.min() >= 0 and wide.max() <= 1 - 2.0**-24
    narrow = drawn(5, 0, torch.float32).uniform("x", 100_000)
    assert narrow.dtype == torch.float32
    np.testing.assert_array_equal(narrow.double().numpy(), wide)


def test_uniforms_and_normals_are_distributed_as_they_say() -> None:
    """Kolmogorov-Smirnov on fixed seeds, so these p values never change; moments within 4 standard errors."""
    count = 100_000
    assert stats.kstest(random.uniform(0, "x", 0, count), "uniform").pvalue > 0.01
    values = random.normal(0, "x", 0, count)
    assert stats.kstest(values, "norm").pvalue > 0.01
    assert abs(values.mean()) < 4 / math.sqrt(count)
    assert abs(values.var() - 1) < 4 * math.sqrt(2 / count)
    assert abs((values**4).mean() - 3) < 4 * math.sqrt(96 / count)
    # One block makes both numbers of a Box-Muller pair: they must not be related, nor must neighbouring steps.
    pairs = random.normal(0, "x", np.arange(count // 2), 2)
    assert abs(np.corrcoef(pairs[:, 0], pairs[:, 1])[0, 1]) < 4 / math.sqrt(count // 2)
    assert abs(np.corrcoef(pairs[:-1, 0], pairs[1:, 0])[0, 1]) < 4 / math.sqrt(count // 2)


def test_normals_by_hand_from_two_words() -> None:
    """Two normals are r cos t and r sin t with r, t from words 0 and 1."""
    first, second = (random.words(3, "x", 8, 2) >> 8).tolist()
    radius, angle = math.sqrt(-2 * math.log((first + 1) / 2**24)), 2 * math.pi * second / 2**24
    np.testing.assert_allclose(
        random.normal(3, "x", 8, 2), [radius * math.cos(angle), radius * math.sin(angle)], rtol=1e-14
    )


def test_integers_are_in_range_and_even() -> None:
    values = random.integers(0, "x", np.arange(1000), 30, 6)
    assert values.dtype == np.int64 and values.shape == (1000, 30)
    counts = np.bincount(values.ravel(), minlength=6)
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 0.01
    assert (random.integers(0, "x", 0, 100, 1) == 0).all()
    assert random.integers(0, "x", 0, 1000, 2**31 - 1).max() < 2**31 - 1


def test_permutations_are_permutations_and_every_order_comes_up() -> None:
    np.testing.assert_array_equal(np.sort(random.permutation(4, "x", 17, 1000)), np.arange(1000))
    orders = [tuple(random.permutation(4, "x", step, 3).tolist()) for step in range(3000)]
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 0.01


def test_offsets_tell_draws_of_one_step_apart() -> None:
    draw = drawn(6, 2)
    rows = [draw.uniform("x", 5, offset=k) for k in range(4)]
    assert torch.equal(rows[0], draw.uniform("x", 5))
    values = torch.cat(rows).tolist()
    assert len(set(values)) == len(values)
    assert torch.equal(draw.uniform("x", 5, offset=torch.tensor(3)), rows[3])
    # Blocks lie end to end: four fives, padded to eights, are the blocks of one draw of 32.
    blocks = torch.stack([draw.uniform("x", 8, offset=k).view(4, 2) for k in range(4)], 1).reshape(32)
    assert torch.equal(blocks, draw.uniform("x", 32))


def test_a_batch_over_seeds_draws_what_each_seed_draws_alone() -> None:
    seeds, step = torch.tensor([0, 1, 7, 2**31, 2**32 - 1]), torch.tensor(12)

    def draws(seed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        draw = Draw(seed, step, torch.float64)
        return draw.uniform("x", 6), draw.uniform("x", 6, offset=seed % 5), draw.normal("x", 7)

    uniform, moved, normal = torch.func.vmap(draws)(seeds)
    for i, seed in enumerate(seeds):
        alone = draws(seed)
        assert torch.equal(uniform[i], alone[0])
        assert torch.equal(moved[i], alone[1])
        torch.testing.assert_close(normal[i], alone[2], rtol=1e-14, atol=1e-15)


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 20, 67])
def test_compiled_draws_are_the_same_bits(count: int) -> None:
    """Torch's compiler writes integer arithmetic anew, in vectors and in what is left over."""

    def draws(seeds: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        return torch.vmap(lambda seed: Draw(seed, step, torch.float64).uniform("x", count))(seeds)

    seeds = [0, 7, 2**32 - 1]
    compiled = torch.compile(make_fx(draws)(torch.tensor(seeds), torch.tensor(0)))
    for step in (0, 5, 2**33 + 1):
        expected = [random.uniform(seed, "x", step, count).tolist() for seed in seeds]
        assert compiled(torch.tensor(seeds), torch.tensor(step)).tolist() == expected
