"""Colours of a page in light and dark: the arms' own (`sweep.results.palette`), lighter where dark paper hides them."""

from __future__ import annotations

from collections.abc import Iterable

LIGHT = {
    "paper": "#ffffff",
    "ink": "#1c1e21",
    "muted": "#55595f",
    "line": "#d9dce1",
    "raised": "#f5f6f8",
    "link": "#0b57a4",
}
DARK = {
    "paper": "#16181c",
    "ink": "#e8eaed",
    "muted": "#a9afb8",
    "line": "#3a3f47",
    "raised": "#21242a",
    "link": "#8ec1ff",
}
ENOUGH = 4.5  # contrast with what is behind it: a broken line is as thin as text, for which WCAG 2.2, 1.4.3 asks it
STEP = 0.05


def on(paper: str, colors: Iterable[str]) -> list[str]:
    """The colours, each as much lighter as it takes to stand out from a dark paper."""
    return [_lighter(color, paper) for color in colors]


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2.2)."""
    bright, dim = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def _lighter(color: str, paper: str) -> str:
    mixed, share = color, 0.0
    while contrast(mixed, paper) < ENOUGH and share < 1:
        share += STEP
        mixed = "#" + "".join(f"{round(part + (255 - part) * share):02x}" for part in _channels(color))
    return mixed


def _luminance(color: str) -> float:
    linear = [_linear(part / 255) for part in _channels(color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4


def _channels(color: str) -> list[int]:
    return [int(color[place : place + 2], 16) for place in (1, 3, 5)]
