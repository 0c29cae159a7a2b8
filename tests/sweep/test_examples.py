"""What `sweep init` writes: it passes `sweep check` as it stands, is used as it says, and nothing is overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from tiny import Command

import sweep
from sweep import examples
from sweep.spec.checking import check_file
from sweep.spec.studies import load
from sweep.trials import expand
from workloads.extensions import ENTRIES

TABLES = {"method": "METHODS", "stream": "STREAMS", "network": "NETWORKS", "diagnostic": "DIAGNOSTICS"}


SLOW = ("method", "network")  # whose checks train for long; all are run by the test of a sweep below


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow) if kind in SLOW else kind for kind in examples.NAMES]
)
def test_an_example_passes_the_check_under_any_name(kind: str, tmp_path: Path, command: Command) -> None:
    file = tmp_path / "renamed.py"
    said = command("init", kind, str(file))
    assert said.code == 0 and "code: [renamed.py]" in said.out and f"sweep check {file}" in said.out
    findings = list(check_file(file))
    assert findings and all(finding.kept for finding in findings), findings


def test_every_table_has_an_example() -> None:
    assert {*TABLES.values(), "OPTIMIZERS"} == set(ENTRIES)  # an optimizer is a method with another hook
    assert TABLES.keys() == examples.NAMES.keys()


def test_a_sweep_of_all_examples_runs(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    merged: dict[str, object] = {"seeds": 2, "code": []}
    for kind in examples.NAMES:
        assert command("init", kind).code == 0
        lines = YAML(typ="safe").load(examples.use_of(Path(examples.NAMES[kind]).read_text()))
        merged = {**merged, **lines, "code": [*merged["code"], *lines["code"]]}  # type: ignore[misc]
    merged["workload"] |= {"tasks": 2, "steps": 50}  # type: ignore[operator]
    merged["figures"] = []
    Path("all.yaml").write_text(f"# Does everything work?\n{json.dumps(merged)}\n")
    said = command("run", "all.yaml", "--inline", "--no-track", "--storage", "store")
    assert said.code == 0, said
    frame = sweep.curves("all", storage="store")
    assert set(frame["network.width"]) == {10, 20} and set(frame["bounded_weights.bound"]) == {0.5, 1, 2}
    assert {f"activation_size/{layer}" for layer in (1, 2, 3)} <= set(frame["metric"])  # of the first layer and depth 2


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path, command: Command) -> None:
    file = tmp_path / "mine.py"
    file.write_text("# mine")
    said = command("init", "stream", str(file))
    assert said.code == 2 and "is there already" in said.err and file.read_text() == "# mine"
    assert "a Python file is expected, such as" in command("init", "stream", str(tmp_path / "mine.txt")).err
    assert "cannot be written" in command("init", "stream", str(tmp_path / "no" / "mine.py")).err
    assert "'metod' is not one of" in command("init", "metod").err


def test_a_sweep_to_begin_with_is_taken_as_it_stands(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = command("init", "mine")
    assert said.code == 0 and "sweep plan mine.yaml" in said.out
    text = Path("mine.yaml").read_text()
    assert "sweep run mine.yaml" in text and "NAME" not in text
    for scale, trials in {"smoke": 12, "laptop": 60, "full": 180}.items():
        planned = command("plan", "mine.yaml", "--scale", scale, "--storage", "store")
        assert planned.code == 0 and f"mine@{scale}" in planned.out and f"{trials} trials, 0" in planned.out
        assert "warning" not in planned.err
    again = command("init", "mine")
    assert again.code == 2 and "is there already" in again.err and Path("mine.yaml").read_text() == text
    ours = text.replace("  # ", "  ").replace("# code", "code")  # the example that is shown commented out
    assert command("init", "method").code == 0
    Path("ours.yaml").write_text(ours)
    assert "mine" in command("plan", "ours.yaml", "--storage", "store").out


@pytest.mark.parametrize("study", ["demo", "permuted_mnist"])
def test_a_sweep_like_a_study_has_its_trials(
    study: str, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("init", "my_own", "--like", study).code == 0
    text = Path("my_own.yaml").read_text()
    assert "sweep run my_own.yaml" in text and f"Begun from the study {study}" in text and "scale paper" not in text
    for theirs, ours in {"smoke": "smoke", "paper": "full"}.items():
        there, here = load(study, theirs), load("my_own.yaml", ours)
        assert (here.name, here.scale) == ("my_own", ours) and here.question == there.question
        assert [trial.id for trial in expand(here)] == [trial.id for trial in expand(there)]
    assert command("init", "other", "--like", "my_own.yaml").code == 0
    assert Path("other.yaml").read_text() == text


def test_what_sweep_init_refuses(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = {
        ("demo",): "demo is a study that ships; to begin from it: sweep init my_sweep --like demo",
        ("mine", "--like", "dmo"): "did you mean 'demo'?",
        ("method", "--like", "demo"): "--like is for a sweep",
        ("mine", "mine.py"): "FILE is where an example goes; this sweep goes to mine.yaml",
        ("no/mine",): "cannot be written",
    }
    for words, text in said.items():
        answer = command("init", *words)
        assert answer.code == 2 and text in answer.err, words
    assert list(tmp_path.iterdir()) == []
