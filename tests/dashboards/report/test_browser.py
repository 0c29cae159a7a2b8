"""The report and the live page in a real browser: what a reader does, and that nothing leaves the page."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import synthetic
from browser import WITHIN, Visit, chromium

from dashboards.report import live, look
from dashboards.report.facts import gather
from dashboards.report.page import rendered
from sweep.results import palette
from sweep.results.results import Results
from sweep.trials import Trial

pytestmark = pytest.mark.slow

SWEEP = synthetic.regression(
    {
        "sgd": "optimizer: sgd, step_size: [0.01, 0.003]",
        "adamo": "optimizer: adamo, step_size: [0.01, 0.001], isometry_strength: [0.1, 1]",
    },
    question="Which of two arms is better?",
    tasks=30,
    seeds=8,
    width=3,
    more="diagnostics: {every: 1, probe: 20}\n",
)
LEVELS = {"sgd": 1.0, "adamo": 3.0}
# How many pixels of a chart have a colour, to a few steps of each channel.
PIXELS = """([chart, red, green, blue]) => {
    const canvas = document.querySelector(`#${chart} canvas`);
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let place = 0; place < data.length; place += 4)
        if (Math.abs(data[place] - red) < 4 && Math.abs(data[place + 1] - green) < 4
            && Math.abs(data[place + 2] - blue) < 4) count += 1;
    return count;
}"""

# Of the axis of values, which is the first column that is dark over half its height: how far it is from the edge, and
# how many pixels beside it are dark, of what it says.
AXIS = """chart => {
    const canvas = document.querySelector(`#${chart} canvas`);
    const { data, width, height } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const dark = (x, y) => data[4 * (y * width + x)] < 100 && data[4 * (y * width + x) + 3] > 100;
    let said = 0;
    for (let x = 0; x < width; x += 1) {
        let count = 0;
        for (let y = 0; y < height; y += 1) if (dark(x, y)) count += 1;
        if (count > height / 2) return [x, said];
        said += count;
    }
    return [0, 0];
}"""


def curve(trial: Trial, metric: str) -> np.ndarray:
    """Arms apart, seeds around them, and the other metric the other way round."""
    level = LEVELS[trial.arms[0]] + 0.1 * (trial.config["seed"] % 4) + trial.config["optimizer"]["step_size"]
    return np.full(30, level if metric == "online_error" else 10 - level) + np.arange(30) / 100


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = synthetic.sweep(SWEEP, curve)
    path = tmp_path_factory.mktemp("report") / "which.html"
    path.write_text(rendered(gather([Results(found.record, found)])))  # type: ignore[arg-type]
    return path


def pixels(visit: Visit, chart: str, arm: str, *, share: float = 1.0) -> int:
    """How many pixels are of an arm's colour, or of a shade that has this share of it, on white."""
    color = palette.ARMS[arm]
    mixed = [round(255 - share * (255 - int(color[place : place + 2], 16))) for place in (1, 3, 5)]
    found: int = visit.page.evaluate(PIXELS, [chart, *mixed])
    return found


def test_a_reader_chooses_arms_and_metrics_and_sees_bands(report: Path) -> None:
    with chromium() as visit:
        visit.open(report.as_uri())
        page = visit.page
        for arm in LEVELS:
            assert pixels(visit, "performance", arm) > 100, "its line"
            assert pixels(visit, "performance", arm, share=0.16) > 500, "its band"
        before = page.locator("#performance canvas").screenshot()
        page.get_by_label("adamo", exact=True).uncheck()
        page.wait_for_timeout(300)
        assert pixels(visit, "performance", "adamo") == 0 and pixels(visit, "performance", "sgd") > 100
        assert pixels(visit, "diagnostic", "adamo") == 0, "in every chart"
        page.get_by_label("Performance").select_option("effective_rank")
        page.get_by_label("adamo", exact=True).check()
        page.wait_for_timeout(300)
        assert page.locator("#performance canvas").screenshot() != before
        assert pixels(visit, "performance", "adamo", share=0.16) > 500, "the band of the other metric"
        page.get_by_label("single seeds").check()
        page.get_by_label("logarithmic").check()
        page.get_by_label("step size").select_option("0.01")
        assert page.locator("[data-sets=best]").input_value() == "", "those that match, not the best alone"
        page.get_by_label("What each comes to over").select_option("first 10%")
        visit.draw_all()
        page.get_by_role("button", name="none").click()
        page.wait_for_timeout(300)
        assert pixels(visit, "late", "sgd") == 0
        assert visit.complaints == [] and visit.asked == [report.as_uri()]


def test_there_is_room_for_the_numbers_of_an_axis(report: Path) -> None:
    """A chart begins empty, and is laid out again when its data has come."""
    with chromium() as visit:
        visit.open(report.as_uri())
        visit.draw_all()
        for chart in ("performance", "diagnostic"):
            place, said = visit.page.evaluate(AXIS, chart)
            assert place > 15 and said > 50


