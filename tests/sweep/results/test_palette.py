"""An arm has one colour wherever it is shown."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from dashboards import theme
from sweep.results import palette
from workloads.methods.config import METHODS, OPTIMIZERS

# Machado, Oliveira, Fernandes (2009), severity 1: what linear red, green and blue become.
SEEN = {
    "whole": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
NEAR = 12.0  # in CIELAB: thin lines closer than that are hard to tell apart
ALIASES = ({"backprop", "sgd"}, {"snp", "shrink_and_perturb"}, {"cbp", "continual_backprop"})
ALIASES += ({"cbp_adamo", "continual_backprop_adamo"}, {"adam", "head_reset"})  # the last on streams of their own


def lab(color: str, sight: str) -> np.ndarray:
    """CIELAB (3,) of a colour as it is seen."""
    given = np.array(to_rgb(color))
    linear = np.where(given <= 0.04045, given / 12.92, ((given + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(np.array(SEEN[sight]) @ linear, 0, 1) / [0.9505, 1, 1.089]
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


@pytest.mark.parametrize("name", [*OPTIMIZERS, *METHODS])
def test_every_way_of_learning_has_a_look_of_its_own(name: str) -> None:
    assert theme.ARMS[name].label == theme.learner(name)
    assert theme.looks([*OPTIMIZERS, *METHODS, "mine"])[name] == theme.ARMS[name], "whoever is shown beside"


@pytest.mark.parametrize("sight", SEEN)
def test_arms_whose_colours_come_near_each_other_have_other_markers(sight: str) -> None:
    for (one, left), (other, right) in itertools.combinations(theme.ARMS.items(), 2):
        if {one, other} not in ALIASES and left.marker == right.marker:
            assert np.linalg.norm(lab(left.color, sight) - lab(right.color, sight)) > NEAR, (one, other)


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
