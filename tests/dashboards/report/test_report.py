"""The report: that its numbers are those of the leaderboard and the ledger, and that any sweep gives a whole page."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import altair as alt
import jsonschema
import numpy as np
import pytest
import synthetic
import vl_convert
from synthetic import Synthetic

from dashboards.report import charts, look, tables
from dashboards.report.facts import Facts, gather
from dashboards.report.page import library, rendered
from sweep.ledger.failures import without_error
from sweep.results import answers, leaderboard
from sweep.results.results import Results
from sweep.trials import Trial

ARMS = {
    "sgd": "optimizer: sgd, step_size: [0.01, 0.003]",
    "pulled": "optimizer: adamo, step_size: [0.01, 0.001], isometry_strength: [0.1, 1]",
}
SWEEP = synthetic.regression(
    ARMS,
    tasks=40,
    seeds=3,
    width=3,
    question="Is </script><b>one</b> arm better?",
    more="diagnostics: {every: 5, probe: 20}\n",
)


class Balanced(HTMLParser):
    """Fails where a tag of a page is left open."""

    VOID = ("meta", "link", "input")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        """Closed where it is opened."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> in line {self.getpos()[0]}"


def facts_of(*sweeps: Synthetic) -> Facts:
    return gather([Results(each.record, each) for each in sweeps])  # type: ignore[arg-type]


