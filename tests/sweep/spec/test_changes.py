"""`--set KEY=VALUE`: what it may say, what it means, and that the sweep's name has it wherever the sweep is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import TINY, Command

from sweep.errors import InputError, SpecError
from sweep.ledger.ledger import Ledger
from sweep.spec import changes
from sweep.spec.studies import load


def test_values_are_yaml() -> None:
    words = ["seeds=5", "workload.flip=all", "arms.sgd.step_size=[1e-4, 0.1]", "arms.adam=", "network={width: 5}"]
    assert changes.read(words) == {
        "seeds": 5,
        "workload.flip": "all",
        "arms.sgd.step_size": [1e-4, 0.1],
        "arms.adam": None,
        "network": {"width": 5},
    }
    assert changes.read(["arms.a.b=c=d"]) == {"arms.a.b": "c=d"}


@pytest.mark.parametrize(
    "word", ["seeds", "=5", "a b=5", "seeds=[", "seeds=1\nx: 2", "seeds: 5", "a..b=1", "x=&a [*a]"]
)
def test_what_is_no_change_is_refused(word: str) -> None:
    with pytest.raises(InputError, match="--set"):
        changes.read([word])


def test_a_key_is_set_once() -> None:
    with pytest.raises(InputError, match="seeds is set already, to 5"):
        changes.read(["seeds=5", "seeds=6"])


@pytest.mark.parametrize(
    ("words", "suffix"),
    [
        (["workload.tasks=10", "seeds=5"], "+seeds=5+workload.tasks=10"),
        (["arms.sgd.step_size=[1e-1, 0.01]"], "+arms.sgd.step_size=0.1,0.01"),
        (["arms.sgd.step_size=1e-4"], "+arms.sgd.step_size=0.0001"),
        (["seeds=[3]"], "+seeds=3,"),
        (["arms.sgd=null", "network.normalisation=none"], "+arms.sgd=null+network.normalisation=none"),
        (["workload.beta=1.0"], "+workload.beta=1"),
    ],
)
def test_names_are_short_and_sorted(words: list[str], suffix: str) -> None:
    assert changes.suffix(changes.read(words)) == suffix


def test_other_values_have_other_names_that_every_storage_takes() -> None:
    values = [1, "1", [1], ["1"], [1, 2], "1,2", True, "true", None, "null", {"a": 1}, {"a": 2}, "a b", "a/b", [[1]]]
    values += ["a", ["a"], [], "", "x" * 60, "x" * 61, -1, 1e-5, 1e300, "é", list(range(50)), list(range(51))]
    made = [changes.suffix({"key": value}) for value in values]
    assert len(set(made)) == len(values)
    made += [changes.suffix({f"arms.an_arm.a_setting_{n}": n for n in range(count)}) for count in (3, 4, 8)]
    assert all(
        len(name) <= changes.LONGEST and not set(name) & set("@/\\'\"` %#?*:") and name.isascii() for name in made
    )


def test_a_change_comes_after_the_scale_and_is_part_of_the_name() -> None:
    plain, changed = load("demo", "smoke"), load("demo", "smoke", {"workload.tasks": 7, "arms.adam": None})
    assert (changed.name, changed.scale) == ("demo", "smoke+arms.adam=null+workload.tasks=7")
    assert changed.workload.settings[0]["tasks"] == 7 and plain.workload.settings[0]["tasks"] == 3
    assert changed.workload.settings[0]["period"] == 500, "the scale's other values stay"
    assert "adam" not in [arm.label for arm in changed.arms]


def test_mistakes_are_said_of_the_command_line() -> None:
    said = {
        "workload.taks": "--set: workload.taks: unknown key; did you mean 'tasks'?",
        "tasks": "--set: tasks: unknown key to set; did you mean 'workload.tasks'?",
        "arms.sg.step_size": "--set: arms.sg.step_size: unknown arm; did you mean 'arms.sgd'?",
        "code": "--set: code: unknown key to set; allowed: workload",
    }
    for key, text in said.items():
        with pytest.raises(SpecError) as raised:
            load("demo", "smoke", {key: 10})
        assert text in str(raised.value)
    with pytest.raises(SpecError, match=r"--set: arms.sgd.step_size\[1\] = \"x\": must be a number"):
        load("demo", "smoke", {"arms.sgd.step_size": [0.1, "x"]})
    with pytest.raises(SpecError, match="--set: network.width: network.width is set twice"):
        load("demo", "smoke", {"network.width": 3, "network": {"width": 4}})


def test_what_a_change_breaks_elsewhere_names_the_change(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("workload: {name: slowly_changing_regression}\narms: {a: {optimizer: sgd, step_size: 0.1}}\n")
    with pytest.raises(SpecError) as raised:
        load(
            file,
            None,
            {"arms.a": {"optimizer": "adamo"}, "workload.name": "permuted_mnist", "metrics": ["online_error"]},
        )
    assert "this workload's online metric is online_accuracy" in str(raised.value)
    assert not any(f"{file}:" in line and "(with --set" not in line for line in str(raised.value).splitlines())


def test_a_changed_sweep_is_one_of_its_own_everywhere(command: Command, storage: Path) -> None:
    file = storage.parent / "tiny.yaml"
    file.write_text(TINY)
    name = "tiny@full+seeds=1"
    planned = command("plan", file, "--set", "seeds=1", "--storage", storage)
    assert planned.code == 0 and f"{name}: " in planned.out and "2 trials, 2 already done" in planned.out
    said = command("run", file, "--set", "seeds=1", "--storage", storage, "--inline", "--no-track", "--no-figures")
    assert said.code == 0 and said.out.startswith(f"{name}: 2 trials, 2 already done, 0 to run"), said
    assert Ledger(storage).sweep("tiny", "full+seeds=1").manifest["set"] == {"seeds": 1}
    assert "set" not in Ledger(storage).sweep("tiny", "full").manifest
    for words in (["status", name], ["results", name], ["list"], ["figure", name, "--name", "arms"]):
        answer = command(*words, "--storage", storage)
        assert answer.code == 0 and name in " ".join(answer.out.split()), (words, answer)
    assert json.loads(command("status", "tiny@full", "--storage", storage, "--json").out)["trials"] == 4
    both = command("status", "tiny", "--storage", storage)
    assert both.code == 2 and f"say tiny@full or {name}" in both.err


def test_the_words_that_mean_a_changed_sweep_again() -> None:
    spec = load("demo", "smoke", {"seeds": [1, 2], "workload.flip": "all"})
    words = changes.options(spec.scale, {"set": spec.changed})
    assert words[:2] == ["--scale", "smoke"]
    assert changes.read(words[3::2]) == spec.changed
    assert changes.options("laptop", {}) == ["--scale", "laptop"]
