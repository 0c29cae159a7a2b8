"""An arm has one colour wherever it is shown."""

from __future__ import annotations

from dashboards import theme
from sweep.results import palette


def test_arms_have_one_colour_in_figures_and_on_mlflows_pages() -> None:
    arms = ["mine", "sgd", "adam", "backprop", "yours"]
    found = palette.colors(arms)
    assert len(set(found.values())) == len(arms)
    assert found["backprop"] == palette.ARMS["backprop"] and found["sgd"] in palette.SPARE, "the first of two alike"
    assert found == {arm: look.color for arm, look in theme.looks(arms).items()}
