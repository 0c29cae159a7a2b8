"""`sweep describe`: every name that a sweep file can hold, with its settings, from where they are written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import Command

import dashboards
from sweep.cli import describe
from sweep.spec.figures import FIGURES
from workloads import metrics
from workloads.kinds import WORKLOADS
from workloads.methods.config import METHODS, OPTIMIZERS
from workloads.networks.config import NETWORKS

FOLDER = Path(dashboards.__file__).parent / "figures"
NAMES = {
    "optimizer": set(OPTIMIZERS),
    "method": set(METHODS),
    "workload": set(WORKLOADS),
    "network": set(NETWORKS),
    "metric": set(metrics.known()),
    "key": {"seeds", "select", "search"},
    "figure": set(FIGURES),
}


def test_every_name_is_described() -> None:
    entries = list(describe.entries(FOLDER))
    assert {kind: {e.name for e in entries if e.kind == kind} for kind in NAMES} == NAMES
    assert all(len(entry.summary) > 20 and "\n" not in entry.summary for entry in entries)
    assert all(entry.text for entry in entries if entry.name not in metrics.MEASURED)
    assert all(entry.settings for entry in entries if entry.kind in ("optimizer", "method", "workload", "network"))


def test_every_setting_has_a_meaning() -> None:
    assert not [
        (entry.name, own.name) for entry in describe.entries(FOLDER) for own in entry.settings if not own.meaning
    ]


def test_settings_have_defaults_limits_and_meanings() -> None:
    [adamo] = describe.named("adamo", FOLDER)
    settings = {each.name: each for each in adamo.settings}
    assert settings["eps"] == describe.Setting("eps", "1e-8", "a number, above 0", "added to the root of that mean")
    assert settings["isometry_step_size"].allowed == "a number, at least 0, or null"
    assert settings["isometry_step_size"].default == "null"
    assert settings["order"].allowed == "simultaneous, sequential"
    assert settings["first"] == describe.Setting(
        "first", "true", "true or false", "pull the layer that sees the inputs too"
    )
    # Adam's 4, and two products of a matrix of width 100: 200 multiply-adds for every weight, beside SGD's three.
    [said] = adamo.facts
    assert said == "a step takes about 70.9 steps of plain SGD at batch 1, 4.87 at batch 100, of an MLP of width 100"
    found = {name: describe.named(name, FOLDER)[0].facts for name in ("l2", "fire")}
    assert found == {"l2": ("adds to a step about 0.2 steps of plain SGD",), "fire": ("adds nothing to a step",)}
    [search] = describe.named("search", FOLDER)
    settings = {each.name: each for each in search.settings}
    assert settings["trials"] == describe.Setting(
        "trials", "(needed)", "a whole number, at least 1", "settings per arm"
    )
    assert (settings["sampler"].default, settings["window"].default) == ("tpe", "last 25%")
    [shrink] = describe.named("shrink_and_perturb", FOLDER)
    noise = next(each for each in shrink.settings if each.name == "noise")
    assert noise.meaning.startswith("lazy: where a path can let a weight sleep"), "a comment above the field counts too"


def test_describe(command: Command) -> None:
    said = command("describe", "continual_backprop").out
    assert said.startswith("continual_backprop, a method\nContinual backprop (")
    for part in ("maturity_threshold  100", "continual_backprop: {...}", "arXiv 2108.06325", "train in one pack"):
        assert part in said
    both = command("describe", "within_task").out
    assert "within_task, a metric" in both and "within_task, a figure" in both
    assert "did you mean 'adam'?" in command("describe", "adm").err and command("describe", "adm").code == 2
    assert "'momentum' is a setting of sgd, muon: sweep describe sgd" in command("describe", "momentum").err
    listed = command("describe").out
    assert all(name in listed for names in NAMES.values() for name in names)
    [entry] = json.loads(command("describe", "sgd", "--json").out)
    assert entry["settings"][0] == {
        "name": "step_size",
        "default": "0.01",
        "allowed": "a number, at least 0",
        "meaning": "per step",
    }


@pytest.mark.parametrize("arguments", [["describe"], ["describe", "arms"], ["studies"], ["--help"]])
def test_nothing_heavy_is_imported_to_say_what_there_is(arguments: list[str]) -> None:
    code = f"import sys; sys.argv = {['sweep', *arguments]!r}\nfrom sweep.cli.commands import main\n"
    code += "try:\n    main()\nfinally:\n    print({'torch', 'ray', 'mlflow', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stderr
