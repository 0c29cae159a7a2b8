"""A ledger whose files are torn, damaged or missing, and writers that are killed anywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commits import TASKS, again, as_rows, expected, folder, ids, make_pack, snap, train
from pyarrow import parquet

from sweep.errors import StorageError
from sweep.ledger.ledger import Ledger
from sweep.ledger.storage import Storage


def test_a_torn_manifest_is_passed_over(ledger: Ledger) -> None:
    pack = make_pack()
    train(ledger, pack, last=3)
    newest = max(folder(ledger).glob("*/manifest-*"))
    whole = newest.read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        newest.write_bytes(whole[:length])
        resume = again(ledger).resume("pack")
        assert resume is not None
        assert (resume.tasks, resume.step, resume.checkpoint) == (2, 200, b"checkpoint 1")


@pytest.mark.parametrize("harm", ["missing", "short", "spoilt"])
def test_a_damaged_checkpoint_is_passed_over(ledger: Ledger, harm: str) -> None:
    train(ledger, make_pack(), last=3)
    newest = max(folder(ledger).glob("*/checkpoint-*"))
    if harm == "missing":
        newest.unlink()
    else:
        newest.write_bytes(newest.read_bytes()[:-1] + (b"!" if harm == "spoilt" else b""))
    resume = again(ledger).resume("pack")
    assert resume is not None
    assert (resume.tasks, resume.checkpoint) == (2, b"checkpoint 1")


@pytest.mark.parametrize("harm", ["missing", "short"])
def test_a_manifest_that_names_a_damaged_shard_is_passed_over(ledger: Ledger, harm: str) -> None:
    pack = make_pack()
    train(ledger, pack, last=3)
    newest = max(folder(ledger).glob("*/shard-*"))
    if harm == "missing":
        newest.unlink()
    else:
        newest.write_bytes(newest.read_bytes()[:-1])
    resume = again(ledger).resume("pack")
    assert resume is not None
    assert resume.tasks == 2
    train(ledger, pack, first=2, resume=resume)
    assert as_rows(again(ledger).curves(ids(pack))) == expected(pack)


def test_a_torn_final_manifest_leaves_the_trials_undone(ledger: Ledger) -> None:
    pack = make_pack()
    train(ledger, pack)
    newest = max(folder(ledger).glob("*/manifest-*"))
    newest.write_bytes(newest.read_bytes()[:-9])
    assert again(ledger).done() == {}
    assert [(known.tasks, known.finished) for known in again(ledger).packs()] == [(3, False)]


def test_a_shard_spoilt_later_is_an_error_that_says_what_to_do(ledger: Ledger) -> None:
    pack = make_pack()
    train(ledger, pack)
    shard = min(folder(ledger).glob("*/shard-*"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(StorageError, match=rf"{shard} is missing or damaged. Delete the folder"):
        again(ledger).curves(ids(pack))


def test_a_commit_that_failed_half_way_lends_its_names_to_nobody(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = make_pack()
    attempt = train(ledger, pack, last=1)
    write = Storage.write_bytes

    def full(storage: Storage, name: str, content: bytes) -> None:
        if "/checkpoint-" in name:
            raise StorageError(f"cannot write {name}: No space left on device")
        write(storage, name, content)

    with monkeypatch.context() as broken:
        broken.setattr(Storage, "write_bytes", full)
        with pytest.raises(StorageError, match="No space left"):
            attempt.commit(snap(pack, 1))
    assert [known.tasks for known in ledger.packs()] == [1]
    for task in (1, 2, 3):
        attempt.commit(snap(pack, task))
    assert as_rows(ledger.curves(ids(pack))) == expected(pack)
    assert sorted(path.name for path in folder(ledger).glob("*/shard-*")) == [
        f"shard-0000{n}.parquet" for n in (1, 2, 3, 4, 5)
    ]


WRITER = """
import os, signal, sys
sys.path[:0] = {paths}
from commits import Ledger, make_pack, snap
calls, deadly = 0, int(sys.argv[2])
def count(frame, event, argument):
    global calls
    calls += 1
    if calls == deadly:
        os.kill(os.getpid(), signal.SIGKILL)
ledger, pack = Ledger(sys.argv[1]), make_pack()
from sweep.ledger import provenance; provenance.collect()  # its subprocesses are no part of a commit
sys.setprofile(count)
attempt = ledger.open(pack)
for task in range(4):
    attempt.commit(snap(pack, task))
    print(task, flush=True)
sys.setprofile(None)
print(calls)
"""


def write_until_killed(storage: Path, deadly: int) -> subprocess.Popen[str]:
    root = Path(__file__).parents[3]
    paths = [str(root), str(root / "tests" / "helpers")]
    arguments = [sys.executable, "-c", WRITER.format(paths=paths), str(storage), str(deadly)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def test_a_writer_killed_anywhere_leaves_a_committed_prefix(tmp_path: Path) -> None:
    pack = make_pack()
    output = write_until_killed(tmp_path / "whole", -1).communicate()[0].split()
    assert output[:4] == ["0", "1", "2", "3"]
    whole = Ledger(tmp_path / "whole").digest(ids(pack))
    assert len(ids(pack)) == len(Ledger(tmp_path / "whole").done())
    points = np.random.default_rng(0).integers(1, int(output[4]), size=8).tolist()
    writers = [write_until_killed(tmp_path / str(point), point) for point in points]
    reached = set()
    for point, writer in zip(points, writers, strict=True):
        acknowledged = len(writer.communicate()[0].split())
        assert writer.returncode == -9
        ledger = Ledger(tmp_path / str(point))
        resume = ledger.resume("pack")
        tasks = resume.tasks if resume else 0
        assert acknowledged <= tasks <= acknowledged + 1
        reached.add(tasks)
        shards = resume.manifest.shards if resume else ()
        kept = [row for shard in shards for row in as_rows(parquet.read_table(folder(ledger) / shard.file))]
        assert sorted(kept) == [row for row in expected(pack) if row[2] < tasks]
        if tasks < TASKS:
            assert ledger.done() == {}
            train(ledger, pack, first=tasks, resume=resume)
        assert ledger.digest(ids(pack)) == whole
    assert len(reached) > 1  # the points were spread over the commits


def test_a_checkpoint_that_vanishes_while_one_looks_is_looked_for_again(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = make_pack()
    attempt = train(ledger, pack, last=1)
    real_list = Storage.list

    def list_then_move_on(storage: Storage, name: str = "") -> dict[str, int]:
        files = real_list(storage, name)
        monkeypatch.setattr(Storage, "list", real_list)
        for _ in range(2):  # each commit of the living worker may delete a checkpoint
            attempt.commit(snap(pack, 2))
        return files

    monkeypatch.setattr(Storage, "list", list_then_move_on)
    resume = again(ledger).resume("pack")
    assert resume is not None
    assert resume.checkpoint == b"checkpoint 2"
