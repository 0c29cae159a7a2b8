"""The figures that shipped studies name: those of their paper, and each can be made of what the study records."""

from __future__ import annotations

import pytest
import synthetic

from dashboards import figures
from dashboards.papers import PAPERS
from sweep.spec.figures import FIGURES
from sweep.spec.studies import load, studies

STUDIES = [study.name for study in studies()]


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_names_figures_that_it_can_make(name: str) -> None:
    spec = load(name, "smoke")
    assert spec.figures
    made = synthetic.sweep(spec)
    for figure in spec.figures:
        picture = figures.picture(figures.table(figure, made.record, made))
        assert any(axes.has_data() for axes in picture.axes), figure


def test_every_figure_of_a_paper_is_named_by_a_study_of_it_and_by_no_other() -> None:
    own = set(PAPERS["loss-of-plasticity"].studies) | {"demo", "demo_mnist"}  # the paper's problems, cut short
    named = {
        name: {figure for figure in load(name).figures if figure.startswith("loss_of_plasticity")} for name in STUDIES
    }
    assert set().union(*named.values()) == {figure for figure in FIGURES if figure.startswith("loss_of_plasticity")}
    assert {name for name, found in named.items() if found} <= own


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_shows_how_its_ways_of_learning_depend_on_their_settings(name: str) -> None:
    spec = load(name)
    settings = {"sensitivity", "four_axes", "loss_of_plasticity_1", "loss_of_plasticity_ed3", "loss_of_plasticity_ed4"}
    if FIGURES["sensitivity"](spec) is None:
        assert settings & set(spec.figures)
