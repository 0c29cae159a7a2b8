"""Singular values: both routes against torch's SVD in float64; a matrix that is not finite stays alone."""

from __future__ import annotations

import math

import pytest
import torch

from workloads.diagnostics import spectrum
from workloads.diagnostics.spectrum import by_decomposition, by_gram, singular_values


def normals(*shape: int) -> torch.Tensor:
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


def test_a_member_has_the_same_bits_alone_and_among_others() -> None:
    matrices = normals(40, 64, 5)
    among = singular_values(matrices)
    alone = torch.stack([singular_values(matrix) for matrix in matrices])
    assert torch.equal(among, alone)
