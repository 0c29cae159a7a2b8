"""What TAB offers, as bash asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import TINY, Command

from sweep.ledger.ledger import Ledger


def offered(command: Command, monkeypatch: pytest.MonkeyPatch, line: str) -> list[str]:
    """What is offered for the last word of a line that begins with `sweep`."""
    words = line.split(" ")
    monkeypatch.setenv("_SWEEP_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    said = command()
    assert said.err == ""
    return said.out.split()


def test_what_can_follow(command: Command, ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLIANT_STORAGE", str(ran))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(TINY + "scales: {smoke: {seeds: 1}}\n")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "other.yml").touch()
    first = Ledger(ran).sweep("tiny", "full").trials[0].id
    lines = {
        "sweep run dem": ["demo", "demo_mnist"],
        "sweep plan m": ["mine.yaml", "more/"],
        "sweep plan more/": ["more/other.yml"],
        "sweep run demo --scale ": ["paper", "laptop", "smoke"],
        "sweep run mine.yaml --scale f": ["full"],
        "sweep run nothing --scale ": [],
        "sweep status t": ["tiny@full"],
        f"sweep trial {first[:5]}": [first],
        "sweep figure tiny --name ar": ["arms"],
        "sweep data fetch mn": ["mnist"],
        "sweep stat": ["status"],
        "sweep compare tiny s": ["sgd"],
        "sweep compare tiny sgd s": ["sgd"],
        "sweep figure tiny --arms s": ["sgd"],
        "sweep figure tiny --arms other,s": ["other,sgd"],
        "sweep figure tiny --arms sgd,": [],
        "sweep figure tiny --metric online_e": ["online_error"],
        "sweep results tiny --metric ": ["online_error", "effective_rank"],
        "sweep results nothing --metric online_a": ["online_accuracy"],
        "sweep run demo --set workload.tas": ["workload.tasks=", "workload.task_boundaries="],
        "sweep plan mine.yaml --scale smoke --set arms.sgd.": [
            *("arms.sgd.step_size=", "arms.sgd.momentum=", "arms.sgd.weight_decay="),
        ],
        "sweep run nothing --set ": [],
        "sweep init me": ["method"],
        "sweep init mine --like demo_": ["demo_mnist"],
    }
    assert {line: offered(command, monkeypatch, line) for line in lines} == lines


def test_a_storage_that_cannot_be_read_offers_nothing(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sweeps" / "a@b").mkdir(parents=True)
    (tmp_path / "sweeps" / "a@b" / "trials.parquet").write_bytes(b"PAR1")
    monkeypatch.setenv("PLIANT_STORAGE", str(tmp_path))
    assert offered(command, monkeypatch, "sweep trial ") == []
