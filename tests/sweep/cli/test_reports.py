"""`sweep report`: the page and the values beside it; what is on the page is tested beside `dashboards.report`."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
from tiny import Command

from dashboards.report import values
from sweep.ledger.ledger import Ledger


def test_the_csv_has_every_value(ran: Path) -> None:
    ledger = Ledger(str(ran))
    record = ledger.sweep("tiny", "full")
    content = values(record, ledger)
    assert content is not None
    table = pd.read_csv(io.BytesIO(content))
    assert len(table) == ledger.curves([trial.id for trial in record.trials]).num_rows
    assert set(table["optimizer.step_size"]) == {0.01, 0.003}


def test_the_command_writes_a_page_and_its_values(command: Command, ran: Path, tmp_path: Path) -> None:
    said = command("report", "tiny", "--storage", ran, "--out", tmp_path / "new" / "tiny.html")
    assert said.code == 0, said.err
    assert said.out.split() == [str(tmp_path / "new" / name) for name in ("tiny@full.csv", "tiny.html")]
    page = (tmp_path / "new" / "tiny.html").read_text()
    assert "Does a small sweep run?" in page and "sweep run tiny.yaml --scale full" in page
    said = command("report", "tiny", "--storage", ran, "--out", tmp_path / "tiny")
    assert said.code == 2 and "FILE.html" in said.err
