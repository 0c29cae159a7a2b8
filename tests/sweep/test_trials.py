"""Trials: their order, their names, and what may share a pack."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from sweep import trials
from sweep.spec.model import Spec
from sweep.spec.reading import parse
from sweep.spec.studies import load
from sweep.trials import canonical, expand, of_one_meaning, structure_key, trial_id
from workloads.syntax import meaning_hash

SWEEP = """
workload: {name: slowly_changing_regression, tasks: 4, period: 100}
network: {width: [5, 10]}
seeds: [4, 2]
arms:
  cbp: {optimizer: sgd, step_size: [0.1, 0.01], continual_backprop: {replacement_rate: [0, 1e-3]}}
  adamo: {optimizer: adamo, isometry_step_size: [null, 0.5]}
  linear: {optimizer: sgd, network: {depth: 0, activation: [relu, tanh]}}
  again: {optimizer: sgd, network: {depth: 0}}
"""


def read(text: str, folder: Path = Path()) -> Spec:
    return parse(text, folder / "mine.yaml")


def test_order_is_arm_network_optimizer_methods_seed() -> None:
    trials = expand(read(SWEEP))
    seen = [
        (
            t.arms,
            t.config["network"]["width"],
            t.config["optimizer"]["step_size"],
            t.config["methods"]["continual_backprop"]["replacement_rate"],
            t.config["seed"],
        )
        for t in trials[:16]
    ]
    assert seen == [
        (("cbp",), width, step_size, rate, seed)
        for width in (5, 10)
        for step_size in (0.1, 0.01)
        for rate in (0.0, 1e-3)
        for seed in (4, 2)
    ]


def test_equal_trials_are_one_and_belong_to_every_arm_that_means_them() -> None:
    trials = expand(read(SWEEP))
    # 2 x 2 x 2, 2 x 2, and one linear model whatever the axes over its absent units; two seeds each.
    assert [sum(arm in t.arms for t in trials) for arm in ("cbp", "adamo", "linear", "again")] == [16, 8, 2, 2]
    assert len({t.id for t in trials}) == len(trials) == 26
    assert len({t.group for t in trials}) == 13
    assert of_one_meaning(trials) == [("linear", "again")]


def test_an_arm_keeps_a_setting_that_another_arm_has_too() -> None:
    text = "workload: {name: slowly_changing_regression}\nseeds: 1\narms:\n"
    default, tuned = "default: {optimizer: sgd}", "tuned: {optimizer: sgd, step_size: [0.01, 1e-6]}"
    for one, other in ((default, tuned), (tuned, default)):
        trials = expand(read(f"{text}  {one}\n  {other}\n"))
        of = {t.config["optimizer"]["step_size"]: set(t.arms) for t in trials}
        assert of == {0.01: {"default", "tuned"}, 1e-6: {"tuned"}}
        assert of_one_meaning(trials) == []


def test_a_trial_is_named_by_the_hash_of_its_canonical_config() -> None:
    for trial in expand(read(SWEEP)):
        text = json.dumps(trial.config, sort_keys=True, separators=(",", ":"))
        assert trial.id == hashlib.sha256(text.encode()).hexdigest()[:16] == trial_id(trial.config)
        rest = {key: value for key, value in trial.config.items() if key != "seed"}
        assert trial.group == trial_id(rest)
        assert trial_id(json.loads(canonical(trial.config))) == trial.id  # survives a trip through the store


def test_ids_do_not_depend_on_spelling_labels_or_order_of_keys() -> None:
    one = read("workload: {name: slowly_changing_regression}\narms: {a: {optimizer: sgd, step_size: 1e-3}}\n")
    two = read(
        "# other words\nname: other\nfigures: [error_over_time]\n"
        "arms:\n  b: {step_size: 0.001, optimizer: sgd, momentum: 0}\n"
        "workload: {tasks: 100, name: slowly_changing_regression}\ntrack: {points: 3}\n"
    )
    assert [t.id for t in expand(one)] == [t.id for t in expand(two)]


@pytest.mark.parametrize(
    "change", ["seeds: [1]", "dtype: float64", "keep: final", "metrics: []", "diagnostics: {every: 2}"]
)
def test_what_changes_a_result_changes_the_id(change: str) -> None:
    base = "workload: {name: slowly_changing_regression}\narms: {a: {optimizer: sgd}}\n"
    assert expand(read(base))[0].id != expand(read(base + change))[0].id


def test_a_config_is_whole() -> None:
    trial = next(t for t in expand(read(SWEEP)) if "cbp" in t.arms)
    assert sorted(trial.config) == [
        "code",
        "dtype",
        "every",
        "keep",
        "methods",
        "metrics",
        "network",
        "optimizer",
        "probe",
        "seed",
        "semantics",
        "workload",
    ]
    assert trial.config["workload"]["name"] == "slowly_changing_regression"
    assert trial.config["optimizer"] == {
        "name": "sgd",
        "step_size": 0.1,
        "momentum": 0.0,
        "weight_decay": 0.0,
    }
    assert "name" not in trial.config["methods"]["continual_backprop"]
    assert trial.config["semantics"]["methods"].keys() == {"continual_backprop"}
    assert trial.config["semantics"]["diagnostics"].keys() == {
        "dormant_fraction",
        "effective_rank",
        "weight_magnitude",
    }


def test_a_null_step_size_stays_null() -> None:
    adamo = [t.config["optimizer"] for t in expand(read(SWEEP)) if "adamo" in t.arms]
    assert {o["isometry_step_size"] for o in adamo} == {None, 0.5}


def test_a_pack_holds_what_differs_in_seed_and_varying_scalars_alone() -> None:
    keys: dict[str, set[Any]] = {}
    for trial in expand(read(SWEEP)):
        keys.setdefault(structure_key(trial.config), set()).add((trial.arms[0], trial.config["network"]["width"]))
    # One pack per arm and width: rates, step sizes and seeds are inside, null or not.
    assert sorted(keys.values(), key=repr) == sorted(
        [{("cbp", 5)}, {("cbp", 10)}, {("adamo", 5)}, {("adamo", 10)}, {("linear", None)}], key=repr
    )


METHOD = """
from __future__ import annotations
from dataclasses import dataclass
from typing import Annotated
from annotated_types import Ge
from workloads.methods.base import Method