def test_a_point_says_how_it_is_repeated(report: Path) -> None:
    with chromium() as visit:
        visit.open(report.as_uri())
        command = visit.page.locator("#command code")
        command.evaluate("code => { code.textContent = ''; }")
        visit.page.locator("#performance canvas").scroll_into_view_if_needed()
        box = visit.page.locator("#performance canvas").bounding_box()
        visit.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        visit.settled("document.querySelector('#command code').textContent !== ''")
        assert command.inner_text().startswith("sweep trial ") and command.inner_text().endswith(" --run")


def test_a_live_page_can_be_read_on_a_telephone_in_the_dark() -> None:
    growing = Growing()
    growing.grow(3)
    with served(growing) as address, chromium(400, "dark") as visit:
        visit.open(address)
        visit.draw_all()
        assert visit.grave() == [] and visit.complaints == [] and visit.cut() == []
        assert not visit.overflows()
        assert {"A", "arms", "best"} <= visit.reached(25), "by keyboard"
        assert all(asked.startswith(address) for asked in visit.asked)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (400, "light"), (400, "dark")])
def test_everybody_can_read_it(report: Path, width: int, scheme: Literal["light", "dark"]) -> None:
    with chromium(width, scheme) as visit:
        visit.open(report.as_uri())
        visit.draw_all()
        paper = (look.DARK if scheme == "dark" else look.LIGHT)["paper"]
        behind = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert behind == f"rgb({', '.join(str(int(paper[place : place + 2], 16)) for place in (1, 3, 5))})"
        assert visit.grave() == []
        assert not visit.overflows(), "what is too wide scrolls by itself"
        assert visit.cut() == [], "no table is: on a telephone its rows are cards"
        assert {"A", "arms", "best"} <= visit.reached(25), "by keyboard"
        assert visit.complaints == []


def test_it_works_in_the_sandboxed_frame_that_mlflow_shows_files_in(report: Path) -> None:
    with chromium() as visit:
        visit.page.evaluate(
            """html => {
                const frame = document.createElement('iframe');
                frame.sandbox = 'allow-scripts';
                frame.style = 'width: 1200px; height: 2000px';
                frame.src = URL.createObjectURL(new Blob([html], { type: 'text/html' }));
                document.body.append(frame);
            }""",
            report.read_text(),
        )
        frame = visit.page.frame_locator("iframe")
        frame.locator("#performance[data-drawn]").wait_for(timeout=WITHIN)
        frame.get_by_label("adamo", exact=True).uncheck()
        assert frame.get_by_role("heading", level=1).inner_text() == "Which of two arms is better?"
        assert visit.complaints == [] and all(asked.startswith("blob:") for asked in visit.asked)


class Growing:
    """A sweep of which a browser is shown more and more."""

    def __init__(self) -> None:
        self.trained, self.new = 0, True

    @property
    def ledger(self) -> Any:
        return self.found

    def record(self) -> Any:
        self.found = synthetic.sweep(SWEEP, curve, pending=lambda trial: trial.config["seed"] >= self.trained)
        self.found.packs = lambda: []  # type: ignore[attr-defined]
        return self.found.record

    def changed(self) -> bool:
        new, self.new = self.new, False
        return new

    def grow(self, seeds: int) -> None:
        self.trained, self.new = seeds, True


@contextmanager
def served(growing: Growing) -> Iterator[str]:
    """The live page of a sweep, on a port of its own."""
    import uvicorn

    pages = live.Pages(growing)  # type: ignore[arg-type]
    server = uvicorn.Server(uvicorn.Config(live.application(pages), log_level="warning"))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()


def test_a_live_page_grows_and_keeps_what_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "EVERY", 0.3)
    monkeypatch.setattr(live.watching, "COST", 100.0)
    growing = Growing()
    growing.grow(2)
    with served(growing) as address, chromium() as visit:
        visit.open(address)
        page = visit.page
        assert "8 of 48 trials" not in page.inner_text("#progress") and "12 of 48 trials" in page.inner_text(
            "#progress"
        )
        page.get_by_label("sgd", exact=True).uncheck()
        page.evaluate("window.same = true")
        growing.grow(7)
        visit.settled("document.querySelector('#progress').innerText.includes('42 of 48 trials')")
        visit.settled("document.querySelector('#answer').innerText.includes('42 done')")
        assert page.evaluate("window.same") is True, "the page was not loaded anew"
        assert not page.get_by_label("sgd", exact=True).is_checked() and pixels(visit, "performance", "sgd") == 0
        assert "Beside sgd" in page.inner_text("#answer") or "behind sgd" in page.inner_text("#answer")
        assert visit.grave() == [] and visit.complaints == []
        assert {asked.removeprefix(address) for asked in visit.asked} == {"", "progress"}
        time.sleep(1)
        assert visit.asked.count(address) == 2, "the whole page only where there is more to show"
