"""Sweeps in the ledger: saved, grown, damaged, and found by their trials."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from commits import (
    again,
    make_record,
)
from pyarrow import parquet

from sweep.errors import InputError, StorageError
from sweep.ledger.ledger import Ledger


def test_a_sweep_comes_back_as_it_was_saved(ledger: Ledger) -> None:
    record = make_record()
    ledger.save_sweep(record)
    ledger.save_sweep(make_record("b@c", "laptop"))
    assert again(ledger).sweep("study", "paper") == record
    assert record.identity == "study@paper"
    assert ledger.sweeps() == [("b@c", "laptop"), ("study", "paper")]
    assert ledger.storage.folder is not None
    copy = json.loads((ledger.storage.folder / "sweeps/study@paper/manifest.json").read_text())
    assert (copy["file"], copy["manifest"]) == (record.file_text, record.manifest)


def test_a_record_that_names_one_arm_a_trial_is_still_read(ledger: Ledger) -> None:
    ledger.save_sweep(make_record())
    assert ledger.storage.folder is not None
    path = ledger.storage.folder / "sweeps/study@paper/trials.parquet"
    table = parquet.read_table(path)
    arms = pa.array([json.loads(text)[0] for text in table.column("arms").to_pylist()])
    older = table.set_column(table.column_names.index("arms"), "arm", arms)
    parquet.write_table(older.replace_schema_metadata(table.schema.metadata), path)
    record = again(ledger).sweep("study", "paper")
    assert [trial.arms for trial in record.trials] == [("arm0",), ("arm1",), ("arm0",)]
    assert record.arms == ["arm0", "arm1"]


def test_a_grown_or_shrunk_sweep_holds_its_present_trials(ledger: Ledger) -> None:
    for trials in (3, 5, 2, 0):
        ledger.save_sweep(make_record(trials=trials))
        assert len(ledger.sweep("study", "paper").trials) == trials
    assert ledger.sweeps() == [("study", "paper")]


def test_unknown_and_damaged_sweeps(ledger: Ledger) -> None:
    with pytest.raises(InputError, match=r"no sweep study@paper: none is in"):
        ledger.sweep("study", "paper")
    ledger.save_sweep(make_record())
    with pytest.raises(InputError, match=r"unknown sweep 'stud@paper': did you mean 'study@paper'"):
        ledger.sweep("stud", "paper")
    ledger.storage.write_bytes("sweeps/study@paper/trials.parquet", b"not parquet")
    with pytest.raises(StorageError, match=r"trials\.parquet is damaged"):
        ledger.sweep("study", "paper")


def test_a_trial_is_found_by_the_beginning_of_its_id(ledger: Ledger) -> None:
    with pytest.raises(InputError, match="holds no sweep yet"):
        ledger.find_trial("ab")
    ledger.save_sweep(make_record(first=0xABC0_0000_0000_0000))
    ledger.save_sweep(make_record("other", first=0xABD0_0000_0000_0000, trials=1))
    assert ledger.find_trial("ABD") == "abd0000000000000"
    assert ledger.find_trial("abc0000000000002") == "abc0000000000002"
    with pytest.raises(InputError, match="4 trials begin with 'ab': abc0000000000000, abc0000000000001"):
        ledger.find_trial("ab")
    with pytest.raises(InputError, match="no trial begins with 'abdd'; nearest: abd0000000000000, abc"):
        ledger.find_trial("abdd")