def embedded(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="facts">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    return content


def text_of(page: str) -> str:
    """The page without its scripts."""
    return re.sub(r"<script[^>]*>.*?</script>", "", page, flags=re.DOTALL)


def whole(page: str) -> str:
    """The page, every tag of it closed."""
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    return page


def test_a_curve_is_the_mean_of_its_seeds_at_every_task() -> None:
    found = synthetic.sweep(SWEEP, lambda trial, metric: np.arange(40.0) + 10 * trial.config["seed"])
    facts = facts_of(found)
    assert len(facts.settings) == 6, "every setting of both arms"
    assert len(facts.rows["curves"]) == 12, "two metrics each"
    online = next(row for row in facts.rows["curves"] if row["metric"] == "online_error")
    assert online["task"][:3] == [1, 2, 3] and online["task"][-1] == 40
    assert online["mean"][:3] == [10, 11, 12] and set(online["seeds"]) == {3}
    rank = next(row for row in facts.rows["curves"] if row["metric"] == "effective_rank")
    assert rank["task"] == [1, 6, 11, 16, 21, 26, 31, 36, 40], "where it was recorded"
    seeds = [row for row in facts.rows["seeds"] if row["metric"] == "online_error"]
    assert len(seeds) == 6 and {row["seed"] for row in seeds} == {0, 1, 2}, "of both arms at their best"
    assert {row["value"][0] for row in seeds} == {0, 10, 20}


def test_what_a_setting_comes_to_is_what_the_leaderboard_says() -> None:
    found = synthetic.sweep(SWEEP)
    facts, board = facts_of(found), leaderboard.leaderboard(found.record, found)  # type: ignore[arg-type]
    for standing in board.standings:
        [place] = [p for p, s in enumerate(facts.settings) if (s.label, s.group) == (standing.arm, standing.group)]
        [late] = [
            row
            for row in facts.rows["late"]
            if (row["s"], row["metric"], row["window"]) == (place, board.metric, tables.WINDOWS[0])
        ]
        assert late["mean"] == pytest.approx(standing.late.mean, rel=1e-3)
        assert late["high"] == pytest.approx(standing.late.high, rel=1e-3)
        assert facts.settings[place].best == (standing.panel,)
        page = rendered(facts)
        assert f"{standing.late.mean:.4g}" in page and standing.name in page
    assert answers.sentence(board.standings) in page
    assert page.index(answers.sentence(board.standings)) < page.index(board.selection.told()), "then its caveat"


def test_sensitivity_has_the_others_at_their_best() -> None:
    def level(trial: Trial, metric: str) -> np.ndarray:
        optimizer = trial.config["optimizer"]
        return np.full(40, optimizer["step_size"] * 100 + optimizer.get("isometry_strength", 0))

    facts = facts_of(synthetic.sweep(SWEEP, level))
    pulled = {
        (row["column"], row["value"]): row["mean"]
        for row in facts.rows["sensitivity"]
        if facts.arms[row["arm"]].label == "pulled"
    }
    assert pulled == {
        ("optimizer.step_size", "0.01"): 1.1,
        ("optimizer.step_size", "0.001"): 0.2,
        ("optimizer.isometry_strength", "0.1"): 0.2,
        ("optimizer.isometry_strength", "1"): 1.1,
    }
    pairs = {(row["value_x"], row["value_y"]): row["mean"] for row in facts.rows["pairs"]}
    assert pairs == {("0.01", "0.1"): 1.1, ("0.01", "1"): 2, ("0.001", "0.1"): 0.2, ("0.001", "1"): 1.1}


def test_settings_are_chosen_by_what_the_file_says_and_shown_by_their_end() -> None:
    """By the first tenth the stronger pull is the better one at every step size; it ends worse."""

    def turns(trial: Trial, metric: str) -> np.ndarray:
        optimizer = trial.config["optimizer"]
        strength = optimizer.get("isometry_strength", 0)
        return np.where(np.arange(40) < 4, 2 - strength, strength) + 10 * optimizer["step_size"]

    found = synthetic.sweep(SWEEP, turns)
    found.record.manifest["select"] = {"window": "first 10%"}
    facts, board = facts_of(found), leaderboard.leaderboard(found.record, found)  # type: ignore[arg-type]
    at_best = {
        (facts.arms[row["arm"]].label, row["value"]): row["mean"]
        for row in facts.rows["sensitivity"]
        if row["column"] == "optimizer.step_size"
    }
    assert at_best["pulled", "0.01"] == 1.1 and at_best["pulled", "0.001"] == 1.01
    [pulled] = [standing for standing in board.standings if standing.arm == "pulled"]
    assert at_best["pulled", "0.001"] == pytest.approx(pulled.late.mean)
    shown = [setting.values["optimizer.isometry_strength"] for setting in facts.settings if setting.label == "pulled"]
    assert shown == ["1", "1", "0.1", "0.1"], "the best from the beginning first"


def test_every_chart_is_vega_lite_and_a_page_has_its_data_once() -> None:
    page = whole(rendered(facts_of(synthetic.sweep(SWEEP))))
    found = embedded(page)
    assert set(found["charts"]) == {"performance", "diagnostic", "late", "sensitivity-0", "sensitivity-1", "pair-0"}
    schema = alt.load_schema()
    for name, spec in found["charts"].items():
        jsonschema.validate(spec, schema)
        assert f'id="{name}"' in page
        assert set(found["uses"][name]) <= set(found["data"]), "all it reads is there"
        assert "datasets" not in spec and spec["description"]
        for param in charts.CHOSEN:
            assert param in [each["name"] for each in spec["params"]]


def test_of_agents_a_diagnostic_stands_beside_the_return_and_thousands_are_whole() -> None:
    """And not how many episodes there were, which comes before it in the list."""
    spec = """\
workload: {name: slippery_ant, tasks: 3, steps_per_task: 2048}
seeds: 3
arms:
  standard: {optimizer: adam}
  equal: {optimizer: adam, beta1: 0.99, beta2: 0.99}
metrics: [average_return, episodes, policy_churn, dormant_fraction]
"""

    def walked(trial: Trial, metric: str) -> np.ndarray:
        return np.full(3, (1234.0 if trial.arms == ("equal",) else 0.0) + trial.config["seed"])

    page = rendered(facts_of(synthetic.sweep(spec, walked)))
    beside = page[page.index("Beside it") : page.index('id="diagnostic"')]
    assert re.findall(r'value="(\w+)" selected', beside) == ["dormant_fraction"]
    assert "+1230" in page and not re.search(r"\de\+0", text_of(page))


def test_names_are_never_tags_or_code() -> None:
    """A question, an arm, a setting or a reason that looks like HTML, or like an expression, changes no page."""
    evil = "</script><img src=x onerror=alert(1)>'+alert(1)+'"
    found = synthetic.sweep(SWEEP)
    failure = without_error(evil, evil, pack="p", attempt="20260101T000000-00", step=3)
    trial = found.record.trials[0].id
    del found.statuses[trial]
    found.failures = lambda: {trial: failure}  # type: ignore[method-assign]
    facts = facts_of(found)
    facts.settings[0] = replace(facts.settings[0], name=evil)
    facts.arms[0] = replace(facts.arms[0], label=evil)
    page = whole(rendered(facts))
    body = text_of(page)
    assert "<img src" not in body and "<b>one" not in body and "&lt;img src" in body
    data = embedded(page)
    assert any(evil in row["name"] for row in data["data"]["settings"]), "and it is said as it is"
    assert "alert" not in json.dumps(data["charts"]), "no expression has a name in it"


def test_a_page_fetches_nothing() -> None:
    page = rendered(facts_of(synthetic.sweep(SWEEP)))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html.unescape(page))
    assert policy is not None and "default-src 'none'" in policy[1] and "connect-src 'none'" in policy[1]
    assert "unsafe-eval" not in policy[1]
    assert not re.search(r'<[^>]*(src|href)="(?!data:|#)', text_of(page))
    assert len(page) < 1_500_000


def test_a_table_has_a_column_of_what_diverged_where_something_has() -> None:
    def some(trial: Trial, metric: str) -> np.ndarray:
        return (synthetic.lost_at(4) if trial.config["seed"] == 1 else synthetic.flat)(trial, metric)

    for values, column in ((synthetic.flat, 0), (some, 1)):
        page = rendered(facts_of(synthetic.sweep(SWEEP, values)))
        answer = page[page.index('<section id="answer"') : page.index('<section id="curves"')]
        assert answer.count('<th scope="col">diverged</th>') == column
        assert answer.count("1 of 3 diverged, in task 5") == 2 * column


