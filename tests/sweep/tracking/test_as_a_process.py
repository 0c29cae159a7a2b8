"""A sync of a real ledger, in a process of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tracked import (
    at_end,
    curve,
    runs,
    small_sweep,
)

from sweep.ledger.ledger import Ledger
from sweep.tracking.__main__ import main
from sweep.trials import Trial


@dataclass(frozen=True)
class FakePack:
    id: str
    members: tuple[Trial, ...]

    def to_json(self) -> str:
        return "{}"


def test_the_real_ledger_as_a_process_would(
    uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from workloads.training.pack import Snapshot
    from workloads.training.rows import Rows

    record, values = small_sweep()
    ledger = Ledger(str(tmp_path))
    ledger.save_sweep(record)
    attempt = ledger.open(FakePack("pack", tuple(record.trials)))
    table = values.curves([trial.id for trial in record.trials]).to_pandas()
    order = {trial.id: number for number, trial in enumerate(record.trials)}
    rows = Rows(
        ("online_error", "stable_rank"),
        table["trial"].map(order).to_numpy(np.int32),
        (table["metric"] == "stable_rank").to_numpy(np.int16),
        table["task"].to_numpy(np.int32),
        table["step"].to_numpy(np.int64),
        table["value"].to_numpy(),
    )
    attempt.commit(Snapshot(7, 70, rows, ["done"] * 4, [7] * 4, None, {}))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    arguments = ["regression@smoke", "--storage", str(tmp_path)]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out) == {"created": 10, "updated": 0, "unchanged": 0}
    group = runs(uri, "group")["backprop-0.01"]
    assert curve(uri, group, "online_error/ci_high") == at_end(1)
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out) == {"created": 0, "updated": 0, "unchanged": 10}
    assert main(["nothing@smoke", *arguments[1:]]) == 2
    assert "nothing" in capsys.readouterr().err
