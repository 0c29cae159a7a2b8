"""Singular values: both routes against torch's SVD in float64; a matrix that is not finite stays alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from workloads.diagnostics import spectrum
from workloads.diagnostics.effective_rank import effective_rank_of_spectrum
from workloads.diagnostics.rank_99 import rank_99_of_spectrum
from workloads.diagnostics.spectrum import by_decomposition, by_gram, feature_values, lower_gram, singular_values
from workloads.diagnostics.stable_rank import stable_rank_of_spectrum


def normals(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("route", [by_decomposition, by_gram])
def test_values_worked_out_by_hand(route: object) -> None:
    matrices = torch.tensor(
        [[[3.0, 0.0], [0.0, -4.0]], [[1.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]], dtype=torch.float64
    )
    expected = torch.tensor([[4.0, 3.0], [2.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(route(matrices), expected, rtol=0, atol=1e-14)  # type: ignore[operator]


@pytest.mark.parametrize("shape", [(4, 50, 6), (3, 6, 50), (2, 20, 20), (5, 1, 7)])
def test_gram_route_agrees_with_the_decomposition(shape: tuple[int, int, int]) -> None:
    matrices = normals(*shape)
    torch.testing.assert_close(by_gram(matrices), torch.linalg.svdvals(matrices), rtol=1e-11, atol=1e-11)


def test_gram_route_resolves_to_float32_and_calls_the_rest_zero() -> None:
    q, _ = torch.linalg.qr(normals(1, 300, 5))
    values = torch.tensor([1.0, 1e-2, 1e-5, 1e-6, 1e-10], dtype=torch.float64)
    found = by_gram(q * values)[0]
    torch.testing.assert_close(found[:4], values[:4], rtol=1e-3, atol=0)
    assert found[4] == 0


def test_gram_route_survives_large_and_small_entries() -> None:
    matrices = torch.stack([normals(9, 3) * 1e200, normals(9, 3) * 1e-200])
    torch.testing.assert_close(by_gram(matrices), torch.linalg.svdvals(matrices), rtol=1e-11, atol=0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_matrix_that_is_not_finite_stays_alone(bad: float) -> None:
    matrices = normals(3, 8, 4)
    clean = singular_values(matrices)
    matrices[1, 2, 3] = bad
    found = singular_values(matrices)
    assert found[1].isnan().all()
    assert torch.equal(found[[0, 2]], clean[[0, 2]])


def test_leading_axes_and_dtype() -> None:
    found = singular_values(normals(2, 3, 7, 5).float())
    assert found.shape == (2, 3, 5) and found.dtype == torch.float64
    assert singular_values(normals(5, 7)).shape == (5,)


def test_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    matrices = normals(7, 6, 4)
    whole = singular_values(matrices)
    monkeypatch.setattr(spectrum, "PART", 2 * 6 * 4)
    assert torch.equal(singular_values(matrices), whole)


# Sizes that do not fill vectors put neighbours at odd addresses, where BLAS and LAPACK add in another order.
SIZES = [(64, 5), (256, 5), (11, 11), (20, 5), (7, 33), (300, 33), (100, 7), (130, 65), (300, 150)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("values", [singular_values, feature_values])
def test_a_member_has_the_same_bits_alone_and_among_others(
    values: Callable[[Tensor], Tensor], size: tuple[int, int]
) -> None:
    matrices = normals(9, *size).relu()
    among = values(matrices)
    assert torch.equal(among, torch.stack([values(matrix) for matrix in matrices]))
    assert torch.equal(among[1:4], values(matrices[1:4]))


def conditioned(rows: int, columns: int, condition: float) -> Tensor:
    """(2, N, D): a matrix with singular values from 1 down to 1 / condition, and the same with two zero columns."""
    left, _ = torch.linalg.qr(normals(rows, columns))
    right, _ = torch.linalg.qr(normals(columns, columns))
    matrix = left * torch.logspace(0, -math.log10(condition), columns, dtype=torch.float64) @ right
    dead = matrix.clone()
    dead[:, 1:3] = 0
    return torch.stack([matrix, dead])


@pytest.mark.parametrize("scale", [1, 1e-30, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("condition", [1, 1e2, 1e4, 1e6, 1e8, 1e12])
@pytest.mark.parametrize("size", [(256, 5), (300, 40), (600, 120)])
def test_the_bounds_that_the_module_states(
    size: tuple[int, int], condition: float, dtype: torch.dtype, scale: float
) -> None:
    hidden = (scale * conditioned(*size, condition)).to(dtype)
    found, truth = feature_values(hidden), torch.linalg.svdvals(hidden.double())
    largest = truth[:, :1]
    least = math.sqrt(max(size) * torch.finfo(torch.float64).eps) * largest
    kept = found > 0
    assert (truth < 1.01 * least)[~kept].all() and (truth > 0.99 * least)[kept].all()
    assert ((found - truth).abs() * truth / largest**2)[kept].max() < 2e-14
    small = ((truth > 0) & (truth < 1.01 * least)).any()
    off = effective_rank_of_spectrum(found) / effective_rank_of_spectrum(truth) - 1
    assert off.abs().max() < (1e-4 if small else 1e-8)
    torch.testing.assert_close(stable_rank_of_spectrum(found), stable_rank_of_spectrum(truth), rtol=1e-11, atol=0)
    assert torch.equal(rank_99_of_spectrum(found), rank_99_of_spectrum(truth))


@pytest.mark.parametrize("columns", [5, 100])
def test_nothing_but_zeros_and_few_living_columns(columns: int) -> None:
    hidden = torch.zeros(3, 300, columns)
    hidden[1, :, 3] = normals(300)
    hidden[2, :, 1:4] = normals(300, 3)
    found = feature_values(hidden)
    assert torch.equal(found[0], torch.zeros(columns, dtype=torch.float64)) and not found[1, 1:].any()
    torch.testing.assert_close(found, torch.linalg.svdvals(hidden.double()), rtol=1e-12, atol=1e-12)


def features(rank: int, decay: float) -> Tensor:
    """(5, 900, 300) as a relu layer has them: non-negative, with dead columns, of falling strength and limited rank."""
    mixed = normals(5, 900, rank) * decay ** torch.arange(rank, dtype=torch.float64)
    hidden = (mixed @ normals(rank, 300)).relu()
    hidden[:, :, ::7] = 0
    return hidden.float()


@pytest.mark.parametrize(("rank", "decay"), [(300, 1.0), (40, 0.8), (5, 1.0), (1, 1.0)])
def test_values_of_features_are_those_of_the_decomposition(rank: int, decay: float) -> None:
    """The bounds that the docstring names, and what the ranks make of them."""
    hidden = features(rank, decay)
    found, truth = feature_values(hidden), torch.linalg.svdvals(hidden.double())
    largest = truth[:, :1]
    assert ((found - truth).abs() / largest).max() < 1e-7
    strong = truth > 1e-3 * largest
    assert ((found - truth).abs() / truth)[strong].max() < 1e-10
    for rank_of in (effective_rank_of_spectrum, stable_rank_of_spectrum):
        torch.testing.assert_close(rank_of(found), rank_of(truth), rtol=1e-5, atol=0)
    assert torch.equal(rank_99_of_spectrum(found), rank_99_of_spectrum(truth))


def test_features_of_a_member_have_the_same_bits_alone_and_among_others() -> None:
    hidden = features(40, 0.9)
    assert torch.equal(feature_values(hidden), torch.stack([feature_values(one) for one in hidden]))


def test_the_lower_blocks_of_a_gram_matrix() -> None:
    matrix = normals(700, 2 * spectrum.BLOCK + 44)
    torch.testing.assert_close(lower_gram(matrix).tril(), (matrix.T @ matrix).tril(), rtol=1e-13, atol=1e-11)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_features_that_are_not_finite_stay_alone(bad: float) -> None:
    hidden = features(40, 0.9)
    clean = feature_values(hidden)
    hidden[2, 5, 3] = bad
    found = feature_values(hidden)
    assert found[2].isnan().all() and torch.equal(found[[0, 1, 3, 4]], clean[[0, 1, 3, 4]])
