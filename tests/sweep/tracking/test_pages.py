"""MLflow's pages: that they are served, and what a newcomer sees who opens the address that is printed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tiny import TINY, Command

from sweep import lookup
from sweep.errors import InputError, TrackingError
from sweep.ledger.ledger import Ledger
from sweep.tracking import pages, serving, views
from sweep.tracking.writers import writer_for

ARMS = TINY.replace(
    "step_size: [0.01, 0.003]}", "step_size: [0.01, 0.003]}\n  adam: {optimizer: adam, step_size: 0.01}"
)
DRAWN_WITHIN = 60  # seconds, on a machine that does other things too
# The curves of every chart that is in sight: run, metric, number of points. The page draws each twice, once smoothed.
CURVES = """[...document.querySelectorAll('.js-plotly-plot')].map(
    plot => [...new Set(plot.data.map(curve => [curve.name, curve.metricKey, curve.y.length].join(', ')))].sort()
)"""
# The first line of the experiment's description, and where it says that the report is.
DESCRIPTION = """[
    document.querySelector('h3').innerText,
    [...document.querySelectorAll('a')].find(link => link.innerText === 'the report').getAttribute('href'),
]"""
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def test_a_port_that_is_taken_is_refused(command: Command, ran: Path) -> None:
    with socket.socket() as other:
        other.bind((pages.HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        (ran / "mlflow.db").touch()
        try:
            said = command("ui", "--storage", ran, "--port", port)
        finally:
            (ran / "mlflow.db").unlink()
    assert (said.code, said.out) == (2, "")
    assert f"port {port} of 127.0.0.1 cannot be used" in said.err and "--port" in said.err


def test_a_port_is_free_again_at_once() -> None:
    with pages.held(0) as first:
        port = first.getsockname()[1]
        with pytest.raises(InputError):
            pages.held(port)
    with pages.held(port):
        pass


def test_the_sweep_that_was_run_last_is_opened_by_default(tmp_path: Path, ran: Path) -> None:
    from dataclasses import replace

    assert lookup.latest(Ledger(str(tmp_path / "nothing"))) is None
    storage = shutil.copytree(ran, tmp_path / "copy")
    ledger = Ledger(str(storage))
    record = ledger.sweep("tiny", "full")
    for name, when in (("older", "2001-01-01"), ("newer", "2999-01-01")):
        ledger.save_sweep(replace(record, name=name, manifest=record.manifest | {"time": when}))
    last = lookup.latest(ledger)
    assert last is not None and last.name == "newer"


def test_a_tracking_server_has_pages_of_its_own(monkeypatch: pytest.MonkeyPatch, ran: Path) -> None:
    record = Ledger(str(ran)).sweep("tiny", "full")
    monkeypatch.setattr(serving, "view_address", lambda uri, identity: views.address("7", "arms"))
    assert pages.has_own("https://host/mlflow") and not pages.has_own("sqlite:///mlflow.db")
    shown = pages.address("https://me:s3cret@host/mlflow/", "https://me:s3cret@host/mlflow/", record.identity)
    assert shown == (
        "https://***@host/mlflow/#/experiments/7/runs?workflowType=machine_learning&compareRunsMode=CHART"
        "&viewStateShareKey=arms"
    )


def test_a_page_is_opened_where_there_is_a_browser_with_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    class Window:
        pass

    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(webbrowser, "get", Window)
    assert not pages.has_browser(), "no desktop"
    monkeypatch.setenv("DISPLAY", ":0")
    assert pages.has_browser()
    monkeypatch.setattr(webbrowser, "get", lambda: webbrowser.GenericBrowser("lynx"))
    assert not pages.has_browser(), "a program of the terminal would take it over"
    monkeypatch.setenv("BROWSER", "lynx")
    assert pages.has_browser(), "asked for"


@pytest.mark.parametrize(("options", "opened"), [([], 1), (["--no-browser"], 0)])
def test_the_address_is_printed_and_opened(
    options: list[str], opened: int, command: Command, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses: list[str] = []
    monkeypatch.setattr(serving, "view_address", lambda uri, identity: views.address("7", "arms"))
    monkeypatch.setattr(pages, "has_browser", lambda: True)
    monkeypatch.setattr(webbrowser, "open", addresses.append)
    said = command("ui", "tiny", "--storage", storage, "--tracking-uri", "http://host", *options)
    assert said.code == 0 and said.out.startswith("http://host/#/experiments/7/runs?")
    assert addresses == said.out.split()[:opened]


@contextmanager
def served(storage: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`sweep ui` in a process of its own: the address it prints, and the process."""
    with pages.held(0) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-P", "-m", "sweep", "ui", "--storage", str(storage), "--port", str(port)]
    command.append("--no-browser")
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith(f"http://127.0.0.1:{port}/"), address
        with urllib.request.urlopen(address.partition("#")[0], timeout=DRAWN_WITHIN) as answer:
            assert answer.status == 200, "the address is said once it answers"
        yield address, process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def chromium(profile: Path) -> Iterator[Any]:
    """A page of a browser that was never used before."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium is installed")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        window = driver.chromium.launch_persistent_context(
            profile, executable_path=found, args=list(FLAGS), viewport={"width": 1440, "height": 900}
        )
        try:
            yield window.pages[0]
        finally:
            window.close()


@pytest.mark.slow
def test_the_printed_address_shows_a_curve_for_each_arm(command: Command, tmp_path: Path) -> None:
    (tmp_path / "arms.yaml").write_text(ARMS)
    storage = tmp_path / "storage"
    said = command("run", tmp_path / "arms.yaml", "--storage", storage, "--inline")
    assert said.code == 0, said.err
    moved = storage.rename(tmp_path / "moved")
    with served(moved) as (address, process), chromium(tmp_path / "profile") as page:
        page.goto(address)
        page.wait_for_function(f"() => ({CURVES}).length === 4", timeout=DRAWN_WITHIN * 1000)
        mean, interval, late, apart = page.evaluate(CURVES)
        assert mean == ["adam, online_error/mean, 2", "sgd 0.01, online_error/mean, 2"], "one curve per arm"
        assert len(interval) == 6 and "adam, online_error/ci_high, 2" in interval
        assert len(late) == 1 and len(apart) == 1
        text = page.inner_text("body")
        for shown in ("Does a small sweep run?", "Arms at their best", "2 matching runs", "online squared error"):
            assert shown in text
        assert "adam" in text and "sgd 0.0" in text and "diagnostics" in text
        assert "Ask questions about your experiments" not in text, "the assistant is closed"
        picture = page.evaluate(
            """() => new Promise(done => {
                const image = new Image();
                image.onload = () => done(image.naturalWidth);
                image.onerror = () => done(0);
                image.src = [...document.querySelectorAll('img')].map(i => i.src).find(s => s.includes('figures'));
            })"""
        )
        assert picture > 400, "the figure in the description, though the storage was moved"
        answer, report = page.evaluate(DESCRIPTION)
        assert "no difference to sgd can be told from chance" in answer, "the first line is the answer"
        page.goto(address.replace("ShareKey=arms", "ShareKey=sensitivity0"))
        page.reload()
        page.wait_for_function(f"() => ({CURVES}).length === 3", timeout=DRAWN_WITHIN * 1000)
        values, *_ = page.evaluate(CURVES)
        assert values == ["0.003: sgd, online_error/mean, 2", "0.01: sgd, online_error/mean, 2"], "one curve per value"
        page.goto(f"{address.partition('#')[0]}{report}")
        inside = page.wait_for_selector("iframe", timeout=DRAWN_WITHIN * 1000).content_frame()
        inside.wait_for_selector("text=Does a small sweep run?", timeout=DRAWN_WITHIN * 1000)
        inside.wait_for_selector("canvas, svg", timeout=DRAWN_WITHIN * 1000)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0, "Ctrl-C ends it well"


def test_a_sweep_without_a_view_opens_on_its_runs(tmp_path: Path) -> None:
    """As one of which no trial has ended, or a database that an earlier version has written."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = writer_for(uri).client
    experiment = client.create_experiment("tiny@full")
    assert serving.view_address(uri, "tiny@full") == views.runs(experiment)
    assert serving.view_address(uri, "other@full") is None
    with pytest.raises(TrackingError, match="No MLflow tracking server answers"), pages.held(0) as free:
        port = free.getsockname()[1]
        free.close()
        serving.view_address(f"http://127.0.0.1:{port}", "tiny@full")
    client.set_experiment_tag(experiment, f"{views.TAG}arms", "{}")
    assert serving.view_address(uri, "tiny@full") == views.address(experiment, "arms")
