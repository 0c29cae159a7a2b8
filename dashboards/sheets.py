"""What figures are drawn on: a screen, a column of a paper at its real size, or a slide.

A screen's figure has its title, prose and footnote inside the picture. One for a paper has none of them: they are a
caption, which is written beside it. A slide is 10 x 5.625 inches with large text. Nothing here changes matplotlib's
global settings or needs a display.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

Style = Literal["screen", "paper", "slide"]
SCALES: dict[Style, float] = {"screen": 1.0, "paper": 0.78, "slide": 1.3}  # of text, and of panels on a paper
LETTERS: dict[Style, int] = {"screen": 24, "paper": 24, "slide": 14}  # beside a panel, in a line
TEXT = 9.0  # points, on a screen; all sizes here are a screen's
SINGLE, DOUBLE = 3.5, 7.2  # inches: a journal's columns
SLIDE = (10.0, 5.625)  # inches
NOTEBOOK_DPI = 96  # pixels of a browser's inch
MOST_LINES = 4  # shades of so many lines can be told from each other on a paper or from a seat

TITLE, LINE, FOOT = 0.30, 0.17, 0.40  # inches: the title, a line of small text, the footnote
SIZES = {
    "font.size": TEXT,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.linewidth": 0.8,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "hatch.linewidth": 0.6,
    "xtick.major.size": 3.5,
    "ytick.major.size": 3.5,
    "xtick.major.width": 0.8,
    "ytick.major.width": 0.8,
}
SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "savefig.dpi": 200,
    "svg.hashsalt": "pliant",  # equal data, equal file
    "svg.fonttype": "none",  # text stays text, in PDF as TrueType: sharp at any size, and can be searched
    "pdf.fonttype": 42,
}


@dataclass(frozen=True, slots=True)
class Caption:
    """What a figure says of itself."""

    title: str
    text: str  # what its marks are, over how many seeds, and how settings were selected


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """What a figure is drawn on."""

    style: Style = "screen"
    width: float | None = None  # inches; None: what suits the figure
    log: bool = False  # the axis of what is judged

    @property
    def scale(self) -> float:
        """Of its text beside a screen's."""
        return SCALES[self.style]

    @property
    def bare(self) -> bool:
        """Whether title, prose and footnote stand beside the picture and not in it."""
        return self.style == "paper"

    def settings(self) -> AbstractContextManager[None]:
        """The settings under which its figures are made and saved."""
        settings = SETTINGS | {name: size * self.scale for name, size in SIZES.items()}
        return mpl.rc_context(settings)  # type: ignore[arg-type]  # keys are spelt out as literals there

    def crowded(self, lines: int) -> bool:
        """Whether so many lines have their intervals at their ends alone."""
        return self.style != "screen" and lines > MOST_LINES

    def upright(self, text: str) -> str:
        """The name of a vertical axis, in lines that are no longer than a panel is high."""
        return textwrap.fill(text, LETTERS[self.style])

    def columns(self, panels: int, each: float, most: int = 3) -> int:
        """How many of these panels stand beside each other, when one is `each` inches wide on a screen."""
        if self.width is None:
            return min(panels, most)
        return max(1, min(panels, int(self.width / (each * self.scale))))

    def across(self, natural: float, columns: int) -> float:
        """The width in inches of a figure of so many columns, which on a screen would be `natural` wide."""
        if self.width is not None:
            return self.width
        own = {"screen": natural, "paper": SINGLE if columns < 3 else DOUBLE, "slide": SLIDE[0]}
        return own[self.style]


SCREEN = Sheet()


class Picture(Figure):
    """A figure that a notebook shows by itself, as it does matplotlib's own only where pyplot is in use."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """The PNG, of two pixels for each of a screen's, and how large to show it: at the size of its inches."""
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=2 * NOTEBOOK_DPI)
        width, height = self.get_size_inches()
        return file.getvalue(), {"width": round(NOTEBOOK_DPI * width), "height": round(NOTEBOOK_DPI * height)}


def points(size: float) -> float:
    """A size of text that is given for a screen, on the sheet whose settings hold."""
    return float(size * mpl.rcParams["font.size"] / TEXT)


def page(sheet: Sheet, width: float, height: float, caption: Caption, handles: Sequence[Line2D] = ()) -> Figure:
    """An empty figure whose panels together get width x height inches, the height as it would be on a screen.

    Title and text stand above the panels, and below them room is left for a footnote, unless the sheet is bare. The
    legend is between panels and footnote, in as many columns as fit.
    """
    scale = sheet.scale
    lines = [] if sheet.bare else textwrap.wrap(caption.text, int(width / scale * 15.5))
    head = 0.0 if sheet.bare else (TITLE + LINE * len(lines) + 0.10) * scale
    foot = 0.0 if sheet.bare else FOOT * scale
    columns = _legend_columns([str(handle.get_label()) for handle in handles], width / scale)
    rows = -(-len(handles) // columns)
    legend = (0.190 * rows + 0.08) * scale if rows else 0.0
    inner = height * scale
    if sheet.style == "slide":  # which is higher than its format where many rows could not be read
        inner = max(SLIDE[1] - head - legend - foot, 0.7 * inner)
    total = head + inner + legend + foot
    figure = Picture(figsize=(width, total), layout="constrained")
    engine = figure.get_layout_engine()
    assert engine is not None
    pad = 0.06 * min(scale, 1.0)
    engine.set(rect=(0, (foot + legend) / total, 1, inner / total), w_pad=pad, h_pad=pad)  # type: ignore[call-arg]
    if not sheet.bare:
        left = 0.10 * scale / width
        figure.text(left, 1 - 0.08 * scale / total, caption.title, weight="bold", size=11 * scale, va="top")
        place = 1 - TITLE * scale / total
        text = "\n".join(lines)
        figure.text(left, place, text, size=8.5 * scale, va="top", color="#333333", linespacing=1.25)
    if handles:
        figure.legend(
            handles=handles,
            loc="lower center",
            bbox_to_anchor=(0.5, foot / total),
            ncols=columns,
            frameon=False,
            borderaxespad=0,
            borderpad=0.1,
            handlelength=2.4,
        )
    return figure


def _legend_columns(labels: Sequence[str], width: float) -> int:
    """The most columns, up to four, that fit `width` inches when a legend is filled column by column."""
    for columns in range(min(4, len(labels)), 1, -1):
        parts = np.array_split([len(label) for label in labels], columns)
        if sum(0.66 + 0.059 * max(part) for part in parts) <= width:
            return columns
    return 1


def footnote(figure: Figure, text: str, sheet: Sheet = SCREEN) -> None:
    """Where the numbers come from, at the lower edge, in at most two lines; nothing on a bare sheet."""
    if sheet.bare:
        return
    width, height = figure.get_size_inches()
    lines = textwrap.wrap(text, int(width / sheet.scale * 19), max_lines=2, placeholder=" ...")
    left, low = 0.10 * sheet.scale / width, 0.06 * sheet.scale / height
    figure.text(left, low, "\n".join(lines), size=7 * sheet.scale, color="#666666", va="bottom")
