"""The command line as a person meets it: what it says, what it refuses and how, and what it leaves on disk."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.utils import rest_utils
from tiny import TINY, Command, Said

from sweep.cli import commands, output, status
from sweep.ledger.ledger import Ledger
from sweep.spec.studies import studies
from workloads.data.catalogue import DATASETS
from workloads.data.entries import FILES

IMAGES = """\
workload: {name: permuted_mnist, dataset: DATASET, tasks: 2, examples_per_task: 20}
network: {width: 2}
arms: {sgd: {optimizer: sgd}}
diagnostics: {every: 1, probe: 10}
"""


def refused(said: Said, *parts: str) -> None:
    """A user's mistake: exit code 2, nothing but one screen on standard error that names what is wrong."""
    assert said.code == 2, said
    assert said.err and "Traceback" not in said.err and "Traceback" not in said.out
    assert len(said.err) < 1600 and len(said.err.splitlines()) <= 20
    for part in parts:
        assert part in said.err, said.err


def written(storage: Path) -> list[str]:
    """Files below a storage, hidden ones apart."""
    return sorted(str(file.relative_to(storage)) for file in storage.rglob("*") if file.is_file())


# Bad sweep files

BAD_FILES = {
    "unknown key": (("seeds: 2", "sedes: 2"), ["bad.yaml:4: sedes: unknown key; did you mean 'seeds'?"]),
    "duplicate key": (("seeds: 2", "seeds: 2\nseeds: 3"), ["bad.yaml:5: seeds: duplicate key, first given on line 4"]),
    "misspelt method": (
        ("step_size: [0.01, 0.003]", "continual_backprp: {}"),
        ["arms.sgd.continual_backprp", "did you mean 'continual_backprop'?"],
    ),
    "misspelt optimizer": (("optimizer: sgd", "optimizer: sdg"), ["arms.sgd.optimizer", "did you mean 'sgd'?"]),
    "misspelt workload": (("slowly_changing_regression", "slow_regression"), ["bad.yaml:2: workload.name"]),
    "misspelt metric": (("effective_rank", "efective_rank"), ["did you mean 'effective_rank'?"]),
    "empty axis": (("[0.01, 0.003]", "[]"), ["bad.yaml:6: arms.sgd.step_size = []", "at least one value"]),
    "negative step size": (("0.003", "-0.1"), ["arms.sgd.step_size[1] = -0.1", "greater than or equal to 0"]),
    "step size in quotes": (("0.003", "'0.003'"), ["arms.sgd.step_size[1]", "remove the quotes"]),
    "rate outside its method": (
        ("step_size: [0.01, 0.003]", "replacement_rate: 1e-4"),
        ["arms.sgd.replacement_rate", "continual_backprop: {replacement_rate: ...}"],
    ),
    "zero seeds": (("seeds: 2", "seeds: 0"), ["bad.yaml:4: seeds = 0", "from 1"]),
    "width 0": (("width: 3", "width: 0"), ["bad.yaml:3: network.width = 0", "greater than or equal to 1"]),
    "not YAML": (("seeds: 2", "seeds: [2"), ["bad.yaml:5: not YAML"]),
    "no mapping": ((TINY, "- 1\n- 2\n"), ["a sweep file is a mapping"]),
    "empty": ((TINY, ""), ["the file is empty"]),
    "needs boundaries": (
        ("step_size: [0.01, 0.003]", "shrink_and_perturb: {when: task}"),
        ["arms.sgd.shrink_and_perturb", "must see task boundaries", "set workload.task_boundaries to shown"],
    ),
    "code that is not there": (("seeds: 2", "code: [mine.py]"), ["code[0]", "mine.py cannot be read: No such file"]),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_a_mistake_in_the_file_is_refused_before_anything_happens(command: Command, tmp_path: Path, what: str) -> None:
    (before, after), parts = BAD_FILES[what]
    assert before in TINY
    file = tmp_path / "bad.yaml"
    file.write_text(TINY.replace(before, after, 1))
    refused(command("run", file, "--storage", tmp_path / "storage", "--inline"), *parts)
    refused(command("plan", file, "--storage", tmp_path / "storage"), *parts)
    assert not (tmp_path / "storage").exists()


def test_every_mistake_is_said_at_once(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(TINY.replace("seeds: 2", "seeds: 0").replace("width: 3", "width: 0"))
    refused(command("plan", file), "network.width = 0", "seeds = 0")


def test_a_file_that_cannot_be_read(command: Command, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    refused(command("run", tmp_path / "none.yaml", "--storage", storage), "none.yaml: cannot be read: No such file")
    refused(command("run", tmp_path, "--storage", storage), "cannot be read: Is a directory")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x01")
    refused(command("run", tmp_path / "binary.yaml", "--storage", storage), "it is not UTF-8 text")
    if os.geteuid() != 0:  # root reads everything
        (tmp_path / "secret.yaml").write_text(TINY)
        (tmp_path / "secret.yaml").chmod(0)
        refused(command("run", tmp_path / "secret.yaml", "--storage", storage), "Permission denied")
    assert not storage.exists()


def test_a_study_or_a_scale_that_does_not_exist(command: Command, tmp_path: Path) -> None:
    refused(command("run", "demmo"), "unknown study 'demmo'; did you mean 'demo'?", "four_axes", "given by its path")
    (tmp_path / "tiny.yaml").write_text(TINY)
    refused(command("run", tmp_path / "tiny.yaml", "--scale", "smoke"), "unknown scale 'smoke'; allowed: full")
    refused(command("run", "demo", "--scale", "smok"), "did you mean 'smoke'?")


# Bad surroundings


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY)
    return file


def test_storage_that_cannot_be_written(command: Command, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in ("file", "file/below", "file/far/below"):
        refused(
            command("run", tiny, "--storage", tmp_path / place, "--inline"), str(tmp_path / place), "Not a directory"
        )
    refused(command("run", tiny, "--storage", "s3x://bucket/x", "--inline"), "s3x://bucket/x cannot be used")
    assert (tmp_path / "file").read_text() == ""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a file system that nobody, root included, can write")
def test_storage_that_not_even_root_can_write(command: Command, tiny: Path) -> None:
    for arguments in (["--no-track"], []):
        refused(command("run", tiny, "--storage", "/proc/pliant", "--inline", *arguments), "cannot write /proc/pliant")


def test_a_tracking_server_that_does_not_answer_is_asked_once(
    command: Command, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    request = rest_utils.http_request

    def counted(*arguments: Any, **options: Any) -> Any:
        asked.append(options["max_retries"])
        return request(*arguments, **options)

    monkeypatch.setattr(rest_utils, "http_request", counted)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
        refused(command("run", tiny, "--storage", tmp_path / "st", "--inline", "--tracking-uri", uri), uri)
    assert asked == [0]  # retries: MLflow's own would take minutes
    assert written(tmp_path / "st") == []


@pytest.mark.parametrize("uri", ["nonsense", "ftp://host/x", "file:///tmp/mlruns"])
def test_a_tracking_address_that_means_nothing(command: Command, tiny: Path, tmp_path: Path, uri: str) -> None:
    said = command("run", tiny, "--storage", tmp_path / "st", "--inline", "--tracking-uri", uri)
    refused(said, repr(uri), "sqlite:///PATH")
    assert written(tmp_path / "st") == []


def test_the_tracking_variable_is_respected(
    command: Command, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense")
    refused(command("run", tiny, "--storage", tmp_path / "st", "--inline"), "'nonsense' is not a tracking URI")


def test_a_dataset_that_is_missing_offline(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{unused.getsockname()[1]}")
        monkeypatch.setenv("PATH", str(tmp_path))  # no npm
        monkeypatch.setenv("PLIANT_DATA", str(tmp_path / "data"))
        file = tmp_path / "images.yaml"
        file.write_text(IMAGES.replace("DATASET", "mnist"))
        said = command("run", file, "--storage", tmp_path / "st", "--inline", "--no-track")
    refused(said, "dataset mnist is not on this machine and cannot be fetched", "sweep data fetch mnist")
    assert written(tmp_path / "st") == []


def test_a_corrupted_dataset(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLIANT_DATA", str(tmp_path / "data"))
    cached = tmp_path / "data" / "digits.npz"
    cached.parent.mkdir()
    arrays = {key: np.zeros(DATASETS["digits"].parts[key].shape, dtype=np.uint8) for key in FILES}
    np.savez(cached, **arrays)  # type: ignore[arg-type]
    file = tmp_path / "images.yaml"
    file.write_text(IMAGES.replace("DATASET", "digits"))
    run = ("run", file, "--storage", tmp_path / "st", "--inline", "--no-track")
    refused(command(*run), str(cached), "do not match their checksum", "sweep data fetch digits --force")
    cached.write_bytes(b"not an archive")
    refused(command(*run), str(cached), "damaged", "sweep data fetch digits --force")
    refused(command("data", "verify", "digits"), "damaged")
    assert written(tmp_path / "st") == []


def test_a_cluster_that_is_not_there(command: Command, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        for arguments in (["submit", "demo"], ["job", "list"], ["job", "status", "x"], ["job", "stop", "x"]):
            refused(command(*arguments, "--address", address), f"no Ray cluster answers at {address}")


# Bad values on the command line


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["run", "demo", "--workers", "0"], "Invalid value for '--workers'"),
        (["plan", "demo", "--workers", "two"], "Invalid value for '--workers'"),
        (["run"], "Missing argument 'STUDY'"),
        (["run", "demo", "--sclae", "smoke"], "--scale"),
        (["rnu", "demo"], "No such command 'rnu'"),
        (["ui", "--port", "99999"], "Invalid value for '--port'"),
        (["bench", "--arm", "sdg"], "did you mean 'sgd'"),
        (["bench", "--quick", "--stream", "permuted_mnist"], "no such row among the quick ones"),
        (["data", "fetch", "mnst"], "did you mean 'mnist'"),
        (["figure", "tiny", "--name", "armz"], "did you mean 'arms'"),
        (["figure", "tinny"], "tiny@full"),
        (["run", "demo", "--inline", "--address", "auto"], "leave one of them out"),
        (["status", "tinny"], "was not run in the storage"),
        (["status", "tiny@smoke"], "tiny@full"),
        (["clean", "tinny", "--yes"], "tiny@full"),
        (["trial", "zzz"], "no trial begins with 'zzz'"),
        (["trial", ""], "4 trials begin with ''"),
    ],
)
def test_a_bad_value_is_refused(
    command: Command, ran: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], part: str
) -> None:
    monkeypatch.setenv("PLIANT_STORAGE", str(ran))
    refused(command(*arguments), part)


def test_an_unknown_path_is_refused(command: Command, ran: Path) -> None:
    trial = Ledger(ran).sweep("tiny", "full").trials[0].id
    refused(command("trial", trial, "--storage", ran, "--run", "--path", "lifter"), "did you mean 'lifted'")


def test_nothing_was_tracked_to_look_at(command: Command, ran: Path) -> None:
    refused(command("ui", "--storage", ran), f"no run was tracked in {ran} yet")


def test_a_damaged_record_is_said_and_mended_by_a_run(command: Command, ran: Path, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    shutil.copytree(ran, storage)
    digest = command("status", "tiny", "--storage", ran, "--digest").out
    record = storage / "sweeps" / "tiny@full" / "trials.parquet"
    record.write_bytes(b"PAR1")
    for arguments in (["status"], ["figure"], ["clean", "--yes"]):
        refused(command(arguments[0], "tiny", "--storage", storage, *arguments[1:]), str(record), "Run the sweep again")
    again = command("run", ran.parent / "tiny.yaml", "--storage", storage, "--inline", "--no-track")
    assert again.code == 0 and "0 trials computed, 4 done before" in again.out
    assert command("status", "tiny", "--storage", storage, "--digest").out == digest


@pytest.mark.parametrize("file", ["pack.json", "members.json"])
@pytest.mark.parametrize("harm", ["torn", "altered"])
def test_a_damaged_pack_description_is_written_anew(
    command: Command, ran: Path, tmp_path: Path, file: str, harm: str
) -> None:
    storage = tmp_path / "storage"
    shutil.copytree(ran, storage)
    [description] = storage.glob(f"ledger/packs/*/{file}")
    whole = description.read_text()
    first = json.loads((description.parent / "members.json").read_text())["members"][0]
    description.write_text("{" if harm == "torn" else whole.replace(first, "0" + first[1:]))
    if file == "pack.json":  # which is read where there is something to train
        for results in description.parent.glob("2*"):
            shutil.rmtree(results)
    again = command("run", ran.parent / "tiny.yaml", "--storage", storage, "--inline", "--no-track")
    assert again.code == 0, again.err
    if (file, harm) != ("members.json", "altered"):  # there one trial is missing, and trained in a pack of its own
        assert description.read_text() == whole
    digests = [command("status", "tiny", "--storage", place, "--digest").out for place in (ran, storage)]
    assert digests[0] == digests[1]


def test_a_shard_with_a_flipped_byte_is_named_and_computed_anew(command: Command, ran: Path, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    shutil.copytree(ran, storage)
    shard = next(storage.glob("ledger/packs/*/*/shard-*.parquet"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    run = ("run", ran.parent / "tiny.yaml", "--storage", storage, "--inline", "--no-track")
    assert f"computed anew, as the file is damaged:\n  {shard}" in command("plan", *run[1:4]).out
    assert shard.exists()  # a plan changes nothing
    again = command(*run)
    assert again.code == 0 and f"  {shard}, results of 4 trials" in again.out
    assert "4 trials computed" in again.out
    digests = [command("status", "tiny", "--storage", place, "--digest").out for place in (ran, storage)]
    assert digests[0] == digests[1]
    assert "damaged" not in command(*run).out
    assert (shard.parent / f".aside-{shard.name}").read_bytes() == content


def test_without_a_compiler_no_kernel_is_promised_and_it_is_said_once(
    command: Command, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    arguments = (tiny, "--storage", tmp_path / "st")
    assert "kernel" in command("plan", *arguments).out
    monkeypatch.setenv("CXX", "/bin/false")
    planned = command("plan", *arguments)
    assert "kernel" not in planned.out and "this machine has no working C++ compiler" in planned.out
    ran = command("run", *arguments, "--inline", "--no-track", "--no-figures")
    assert ran.code == 0 and ran.err.count("no working C++ compiler here, so packs train uncompiled") == 1
    assert not [warning for warning in recwarn if "compiler" in str(warning.message)]


def test_the_real_command_refuses_before_it_loads_what_takes_long(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(TINY.replace("seeds: 2", "seeds: 0"))
    code = "import sys; sys.argv = ['sweep', 'run', 'bad.yaml']\nfrom sweep.cli.commands import main\n"
    code += "try:\n    main()\nfinally:\n    print({'torch', 'ray', 'mlflow', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "set()\n"
    assert done.stderr.startswith("error: bad.yaml:4: seeds = 0")


# What it does


def test_a_second_run_computes_nothing_and_says_so(command: Command, ran: Path) -> None:
    before = {name: (ran / name).stat().st_mtime_ns for name in written(ran)}
    said = command("run", ran.parent / "tiny.yaml", "--storage", ran, "--inline", "--no-track")
    assert said.code == 0 and said.err == ""
    assert said.out.startswith("tiny@full: 4 trials, 4 already done, 0 to run\n0 trials computed, 4 done before\n")
    assert {name: (ran / name).stat().st_mtime_ns for name in written(ran)} == before, "something was written again"


def test_results_are_read_without_threads_that_may_still_start_as_a_command_ends(ran: Path) -> None:
    """Arrow's abort the interpreter then, now and then: apache/arrow 34314."""
    code = (
        "import os, time, numpy, pandas, pyarrow.parquet, scipy.stats, sweep\n"
        "before = os.listdir('/proc/self/task')\n"
        f"assert len(sweep.curves('tiny', storage={str(ran)!r})) and len(sweep.configs('tiny', storage={str(ran)!r}))\n"
        "deadline = time.monotonic() + 30\n"  # a thread that was joined may be listed a moment longer
        "while os.listdir('/proc/self/task') != before and time.monotonic() < deadline:\n"
        "    time.sleep(0.01)\n"
        "assert os.listdir('/proc/self/task') == before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_arms_of_one_meaning_are_warned_of(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "twins.yaml"
    twins = "  sgd: {optimizer: sgd}\n  twin: {optimizer: sgd, step_size: 0.01}\n"
    file.write_text(TINY.replace("  sgd: {optimizer: sgd, step_size: [0.01, 0.003]}\n", twins))
    said = command("plan", file, "--storage", tmp_path / "storage")
    assert said.code == 0 and "warning: arms sgd and twin mean the same trials" in said.err


def test_plan(command: Command, tiny: Path, ran: Path, tmp_path: Path) -> None:
    said = command("plan", tiny, "--storage", tmp_path / "none", "--workers", "1")
    assert "tiny@full: Does a small sweep run?" in said.out
    assert "4 trials, 0 already done, 4 to run in 1 pack; results in" in said.out
    assert "not measured" in said.out and not (tmp_path / "none").exists()
    assert "4 already done, 0 to run in 0 packs" in command("plan", tiny, "--storage", ran).out

    planned = json.loads(command("plan", tiny, "--storage", tmp_path / "none", "--json").out)
    [pack] = planned.pop("packs")
    assert 0 < planned.pop("diagnostics_share") < 1
    assert planned == {
        "sweep": "tiny@full",
        "storage": str(tmp_path / "none"),
        "trials": 4,
        "already_done": 0,
        "to_run": 4,
        "round": 1,
        "rounds": 1,
        "later": 0,
        "trains": "in this process",
        "warnings": [],
    }
    assert (pack["arms"], pack["trials"], pack["steps"], pack["path"]) == (["sgd"], 4, 200, "lanes")
    assert pack["seconds"] is None and pack["resumes"] is False and pack["memory_bytes"] > 0


def test_plan_measures_when_asked(command: Command, tiny: Path, tmp_path: Path) -> None:
    measured = json.loads(command("plan", tiny, "--storage", tmp_path, "--measure", "--json").out)
    assert measured["packs"][0]["seconds"] > 0
    said = command("plan", tiny, "--storage", tmp_path)
    assert re.search(r"about \d+ (s|min), 1 pack at once", said.out)


def test_studies(command: Command) -> None:
    listed = json.loads(command("studies", "--json").out)
    assert [list(study) for study in listed] == [["name", "question", "path", "trials", "seconds"]] * len(studies())
    assert {study["name"]: study["trials"] for study in listed}["demo"]["laptop"] == 1080
    assert "1,080" in command("studies").out and "1,080 (" not in command("studies").out


def test_studies_say_how_long_a_whole_run_took_here(command: Command, tmp_path: Path) -> None:
    said = command("run", "warm_start", "--scale", "smoke", "--storage", tmp_path / "st", "--no-track", "--no-figures")
    assert said.code == 0, said.err
    assert re.search(r"smoke \d+ \(\d+ (s|min)\)", command("studies").out)
    [seconds] = [study["seconds"] for study in json.loads(command("studies", "--json").out) if study["seconds"]]
    assert seconds["smoke"] > 0


def test_status(command: Command, ran: Path) -> None:
    assert command("status", "tiny", "--storage", ran).out.startswith("tiny@full: 4 trials, 4 done, 0 diverged, 0 left")
    facts = json.loads(command("status", "tiny@full", "--storage", ran, "--json").out)
    digest = command("status", "tiny", "--storage", ran, "--digest").out.strip()
    assert re.fullmatch("[0-9a-f]{64}", digest) and facts["digest"] == digest
    [pack] = facts["packs"]
    assert (facts["done"], facts["left"], pack["finished"], pack["step"]) == (4, 0, True, 200)
    assert facts["arms"] == {"sgd": {"trials": 4, "done": 4, "diverged": 0, "failed": 0, "censored": 0, "left": 0}}


def test_status_without_a_name_says_what_there_is(command: Command, ran: Path, tmp_path: Path) -> None:
    said = command("status", "--storage", ran)
    assert said.code == 0 and re.search(r"^tiny@full +Does a small sweep run\?", said.out, re.MULTILINE), said
    assert said == command("list", "--storage", ran)
    assert "no sweep was run in" in command("status", "--storage", tmp_path / "none").out
    refused(command("status", "--digest", "--storage", ran), "--digest is of one sweep")


def test_a_long_name_is_listed_whole(command: Command, storage: Path) -> None:
    ledger = Ledger(storage)
    ledger.save_sweep(replace(ledger.sweep("tiny", "full"), name="long" * 30))
    said = command("list", "--storage", storage).out
    column = "".join(line.split()[0] for line in said.splitlines() if line.startswith(("long", "ong", "ng", "g")))
    assert "…" not in said and column.startswith("long" * 30), said


def test_status_says_arms_and_the_packs_that_are_not_finished(command: Command, ran: Path, tmp_path: Path) -> None:
    said = command("status", "tiny", "--storage", ran).out
    assert re.search(r"^arm +trials +done +diverged +left\nsgd +4 +4 +0 +0$", said, re.MULTILINE), said
    assert said.endswith("\n1 pack, 1 finished\n")
    many = {**status.facts(Ledger(ran).sweep("tiny", "full"), Ledger(ran))}
    many["packs"] = [{**many["packs"][0], "finished": False, "step": 100}] * 300
    text = status.as_text(many).splitlines()
    assert len(text) < 30 and text[-1] == "  and 280 more; --json lists every pack"
    assert "4 trials  at step 100" in text[-2]


def test_trial(command: Command, ran: Path) -> None:
    trial = Ledger(ran).sweep("tiny", "full").trials[0].id
    said = command("trial", trial[:9], "--storage", ran, "--run")
    text = said.out
    assert "training it again, alone, 200 steps on path lanes: perhaps" in said.err
    assert text.startswith(f"trial {trial}  done  (arm sgd, sweep tiny@full)")
    assert "repeated alone on path lanes: the same to the last bit" in text and "largest relative difference" in text
    facts = json.loads(command("trial", trial, "--storage", ran, "--run", "--path", "lifted", "--json").out)
    assert facts["trial"] == trial and facts["config"]["network"]["width"] == 3
    assert (
        set(facts["repeated"]) == {"effective_rank", "online_error"}
        and "rounding" in facts["verdict"]
        and max(facts["repeated"].values()) < 1e-5
    )


def test_figure(command: Command, ran: Path, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    shutil.copytree(ran, storage)
    said = command("figure", "tiny", "--storage", storage, "--name", "error_over_time")
    assert said.code == 0, said.err
    folder = storage / "figures" / "tiny@full"
    assert said.out.split() == [f"{folder}/error_over_time.{kind}" for kind in ("png", "svg", "pdf", "csv")]
    assert all(Path(path).stat().st_size > 100 for path in said.out.split())


def test_clean_keeps_what_another_sweep_holds(command: Command, ran: Path, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    shutil.copytree(ran, storage)
    other = tmp_path / "other.yaml"
    other.write_text(TINY.replace("seeds: 2", "seeds: 1"))
    quiet = ("--storage", storage, "--inline", "--no-track", "--no-figures")
    assert "0 trials computed, 2 done before" in command("run", other, *quiet).out

    said = command("clean", "tiny", "--storage", storage, "--yes")
    assert (
        said.code == 0
        and said.out == "deleted 0 trials in 0 packs, 0 MiB\nkept 1 pack with trials of other sweeps too\n"
    )
    assert not (storage / "figures" / "tiny@full").exists()
    refused(command("status", "tiny", "--storage", storage), "there: other@full")
    assert "2 done" in command("status", "other", "--storage", storage).out
    assert "deleted 4 trials in 1 pack" in command("clean", "other", "--storage", storage, "--yes").out
    assert written(storage) == []


def test_clean_asks_first(command: Command, ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    said = command("clean", "tiny", "--storage", ran)
    assert said.code == 1 and "delete the results of 4 trials of tiny@full" in said.out
    assert "4 done" in command("status", "tiny", "--storage", ran).out


def test_data(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLIANT_DATA", str(tmp_path))
    listed = {entry["name"]: entry for entry in json.loads(command("data", "list", "--json").out)}
    assert set(listed) == set(DATASETS)
    assert listed["mnist"]["source"] == "absent" and "sweep data fetch mnist" in listed["mnist"]["advice"]
    assert listed["imagenet32"]["source"] == "absent" and "0.npy to 999.npy" in listed["imagenet32"]["advice"]
    assert listed["digits"]["source"] == listed["glyphs"]["source"] == "library"
    assert "digits is in" in command("data", "fetch", "digits").out
    assert command("data", "verify", "digits").code == 0
    assert "sweep data fetch mnist" in command("data", "list").out


# Words


def every_command(app: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    own = [(*path, info.name or info.callback.__name__) for info in app.registered_commands]
    for group in app.registered_groups:
        own += [(*path, group.name), *every_command(group.typer_instance, (*path, group.name))]
    return own


@pytest.mark.parametrize("path", every_command(commands.app), ids=" ".join)
def test_every_command_explains_itself(command: Command, path: tuple[str, ...]) -> None:
    said = command(*path, "--help")
    assert said.code == 0 and said.out.startswith(f"Usage: sweep {' '.join(path)}")
    assert "[[" not in said.out and "]]" not in said.out, "brackets are the usage line's to add"
    assert max(map(len, said.out.splitlines())) <= 80
    options = re.findall(r"^  (?:-\w, )?(--[a-z-]+)(.*(?:\n {10,}.*)*)", said.out, flags=re.MULTILINE)
    assert options and all(re.search(r"[A-Z].*\.", re.sub(r"<.*?>", "", text), re.DOTALL) for _, text in options)


def test_the_list_of_commands_is_not_cut_short(command: Command) -> None:
    said = command("--help")
    assert "..." not in said.out.partition("Commands:")[2] and "sweep run demo" in said.out
    assert {path[0] for path in every_command(commands.app)} <= set(said.out.split())


def test_numbers_for_people() -> None:
    assert [output.duration(s) for s in (None, 4.6, 89.0, 90.0, 5399.0, 5400.0)] == [
        "not measured",
        "5 s",
        "89 s",
        "2 min",
        "90 min",
        "1.5 h",
    ]
    assert (output.size(3 << 20), output.size(3 << 29)) == ("3 MiB", "1.5 GiB")
    assert (output.count(1, "pack"), output.count(1200, "trial")) == ("1 pack", "1,200 trials")


def test_json_has_null_for_what_is_no_number() -> None:
    assert output.finite({"a": [1.0, float("nan")], "b": (float("inf"), "x")}) == {"a": [1.0, None], "b": [None, "x"]}
