"""Extended Data Figure 2 of Dohare et al. (2024), Nature 632:768: slowly-changing regression under plain backprop.

One panel per activation, one line per step size, the linear learner dashed, in bins of two tasks: `error_over_time` of
plain SGD alone. Every activation falls behind the linear learner, at large steps first.
"""

from __future__ import annotations

import pandas as pd

from dashboards.figures import error_over_time, panels
from dashboards.figures.error_over_time import METRICS, caption, draw
from dashboards.figures.panels import ALL, Asked
from sweep.errors import InputError
from sweep.results import frames

__all__ = ["METRICS", "caption", "data", "draw"]


def data(trials: pd.DataFrame, curves: pd.DataFrame, asked: Asked = ALL) -> pd.DataFrame:
    """As `error_over_time.data`. Raises InputError where no arm is plain SGD."""
    networks, linear = frames.split(trials)
    plain = panels.plain(networks)
    if plain.empty:
        raise InputError("loss_of_plasticity_ed2: no arm is plain SGD")
    return error_over_time.data(pd.concat([plain, linear]), curves, asked)
