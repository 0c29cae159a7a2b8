"""The page of a reproduced paper: whole by itself, whatever its studies came to."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
import synthetic
from browser import chromium

from dashboards import reproduction
from dashboards.claims import CLAIMS
from dashboards.papers import PAPERS
from sweep.spec.studies import sizes
from sweep.trials import Trial

SPEC = """\
# Is it <kept> & told?
name: slowly_changing_regression
workload: {name: slowly_changing_regression, flip: all, tasks: 10, period: 50}
network: {name: mlp, width: 5, depth: 1, activation: [relu, tanh]}
seeds: 8
arms:
  sgd: {optimizer: sgd, step_size: [0.01, 0.001]}
  cbp: {optimizer: sgd, step_size: 0.01, continual_backprop: {replacement_rate: 1e-4}}
  linear: {optimizer: sgd, step_size: 0.01, network: {depth: 0}}
metrics: [online_error]
figures: [arms]
"""


class Links(HTMLParser):
    """What a page refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See HTMLParser."""
        self.tags.add(tag)
        self.found += [str(value) for name, value in attrs if name in ("href", "src")]


def declining(trial: Trial, metric: str) -> np.ndarray:
    """Backprop declines with relu, and not with tanh."""
    lost = 0.5 * ("sgd" in trial.arms) * (trial.config["network"].get("activation") == "relu")
    noise = np.random.default_rng(int(trial.id[:8], 16)).normal(0, 0.01, 10)
    return 0.5 + lost * np.arange(10) / 9 + noise


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = synthetic.sweep(SPEC, declining)
    out = tmp_path_factory.mktemp("page") / "folder"
    part = reproduction.study("slowly_changing_regression", made.record, made, out)  # type: ignore[arg-type]
    missing = reproduction.Study("continual_imagenet", problems=["not run: imagenet32 is not here"])
    return reproduction.build("loss-of-plasticity", "laptop", [part, missing], out)


def test_the_page_needs_nothing_but_its_folder(page: Path) -> None:
    text = page.read_text()
    links = Links(text)
    assert "script" not in links.tags and not re.search(r"https?://", text)
    for link in links.found:
        if link.startswith("#"):
            assert f'id="{link[1:]}"' in text
        else:
            assert (page.parent / link).is_file(), link
    assert "prefers-color-scheme: dark" in text


def test_the_page_has_every_verdict_and_what_was_not_run(page: Path) -> None:
    text = page.read_text()
    rows = pd.read_csv(page.parent / "claims.csv")
    assert set(rows["claim"]) <= {claim.name for claim in CLAIMS["loss-of-plasticity"]}
    verdicts = rows[rows["claim"] == "backprop_declines"].set_index("place")["verdict"].to_dict()
    assert verdicts == {"relu": "supported", "tanh": "contradicted"}
    keeps = rows[rows["claim"] == "continual_backprop_beats_backprop"].set_index("place")
    assert keeps["verdict"].to_dict() == {"relu": "supported", "tanh": "undecided"}
    assert "loses nothing here" in str(keeps.loc["tanh", "found"])
    assert text.count("✓ supported") == (rows["verdict"] == "supported").sum()
    assert "not run: imagenet32 is not here" in text
    assert "Is it &lt;kept&gt; &amp; told?" in text
    assert "Adam loses plasticity too." in text  # not answered, as there is no such arm


def test_trials_too_short_to_tell_are_said_to_be_and_counted(tmp_path: Path) -> None:
    spec = """\
workload: {name: slippery_ant, tasks: 4, steps_per_task: 204800}
seeds: 6
arms:
  standard: {optimizer: adam, step_size: 1e-4}
  equal: {optimizer: adam, step_size: 1e-4, beta1: 0.99, beta2: 0.99}
metrics: [average_return]
figures: [arms]
"""
    made = synthetic.sweep(spec)
    part = reproduction.study("slippery_ant", made.record, made, tmp_path)  # type: ignore[arg-type]
    text = reproduction.build("loss-of-plasticity-agents", "laptop", [part], tmp_path).read_text()
    assert '<p class="answer">2 too short to tell.</p>' in text
    assert text.count('<td class="verdict too-short-to-tell">… too short to tell</td>') == 2
    assert text.count("; 819,200 steps here, and it takes 20 million") == 2


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (400, "light"), (400, "dark")])
def test_everybody_can_read_it(page: Path, width: int, scheme: Literal["light", "dark"]) -> None:
    with chromium(width, scheme) as visit:
        visit.page.goto(page.as_uri())
        assert visit.grave() == [] and visit.complaints == []
        assert not visit.overflows()
        links = visit.page.locator("a").count()
        assert visit.reached(links) == {"A"}, "by keyboard"
        folder = page.parent.as_uri()
        assert all(asked.startswith(folder) for asked in visit.asked), "no request leaves the folder"


def test_a_study_of_which_nothing_has_ended_is_on_the_page(tmp_path: Path) -> None:
    made = synthetic.sweep(SPEC, declining, pending=lambda trial: True)
    part = reproduction.study("slowly_changing_regression", made.record, made, tmp_path)  # type: ignore[arg-type]
    page = reproduction.build("loss-of-plasticity", "laptop", [part], tmp_path)
    assert "no trial of this sweep has finished yet" in page.read_text()
    assert "no claim could be looked at" in page.read_text()


@pytest.mark.parametrize("name", PAPERS)
def test_every_study_of_a_paper_has_the_scales(name: str) -> None:
    for study in PAPERS[name].studies:
        assert {"smoke", "laptop", "paper"} <= set(sizes(study))
    assert name in CLAIMS
