"""`sweep.run` in Python shows how far it is where a user looks on: in a notebook, at a terminal, else nowhere."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tiny import TINY

import sweep
from sweep.cli import places


class Handle:
    """What IPython gives for an output that may change."""

    def __init__(self, outputs: list[tuple[str, str]]) -> None:
        self.outputs = outputs

    def update(self, shown: Any) -> None:
        self.outputs.append((shown._repr_html_(), repr(shown)))


class Terminal(io.StringIO):
    """Standard error in front of a user."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def asked(alone: None, uncompiled: None, tmp_path: Path) -> dict[str, Any]:
    """What `sweep.run` is told to train the four trials of `tiny.yaml`."""
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY)
    return {"study": file, "storage": str(tmp_path / "storage"), "inline": True, "track": False}


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[str, str]]]:
    """A notebook: every output that was begun, with all it has shown."""
    begun: list[list[tuple[str, str]]] = []

    def display(shown: Any, display_id: bool = False) -> Handle:
        assert display_id, "an output without an id can't be changed in its place"
        begun.append([])
        handle = Handle(begun[-1])
        handle.update(shown)
        return handle

    kernel = type("ZMQInteractiveShell", (), {"kernel": object()})
    modules = {"IPython": {"get_ipython": kernel}, "IPython.display": {"display": display}}
    for name, content in modules.items():
        made = ModuleType(name)
        vars(made).update(content)
        monkeypatch.setitem(sys.modules, name, made)
    return begun


def test_a_notebook_shows_one_bar_in_its_place(
    asked: dict[str, Any], cells: list[list[tuple[str, str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.run(**asked)
    [outputs] = cells
    (first, _), *_, (last, as_text) = outputs
    assert '<progress value="0.0000" max="1">' in first and '<progress value="1.0000" max="1">' in last
    assert "4 of 4 trials" in last and "left" not in last and as_text.startswith("[####################] 100 % 4 of 4")
    assert any("loading torch" in html for html, _ in outputs)
    assert capsys.readouterr() == ("", "")


def test_a_notebook_in_which_nothing_is_left_to_train_shows_no_bar(
    asked: dict[str, Any], cells: list[list[tuple[str, str]]]
) -> None:
    sweep.run(**asked, progress=False)
    assert sweep.run(**asked).computed == 0
    assert cells == []


def test_a_bar_stays_as_it_was_when_the_training_was_stopped(
    asked: dict[str, Any], cells: list[list[tuple[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sweep.cluster.worker.train", stopped)
    with pytest.raises(KeyboardInterrupt):
        sweep.run(**asked)
    [outputs] = cells
    assert "0 of 4 trials" in outputs[-1][0] and 'value="0.0000"' in outputs[-1][0]


def test_at_a_terminal_there_is_a_bar_unless_none_is_wanted(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for progress in (False, True):
        monkeypatch.setattr("sys.stderr", terminal := Terminal())
        sweep.run(**asked | {"storage": f"{asked['storage']}/{progress}"}, progress=progress)
        assert ("4 of 4 trials" in terminal.getvalue()) is progress


def test_a_script_that_nobody_watches_is_told_nothing(
    asked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.run(**asked)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("shell", [None, type("TerminalInteractiveShell", (), {})()], ids=["imported", "a terminal's"])
def test_an_ipython_without_a_kernel_is_no_notebook(shell: object, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ModuleType("IPython")
    vars(made)["get_ipython"] = lambda: shell
    monkeypatch.setitem(sys.modules, "IPython", made)
    assert not places.in_notebook()
