"""Expansion of a sweep into trials, and what a trial is called.

A trial is one config and one seed. Its id is a hash of its whole config, written canonically, so that two
people, two machines and two sweeps mean the same computation by the same name. Labels of sweep and arm are
for people and are not in it. A group is the trials that differ in seed alone.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sweep.spec.model import Arm, Spec
from workloads import kinds, metrics
from workloads.diagnostics import DIAGNOSTICS, needs_of
from workloads.extensions import load_code, sources_of
from workloads.methods.config import METHODS, OPTIMIZERS
from workloads.registry import fields_of
from workloads.syntax import meaning_hash

ENGINE_SEMANTICS = 2  # raised when the engine gives other results for the same config
ID_LENGTH = 16  # hex digits: 64 bits, so a million trials meet by chance once in 4e7 sweeps


@dataclass(frozen=True, slots=True)
class Trial:
    """One config and one seed. `config` shares its parts with other trials: read it, do not change it."""

    id: str
    config: dict[str, Any]
    arms: tuple[str, ...]  # labels of all arms that mean it, in the order of the file
    group: str  # id of the config without its seed


def planned_tasks(workload: Mapping[str, Any]) -> int:
    """How many tasks a trial goes through, from its config; some streams' follows from their other fields."""
    if "tasks" in workload:
        return int(workload["tasks"])
    return kinds.made(workload, 0).tasks


def canonical(value: Any) -> str:
    """JSON in one spelling: sorted keys, no spaces, shortest floats that read back (1e-3 is 0.001)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(text: str) -> str:
    """The id of a canonical text."""
    return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]


def trial_id(config: Mapping[str, Any]) -> str:
    """The id of a trial's config, or of a group's (the config without its seed)."""
    return digest(canonical(config))


def structure_key(config: Mapping[str, Any]) -> str:
    """Equal for trials that one pack can hold: a hash of the config without its seed and its varying scalars.

    The same for all trials of a group, so ask once per group.
    """
    optimizer, methods = config["optimizer"], config["methods"]
    kept = {key: value for key, value in config.items() if key not in ("seed", "optimizer", "methods")}
    kept["optimizer"] = _fixed(optimizer, OPTIMIZERS[optimizer["name"]].varies)
    kept["methods"] = {name: _fixed(fields, METHODS[name].varies) for name, fields in methods.items()}
    return trial_id(kept)


def _fixed(fields: Mapping[str, Any], varies: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key not in varies}


def expand(spec: Spec) -> list[Trial]:
    """The trials of a sweep: by arm, then workload, network, optimizer, methods (by name), then seed.

    The same list for the same file, always. A trial that several arms mean is listed once, where the first of them
    has it, and belongs to all.
    """
    return with_seeds(settings(spec, spec.arms), spec.seeds)


def with_seeds(settings: Iterable[tuple[str, dict[str, Any]]], seeds: Sequence[int]) -> list[Trial]:
    """The trials of these settings, each with the label of an arm that means it, for every seed, as in `expand`."""
    groups: dict[str, tuple[str, str, dict[str, Any]]] = {}
    arms: dict[str, list[str]] = {}
    for label, setting in settings:
        # The seed's place in the sorted text is between these two halves; only it changes inside a group.
        before = canonical({key: value for key, value in setting.items() if key < "seed"})[:-1]
        after = canonical({key: value for key, value in setting.items() if key > "seed"})[1:]
        group = digest(f"{before},{after}")
        groups.setdefault(group, (before, after, setting))
        if label not in arms.setdefault(group, []):  # an arm may spell one setting twice
            arms[group].append(label)
    trials: list[Trial] = []
    for group, (before, after, setting) in groups.items():
        labels = tuple(arms[group])
        for seed in seeds:
            config = {**setting, "seed": seed}
            trials.append(Trial(digest(f'{before},"seed":{seed},{after}'), config, labels, group))
    return trials


def together(rounds: Iterable[Sequence[Trial]]) -> list[Trial]:
    """The trials of several rounds, each once, where it first stands, with the labels of all arms that mean it."""
    by_id: dict[str, Trial] = {}
    for trial in itertools.chain.from_iterable(rounds):
        earlier = by_id.get(trial.id)
        arms = tuple(dict.fromkeys((*earlier.arms, *trial.arms))) if earlier else trial.arms
        by_id[trial.id] = trial if earlier is None else replace(earlier, arms=arms)
    return list(by_id.values())


def of_one_meaning(trials: Iterable[Trial]) -> list[tuple[str, ...]]:
    """The arms that mean exactly the same trials, as tuples of two or more labels; usually there are none."""
    groups: dict[str, set[str]] = {}
    for trial in trials:
        for arm in trial.arms:
            groups.setdefault(arm, set()).add(trial.group)
    alike: dict[frozenset[str], list[str]] = {}
    for arm, its in groups.items():
        alike.setdefault(frozenset(its), []).append(arm)
    return [tuple(labels) for labels in alike.values() if len(labels) > 1]


def _metrics(spec: Spec, arm: Arm) -> list[str]:
    """What an arm's trials record, sorted: what the sweep asks for, and how many units a method replaced.

    Ages of units are the arms' whose methods keep them: to ask for them changes no other arm's trials.
    """
    names = set(spec.metrics).difference(metrics.from_origin("counted"))
    if not any(METHODS[m.name].ages for m in arm.methods):
        names = {name for name in names if "ages" not in needs_of(name)}
    return sorted({*names, "units_replaced"} if any(METHODS[m.name].replaces for m in arm.methods) else names)


def settings(spec: Spec, arms: Iterable[Arm]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every setting of these arms, each with its arm's label, as a trial's config without the seed."""
    load_code(spec.code)  # another file may have been read since this one
    shared: dict[str, Any] = {
        "every": spec.every,
        "probe": spec.probe,
        "dtype": spec.dtype,
        "keep": spec.keep,
    }
    if "plasticity_gap" in spec.metrics:
        shared["fresh_every"] = spec.fresh_every
    said = {file: meaning_hash(source) for file, source in spec.code.items()}
    for arm in arms:
        methods = sorted(arm.methods, key=lambda method: method.name)
        recorded = _metrics(spec, arm)
        measured = {name: DIAGNOSTICS[name].semantics for name in recorded if name in DIAGNOSTICS}
        parts = [("STREAMS", spec.workload.name), ("NETWORKS", arm.network.name), ("OPTIMIZERS", arm.optimizer.name)]
        parts += [*(("METHODS", method.name) for method in methods), *(("DIAGNOSTICS", name) for name in measured)]
        used = sources_of(parts)
        semantics = {
            "engine": ENGINE_SEMANTICS,
            "stream": spec.workload.semantics,
            "network": arm.network.semantics,
            "optimizer": arm.optimizer.semantics,
            "methods": {method.name: method.semantics for method in methods},
            "diagnostics": measured,
        }
        # Methods are in the trial by name: their settings need no second one.
        fields = [[fields_of(setting)[1] for setting in method.settings] for method in methods]
        for workload, network, optimizer, *chosen in itertools.product(
            spec.workload.settings, arm.network.settings, arm.optimizer.settings, *fields
        ):
            yield (
                arm.label,
                {
                    "workload": workload,
                    "network": network,
                    "optimizer": optimizer,
                    "methods": {m.name: setting for m, setting in zip(methods, chosen, strict=True)},
                    "semantics": semantics,
                    "code": [said[file] for file in used] or None,
                    "metrics": recorded,
                    **shared,
                },
            )
