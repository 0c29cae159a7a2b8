"""The bit-flipping problem against its plain definition and its published sanity numbers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from workloads.errors import InputError
from workloads.random import words
from workloads.streams import STREAMS
from workloads.streams.slowly_changing_regression import (
    SlowlyChangingRegression,
    SlowlyChangingRegressionConfig,
)


def stream(seed: int = 3, **settings: object) -> SlowlyChangingRegression:
    return SlowlyChangingRegression(SlowlyChangingRegressionConfig(**settings), seed)


def plain_target(made: SlowlyChangingRegression, x: np.ndarray) -> float:
    """The published formula, one unit after the other."""
    target, config, y = made.target, made.config, made.target.out_bias
    for w, b, v in zip(target.weight, target.bias, target.out_weight, strict=True):
        if config.threshold == "coded":
            agreeing = (made.inputs - w.sum() + b) / 2
        else:
            agreeing = (np.append(w, b) < 0).sum()
        y += v * (w @ x + b > config.beta * (made.inputs + 1) - agreeing)
    return y


def test_shapes_types_and_facts() -> None:
    made = stream(tasks=7, period=40, batch=3)
    x, y = made.batches(0, 50)
    assert x.shape == (50, 3, 20) and x.dtype == np.float32
    assert y.shape == (50, 3, 1) and y.dtype == np.float32
    assert (made.inputs, made.outputs, made.batch, made.tasks) == (20, 1, 3, 7)
    assert [made.task_of(step) for step in (0, 39, 40, 279)] == [0, 0, 1, 6]
    assert made.task_start(6) == 240 and made.task_start(7) == 280
    assert set(np.unique(x)) == {0.0, 1.0}
    assert not made.boundaries_shown and stream(task_boundaries="shown").boundaries_shown
    assert STREAMS["slowly_changing_regression"] is SlowlyChangingRegression


@pytest.mark.parametrize("threshold", ["coded", "textbook"])
def test_targets_follow_the_published_formula(threshold: str) -> None:
    made = stream(threshold=threshold, tasks=5, period=30, slow_bits=6, fast_bits=4, target_units=17, beta=0.55)
    x, y = made.batches(0, 150)
    assert len(np.unique(y)) > 3
    assert [plain_target(made, row) for row in x[:, 0].astype(np.float64)] == y[:, 0, 0].tolist()


def test_target_by_hand() -> None:
    """Two inputs, one unit: it fires where w.x + b > beta (n + 1) - S."""
    made = stream(slow_bits=1, fast_bits=1, target_units=1, beta=0.7)
    target = made.target
    target.weight, target.bias = np.array([[1.0, -1.0]]), np.array([1.0])
    target.out_weight, target.out_bias = np.array([-1.0]), 1.0
    # coded: S = (2 - 0 + 1) / 2 = 1.5, so tau = 2.1 - 1.5 = 0.6; the sums are 1, 0, 2, 1
    target.threshold = np.array([0.7 * 3 - 1.5])
    bits = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.uint8)
    assert target.units(target.drive(bits))[:, 0].tolist() == [True, False, True, True]
    assert target.output(target.drive(bits)).tolist() == [0.0, 1.0, 0.0, 0.0]


def test_weights_are_fair_signs() -> None:
    target = stream().target
    for values in (target.weight, target.bias, target.out_weight):
        assert set(np.unique(values)) == {-1.0, 1.0}
    assert abs(target.weight.mean()) < 0.1  # 2000 draws: 4.5 standard errors


@pytest.mark.parametrize("flip", ["one", "all"])
def test_slow_bits_stay_for_a_period(flip: str) -> None:
    made = stream(flip=flip, tasks=60, period=20)
    x, _ = made.batches(0, 1200)
    slow = x.reshape(60, 20, 20)[:, :, :15]
    assert (slow == slow[:, :1]).all()
    changed = (np.diff(slow[:, 0], axis=0) != 0).sum(1)
    if flip == "one":
        assert (changed == 1).all()
    else:
        assert abs(changed.mean() - 7.5) < 1  # half of 15, 59 draws: 4 standard errors


def test_flip_one_toggles_every_bit_equally_often() -> None:
    slow = stream(tasks=15_001, period=1).slow
    counts = (np.diff(slow.astype(np.int8), axis=0) != 0).sum(0)
    assert counts.sum() == 15_000
    assert np.abs(counts - 1000).max() < 150


def test_a_task_does_not_depend_on_how_many_follow() -> None:
    few, many = stream(tasks=3, period=50), stream(tasks=30, period=50)
    for a, b in zip(few.batches(0, 150), many.batches(0, 150), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_first_period_is_the_same_for_both_flips() -> None:
    np.testing.assert_array_equal(stream(flip="one").batches(0, 100)[0], stream(flip="all").batches(0, 100)[0])


@pytest.mark.parametrize("fast_bits", [1, 3, 5, 10])
@pytest.mark.parametrize("batch", [1, 7])
def test_same_values_however_asked(fast_bits: int, batch: int) -> None:
    settings = {"tasks": 4, "period": 9000 // batch, "fast_bits": fast_bits, "batch": batch}
    made = stream(**settings)
    length = made.task_start(made.tasks)
    x, y = made.batches(0, length)
    random = np.random.default_rng(0)
    cuts = np.sort(random.choice(np.arange(1, length), 12, replace=False))
    starts, ends = np.append(0, cuts), np.append(cuts, length)
    for at in random.permutation(len(starts)):
        part = made.batches(int(starts[at]), int(ends[at] - starts[at]))
        np.testing.assert_array_equal(part[0], x[starts[at] : ends[at]])
        np.testing.assert_array_equal(part[1], y[starts[at] : ends[at]])
    last = stream(**settings).batches(length - 1, 1)  # a fresh stream, as after a resume
    np.testing.assert_array_equal(last[0], x[-1:])


def test_fast_bits_are_the_words_of_the_counter() -> None:
    """Example e has bits 5 (e % 6) to 5 (e % 6) + 4 of word e // 6 % 4 of counter e // 24."""
    x, _ = stream(seed=11).batches(5000, 100)
    for offset in (0, 3, 17, 50, 99):
        e = 5000 + offset
        word = int(words(11, "stream/fast_bits", e // 24, 4)[e // 6 % 4])
        assert x[offset, 0, 15:].tolist() == [word >> (5 * (e % 6) + bit) & 1 for bit in range(5)]


def test_fast_bits_are_independent_fair_coins() -> None:
    made = stream(period=60_000, tasks=1)
    codes = made.codes(0, 60_000)
    counts = np.bincount(codes, minlength=32)
    assert counts.min() > 1875 - 200 and counts.max() < 1875 + 200  # 4.7 standard errors
    pairs = np.bincount(codes[:-1] * 32 + codes[1:], minlength=1024)
    assert ((pairs - 58.6) ** 2 / 58.6).sum() < 1023 + 5 * np.sqrt(2 * 1023)  # chi-squared


def test_batches_of_several_examples_are_the_same_examples() -> None:
    one, four = stream(tasks=3, period=400), stream(tasks=3, period=100, batch=4)
    for a, b in zip(one.batches(0, 1200), four.batches(0, 300), strict=True):
        np.testing.assert_array_equal(a.reshape(-1), b.reshape(-1))


def test_probe_is_the_beginning_of_the_task_and_starts_over() -> None:
    made = stream(tasks=4, period=50, batch=2)
    x, y = made.probe(2, 60)
    seen = made.batches(100, 30)
    np.testing.assert_array_equal(x, seen[0].reshape(60, 20))
    np.testing.assert_array_equal(y, seen[1].reshape(60, 1))
    long, _ = made.probe(2, 230)
    whole = made.batches(100, 50)[0].reshape(100, 20)
    np.testing.assert_array_equal(long, np.concatenate([whole, whole, whole[:30]]))


def test_published_sanity_numbers() -> None:
    """Var(y) about 2.8 on random inputs and about 1.66 within a period; 2 to 3 % of the units fire.

    A unit fires where 14 (b = +1) or 17 (b = -1) of its 20 inputs agree, so 2.95 % fire and the mean of
    Var(y) is 100 E[p (1 - p)] = 2.78: over targets, the signs of v make the units' covariances cancel.
    """
    bits = np.random.default_rng(0).integers(0, 2, (2000, 20)).astype(np.uint8)
    firing, whole, frozen = [], [], []
    for seed in range(80):
        made = stream(seed=seed, flip="all", tasks=10)
        drive = made.target.drive(bits)
        firing.append(made.target.units(drive).mean())
        whole.append(made.target.output(drive).var())
        frozen.append(np.mean([made.table(task)[1].var() for task in range(10)]))
    assert np.mean(firing) == pytest.approx(0.0295, abs=0.001)
    assert np.mean(whole) == pytest.approx(2.78, abs=0.17)
    assert np.mean(frozen) == pytest.approx(1.66, abs=0.17)


def test_textbook_thresholds_are_half_lower_and_three_halves_higher() -> None:
    coded, textbook = stream().target, stream(threshold="textbook").target
    shift = coded.threshold - textbook.threshold
    np.testing.assert_allclose(shift, np.where(coded.bias > 0, -0.5, 1.5))


def test_seeds_differ() -> None:
    assert not np.array_equal(stream(seed=1).batches(0, 100)[0], stream(seed=2).batches(0, 100)[0])
    assert not np.array_equal(stream(seed=1).target.weight, stream(seed=2).target.weight)


def test_steps_the_stream_does_not_have() -> None:
    made = stream(tasks=2, period=10)
    for start, count in ((15, 6), (-1, 2), (0, 0)):
        with pytest.raises(InputError, match="steps 0 to 19"):
            made.batches(start, count)
    with pytest.raises(InputError, match="tasks 0 to 1"):
        made.probe(2, 1)


def test_config_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SlowlyChangingRegressionConfig().period = 1  # type: ignore[misc]
