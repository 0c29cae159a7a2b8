"""The gradient as one vector."""

from __future__ import annotations

import math

import torch

from workloads.diagnostics.gradient_norm import gradient_norm


def test_by_hand() -> None:
    gradients = [torch.tensor([[1.0, -2.0], [2.0, 0.0]]), torch.tensor([4.0, 0.0])]
    assert gradient_norm(gradients).item() == 5.0


def test_members_apart_and_no_overflow_in_float32() -> None:
    gradients = [torch.full((3, 2, 2), 1e30), torch.zeros(3, 2)]
    gradients[1][1, 0] = math.nan
    found = gradient_norm(gradients, leading=1)
    torch.testing.assert_close(found[[0, 2]], torch.full((2,), 2e30, dtype=torch.float64))
    assert found[1].isnan()
