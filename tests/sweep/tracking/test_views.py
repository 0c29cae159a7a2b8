"""The views of MLflow's pages: their tags, filters, order and charts."""

from __future__ import annotations

import base64
import json
import zlib

from sweep.tracking import views

MEASURED = views.Measured("online_error", False, ["online_error", "effective_rank"])


def test_a_view_is_a_tag_as_mlflow_writes_it() -> None:
    view = views.of_sweep(MEASURED, ["l2.strength"], [""], [], trials=True)[0]
    key, value = view.tag(created=5)
    held = json.loads(value)
    assert key == "mlflow.sharedViewState.arms"
    assert (held["name"], held["createdAt"], held["updatedAt"]) == ("Arms at their best", 5, 5)
    method, _, packed = held["state"].partition(";")
    assert method == "deflate" and json.loads(zlib.decompress(base64.b64decode(packed))) == view.state()
    assert len(value) < 20_000, "what MLflow keeps of an experiment's tag"


def test_runs_are_found_by_their_tags_and_sorted_by_late_performance() -> None:
    state = views.of_sweep(MEASURED, ["l2.strength"], [""], [], trials=True)[0].state()
    assert state["searchFilter"] == "tags.`pliant.kind` = 'arm'"
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`final/online_error`", True)
    assert "params.`l2.strength`" in state["selectedColumns"]
    higher = views.of_sweep(views.Measured("online_accuracy", True, ["online_accuracy"]), [], [""], [], trials=False)
    assert higher[0].state()["orderByAsc"] is False


def test_the_headline_comes_first_and_every_metric_has_its_chart() -> None:
    """A metric without one would get a chart of MLflow's own, in a section of its own."""
    for view in views.of_sweep(MEASURED, [], [""], [], trials=True):
        state = view.state()
        sections = [section["uuid"] for section in state["compareRunSections"]]
        assert sections == ["headline", "diagnostics"]
        drawn = [card for card in state["compareRunCharts"] if not card["deleted"]]
        assert drawn[0]["type"] == "LINE" and drawn[0]["metricKey"].startswith("online_error")
        assert {card["metricSectionId"] for card in drawn} == set(sections)
        cards = [card["uuid"] for card in state["compareRunCharts"]]
        assert len(set(cards)) == len(cards)
        written = {"final/online_error"}
        for metric in MEASURED.names:
            written |= {f"{metric}/{part}" for part in views.BAND} if view.interval else {metric}
        assert written <= {card["metricKey"] for card in state["compareRunCharts"]}


def test_panels_have_views_of_their_own_and_trials_only_where_they_are_tracked() -> None:
    def keys(panels: list[str], trials: bool) -> list[str]:
        return [view.key for view in views.of_sweep(MEASURED, [], panels, [], trials=trials)]

    assert keys([""], True) == ["arms", "diagnostics", "settings", "trials"]
    assert keys(["width 5", "width 20"], False) == ["arms", "arms0", "arms1", "diagnostics", "settings"]
    [second] = [view for view in views.of_sweep(MEASURED, [], ["a", "b"], [], trials=False) if view.key == "arms1"]
    assert views.search(second.where) == "tags.`pliant.kind` = 'arm' and tags.`pliant.panel` = 'b'"
