"""A real browser, headless, for pages of ours: what it asks for, what it complains of, what axe finds in it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
GRAVE = ("serious", "critical")
READING = "Canvas2D: Multiple readback"  # what a browser says to tests that look at a chart's pixels
WITHIN = 30_000  # milliseconds, on a machine that does other things too


@dataclass
class Visit:
    """A page that is open."""

    page: Any
    complaints: list[str] = field(default_factory=list)  # errors and warnings on its console, exceptions of its scripts
    asked: list[str] = field(default_factory=list)  # addresses

    def open(self, address: str) -> None:
        self.page.goto(address)
        self.page.locator("#performance").scroll_into_view_if_needed()
        self.page.wait_for_selector("#performance[data-drawn]", timeout=WITHIN)

    def draw_all(self) -> None:
        """Scroll past every chart, so that each is drawn."""
        for chart in self.page.locator(".chart").all():
            chart.scroll_into_view_if_needed()
        self.settled("document.querySelectorAll('.chart:not([data-drawn])').length === 0")

    def grave(self) -> list[str]:
        """What axe finds that keeps people out."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return [f"{v['id']}: {v['nodes'][0]['html']}" for v in found if v["impact"] in GRAVE]

    def overflows(self) -> bool:
        """Whether one has to scroll sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))

    def reached(self, times: int) -> set[str]:
        """Where a keyboard gets that presses Tab so often: what the elements set, or their tags."""
        found = set()
        for _ in range(times):
            self.page.keyboard.press("Tab")
            found.add(self.page.evaluate("document.activeElement.dataset.sets ?? document.activeElement.tagName"))
        return found

    def cut(self) -> list[str]:
        """What has to be scrolled sideways by itself to be read whole."""
        found: list[str] = self.page.evaluate(
            "[...document.querySelectorAll('.wide')].filter(e => e.scrollWidth > e.clientWidth).map(e => e.ariaLabel)"
        )
        return found

    def settled(self, script: str) -> None:
        """Wait until this is true in the page, which may forbid what Playwright would wait by."""
        ends = time.monotonic() + WITHIN / 1000
        while not self.page.evaluate(script):
            assert time.monotonic() < ends, f"never true: {script}"
            self.page.wait_for_timeout(100)


def loud(said: Any) -> bool:
    """Whether a page has nothing to say like this on its console."""
    return said.type in ("error", "warning") and not said.text.startswith(READING)


@contextmanager
def chromium(width: int = 1280, scheme: Literal["light", "dark"] = "light") -> Iterator[Visit]:
    """An empty page of Debian's browser, this wide; skips where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium is installed")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        window = driver.chromium.launch(executable_path=found, args=list(FLAGS))
        try:
            visit = Visit(window.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme))
            visit.page.on("console", lambda said: visit.complaints.append(said.text) if loud(said) else None)
            visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
            visit.page.on("request", lambda request: visit.asked.append(request.url))
            yield visit
        finally:
            window.close()
