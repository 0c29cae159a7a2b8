"""How did a search's settings do along each of its ranges? Optuna's slices: every setting a dot, the later the darker.

One row of panels for each arm, drawn by `optuna.visualization.matplotlib.plot_slice`.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from dashboards.figures import searched
from dashboards.figures.panels import ALL, Asked
from dashboards.sheets import SCREEN, Caption, Sheet
from workloads.metrics import HEADLINES

METRICS = HEADLINES
EVERY_SETTING = True  # each was tried
NEEDS_RANGES = True  # a column of trials
INTERVAL = ""


def data(trials: pd.DataFrame, curves: pd.DataFrame, asked: Asked = ALL) -> pd.DataFrame:
    """The rows of `searched.tried`."""
    return searched.tried(trials, curves, asked, "optuna_slices")


def caption(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Caption:
    """What a dot is."""
    return searched.of_settings("slices of the search", "Every setting of an arm's search, the later the darker.", data)


def draw(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Figure:
    """The picture of `data`."""
    return searched.drawn("slices", data, sheet, caption(data, sheet))
