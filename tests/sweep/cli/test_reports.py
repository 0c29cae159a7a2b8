"""`sweep report`: the page and the values beside it; what is on the page is tested beside `dashboards.report`."""

from __future__ import annotations

import html
import io
from pathlib import Path

import pandas as pd
import pytest
import synthetic
from tiny import Command

from dashboards import report
from dashboards.report import values
from sweep.ledger.ledger import Ledger
from sweep.results import frames
from sweep.results.results import Results

TEXT = """\
name: {name}
workload: {{name: slowly_changing_regression, tasks: {tasks}, period: 100}}
network: {{width: 3}}
seeds: 1
arms: {{sgd: {{optimizer: sgd, step_size: 0.01}}}}
metrics: [online_error]
"""


def test_the_csv_has_every_value(ran: Path) -> None:
    ledger = Ledger(str(ran))
    record = ledger.sweep("tiny", "full")
    content = values(Results(record, ledger))
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


def test_page_and_values_are_made_of_one_table_of_trials(
    ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 100,000 trials one takes a second."""
    ledger, read = Ledger(str(ran)), []
    trials = frames.trials
    monkeypatch.setattr(frames, "trials", lambda *of: read.append(of) or trials(*of))
    assert len(list(report.report([(ledger.sweep("tiny", "full"), ledger)], tmp_path / "tiny.html", pytest.fail))) == 2
    assert len(read) == 1


def test_a_sweep_with_too_many_values_for_a_file_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two sweeps the second has a file alone: the page names it beside the second one."""
    many = synthetic.sweep(TEXT.format(name="many", tasks=30))
    few = synthetic.sweep(TEXT.format(name="few", tasks=20))
    monkeypatch.setattr(report, "MOST", 20)
    lacking: list[str] = []
    sweeps = [(each.record, each) for each in (many, few)]
    written = list(report.report(sweeps, tmp_path / "both.html", lacking.append))  # type: ignore[arg-type]
    assert [path.name for path in written] == ["few@full.csv", "both.html"]
    why = 'many@full has 30 values, too many for a CSV file: sweep.curves("many@full") gives them in Python'
    assert lacking == [why]
    page = html.unescape((tmp_path / "both.html").read_text())
    of_many, of_few = page[page.index('id="repeat"') :].split("<h3>few@full</h3>")
    assert why in of_many and "few@full.csv" not in of_many
    assert "The numbers behind this page: <code>few@full.csv</code>" in of_few


def test_a_sweep_without_a_value_stands_beside_another(tmp_path: Path) -> None:
    none = synthetic.sweep(TEXT.format(name="none", tasks=20), pending=lambda trial: True)
    some = synthetic.sweep(TEXT.format(name="some", tasks=20))
    sweeps = [(each.record, each) for each in (none, some)]
    written = list(report.report(sweeps, tmp_path / "both.html", pytest.fail))  # type: ignore[arg-type]
    assert [path.name for path in written] == ["some@full.csv", "both.html"]
    page = (tmp_path / "both.html").read_text()
    of_none, of_some = page[page.index('id="repeat"') :].split("<h3>some@full</h3>")
    assert "The numbers behind" not in of_none and "some@full.csv" in of_some
