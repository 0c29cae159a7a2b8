"""The ledger: what survives a crash, who wins, and that equal results have equal digests."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from commits import TASKS, again, as_rows, expected, folder, ids, make_pack, make_record, make_rows, snap, train
from pyarrow import fs, parquet

from sweep.errors import StorageError
from sweep.ledger import commits, provenance
from sweep.ledger.commits import PACKS, Attempt, Manifest
from sweep.ledger.ledger import Ledger
from sweep.ledger.shards import shard_bytes
from sweep.ledger.storage import Storage


def stop_one(ledger: Ledger, pack: Any) -> Attempt:
    """An attempt that stops the second member after two tasks and completes the others."""
    attempt = ledger.open(pack)
    attempt.commit(snap(pack, 0))
    attempt.commit(snap(pack, 1))
    attempt.commit(snap(pack, 2, statuses=["running", "censored", "running"], ended=[3, 2, 3]))
    attempt.commit(snap(pack, 3, statuses=["done", "censored", "done"], ended=[4, 2, 4]))
    return attempt


def test_a_finished_pack_gives_back_what_was_committed(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = make_pack()
    monkeypatch.setattr(commits.time, "time", lambda: 1.75e9)
    attempt = train(ledger, pack)
    done = again(ledger).done()
    assert list(done) == ids(pack)
    one = done[ids(pack)[0]]
    assert (one.status, one.pack, one.attempt, one.tasks) == ("done", "pack", attempt.name, TASKS)
    assert one.finished == 1.75e9
    table = again(ledger).curves(ids(pack))
    assert as_rows(table) == expected(pack)
    text = pa.dictionary(pa.int32(), pa.string())
    assert table.schema.names == ["trial", "metric", "task", "step", "value"]
    assert table.schema.types == [text, text, pa.int32(), pa.int64(), pa.float64()]


def test_curves_of_some_trials_and_metrics(ledger: Ledger) -> None:
    pack = make_pack()
    train(ledger, pack)
    wanted = ids(pack)[1]
    assert as_rows(ledger.curves([wanted], ["online_error"])) == [
        row for row in expected(pack) if row[:2] == (wanted, "online_error")
    ]
    assert ledger.curves([wanted], ["no such metric"]).num_rows == 0
    assert ledger.curves([]).schema == ledger.curves(ids(pack)).schema


def test_an_unfinished_pack_has_no_done_trials_and_no_curves(ledger: Ledger) -> None:
    pack = make_pack()
    train(ledger, pack, last=2)
    assert ledger.done() == {}
    assert ledger.curves(ids(pack)).num_rows == 0
    assert ledger.digest(ids(pack)) == hashlib.sha256().hexdigest()


def test_a_diverged_member_is_done_with_its_pack(ledger: Ledger) -> None:
    pack = make_pack()
    attempt = ledger.open(pack)
    attempt.commit(snap(pack, 0, statuses=["running", "diverged", "running"], ended=[1, 0, 1]))
    assert ledger.done() == {}
    assert ledger.packs()[0].diverged == 1
    attempt.commit(snap(pack, 3, statuses=["done", "diverged", "done"], ended=[4, 0, 4]))
    assert [(done.status, done.tasks) for done in ledger.done().values()] == [
        ("done", 4),
        ("diverged", 0),
        ("done", 4),
    ]


def test_a_commit_without_rows_writes_no_shard(ledger: Ledger) -> None:
    pack = make_pack()
    attempt = ledger.open(pack)
    nothing = make_rows(make_pack(members=0), 0)
    attempt.commit(snap(pack, 0, rows=nothing))
    resume = ledger.resume("pack")
    assert resume is not None
    assert resume.manifest.shards == ()


def test_new_metrics_and_other_orders_of_names_between_commits(ledger: Ledger) -> None:
    pack = make_pack(members=1)
    attempt = ledger.open(pack)
    numbers = {"member": np.zeros(2, np.int32), "task": np.zeros(2, np.int32), "step": np.zeros(2, np.int64)}
    for task, names in ((0, ("b", "a")), (3, ("c", "b"))):
        rows = SimpleNamespace(
            names=names, metric=np.array([0, 1], np.int16), value=np.array([1.0, 2.0]) + task, **numbers
        )
        rows.task = np.full(2, task, np.int32)
        attempt.commit(snap(pack, task, rows=rows))
    seen = [(row[1], row[2], row[4]) for row in as_rows(ledger.curves(ids(pack)))]
    assert seen == [("a", 0, 2.0), ("b", 0, 1.0), ("b", 3, 5.0), ("c", 3, 4.0)]


def test_a_snapshot_that_contradicts_itself_is_refused(ledger: Ledger) -> None:
    pack = make_pack()
    attempt = ledger.open(pack)
    with pytest.raises(ValueError, match="members still run"):
        attempt.commit(snap(pack, 0, checkpoint=None))
    with pytest.raises(ValueError, match="2 statuses for 3 members"):
        attempt.commit(snap(pack, 0, statuses=["running"] * 2))


def test_manifests_round_trip(ledger: Ledger) -> None:
    pack = make_pack(members=5)
    ends = ["running", "running", "diverged", "running", "running"]
    train(ledger, pack, last=1).commit(snap(pack, 1, statuses=ends, ended=[2, 2, 1, 2, 2]))
    resume = ledger.resume("pack")
    assert resume is not None
    manifest = resume.manifest
    assert manifest.statuses == tuple(ends)
    assert manifest.ended == (2, 2, 1, 2, 2)
    assert manifest.provenance == provenance.collect()
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert json.loads(manifest.to_json())["members"] == [
        ["running", 2, 2],
        ["diverged", 1, 1],
        ["running", 2, 2],
    ]


def test_a_newer_format_is_refused_in_words(ledger: Ledger) -> None:
    train(ledger, make_pack())
    path = max(folder(ledger).glob("*/manifest-*"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(StorageError, match="newer version of Pliant"):
        again(ledger).done()


def test_kept_weights_come_back_in_order(ledger: Ledger) -> None:
    pack = make_pack(members=2)
    a, b = ids(pack)
    attempt = ledger.open(pack)
    attempt.commit(snap(pack, 1, weights={f"{a}-task00002.pt": b"a2", f"{b}-task00002.pt": b"b2"}))
    resumed = ledger.open(pack, resume=ledger.resume("pack"))
    resumed.commit(snap(pack, 3, weights={f"{b}-final.pt": b"b!", f"{a}-final.pt": b"a!"}))
    assert ledger.weights(a) == [(2, b"a2"), ("final", b"a!")]
    assert ledger.weights(b) == [(2, b"b2"), ("final", b"b!")]
    assert ledger.weights("unknown") == []


def test_names_of_attempts_are_never_used_again(ledger: Ledger) -> None:
    pack = make_pack()
    assert len({ledger.open(pack).name for _ in range(200)}) == 200


def test_no_file_is_written_twice(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    write = Storage.write_bytes

    def record(storage: Storage, name: str, content: bytes) -> None:
        written.append(name)
        write(storage, name, content)

    monkeypatch.setattr(Storage, "write_bytes", record)
    pack = make_pack()
    train(ledger, pack, last=3)
    train(ledger, pack, first=3, resume=ledger.resume("pack"))
    train(ledger, pack)
    assert len(written) == len(set(written))
    attempt = written[0].split("/")[3]
    assert [name.rpartition("/")[2] for name in written if f"/{attempt}/" in name][:3] == [
        "shard-00001.parquet",
        "checkpoint-00001.pt",
        "manifest-00001.json",
    ]


def test_a_resumed_attempt_inherits_shards(ledger: Ledger) -> None:
    pack = make_pack()
    first = train(ledger, pack, last=2)
    resume = again(ledger).resume("pack")
    assert resume is not None
    assert (resume.tasks, resume.step, resume.finished) == (2, 200, False)
    first.commit(snap(pack, 2))  # the first attempt was not dead; the second continues from where it looked
    second = train(ledger, pack, first=2, resume=resume)
    final = again(ledger).resume("pack")
    assert final is not None
    assert (final.finished, final.checkpoint) == (True, None)
    assert final.manifest.resumed_from == f"{first.name}/manifest-00002.json"
    assert [shard.file.partition("/")[0] for shard in final.manifest.shards] == [first.name] * 2 + [second.name] * 2
    assert as_rows(ledger.curves(ids(pack))) == expected(pack)


def test_resume_takes_the_furthest_of_all_attempts(ledger: Ledger) -> None:
    pack = make_pack()
    train(ledger, pack, last=1)
    train(ledger, pack, last=3)
    train(ledger, pack, last=2)
    resume = again(ledger).resume("pack")
    assert resume is not None
    assert (resume.tasks, resume.checkpoint) == (3, b"checkpoint 2")
    assert ledger.resume("unknown") is None


def test_the_first_complete_attempt_wins_and_equal_values_have_equal_digests(ledger: Ledger) -> None:
    pack = make_pack()
    first, second = ledger.open(pack), ledger.open(pack)
    for task in range(TASKS):
        second.commit(snap(pack, task))
    digest = ledger.digest(ids(pack))
    for task in range(TASKS - 1):
        first.commit(snap(pack, task))
    first.commit(snap(pack, TASKS - 1, rows=make_rows(pack, TASKS - 1, lambda v: v + 1)))
    assert {done.attempt for done in again(ledger).done().values()} == {second.name}
    assert as_rows(again(ledger).curves(ids(pack))) == expected(pack)
    assert again(ledger).digest(ids(pack)) == digest


def test_a_trial_in_two_packs_is_taken_from_the_first_finished(ledger: Ledger) -> None:
    small, large = make_pack("small", 2), make_pack("large", 3)
    train(ledger, small)
    train(ledger, large)
    assert [done.pack for done in ledger.done().values()] == ["small", "small", "large"]
    assert as_rows(ledger.curves(ids(large))) == expected(large)


def test_only_recent_checkpoints_stay_and_none_after_the_end(ledger: Ledger) -> None:
    pack = make_pack()
    train(ledger, pack, last=1)
    second = train(ledger, pack, last=3)
    mine = sorted(path.name for path in folder(ledger).glob(f"{second.name}/checkpoint-*"))
    assert mine == ["checkpoint-00002.pt", "checkpoint-00003.pt"]
    second.commit(snap(pack, 3))
    assert list(folder(ledger).glob("*/checkpoint-*")) == []


def test_packs_known_incomplete_and_finished(ledger: Ledger) -> None:
    described, begun, finished = (make_pack(id) for id in ("described", "begun", "finished"))
    ledger.describe(described)
    train(ledger, begun, last=2)
    train(ledger, begun, last=1)
    train(ledger, finished)
    known = {pack.id: pack for pack in again(ledger).packs()}
    assert {id: (p.finished, p.attempts, p.tasks, p.step) for id, p in known.items()} == {
        "begun": (False, 2, 2, 200),
        "described": (False, 0, 0, 0),
        "finished": (True, 1, 4, 400),
    }
    assert known["described"].members == tuple(ids(described))
    assert known["described"].updated is None
    assert [pack.id for pack in again(ledger).incomplete()] == ["begun"]
    assert ledger.description("described") == described.to_json()
    with pytest.raises(StorageError, match="pack nobody is not described"):
        ledger.description("nobody")


def test_cleaning_deletes_only_packs_that_nobody_else_wants(ledger: Ledger) -> None:
    mine, mixed, theirs = (make_pack(id, 2, first) for id, first in (("mine", 0), ("mixed", 2), ("theirs", 4)))
    for pack in (mine, mixed, theirs):
        train(ledger, pack, last=4 if pack is not mine else 3)
    size = sum(path.stat().st_size for path in folder(ledger, "mine").rglob("*") if path.is_file())
    cleaned = ledger.clean([*ids(mine), ids(mixed)[0], "unknown"])
    assert (cleaned.deleted, cleaned.trials, cleaned.bytes, cleaned.kept) == (("mine",), 2, size, ("mixed",))
    assert not folder(ledger, "mine").exists()
    assert sorted(again(ledger).done()) == sorted(ids(mixed) + ids(theirs))
    assert ledger.clean([]).deleted == ()


@pytest.mark.parametrize("kind", ["uri", "memory", "subtree"])
def test_other_file_systems(tmp_path: Path, kind: str) -> None:
    storage = {
        "uri": lambda: Storage(tmp_path.as_uri()),
        "memory": lambda: Storage("bucket", filesystem=fs.FileSystem.from_uri("mock:///")[0]),
        "subtree": lambda: Storage("x", filesystem=fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())),
    }[kind]()
    ledger, pack, local = Ledger(storage), make_pack(), Ledger(tmp_path / "local")
    ledger.check_writable()
    assert storage.list() == {}
    train(ledger, pack, last=2)
    train(ledger, pack, first=2, resume=ledger.resume("pack"))
    train(local, pack)
    ledger.save_sweep(make_record())
    assert as_rows(ledger.curves(ids(pack))) == expected(pack)
    assert ledger.digest(ids(pack)) == local.digest(ids(pack))
    assert ledger.find_trial("0000000000000002") == "0000000000000002"
    assert ledger.clean(ids(pack)).deleted == ("pack",)
    assert ledger.packs() == []


def test_a_storage_that_cannot_be_written_is_told_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=rf"cannot write {tmp_path}/file/.*: (Not a directory|File exists)"):
        Ledger(tmp_path / "file").check_writable()


def test_what_is_done_costs_one_listing_and_reads_each_file_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    packs = [make_pack(f"pack{i:03d}", 2, 2 * i) for i in range(20)]
    for pack in packs:
        train(ledger, pack)
    lists: list[str] = []
    reads: list[str] = []
    real_list, real_read = Storage.list, Storage.read_bytes
    monkeypatch.setattr(Storage, "list", lambda s, name="": lists.append(name) or real_list(s, name))
    monkeypatch.setattr(Storage, "read_bytes", lambda s, name: reads.append(name) or real_read(s, name))
    reader = again(ledger)
    assert len(reader.done()) == 40
    assert len(reader.done()) == 40
    assert lists == [PACKS, PACKS]
    assert sorted(name.rpartition("/")[2] for name in reads) == ["manifest-00004.json"] * 20 + ["members.json"] * 20


def test_a_shard_of_a_wide_pack_is_small_and_comes_back_whole(ledger: Ledger) -> None:
    members, tasks = 2000, 50
    pack = make_pack(members=members)
    rng = np.random.default_rng(0)
    rows = SimpleNamespace(
        names=("m",),
        member=np.tile(np.arange(members, dtype=np.int32), tasks),
        metric=np.zeros(members * tasks, np.int16),
        task=np.repeat(np.arange(tasks, dtype=np.int32), members),
        step=np.repeat(np.arange(tasks, dtype=np.int64) * 10_000, members),
        value=rng.random(members * tasks),
    )
    assert len(shard_bytes(rows, ids(pack))) < 9 * len(rows.value)
    ledger.open(pack).commit(snap(pack, 3, rows=rows))
    table = ledger.curves(ids(pack))
    np.testing.assert_array_equal(
        table.column("value").to_numpy().reshape(members, tasks), rows.value.reshape(tasks, members).T
    )


def test_shards_are_plain_parquet(ledger: Ledger) -> None:
    pack = make_pack()
    table = parquet.read_table(io.BytesIO(shard_bytes(make_rows(pack, 0), ids(pack))))
    assert as_rows(table)[1] == (ids(pack)[0], "effective_rank", 0, 100, 10.0)
    compression = parquet.ParquetFile(io.BytesIO(shard_bytes(make_rows(pack, 0), ids(pack)))).metadata
    assert compression.row_group(0).column(4).compression == "ZSTD"


def test_the_ledger_imports_nothing_heavy(tmp_path: Path) -> None:
    train(Ledger(tmp_path), make_pack())
    program = """
