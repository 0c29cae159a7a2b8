"""Mean absolute weight, over weights rather than over matrices."""

from __future__ import annotations

import math

import torch

from workloads.diagnostics.weight_magnitude import weight_magnitude


def test_by_hand_and_weighted_by_size() -> None:
    weights = [torch.tensor([[1.0, -2.0], [3.0, -4.0]]), torch.tensor([[-5.0, 0.0]])]
    assert weight_magnitude(weights).item() == 15 / 6


def test_members_apart() -> None:
    weights = [torch.ones(3, 2, 2), torch.full((3, 1, 4), -3.0)]
    weights[0][1, 0, 0] = math.nan
    found = weight_magnitude(weights)
    assert found.dtype == torch.float64 and found[[0, 2]].tolist() == [2.0, 2.0]
    assert found[1].isnan()