@pytest.mark.parametrize("case", ["empty", "one seed", "all diverged", "half", "one arm"])
def test_any_sweep_gives_a_page(case: str) -> None:
    text, cut = SWEEP, synthetic.flat
    if case == "one seed":
        text = SWEEP.replace("seeds: 3", "seeds: 1")
    if case == "one arm":
        text = "\n".join(line for line in SWEEP.splitlines() if "pulled" not in line)
    if case == "all diverged":
        cut = synthetic.lost_at(4)
    left = {"empty": lambda trial: True, "half": lambda trial: trial.config["seed"] > 0}.get(case)
    found = synthetic.sweep(text, cut, **({"pending": left} if left else {}))  # type: ignore[arg-type]
    page = whole(rendered(facts_of(found)))
    said = {
        "empty": "No answer yet: no trial of this sweep has finished yet",
        "one seed": "With 1 seed in common no difference",
        "all diverged": "18 diverged",
        "half": "12 left",
        "one arm": "There is one arm",
    }
    assert said[case] in page
    if case == "all diverged":
        assert "diverged" in page and "3 of 3" in page and '"in task">5</td>' in page, "in which task"


def test_several_sweeps_share_their_charts() -> None:
    first = synthetic.sweep(SWEEP)
    second = synthetic.sweep(SWEEP.replace("0.003]", "0.002]"))
    other = replace(second.record, name="other")
    facts = facts_of(first, Synthetic(other, second.statuses, second.rows))
    assert [arm.label for arm in facts.arms] == [
        "synthetic@full: sgd",
        "synthetic@full: pulled",
        "other@full: sgd",
        "other@full: pulled",
    ]
    assert len({arm.color for arm in facts.arms}) == 4
    owners = {facts.arms[facts.settings[row["s"]].arm].label for row in facts.rows["curves"]}
    assert len(owners) == 4, "the curves of both"
    names = [setting.name for setting in facts.settings]
    assert len(set(names)) == len(names) == 12, "settings of both that are called alike are told apart"
    page = whole(rendered(facts))
    assert "synthetic@full: Is" in page and "other@full: Is" in page


def test_a_large_sweep_is_thinned_for_show_and_keeps_the_best() -> None:
    sizes = ", ".join(f"{size:.5f}" for size in np.linspace(0.001, 0.03, 400))
    text = f"""\
workload: {{name: slowly_changing_regression, tasks: 300, period: 100}}
seeds: 2
arms:
  sgd: {{optimizer: sgd, step_size: [{sizes}]}}
metrics: [online_error]
"""
    facts = facts_of(synthetic.sweep(text))
    assert len(facts.settings) == 150 and facts.left_out == 250
    assert any(setting.best for setting in facts.settings)
    assert sum(len(row["task"]) for row in facts.rows["curves"]) <= tables.BUDGET
    assert all(row["task"][-1] == 300 for row in facts.rows["curves"]), "the last task is always shown"
    drawn = [row["value_number"] for row in facts.rows["sensitivity"]]
    assert len(drawn) == tables.VALUES and {min(drawn), max(drawn)} == {0.001, 0.03}, "an interval each, and no more"
    page = rendered(facts)
    assert len(page) < 5_000_000 and "250 that are not shown here" in page
    assert "At most 200 values of each are drawn." in page


def test_no_interval_is_computed_for_a_heat_map_that_is_too_large() -> None:
    def text(count: int) -> str:
        many = ", ".join(f"{size:.5f}" for size in np.linspace(0.001, 0.03, count))
        return SWEEP.replace("step_size: [0.01, 0.001]", f"step_size: [{many}]")

    assert len(facts_of(synthetic.sweep(text(tables.CELLS))).rows["pairs"]) == 2 * tables.CELLS
    assert facts_of(synthetic.sweep(text(tables.CELLS + 1))).rows["pairs"] == []


def test_colours_stand_out_from_dark_paper() -> None:
    assert look.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert look.on(look.DARK["paper"], ["#E69F00"]) == ["#E69F00"], "it does already"
    for color in look.on(look.DARK["paper"], ["#000000", "#332288", "#661100"]):
        assert look.contrast(color, look.DARK["paper"]) >= look.ENOUGH
    for colors in (look.LIGHT, look.DARK):
        for behind in ("paper", "raised"):
            assert all(look.contrast(colors[ink], colors[behind]) >= 4.5 for ink in ("ink", "muted", "link"))


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A machine that has made no report yet: the folder in which it keeps things."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.cache_clear()
    yield tmp_path / "pliant"
    library.cache_clear()


def test_the_charts_library_is_bundled_once_on_a_machine(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    bundle = lambda text, version: (made.append(version), "1 </script 2")[1]  # noqa: E731
    monkeypatch.setattr(vl_convert, "javascript_bundle", bundle)
    first = library()
    assert first == "(() => {1 <\\/script 2})();" and [file.suffix for file in fresh.iterdir()] == [".js"]
    library.cache_clear()
    assert library() == first and len(made) == 1


def test_where_nothing_can_be_kept_it_is_bundled_anew(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vl_convert, "javascript_bundle", lambda text, version: "x")
    fresh.write_text("")  # a file in the place of the folder
    assert library() == "(() => {x})();"
