"""`sweep claims` and `sweep reproduce` as a person meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from tiny import Command

from dashboards.papers import PAPERS
from sweep.spec.studies import load


def test_claims_of_a_sweep(command: Command, ran: Path) -> None:
    said = command("claims", "tiny", "--storage", ran)
    assert said.code == 0
    assert "5 undecided" in said.out or "undecided" in said.out
    assert "not in this sweep: adam_declines (no arm is Adam)" in " ".join(said.out.split())
    rows = json.loads(command("claims", "--storage", ran, "--json").out)
    assert {row["sweep"] for row in rows} == {"tiny@full"}
    assert {row["verdict"] for row in rows} == {"undecided"}  # of two seeds


def test_claims_where_there_is_no_sweep(command: Command, tmp_path: Path) -> None:
    said = command("claims", "--storage", tmp_path)
    assert said.code == 2 and "no sweep was run" in said.err
    assert command("claims", "demo", "--storage", tmp_path).code == 2


def test_a_paper_that_is_not_known(command: Command, tmp_path: Path) -> None:
    said = command("reproduce", "isometri", "--storage", tmp_path)
    assert said.code == 2
    assert "unknown paper 'isometri': did you mean 'isometry'?" in said.err
    assert not list(tmp_path.iterdir())


def test_a_page_where_a_file_is(command: Command, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("")
    said = command("reproduce", "isometry", "--out", tmp_path / "there", "--storage", tmp_path / "storage")
    assert said.code == 2 and "is a file" in said.err
    assert not (tmp_path / "storage").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("paper", "verdicts"),  # of one seed or two, and of trials of a few steps
    [
        ("loss-of-plasticity", {"undecided"}),
        ("loss-of-plasticity-agents", {"undecided", "too short to tell"}),
    ],
)
def test_a_paper_is_repeated_from_one_command_and_continued(
    paper: str, verdicts: set[str], command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ("reproduce", paper, "--scale", "smoke", "--storage", tmp_path / "storage", "--inline")
    said = command(*asked, "--no-track")
    assert said.code == 0, said.err
    page = tmp_path / f"{paper}-smoke" / "index.html"
    assert str(page.relative_to(tmp_path)) in said.out
    for study in PAPERS[paper].studies:
        assert f'<h2 id="{study}">' in page.read_text()
        drawn = {path.stem for path in (page.parent / study).glob("*.png")}
        assert drawn == set(load(study, "smoke").figures)
    assert set(pd.read_csv(page.parent / "claims.csv")["verdict"]) == verdicts
    again = command(*asked, "--no-track")
    assert "at scale smoke: 0 trials to run" in again.out
