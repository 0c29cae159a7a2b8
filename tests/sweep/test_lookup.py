"""Where results are kept, and how a sweep is found in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.errors import InputError
from sweep.ledger.ledger import Ledger
from sweep.ledger.sweeps import SweepRecord
from sweep.lookup import find_sweep, storage_of


def test_where_results_go(alone: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage_of(None) == str(tmp_path / "pliant") == storage_of("")
    monkeypatch.setenv("PLIANT_STORAGE", "elsewhere")
    assert storage_of(None) == str(tmp_path / "elsewhere")
    assert storage_of("here") == str(tmp_path / "here")
    assert storage_of("s3://bucket/x") == "s3://bucket/x"


def test_a_sweep_is_found_by_name_scale_or_file(storage: Path) -> None:
    ledger = Ledger(storage)
    for name in ("tiny", "tiny@full", "tiny.yaml", "some/where/tiny.yaml"):
        assert find_sweep(ledger, name).identity == "tiny@full"
    with pytest.raises(InputError, match=r"'huge' was not run in the storage .*; there: tiny@full"):
        find_sweep(ledger, "huge")
    with pytest.raises(InputError, match="there: none yet"):
        find_sweep(Ledger(storage / "empty"), "tiny")
    record = ledger.sweep("tiny", "full")
    ledger.save_sweep(SweepRecord("tiny", "smoke", record.file_text, record.manifest, record.trials))
    with pytest.raises(InputError, match="was run at several scales: say tiny@full or tiny@smoke"):
        find_sweep(ledger, "tiny")
    assert find_sweep(ledger, "tiny", "smoke").scale == "smoke"
