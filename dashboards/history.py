"""The bench's history: how many times faster than the plain loop each row was, record after record.

Every speed claim of the README is a point of this picture, and a step that slows a path down shows as a fall.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from dashboards import theme
from dashboards.figures import METADATA, write
from dashboards.sheets import SCREEN, Caption, footnote, page
from sweep.benchmarks.bench_records import Record, device_of, short
from sweep.benchmarks.rows import subject
from sweep.errors import InputError

NAME, COLUMNS = "history", 4
LABELS = {
    "continual_backprop_1e-2": "continual backprop, rate 1e-2",
    "adamo_every_16": "AdamO, every 16th step",
    "l2_strongest": "L2, strength 0.1",
    "perturbed_most": "shrink and perturb, noise 0.1",
    "divergent": "SGD, steps that diverge",
    "ppo": "PPO",
    "stepping": "stepped alone",
}
TICKS = 3  # records named below a panel, at most: more would run into each other


def data(records: Sequence[Record]) -> pd.DataFrame:
    """One row per record and row of the bench: record, place, label, stream, arm, line, ratio, target, valid.

    `place` counts the records from 0; `line` names network and members.
    """
    rows = [
        {
            "record": record.name,
            "place": place,
            "label": f"{(record.date or 'undated')[:10]}\n{short(record.commit)[:7] if record.commit else ''}".strip(),
            "machine": record.machine.get("gpu") or record.machine.get("cpu"),
            "stream": row["stream"],
            "arm": row["arm"],
            "network": subject(row),
            "members": row["members"],
            "line": f"{subject(row)}, {row['members']:,} trial{'s' * (row['members'] > 1)}"
            + ", on a GPU" * (device_of(row) == "cuda"),
            "ratio": row["ratio"],
            "target": row.get("target"),
            "valid": row.get("valid") is not False,
        }
        for place, record in enumerate(records)
        for row in record.rows
        if row.get("ratio") is not None and not row.get("kernels_ns")  # the whole command is no pack
    ]
    frame = pd.DataFrame(rows)
    if frame.empty:
        return frame
    wide = frame["network"].str.len()
    ordered = frame.assign(wide=wide).sort_values(["wide", "network", "members"], ascending=[True, True, False])
    lines = list(dict.fromkeys(ordered["line"]))
    streams = list(dict.fromkeys(ordered["stream"]))
    return frame.sort_values(
        ["stream", "line", "place"],
        key=lambda c: c.map({"stream": streams, "line": lines}[str(c.name)].index) if c.name != "place" else c,
        kind="stable",
        ignore_index=True,
    )


def draw(frame: pd.DataFrame) -> Figure:
    """The picture of `data`."""
    panels = [(stream, list(theme.looks(part["arm"]).items())) for stream, part in frame.groupby("stream", sort=False)]
    looks = theme.looks(frame["line"])
    handles = [Line2D([], [], color=look.color, marker=look.marker, label=line) for line, look in looks.items()]
    rows = sum(-(-len(arms) // COLUMNS) for _, arms in panels)
    with SCREEN.settings():
        figure = page(SCREEN, 9.6, 1.75 * rows + 0.5, Caption("The bench over time", _subtitle(frame)), handles)
        grid = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True)
        for axes in grid.flat:
            axes.set_visible(False)
        top = 0
        for stream, arms in panels:
            part = frame[frame["stream"] == stream]
            high = pd.concat([part["ratio"], part["target"].astype(float)])
            for at, (arm, look) in enumerate(arms):
                axes = grid[top + at // COLUMNS, at % COLUMNS]
                axes.set_visible(True)
                _panel(axes, part[part["arm"] == arm], looks)
                axes.set_title(LABELS.get(arm, look.label))
                axes.set_ylim(high.min() / 1.6, high.max() * 1.6)
                axes.label_outer(remove_inner_ticks=False)
                below = at + COLUMNS >= len(arms)
                axes.tick_params(axis="x", labelbottom=below)
                axes.tick_params(axis="y", labelleft=at % COLUMNS == 0)
                if at % COLUMNS == 0:
                    axes.set_ylabel(f"{theme.workload(str(stream))}\nratio", size=7)
            top += -(-len(arms) // COLUMNS)
        labels: dict[int, str] = dict(zip(frame["place"], frame["label"], strict=True))
        shown = sorted({int(p) for p in np.linspace(0, max(labels), min(TICKS, len(labels))).round()})
        for axes in grid.flat:
            axes.set_xlim(-0.4, max(labels) + 0.4)
            axes.xaxis.set_major_locator(FixedLocator(shown))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: labels.get(round(place), "")))
            axes.tick_params(axis="x", labelsize=6.5)
    return figure


def _panel(axes: Axes, part: pd.DataFrame, looks: dict[str, theme.Look]) -> None:
    """One arm of one stream: a line per network and pack, its target dashed, invalid points hollow."""
    for line, points in part.groupby("line", sort=False):
        look = looks[str(line)]
        axes.plot(points["place"], points["ratio"], color=look.color, marker=look.marker, gid=f"{line}")
        hollow = points[~points["valid"]]
        axes.plot(hollow["place"], hollow["ratio"], look.marker, color=look.color, markerfacecolor="white")
        target = points["target"].iloc[-1]
        if not pd.isna(target):
            axes.axhline(float(target), color=look.color, linewidth=0.8, linestyle=(0, (1, 2)))
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(numticks=6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _subtitle(frame: pd.DataFrame) -> str:
    """What a line is, and on which machines."""
    text = (
        "How many times faster a trial-step of a pack is than a step of the plain loop, on one core or one GPU; "
        "stepped alone: games than their package, and what share of a robot's step is physics; dotted: the target."
    )
    if not frame["valid"].all():
        text += " Hollow: the plain loop was slower than it should be, the machine busy."
    machines = frame["machine"].dropna().unique()
    return text + (f" Machines: {', '.join(machines)}." if len(machines) else "")


def render(records: Sequence[Record], folder: Path) -> list[Path]:
    """Draw the history into `folder`: history.png and history.svg, each appearing whole. Returns the paths.

    Raises InputError where no record has a ratio.
    """
    frame = data(records)
    if frame.empty:
        raise InputError(f"there is no record in {folder} yet: `sweep bench --record` makes one")
    with SCREEN.settings():
        figure = draw(frame)
        last = records[-1]
        count = f"{len(records)} record{'s' * (len(records) > 1)}"
        footnote(figure, f"sweep bench · {count} · last: {last.name} · commit {short(last.commit)}")
        return [write(folder / f"{NAME}.{kind}", figure.savefig, metadata=METADATA[kind]) for kind in ("png", "svg")]