@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    amount: Annotated[float, Ge(0)] = {amount}
    rule: str = "gentle"

class Mine(Method):
    Config = Config
    varies = ("amount",)
    semantics = 3

    def loss(self, params, state, hyper):
        return hyper["amount"]

METHODS = {{"mine": Mine}}
"""

USER = (
    "workload: {name: slowly_changing_regression}\n"
    "arms: {a: {optimizer: sgd, mine: {amount: [1, 2]}}}\n"
    "code: [mine.py]\n"
)


def test_a_users_method_joins_and_its_source_is_in_the_id(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(METHOD.format(amount=0.5))
    first = read(USER, tmp_path)
    trials = expand(first)
    assert [t.config["methods"]["mine"] for t in trials] == [
        {"amount": 1.0, "rule": "gentle"},
        {"amount": 2.0, "rule": "gentle"},
    ]
    assert trials[0].config["semantics"]["methods"] == {"mine": 3}
    assert trials[0].config["code"] == [meaning_hash(source) for source in first.code.values()]
    assert structure_key(trials[0].config) == structure_key(trials[1].config)
    (tmp_path / "mine.py").write_text(METHOD.format(amount=0.25))
    assert expand(read(USER, tmp_path))[0].id != trials[0].id
    # Reading other files in between takes nothing away from a sweep that was read before.
    load("demo")
    assert structure_key(expand(first)[0].config) == structure_key(trials[0].config)


DIAGNOSTIC = """
from workloads.diagnostics.base import Diagnostic

class Mean(Diagnostic):
    \"\"\"Mean weight of the head.\"\"\"
    needs, semantics = ("weights",), {semantics}

    def measure(self, look):
        return look.weights[-1].mean((1, 2))

