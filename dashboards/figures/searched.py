"""What a search has tried: every setting with how it did, one study of Optuna's for each arm in each panel.

Shared by the figures that Optuna makes of a search. Of a sweep in two stages it is the search that is shown, on the
seeds that it was judged by. A setting of which a seed diverged has no value; a search was told the worst there is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.figure import Figure

from dashboards import theme
from dashboards.figures import panels
from dashboards.figures.panels import Asked
from dashboards.sheets import Caption, Sheet, page, points
from sweep.errors import InputError
from sweep.results import naming, selections
from sweep.spec.ranges import Range
from workloads.metrics import higher_is_better

if TYPE_CHECKING:
    from sweep.search.study import Picture

FEWEST = 4  # settings with a value, of which Optuna can make something
STUDY = ["panel", "arm"]


def tried(trials: pd.DataFrame, curves: pd.DataFrame, asked: Asked, figure: str) -> pd.DataFrame:
    """One row per panel, arm and setting, in the order of the search: number, setting, ranges, value, seeds, ...

    `ranges`, a column of `trials`, has an arm's ranges by column, as JSON; setting and ranges here have them by name.
    Raises InputError where the sweep has no search, or another metric or window is asked for than it was told.
    """
    if asked.metric or asked.window:
        raise InputError(f"{figure} shows what a search was told: leave out --metric and --window")
    if trials["ranges"].isna().all():
        raise InputError(f"{figure} is of a search, and this sweep has none: give ranges and `search` in its file")
    trials = panels.finished(trials, asked)
    shown, networks, axes = panels.placed(trials[trials["ranges"].notna()])
    if shown.empty:
        raise InputError(f"{figure}: {' and '.join(asked.arms)} had no ranges to search")
    judged = selections.judged(shown, curves).groupby(["arm", "group"], sort=False)["value"]
    scores = judged.agg(value=lambda seeds: seeds.mean(skipna=False), members="size", seeds="count").reset_index()
    rows = []
    for own in shown.drop_duplicates(["arm", "group"]).to_dict("records"):
        ranges = json.loads(own["ranges"])
        setting = {naming.axis(column): _plain(own[column]) for column in ranges}
        about = {naming.axis(column): drawn for column, drawn in ranges.items()}
        rows.append({key: own[key] for key in ("arm", "group", *axes)} | {"setting": setting, "ranges": about})
    table = panels.named(pd.DataFrame(rows), axes, networks).merge(scores, on=["arm", "group"])
    table["number"] = table.groupby(STUDY, sort=False).cumcount()
    for column in ("setting", "ranges"):
        table[column] = table[column].map(json.dumps)
    objective, _ = selections.chosen_by(trials)
    columns = [*STUDY, "group", "number", "setting", "ranges", "value", "seeds", "members"]
    return theme.in_order(table, [*axes, "arm", "number"])[columns].assign(
        metric=objective, diverged=table["members"] - table["seeds"], **panels.facts(trials, asked)
    )


def _plain(value: Any) -> Any:
    """A setting in JSON's words; a table has not a number where it is null."""
    plain = value.item() if hasattr(value, "item") else value
    return None if isinstance(plain, float) and math.isnan(plain) else plain


def studies(data: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, Any]]:
    """(name, rows, Optuna's study) of every panel and arm. Raises InputError where one has too few settings."""
    from sweep.search import study

    looks, several = theme.looks(data["arm"]), data["panel"].nunique() > 1
    higher = higher_is_better(str(data["metric"].iloc[0]))
    for key, own in data.groupby(STUDY, sort=False):
        panel, arm = map(str, key)
        name = f"{looks[arm].label}, {panel}" if several else looks[arm].label
        if own["value"].notna().sum() < FEWEST:
            raise InputError(f"{name}: fewer than {FEWEST} of its settings have ended without divergence")
        about = json.loads(own["ranges"].iloc[0])
        ranges = {name: Range(kind, tuple(values)) for name, (kind, values) in about.items()}
        settings = [json.loads(setting) for setting in own["setting"]]
        values = [None if pd.isna(value) else float(value) for value in own["value"]]
        yield name, own, study.known(ranges, settings, values, higher=higher)


def _check_spread(name: str, own: pd.DataFrame) -> None:
    """Raises InputError for a range of which one value alone is to be shown: Optuna then draws empty axes."""
    ended = pd.DataFrame([json.loads(setting) for setting in own.loc[own["value"].notna(), "setting"]])
    for column in ended:
        if ended[column].map(json.dumps).nunique() == 1:
            raise InputError(f"{name}: all settings that ended without divergence have the same {column}")


def caption(title: str, what: str, first: pd.Series[Any], *, settings: int, lost: int, seeds: str) -> Caption:
    """What is shown, of how many settings, and what was left out of it; first is a row of the figure's table."""
    text = f"{what} Of {settings} settings, each with {seeds} {'seed' if seeds == '1' else 'seeds'}, by"
    text += f" {first['chosen_by']}" + (f"; {lost} diverged and are left out." if lost else ".")
    return Caption(f"{theme.workload(first['workload'])}: {title}", text)


def of_settings(title: str, what: str, data: pd.DataFrame) -> Caption:
    """The caption of a table of `tried`."""
    lost, seeds = int(data["value"].isna().sum()), theme.span(data["members"])
    return caption(title, what, data.iloc[0], settings=len(data), lost=lost, seeds=seeds)


def drawn(picture: Picture, data: pd.DataFrame, sheet: Sheet, said: Caption) -> Figure:
    """Optuna's picture of each study, one below the other."""
    from sweep.search import study

    label = naming.metric(str(data["metric"].iloc[0]))
    known = list(studies(data))
    for name, own, _ in known:
        _check_spread(name, own)
    across = [len(json.loads(own["ranges"].iloc[0])) for _, own, _ in known]
    heights = [2.3 if picture == "slices" else 2.6 if count == 2 else 1.6 * count for count in across]
    with sheet.settings():
        width = sheet.across(max(6.4, 2.3 * max(across)), max(across))
        figure = page(sheet, width, sum(heights), said)
        rows = figure.subfigures(len(known), 1, squeeze=False, height_ratios=heights)[:, 0]
        for part, (name, _, own) in zip(rows, known, strict=True):
            study.draw(picture, own, part, label)
            part.suptitle(name, fontsize=points(9.5))
    return figure
