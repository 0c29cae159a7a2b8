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


def test_more_arms_than_spare_colours_take_those_of_arms_that_are_not_there() -> None:
    arms = ["sgd", "adam", *(f"mine_{k}" for k in range(len(palette.ALL) - 2))]
    found = palette.colors(arms)
    assert len(set(found.values())) == len(arms) > len(palette.SPARE) + 2
    again = list(palette.colors([*arms, "one_more", "another"]).values())
    assert len(set(again[-2:])) == 2, "no colour a third time before all were used twice"