DIAGNOSTICS = {{"head_mean": Mean}}
"""


def test_a_users_diagnostic_is_in_the_name_of_the_trials_that_record_it(tmp_path: Path) -> None:
    text = "workload: {{name: slowly_changing_regression}}\narms: {{a: {{optimizer: sgd}}}}\nmetrics: [{}]\n"
    recorded, without = text.format("head_mean") + "code: [mine.py]\n", text.format("rank_99")
    (tmp_path / "mine.py").write_text(DIAGNOSTIC.format(semantics=2))
    first = expand(read(recorded, tmp_path))[0]
    assert first.config["semantics"]["diagnostics"] == {"head_mean": 2} and len(first.config["code"]) == 1
    assert ids(without + "code: [mine.py]\n", tmp_path) == ids(without, tmp_path)
    (tmp_path / "mine.py").write_text(DIAGNOSTIC.format(semantics=3))
    assert expand(read(recorded, tmp_path))[0].id != first.id


SECOND = METHOD.replace("mine", "other").replace("Mine", "Other")
BOTH = (
    "workload: {name: slowly_changing_regression}\n"
    "arms: {a: {optimizer: sgd, mine: {}, other: {}}, b: {optimizer: sgd}}\ncode: [mine.py, other.py]\n"
)


def ids(text: str, folder: Path) -> dict[str, str]:
    return {arm: trial.id for trial in expand(read(text, folder)) for arm in trial.arms}


def test_how_code_is_laid_out_and_what_a_trial_does_not_use_are_not_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(METHOD.format(amount=0.5))
    (tmp_path / "other.py").write_text(SECOND.format(amount=0.5))
    first = ids(BOTH, tmp_path)
    assert first["b"] == ids("workload: {name: slowly_changing_regression}\narms: {b: {optimizer: sgd}}", tmp_path)["b"]
    laid_out = METHOD.format(amount="5e-1").replace(
        "class Mine(Method):", 'class Mine( Method ):  # so\n    """Mine."""\n'
    )
    (tmp_path / "mine.py").write_text("# a comment\n" + laid_out.replace('"gentle"', "'gentle'"))
    assert ids(BOTH, tmp_path) == first
    (tmp_path / "other.py").write_text(SECOND.format(amount=0.75))
    changed = ids(BOTH, tmp_path)
    assert changed["b"] == first["b"] and changed["a"] != first["a"]


def test_the_order_of_files_is_part_of_the_name_of_a_trial_that_uses_both(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(METHOD.format(amount=0.5))
    (tmp_path / "other.py").write_text(SECOND.format(amount=0.5))
    one, two = ids(BOTH, tmp_path), ids(BOTH.replace("[mine.py, other.py]", "[other.py, mine.py]"), tmp_path)
    assert one["b"] == two["b"] and one["a"] != two["a"]


def test_a_byte_order_mark_before_a_code_file_is_read_over(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(METHOD.format(amount=0.5))
    plain = ids(USER, tmp_path)
    (tmp_path / "mine.py").write_text("\ufeff" + METHOD.format(amount=0.5), encoding="utf-8")
    assert ids(USER, tmp_path) == plain


def test_what_the_trials_of_a_group_share_is_written_once_for_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    canonical = trials.canonical
    monkeypatch.setattr(trials, "canonical", lambda value: (written.append(1), canonical(value))[1])
    rates = [i * 1e-6 for i in range(1000)]
    spec = read(
        "workload: {name: slowly_changing_regression}\nseeds: 100\n"
        f"arms: {{a: {{optimizer: sgd, continual_backprop: {{replacement_rate: {rates}}}}}}}\n"
    )
    assert len(expand(spec)) == 100_000
    assert len(written) == 2 * len(rates)  # before and after the seed


def test_units_replaced_is_recorded_where_a_method_replaces_units_and_nowhere_else() -> None:
    for listed in ("", "metrics: [units_replaced, weight_magnitude]"):
        recorded = {trial.arms[0]: trial.config["metrics"] for trial in expand(read(SWEEP + listed))}
        assert {arm for arm, names in recorded.items() if "units_replaced" in names} == {"cbp"}
        assert all(names == sorted(names) for names in recorded.values())


def test_ages_are_recorded_of_arms_whose_method_keeps_them_and_rename_no_other_trial() -> None:
    asked, before = (expand(read(SWEEP + f"metrics: [{more}weight_magnitude]")) for more in ("unit_age, ", ""))
    assert {trial.arms[0] for trial in asked if "unit_age" in trial.config["metrics"]} == {"cbp"}
    renamed = {new.arms[0] for new, old in zip(asked, before, strict=True) if new.id != old.id}
    assert renamed == {"cbp"}


def test_the_published_generator_is_not_written_down_so_that_earlier_trials_keep_their_ids() -> None:
    said = SWEEP.replace("continual_backprop: {", "continual_backprop: {feature_generator: initial, ")
    assert said != SWEEP
    assert [trial.id for trial in expand(read(said))] == [trial.id for trial in expand(read(SWEEP))]
    assert "feature_generator" not in str([trial.config for trial in expand(read(said))])
