"""Which of its ranges decided how a search's settings did? Optuna's importances, one panel for each arm.

PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255): how far the best tenth of the settings differ from all of them, in
each range by itself, as shares of 1. With few settings it is rough.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from dashboards import theme
from dashboards.figures import panels, searched
from dashboards.figures.panels import ALL, Asked
from dashboards.sheets import SCREEN, Caption, Sheet, page, points
from workloads.metrics import HEADLINES

METRICS = HEADLINES
EVERY_SETTING = True  # each was tried
NEEDS_RANGES = True  # a column of trials
INTERVAL = ""


def data(trials: pd.DataFrame, curves: pd.DataFrame, asked: Asked = ALL) -> pd.DataFrame:
    """One row per panel, arm and range: study (its name), parameter, importance; and of how many settings, ..."""
    from sweep.search import study

    table = searched.tried(trials, curves, asked, "optuna_importances")
    rows = []
    for name, own, known in searched.studies(table):
        about = own.iloc[0][[*searched.STUDY, "metric", "members"]].to_dict()
        about |= {"study": name, "settings": len(own), "lost": int(own["value"].isna().sum())}
        rows += [{**about, "parameter": each, "importance": s} for each, s in study.importances(known).items()]
    return pd.DataFrame(rows).assign(**panels.facts(trials, asked))


def caption(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Caption:
    """What a bar is."""
    what = "How far the best tenth of an arm's settings differ from all of them, by range, as shares of 1 (PED-ANOVA)."
    once = data.drop_duplicates("study")
    return searched.caption(
        "what decided in the search",
        what,
        data.iloc[0],
        settings=int(once["settings"].sum()),
        lost=int(once["lost"].sum()),
        seeds=theme.span(data["members"]),
    )


def draw(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Figure:
    """The picture of `data`."""
    looks = theme.looks(data["arm"])
    names = list(dict.fromkeys(data["study"]))
    columns = sheet.columns(len(names), 3.2)
    down = -(-len(names) // columns)
    most = int(data.groupby("study")["parameter"].nunique().max())
    with sheet.settings():
        width = sheet.across(max(6.4, 3.2 * columns), columns)
        figure = page(sheet, width, (0.8 + 0.35 * most) * down, caption(data, sheet))
        grid = panels.grid(figure, len(names), columns)
        for axes, name in zip(grid.flat, names, strict=False):
            own = data[data["study"] == name]
            bars = own.sort_values("importance")
            color = looks[own["arm"].iloc[0]].color
            drawn = axes.barh(bars["parameter"], bars["importance"], color=color, gid=name)
            axes.bar_label(drawn, [f"{share:.2f}" for share in bars["importance"]], padding=2, fontsize=points(8))
            axes.set_xlim(0, 1.15)
            axes.set_title(name)
            axes.set_xlabel("importance")
            axes.grid(visible=False, axis="y")
    return figure
