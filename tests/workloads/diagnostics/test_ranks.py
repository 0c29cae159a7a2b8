"""The ranks of a feature matrix, on matrices whose singular values are known."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from workloads.diagnostics.effective_rank import effective_rank
from workloads.diagnostics.rank_99 import rank_99
from workloads.diagnostics.stable_rank import stable_rank
from workloads.diagnostics.stable_rank_99 import stable_rank_99

RANKS = [effective_rank, stable_rank, stable_rank_99, rank_99]


def features(*values: float) -> Tensor:
    """(12, D) features with the given singular values, in general position."""
    generator = torch.Generator().manual_seed(1)
    size = len(values)
    left, _ = torch.linalg.qr(torch.randn(12, size, dtype=torch.float64, generator=generator))
    right, _ = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=generator))
    return left * torch.tensor(values, dtype=torch.float64) @ right


@pytest.mark.parametrize("rank", RANKS)
def test_an_identity_has_full_rank(rank: Callable[[Tensor], Tensor]) -> None:
    assert rank(torch.eye(6)).item() == pytest.approx(6, abs=1e-12)


@pytest.mark.parametrize("rank", RANKS)
def test_an_outer_product_has_rank_one(rank: Callable[[Tensor], Tensor]) -> None:
    outer = torch.outer(torch.arange(1.0, 9.0), torch.tensor([1.0, -2.0, 0.5]))
    assert rank(outer.double()).item() == pytest.approx(1, abs=1e-12)


def test_effective_rank_by_hand() -> None:
    # Shares 1/2, 1/4, 1/4: entropy 1.5 log 2, so 2^1.5. Squared shares would give 1.946.
    assert effective_rank(features(2, 1, 1)).item() == pytest.approx(2**1.5, abs=1e-10)
    assert effective_rank(features(3, 0, 0, 3)).item() == pytest.approx(2, abs=1e-10)


def test_stable_rank_by_hand() -> None:
    assert stable_rank(features(2, 1, 1)).item() == pytest.approx(1.5)
    matrix = features(5, 3, 2, 0.5)
    norm = torch.linalg.matrix_norm(matrix) ** 2 / torch.linalg.matrix_norm(matrix, 2) ** 2
    assert stable_rank(matrix).item() == pytest.approx(norm.item())


def test_rank_99_counts_squares() -> None:
    # Squares 100 and 1: 100 / 101 = 99.0099 %; unsquared, 91 %. Squares 100 and 1.21: 98.8 %.
    assert rank_99(features(10, 1)).item() == 1
    assert rank_99(features(10, 1.1)).item() == 2
    # 9, 3, 1: squares 81, 9, 1 of 91: 89 %, 98.9 %, 100 %. Unsquared 69 %, 92 %, 100 %.
    assert rank_99(features(9, 3, 1)).item() == 3
    # 10, 2, 1, 1: squares 100, 4, 1, 1 of 106: 94.3 %, 98.1 %, 99.06 %.
    assert rank_99(features(10, 2, 1, 1)).item() == 3


def test_the_papers_stable_rank_counts_values_that_are_not_squared() -> None:
    # 100 and 1: 100 / 101 = 99.0099 %. 98 and 1: 98.99 %. Squared, one value would do for both.
    assert stable_rank_99(features(100, 1)).item() == 1
    assert stable_rank_99(features(98, 1)).item() == 2
    assert rank_99(features(98, 1)).item() == 1
    # 50, 40, 9.5, 0.5: 50 %, 90 %, 99.5 %.
    assert stable_rank_99(features(50, 40, 9.5, 0.5)).item() == 3


def test_rank_99_at_a_tie() -> None:
    assert stable_rank_99(torch.eye(100)).item() == 99
    assert rank_99(torch.eye(100)).item() == 99
    assert rank_99(0.1 * torch.eye(200)).item() == 198


@pytest.mark.parametrize("rank", RANKS)
def test_a_silent_layer_has_rank_one_and_what_is_undefined_stays_in_its_member(
    rank: Callable[[Tensor], Tensor],
) -> None:
    batch = torch.stack([features(2, 1, 1)] * 4)
    expected = rank(batch[0]).item()
    batch[1] = 0
    batch[2, 0, 0] = math.nan
    found = rank(batch)
    assert found[1].item() == 1 and found[2].isnan()
    assert found[0].item() == found[3].item() == expected


@pytest.mark.parametrize("rank", RANKS)
def test_a_layer_that_fades_unit_by_unit_ends_where_a_silent_one_is(rank: Callable[[Tensor], Tensor]) -> None:
    fading = [rank(features(*values)).item() for values in ((3, 2, 1), (3, 2, 0), (3, 0, 0), (0, 0, 0))]
    assert fading[2:] == pytest.approx([1, 1]) and fading == sorted(fading, reverse=True)


@pytest.mark.parametrize("rank", RANKS)
def test_shape_scale_and_dtype(rank: Callable[[Tensor], Tensor]) -> None:
    batch = torch.randn(2, 3, 9, 4, generator=torch.Generator().manual_seed(0))
    found = rank(batch)
    assert found.shape == (2, 3) and found.dtype == torch.float64
    torch.testing.assert_close(rank(1e-6 * batch), found, rtol=1e-5, atol=0)
    torch.testing.assert_close(rank(batch.mT), found)
    assert ((found >= 1) & (found <= 4)).all()
