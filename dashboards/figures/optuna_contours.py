"""How do two ranges of a search act together? Optuna's contours between the settings that were tried.

One block of panels for each arm with two ranges or more, drawn by `optuna.visualization.matplotlib.plot_contour`.
"""

from __future__ import annotations

import json

import pandas as pd
from matplotlib.figure import Figure

from dashboards.figures import searched
from dashboards.figures.panels import ALL, Asked
from dashboards.sheets import SCREEN, Caption, Sheet
from sweep.errors import InputError
from workloads.metrics import HEADLINES

METRICS = HEADLINES
EVERY_SETTING = True  # each was tried
NEEDS_RANGES = True  # a column of trials
INTERVAL = ""


def data(trials: pd.DataFrame, curves: pd.DataFrame, asked: Asked = ALL) -> pd.DataFrame:
    """The rows of `searched.tried`, of arms with two ranges or more. Raises InputError as it does, or for none."""
    table = searched.tried(trials, curves, asked, "optuna_contours")
    table = table[[len(json.loads(ranges)) > 1 for ranges in table["ranges"]]]
    if table.empty:
        raise InputError("optuna_contours crosses two ranges of an arm, and no arm here was searched in two")
    return table


def caption(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Caption:
    """What is between the dots."""
    what = "Every setting of an arm's search is a dot; between them values are interpolated, the darker the better."
    return searched.of_settings("contours of the search", what, data)


def draw(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Figure:
    """The picture of `data`."""
    return searched.drawn("contours", data, sheet, caption(data, sheet))
