"""The config of a trial that is done in a moment, as the engine is given it."""

from __future__ import annotations

from typing import Any


def small(seed: int = 0, **changes: Any) -> dict[str, Any]:
    """Plain SGD on two tasks of thirty steps of the regression; `changes` replace whole parts."""
    return {
        "workload": {"name": "slowly_changing_regression", "tasks": 2, "period": 30},
        "network": {"name": "mlp", "width": 4, "depth": 1},
        "optimizer": {"name": "sgd", "step_size": 0.01},
        "methods": {},
        "seed": seed,
        "metrics": ["online_error"],
        "every": 1,
        "probe": 8,
        "dtype": "float32",
        "keep": "none",
        **changes,
    }
