"""The ledger: what survives a crash, who wins, and that equal results have equal digests."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import fs, parquet

from sweep.errors import InputError, StorageError
from sweep.ledger import commits, provenance
from sweep.ledger.commits import PACKS, Attempt, Manifest
from sweep.ledger.ledger import Ledger
from sweep.ledger.shards import shard_bytes
from sweep.ledger.storage import Storage
from sweep.ledger.sweeps import SweepRecord

TASKS = 4
PERIOD = 100  # steps per task
NAMES = ("online_error", "effective_rank")


@dataclass(frozen=True)
class Snap:
    """Field for field a Snapshot of workloads.training.pack, which imports torch."""

    tasks: int
    step: int
    rows: Any
    statuses: list[str]
    ended: list[int]
    checkpoint: bytes | None
    weights: dict[str, bytes]


def make_pack(id: str = "pack", members: int = 3, first: int = 0) -> Any:
    trials = [SimpleNamespace(id=f"{first + i:016x}", config={"seed": i}) for i in range(members)]
    return SimpleNamespace(id=id, members=trials, to_json=lambda: json.dumps({"id": id}))


def value(member: int, metric: int, task: int) -> float:
    return 100.0 * member + 10.0 * metric + task


def make_rows(pack: Any, task: int, change: Callable[[float], float] = lambda v: v) -> Any:
    """One value per member and metric."""
    member, metric = np.divmod(np.arange(len(pack.members) * len(NAMES)), len(NAMES))
    return SimpleNamespace(
        names=NAMES,
        member=member.astype(np.int32),
        metric=metric.astype(np.int16),
        task=np.full(len(member), task, np.int32),
        step=np.full(len(member), (task + 1) * PERIOD, np.int64),
        value=np.array([change(value(i, j, task)) for i, j in zip(member, metric, strict=True)]),
    )


def snap(pack: Any, task: int, **changes: Any) -> Any:
    """The snapshot after a task."""
    finished = task + 1 == TASKS
    count = len(pack.members)
    return replace(
        Snap(
            tasks=task + 1,
            step=(task + 1) * PERIOD,
            rows=make_rows(pack, task),
            statuses=["done" if finished else "running"] * count,
            ended=[task + 1] * count,
            checkpoint=None if finished else b"checkpoint %d" % task,
            weights={},
        ),
        **changes,
    )


def train(ledger: Ledger, pack: Any, first: int = 0, last: int = TASKS, resume: Any = None) -> Attempt:
    attempt = ledger.open(pack, resume=resume)
    for task in range(first, last):
        attempt.commit(snap(pack, task))
    return attempt


def stop_one(ledger: Ledger, pack: Any) -> Attempt:
    """An attempt that stops the second member after two tasks and completes the others."""
    attempt = ledger.open(pack)
    attempt.commit(snap(pack, 0))
    attempt.commit(snap(pack, 1))
    attempt.commit(snap(pack, 2, statuses=["running", "censored", "running"], ended=[3, 2, 3]))
    attempt.commit(snap(pack, 3, statuses=["done", "censored", "done"], ended=[4, 2, 4]))
    return attempt


def ids(pack: Any) -> list[str]:
    return [member.id for member in pack.members]


def expected(pack: Any) -> list[tuple[str, str, int, int, float]]:
    """All rows of a pack, in order."""
    return sorted(
        (trial, name, task, (task + 1) * PERIOD, value(i, j, task))
        for i, trial in enumerate(ids(pack))
        for j, name in enumerate(NAMES)
        for task in range(TASKS)
    )


def as_rows(table: pa.Table) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in table.to_pylist()]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(str(tmp_path))


def folder(ledger: Ledger, pack: str = "pack") -> Path:
    assert ledger.storage.folder is not None
    return ledger.storage.folder / PACKS / pack


def again(ledger: Ledger) -> Ledger:
    """As another process sees it."""
    return Ledger(ledger.storage)


# What is kept


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


# What is torn


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
from test_ledger import Ledger, make_pack, snap
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
    paths = [str(Path(__file__).parents[3]), str(Path(__file__).parent)]
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


# Attempts


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


# Digests


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


def test_all_nans_are_one_value(tmp_path: Path) -> None:
    odd = struct.unpack("<d", struct.pack("<Q", 0xFFF8_0000_0000_1234))[0]
    assert digest_of(tmp_path / "usual", [1.0, np.nan]) == digest_of(tmp_path / "odd", [1.0, odd])
    values = Ledger(tmp_path / "odd").curves([f"{0:016x}"]).column("value").to_pylist()
    assert values[0] == 1.0
    assert np.isnan(values[1])


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


# Sweeps


def make_record(name: str = "study", scale: str = "paper", first: int = 0, trials: int = 3) -> SweepRecord:
    from sweep.trials import Trial

    config = {"workload": {"name": "w", "rate": 1e-3}, "methods": {"é": {"a": None}}}
    made = [Trial(f"{first + i:016x}", {**config, "seed": i}, (f"arm{i % 2}", "all"), "group") for i in range(trials)]
    return SweepRecord(name, scale, "# a question?\nseeds: 3\n", {"track": {"metrics": 6}}, made)


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


# Storages, size, imports


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


# Provenance


def test_provenance_names_versions_and_machine() -> None:
    facts = provenance.collect()
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["numpy"] == np.__version__
    assert facts["instruction_set"]
    assert set(facts) >= {"pliant", "torch", "ray", "mlflow", "host", "platform", "commit", "time"}
    assert provenance.version("no-such-package-anywhere") is None


def test_the_instruction_set_is_read_from_the_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for flags, widest in (("sse avx avx2", "avx2"), ("sse avx avx2 avx512f avx512bw", "avx512")):
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
        monkeypatch.setattr(provenance, "CPU_INFO", tmp_path / "cpuinfo")
        assert provenance.instruction_set() == widest


def test_the_commit_is_that_of_the_repository_itself(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    assert provenance.commit(tmp_path) is None
    git("init", "--quiet")
    assert provenance.commit(tmp_path) is None
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "file").write_text("1")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    head = git("rev-parse", "HEAD")
    assert provenance.commit(tmp_path) == head
    assert provenance.commit(tmp_path / "inside") is None
    (tmp_path / "inside" / "file").write_text("2")
    assert provenance.commit(tmp_path) == f"{head}-dirty"


def test_a_trial_that_was_stopped_never_stands_for_a_whole_one(ledger: Ledger) -> None:
    pack = make_pack()
    first, second, third = ids(pack)
    stopped = stop_one(ledger, pack)
    assert set(ledger.done()) == {first, third}
    assert {id: (end.status, end.tasks) for id, end in ledger.censored().items()} == {second: ("censored", 2)}
    assert set(ledger.curves(ids(pack)).column("trial").to_pylist()) == {first, third}
    assert ledger.digest(ids(pack)) == ledger.digest([first, third])
    assert ledger.resume(pack.id) is None, "whoever wants all of them whole begins anew"
    whole = train(ledger, pack)
    done = ledger.done()
    assert not ledger.censored() and {done[id].status for id in ids(pack)} == {"done"}
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
