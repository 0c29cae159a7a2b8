"""Games that are visited again and again: what each visit to a game earned, a panel for each game.

Tasks of `continual_minatar` are visits to games whose returns have scales of their own, and the games come in another
order for every seed: over tasks the mean of seeds is one of different games. Here a game's first visit stands beside
its second, whenever they were. A way of learning that keeps its plasticity earns as much at a late visit as at an early
one, since channels are shuffled at each: nothing of an earlier visit fits. The presentation is ours.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dashboards import theme
from dashboards.figures import panels
from dashboards.figures.panels import ALL, Asked
from dashboards.sheets import SCREEN, Caption, Sheet, page
from sweep.errors import InputError
from sweep.results import frames, naming, selections
from sweep.results.bands import curve_bands
from workloads.metrics import HEADLINES

NAME, GAMES = "visits", "workload.games"
METRICS = HEADLINES


def data(trials: pd.DataFrame, curves: pd.DataFrame, asked: Asked = ALL) -> pd.DataFrame:
    """One row per game (`panel`), arm and visit (`task`, from 0; `step`, from 1): mean, ci_low, ci_high, seeds, ...

    An arm's setting is its best one in all games together, by what the sweep chooses by. Raises InputError where no
    games are played.
    """
    if GAMES not in trials or trials[GAMES].isna().all():
        raise InputError(f"{NAME} shows games of continual_minatar, and this sweep's workload has none")
    trials = panels.finished(trials[trials[GAMES].notna()], asked)
    metric = asked.shown(frames.headline(trials))
    best = theme.in_order(selections.best_settings(trials, selections.judged(trials, curves), ["arm"]), ["arm"])
    values = panels.within(trials, curves, metric, asked)
    values = values.merge(best[["arm", "group"]], on=["arm", "group"])
    values = values.merge(trials.reset_index()[["trial", "arm", GAMES]], on=["trial", "arm"])
    values = pd.concat([values, played(values)], axis=1)
    values["task"], values["step"] = values["visit"] - 1, values["visit"]
    parts = []
    for game, own in values.groupby("game"):
        bands = curve_bands(own.drop(columns=[GAMES, "game", "visit"]), best, asked.summary)
        parts.append(best[["arm", "group", "candidates"]].merge(bands, on=["arm", "group"]).assign(panel=game))
    facts = {key: value for key, value in panels.facts(trials, asked).items() if key not in ("bin_tasks", "batch")}
    return pd.concat(parts, ignore_index=True).assign(**facts)


def played(values: pd.DataFrame) -> pd.DataFrame:
    """Of every row its `game`, and the number of the `visit` to it, from 1."""
    from workloads.reinforcement.continual_minatar import visited

    keys = list(zip(values[GAMES], values["seed"], values["task"], strict=True))
    visits = {key: visited(*key) for key in dict.fromkeys(keys)}
    return pd.DataFrame([visits[key] for key in keys], columns=["game", "visit"], index=values.index)


def caption(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Caption:
    """What a line and its shade are, and how settings were chosen."""
    looks = theme.looks(data["arm"])
    text = theme.averaged(data, "", ends=sheet.crowded(len(looks))) + theme.dotted(data) + theme.selected(data)

    def called(arm: str, panel: str) -> str:
        return f"{looks[arm].label}, {naming.words(panel)}"

    text += theme.lost(data, ["arm", "panel"], called, sheet)
    return Caption(f"{theme.workload(data['workload'].iloc[0])}: the same games, visit after visit", text)


def draw(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Figure:
    """The picture of `data`."""
    looks = theme.looks(data["arm"])
    games = list(dict.fromkeys(data["panel"]))
    rows = -(-len(games) // sheet.columns(len(games), 2.6))
    columns = -(-len(games) // rows)
    first, last, crowded = float(data["step"].min()), float(data["step"].max()), sheet.crowded(len(looks))
    ends = dict(zip(looks, theme.ends(crowded, len(looks), first, last), strict=True))
    handles = [Line2D([], [], color=look.color, marker=look.marker, label=look.label) for look in looks.values()]
    with sheet.settings():
        width = sheet.across(max(6.4, 2.6 * columns), columns)
        figure = page(sheet, width, 2.1 * rows + 0.25, caption(data, sheet), handles)
        grid = panels.grid(figure, len(games), columns, sharex=True)
        for game, axes in zip(games, grid.flat, strict=False):
            lost = []
            for arm, look in looks.items():
                line = data[(data["panel"] == game) & (data["arm"] == arm)]
                theme.band(axes, line, end=ends[arm], gid=f"{game}/{arm}", color=look.color, marker=look.marker)
                if said := theme.missing(line):
                    lost.append(f"{look.label}: {said}")
            theme.notes(axes, lost, sheet)
            axes.set_title(naming.words(str(game)))
            theme.steps_axis(axes, first, last, beyond=theme.beyond(crowded), whole=True)
        for axes in panels.lowest(grid, len(games)):
            axes.set_xlabel("visit")
        for axes in grid[:, 0]:
            axes.set_ylabel(sheet.upright(naming.metric(data["metric"].iloc[0])))
    return figure
