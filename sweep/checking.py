"""A user's own code, tried before anything is computed with it: when a sweep is planned, and by `sweep check`.

Torch is imported where there is such code, and only then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sweep.errors import InputError
from sweep.trials import Trial, canonical, structure_key
from workloads import streams
from workloads.extensions import owner

TRIED = 3  # trials of one structure: the first, one from the middle and the last


def check_trials(trials: Sequence[Trial]) -> None:
    """Try the streams, and the first steps of every structure, that use code of the user's own.

    Raises InputError that names the user's file and line, what was expected, the mend and the arm.
    """
    concerned = [trial for trial in trials if trial.config["code"]]
    for members in _alike(concerned, lambda trial: canonical(trial.config["workload"])):
        if file := owner("STREAMS", members[0].config["workload"]["name"]):
            check_workload(members[0].config["workload"], [trial.config["seed"] for trial in members], file)
    for members in _alike(concerned, lambda trial: structure_key(trial.config)):
        check_structure(members)


def check_workload(workload: Mapping[str, Any], seeds: Sequence[int], file: str) -> None:
    """One setting of a user's stream, for all seeds that it is wanted for."""
    from workloads.checks.streams import check_stream

    check_stream(lambda seed: streams.made(workload, seed), list(dict.fromkeys(seeds)), file, workload["name"])


def check_structure(members: Sequence[Trial]) -> None:
    """The first steps of a few of the trials that one pack could hold."""
    config = members[0].config
    entries = [("NETWORKS", config["network"]["name"]), ("OPTIMIZERS", config["optimizer"]["name"])]
    if not any(owner(*entry) for entry in [*entries, *(("METHODS", name) for name in config["methods"])]):
        return
    from workloads.checks.learning import check_learning

    chosen = sorted({0, len(members) // 2, len(members) - 1})[:TRIED]
    try:
        check_learning([members[place] for place in chosen])
    except InputError as error:
        raise InputError(f"{error} (arm {', '.join(members[0].arms)})") from error


def _alike(trials: Sequence[Trial], key: Any) -> list[list[Trial]]:
    """The trials by a key, in order; what is the same for a whole group is asked once per group."""
    found: dict[str, list[Trial]] = {}
    keys: dict[str, str] = {}
    for trial in trials:
        if trial.group not in keys:
            keys[trial.group] = key(trial)
        found.setdefault(keys[trial.group], []).append(trial)
    return list(found.values())
