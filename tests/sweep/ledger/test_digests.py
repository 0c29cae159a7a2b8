"""The digest of results: by hand, and what it depends on and what not."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from commits import (
    NAMES,
    TASKS,
    as_rows,
    ids,
    make_pack,
    make_rows,
    snap,
    train,
)

from sweep.ledger.ledger import Ledger


def digest_of(folder: Path, values: list[float], trial: int = 0) -> str:
    ledger, pack = Ledger(folder), make_pack(members=1, first=trial)
    count = len(values)
    rows = SimpleNamespace(
        names=("m",),
        member=np.zeros(count, np.int32),
        metric=np.zeros(count, np.int16),
        task=np.arange(count, dtype=np.int32),
        step=np.arange(count, dtype=np.int64),
        value=np.array(values),
    )
    ledger.open(pack).commit(snap(pack, TASKS - 1, rows=rows))
    return ledger.digest(ids(pack))


def test_a_digest_worked_out_by_hand(tmp_path: Path) -> None:
    text = b"0000000000000000\0m\x002\0" + struct.pack("<2i", 0, 1) + struct.pack("<2d", 1.5, -2.0)
    assert digest_of(tmp_path, [1.5, -2.0]) == hashlib.sha256(text).hexdigest()


def test_one_bit_of_one_value_changes_the_digest(tmp_path: Path) -> None:
    base = digest_of(tmp_path / "base", [1.0, 2.0])
    assert digest_of(tmp_path / "same", [1.0, 2.0]) == base
    assert digest_of(tmp_path / "bit", [1.0, np.nextafter(2.0, 3.0)]) != base
    assert digest_of(tmp_path / "order", [2.0, 1.0]) != base
    assert digest_of(tmp_path / "trial", [1.0, 2.0], trial=1) != base
    assert digest_of(tmp_path / "sign", [0.0]) != digest_of(tmp_path / "minus", [-0.0])


def test_the_digest_does_not_depend_on_how_trials_were_packed_or_cut(tmp_path: Path) -> None:
    together, apart = Ledger(tmp_path / "together"), Ledger(tmp_path / "apart")
    pack = make_pack(members=2)
    train(together, pack)
    for i, trial in enumerate(pack.members):
        single = SimpleNamespace(id=f"single{i}", members=[trial], to_json=lambda: "{}")
        attempt = apart.open(single)
        rows = [make_rows(pack, task) for task in range(TASKS)]
        mine = [row.member == i for row in rows]
        merged = {
            name: np.concatenate([getattr(row, name)[keep] for row, keep in zip(rows, mine, strict=True)])
            for name in ("metric", "task", "step", "value")
        }
        merged["member"] = np.zeros(len(merged["task"]), np.int32)
        attempt.commit(snap(single, 3, rows=SimpleNamespace(names=NAMES, **merged)))
    assert apart.digest(reversed(ids(pack))) == together.digest(ids(pack))
    assert as_rows(apart.curves(ids(pack))) == as_rows(together.curves(ids(pack)))


def test_all_nans_are_one_value(tmp_path: Path) -> None:
    odd = struct.unpack("<d", struct.pack("<Q", 0xFFF8_0000_0000_1234))[0]
    assert digest_of(tmp_path / "usual", [1.0, np.nan]) == digest_of(tmp_path / "odd", [1.0, odd])
    values = Ledger(tmp_path / "odd").curves([f"{0:016x}"]).column("value").to_pylist()
    assert values[0] == 1.0
    assert np.isnan(values[1])
