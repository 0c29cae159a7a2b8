"""Heat maps: a cell for every setting of two axes, with its mean and half the width of its interval."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from dashboards import theme
from dashboards.sheets import points
from sweep.results.bands import Summary, bands

SAYS = "Grey: not run. Hatched: trials diverged, the mean is over the others."


def summarised(late: pd.DataFrame, best: pd.DataFrame, summary: Summary) -> pd.DataFrame:
    """The settings `best`, with mean, ci_low, ci_high, half (of the interval's width), seeds, diverged and members.

    late has a value for each trial; diverged are those of the members that have none any more.
    """
    shown = late.merge(best[["arm", "group"]].drop_duplicates(), on=["arm", "group"])
    cells = bands(shown, ["arm", "group"], summary=summary)
    cells["half"] = (cells["ci_high"] - cells["ci_low"]) / 2
    cells["members"] = cells["seeds"] + cells["diverged"]
    return best.merge(cells, on=["arm", "group"])


def empty(axes: Axes, across: int, up: int) -> None:
    """A heat map of across x up cells, none of them there yet; what was not run stays grey."""
    axes.set(xlim=(-0.5, across - 0.5), ylim=(-0.5, up - 0.5), facecolor="#F2F2F2")
    axes.grid(False)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def cell(axes: Axes, place: tuple[int, int], about: Mapping[Hashable, Any], color: theme.Color, *, gid: str) -> None:
    """One cell: its colour, mean and half interval, hatched where trials diverged."""
    across, up = place
    none_left = about["seeds"] == 0
    hatch = "////" if about["diverged"] else None
    axes.add_patch(
        Rectangle(
            (across - 0.5, up - 0.5),
            1,
            1,
            facecolor="#D9D9D9" if none_left else color,
            edgecolor="#8C8C8C" if hatch else "white",
            hatch=hatch,
            linewidth=0.8,
            gid=gid,
        )
    )
    if none_left:
        text = "all\ndiverged"
    else:
        text = theme.with_half(about["mean"], about["half"])
        if about["diverged"]:
            text += f"\n{about['diverged']:.0f} div."
    ink = "black" if none_left else theme.ink(color)
    box = {"facecolor": "#D9D9D9" if none_left else color, "edgecolor": "none", "pad": 0.6} if hatch else None
    axes.text(across, up, text, ha="center", va="center", size=points(6.8), color=ink, linespacing=1.1, bbox=box)
