"""How far axes reach: lines fill their panel, and intervals of few seeds and lines that explode leave it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from dashboards import theme
from dashboards.sheets import SCREEN, Sheet
from workloads import metrics

ROOM = 2  # beyond the means that intervals may take, in spans of the means
Range = tuple[float, float]


def to_values(axes: Axes, data: pd.DataFrame, lines: Sequence[str], sheet: Sheet = SCREEN) -> None:
    """Fits the value axis to the lines: those that explode leave the panel at the top, and so do wide intervals.

    Two seeds have an interval of 12.7 standard errors to either side: it would press all lines into one. What is shown
    ends with the metric's bounds, and twice as far from the means as they are apart (or a tenth of their size). The
    rows of data are of one metric; of one with a natural upper end, or of which more is better, no line is left out:
    an agent that earns ten times as much as others has not exploded. Raises InputError where the
    sheet asks for a logarithmic axis and no value could be on it.
    """
    if sheet.log:
        theme.log_axis(axes.yaxis, data["mean"], data["metric"].iloc[0])
    metric = metrics.of(data["metric"].iloc[0])
    least, most = metric.bounds if metric is not None else (None, None)
    peaks = data.groupby(list(lines), dropna=False)["mean"].transform("max")
    wanted = metric is not None and metric.better == "up"
    shown = data[theme.quiet(peaks)] if most is None and not wanted else data
    bottom, top = shown["mean"].min(), shown["mean"].max()
    if not np.isfinite(bottom):  # nothing is left of any line
        return
    room = ROOM * max(top - bottom, abs(top) / 10, abs(bottom) / 10)
    extent = shown[["mean", "ci_low"]].min().min(), shown[["mean", "ci_high"]].max().max()
    fitted = _fitted(extent, (bottom - room, top + room), (least, most))
    if 0 < len(shown) < len(data) or fitted != extent:
        edge = 0.05 * (fitted[1] - fitted[0])
        axes.set_ylim(None if sheet.log else fitted[0] - edge, fitted[1] + edge)


def to_differences(limit: Callable[[float, float], object], data: pd.DataFrame) -> None:
    """Fits an axis to differences as `to_values` does to values, 0 being one of them; no line leaves the panel.

    What is shown ends with the largest difference that the metric can have, and twice as far from the means and 0 as
    they are apart. limit: what sets the axis' limits, `axes.set_ylim` or `axes.set_xlim`.
    """
    means = [*data["mean"].dropna(), 0.0]
    bottom, top = min(means), max(means)
    if bottom == top:  # nothing differs
        return
    metric = metrics.of(data["metric"].iloc[0])
    least, most = metric.bounds if metric is not None else (None, None)
    most_apart = most - least if isinstance(most, int | float) and least is not None else np.inf
    room = ROOM * (top - bottom)
    extent = min(bottom, data["ci_low"].min()), max(top, data["ci_high"].max())
    fitted = _fitted(extent, (bottom - room, top + room), (-most_apart, most_apart))
    if fitted != extent:
        edge = 0.05 * (fitted[1] - fitted[0])
        limit(fitted[0] - edge, fitted[1] + edge)


def _fitted(extent: Range, reach: Range, bounds: tuple[float | None, float | str | None]) -> Range:
    """The part of an extent that is within reach and within a metric's bounds."""
    least, most = bounds
    low = max(extent[0], reach[0], -np.inf if least is None else least)
    return low, min(extent[1], reach[1], most if isinstance(most, int | float) else np.inf)
