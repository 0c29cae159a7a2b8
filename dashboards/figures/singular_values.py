"""Singular values of every weight matrix over time: do they stay those of an isometry, which are all 1?

All of them, as deciles: where the largest grow while the smallest vanish, a mean may tell nothing of it. Weights that
stay isometries keep a network plastic, say Rosseau, Müller, Nowé (2026), arXiv 2606.09762. One row of panels per arm,
at its best setting (and per activation and any other axis of network or workload), one panel per matrix, from the input
up.
"""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dashboards import fitting, theme
from dashboards.figures import panels
from dashboards.figures.panels import ALL, Asked
from dashboards.sheets import SCREEN, Caption, Sheet, page
from sweep.errors import InputError
from sweep.results import frames, selections
from sweep.results.bands import curve_bands
from workloads.diagnostics import DECILES
from workloads.metrics import HEADLINES

DEEPEST = 100  # weight matrices of a network that are looked for
MOST = 5  # of them in a row; of a deeper network some, evenly apart, its first and its last among them
NAME = "singular_values"
METRICS = (*HEADLINES, *(f"{NAME}/{matrix}/{k}" for matrix in range(1, DEEPEST + 1) for k in range(DECILES + 1)))
FEW = 6  # rows of panels that are as high as elsewhere
HIGH, LOW = 1.8, 0.9  # inches, of a row where there are few and where there are more
BESIDE = 20  # letters of an arm's name in a line beside its row
LINES = {0: "smallest", DECILES // 2: "median", DECILES: "largest"}


def data(trials: pd.DataFrame, curves: pd.DataFrame, asked: Asked = ALL) -> pd.DataFrame:
    """One row per arm, panel, matrix (from 1), decile (0 to 10) and task: step, mean, ci_low, ci_high, seeds, ...

    `matrices` is how many matrices the deepest network has. An arm's setting is its best one, as in `arms`. Raises
    InputError where another metric is asked for, or singular values were not recorded.
    """
    if asked.metric:
        raise InputError(f"{NAME} shows singular values and no other metric: leave out --metric")
    trials = panels.finished(trials, asked)
    axes = frames.panel_axes(trials)
    best = selections.best_settings(trials, selections.judged(trials, curves), ["arm", *axes])
    best = theme.in_order(panels.named(best, axes, trials), [*axes, "arm"])
    there = {int(name.split("/")[1]) for name in curves["metric"].unique() if name.startswith(f"{NAME}/")}
    parts = []
    for matrix in evenly(max(there, default=1)):
        for decile in range(DECILES + 1):
            values = panels.within(trials, curves, f"{NAME}/{matrix}/{decile}", asked)
            bands = curve_bands(values, best, asked.summary).assign(matrix=matrix, decile=decile)
            parts.append(best[["panel", "arm", "group", "candidates"]].merge(bands, on=["arm", "group"]))
    rows = pd.concat(parts, ignore_index=True)
    # A network of fewer matrices has no values of the others; one that diverged at once has none at all.
    known = rows.groupby(["panel", "arm", "matrix"])["seeds"].transform("max") > 0
    facts = {key: value for key, value in panels.facts(trials, asked).items() if key != "bin_tasks"}
    return rows[known | (rows["matrix"] == 1)].reset_index(drop=True).assign(matrices=max(there, default=1), **facts)


def evenly(matrices: int) -> list[int]:
    """Which of a network's matrices, numbered from 1, have a panel."""
    return sorted({round(place) for place in np.linspace(1, matrices, min(matrices, MOST))})


def caption(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Caption:
    """What lines and shades are, and how settings were chosen."""
    looks = theme.looks(data["arm"])
    text = "Lines: the smallest, the median and the largest singular value of a matrix; shaded: its deciles, darkest in"
    text += " the middle. Dashed: 1, where all values of an isometry are. "
    text += theme.averaged(data, " per task", ends=True) + theme.dotted(data) + theme.selected(data)
    if (matrices := int(data["matrices"].iloc[0])) > MOST:
        text += f" {MOST} of {matrices} matrices are shown."

    def called(arm: str, panel: str, matrix: int) -> str:
        return f"{looks[arm].label}, {panel}, matrix {int(matrix)}"

    middle = data[data["decile"] == DECILES // 2]
    text += theme.lost(middle.assign(metric=NAME), ["arm", "panel", "matrix"], called, sheet)
    return Caption(f"{theme.workload(data['workload'].iloc[0])}: singular values of weight matrices", text)


def draw(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Figure:
    """The picture of `data`; a logarithmic axis of singular values where the sheet asks for one."""
    rows = [tuple(place) for place in data[["arm", "panel"]].drop_duplicates().itertuples(index=False)]
    matrices = sorted(data["matrix"].unique())
    looks = theme.looks(data["arm"])
    first, begin, last = data.iloc[0], theme.begin(data), float(data["step"].max())
    beside = 1.2 if len(rows) > 1 else 0.6
    width = sheet.across(max(6.4, 2.0 * len(matrices) + beside), len(matrices))
    with sheet.settings():
        height = (HIGH if len(rows) <= FEW else LOW) * len(rows) + 0.25
        figure = page(sheet, width, height, caption(data, sheet))
        grid = figure.subplots(len(rows), len(matrices), squeeze=False, sharex=True, sharey=True)
        lowest: dict[int, Axes] = {}
        headed: set[tuple[str, int]] = set()
        for place, axes in np.ndenumerate(grid):
            (arm, panel), matrix = rows[place[0]], matrices[place[1]]
            part = data[(data["arm"] == arm) & (data["panel"] == panel) & (data["matrix"] == matrix)]
            if not len(part):
                axes.set_axis_off()
                continue
            lowest[place[1]] = axes
            _spectrum(axes, part, looks[arm].color, (begin, last), f"{arm}/{panel}/{matrix}")
            theme.notes(axes, _missing(part), sheet)
            if (panel, matrix) not in headed:
                axes.set_title(_title(panel, matrix, several=data["panel"].nunique() > 1))
                headed.add((panel, matrix))
        theme.steps_axis(grid[0, 0], begin, last, beyond=theme.BEYOND)
        for (arm, _), axes in zip(rows, grid[:, 0], strict=True):
            if len(rows) == 1:
                axes.set_ylabel(sheet.upright("singular values"))
            else:
                name = textwrap.fill(looks[arm].label, BESIDE)
                axes.set_ylabel(name, rotation=0, ha="right", va="center")
        for axes in lowest.values():
            axes.set_xlabel(theme.steps_label(first))
            axes.tick_params(labelbottom=True)
        fitting.to_values(grid[0, 0], data.assign(metric=NAME), ["arm", "panel", "matrix", "decile"], sheet)
    return figure


def _spectrum(axes: Axes, part: pd.DataFrame, color: str, reach: tuple[float, float], gid: str) -> None:
    """The values of one matrix: shades between deciles, and lines with their intervals at the right."""
    axes.axhline(1, color="#333333", linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
    deciles = {k: part[part["decile"] == k] for k in range(DECILES + 1)}
    for k in range(DECILES // 2):
        low, high = deciles[k], deciles[DECILES - k]
        axes.fill_between(low["step"], low["mean"], high["mean"], color=color, alpha=0.13, linewidth=0)
    for (k, name), end in zip(LINES.items(), theme.ends(True, len(LINES), *reach), strict=True):
        width = 1.5 if name == "median" else 0.8
        theme.band(axes, deciles[k], end=end, gid=f"{gid}/{name}", color=color, linewidth=width)


def _missing(part: pd.DataFrame) -> list[str]:
    """What of its seeds is lost."""
    said = theme.missing(part[part["decile"] == DECILES // 2])
    return [said] if said else []


def _title(panel: str, matrix: int, *, several: bool) -> str:
    """What stands above the first row of a panel's."""
    return f"{panel}\nmatrix {matrix}" if several else f"matrix {matrix}"
