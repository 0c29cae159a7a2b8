"""Distances to the nearest point: by hand, their slope, and a new function every task."""

from __future__ import annotations

import numpy as np
import pytest

from workloads.streams import STREAMS
from workloads.streams.lipschitz_regression import LipschitzRegression, LipschitzRegressionConfig


def stream(seed: int = 3, **settings: object) -> LipschitzRegression:
    return LipschitzRegression(LipschitzRegressionConfig(**settings), seed)


def nearest(made: LipschitzRegression, task: int, x: np.ndarray) -> float:
    """One point after the other."""
    return made.config.slope * min(float(np.sqrt(((x - c) ** 2).sum())) for c in made.points(task))


def test_shapes_types_and_facts() -> None:
    made = stream(tasks=3, period=10, batch=4, inputs=5)
    x, y = made.batches(0, 30)
    assert x.shape == (30, 4, 5) and y.shape == (30, 4, 1) and x.dtype == y.dtype == np.float32
    assert (made.inputs, made.outputs, made.batch, made.tasks) == (5, 1, 4, 3)
    assert x.min() < -0.9 and x.max() > 0.9 and np.abs(x).max() <= 1
    assert len(np.unique(x.reshape(-1, 5), axis=0)) == 120, "examples never repeat"
    assert STREAMS["lipschitz_regression"] is LipschitzRegression


def test_targets_are_distances_to_the_nearest_point_of_their_task() -> None:
    made = stream(tasks=3, period=5, batch=2, points=6, slope=1.5)
    x, y = made.batches(0, 15)
    for step in range(15):
        for row, value in zip(x[step].astype(np.float64), y[step, :, 0], strict=True):
            assert value == pytest.approx(nearest(made, step // 5, row), rel=1e-6)
    assert len({made.points(task).tobytes() for task in range(3)}) == 3


@pytest.mark.parametrize("slope", [1.0, 3.0])
def test_the_slope_is_the_length_of_the_gradient(slope: float) -> None:
    """And no two examples are further apart in y than slope x their distance."""
    made = stream(points=4, inputs=3, slope=slope, batch=64)
    x, y = (values[0].astype(np.float64) for values in made.batches(0, 1))
    apart = np.linalg.norm(x[:, None] - x[None], axis=-1)
    assert (np.abs(y - y.T) <= slope * apart + 1e-6).all()
    for row in x[:10]:
        steps = 1e-5 * np.eye(3)
        gradient = [(nearest(made, 0, row + h) - nearest(made, 0, row - h)) / 2e-5 for h in steps]
        assert np.linalg.norm(gradient) == pytest.approx(slope, rel=1e-4)


def test_an_example_depends_on_seed_and_step_alone() -> None:
    made = stream(tasks=2, period=6, batch=3)
    x, y = made.batches(0, 12)
    for step in (0, 5, 6, 11):
        again = stream(tasks=2, period=6, batch=3).batches(step, 1)
        assert np.array_equal(x[step], again[0][0]) and np.array_equal(y[step], again[1][0])
    assert not np.array_equal(stream(seed=4, tasks=2, period=6, batch=3).batches(0, 1)[0][0], x[0])