import sys
from sweep.ledger.ledger import Ledger
ledger = Ledger(sys.argv[1])
ledger.check_writable()
ids = list(ledger.done())
assert ledger.packs() and ledger.curves(ids).num_rows == 24 and ledger.digest(ids)
print([name for name in ("torch", "ray", "mlflow", "pandas") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_trial_that_was_stopped_never_stands_for_a_whole_one(ledger: Ledger) -> None:
    pack = make_pack()
    first, second, third = ids(pack)
    stopped = stop_one(ledger, pack)
    assert set(ledger.done()) == {first, third}
    cut = {id: (end.status, end.tasks) for id, end in ledger.ends().items() if id not in ledger.done()}
    assert cut == {second: ("censored", 2)}
    assert set(ledger.curves(ids(pack)).column("trial").to_pylist()) == {first, third}
    assert ledger.digest(ids(pack)) == ledger.digest([first, third])
    assert ledger.resume(pack.id) is None, "whoever wants all of them whole begins anew"
    whole = train(ledger, pack)
    done = ledger.done()
    assert ledger.ends() == done and {done[id].status for id in ids(pack)} == {"done"}
    assert (done[first].attempt, done[second].attempt) == (stopped.name, whole.name), "the first complete one wins"
    assert as_rows(ledger.curves(ids(pack))) == expected(pack)


def test_a_pack_goes_on_from_before_a_member_was_stopped(ledger: Ledger) -> None:
    pack = make_pack()
    attempt = ledger.open(pack)
    attempt.commit(snap(pack, 0))
    attempt.commit(snap(pack, 1, statuses=["running", "censored", "running"], ended=[2, 1, 2]))
    resume = ledger.resume(pack.id)
    assert resume is not None and resume.tasks == 1
    train(ledger, pack, 1, resume=resume)
    assert as_rows(ledger.curves(ids(pack))) == expected(pack)


def test_a_whole_attempt_under_way_is_what_a_pack_has_come_to(ledger: Ledger) -> None:
    pack = make_pack()
    stop_one(ledger, pack)
    (state,) = ledger.packs()
    assert state.finished and not ledger.incomplete()
    train(ledger, pack, 0, 2)
    (state,) = ledger.incomplete()
    assert (state.finished, state.tasks) == (False, 2)
