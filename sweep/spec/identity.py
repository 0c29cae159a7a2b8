"""Which sweep a file is: where it lies, and whether two files of one name are one sweep that grew, or two.

A sweep's results are kept by name and scale, so a second file of that name would take the first one's place.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sweep.ledger.sweeps import SweepRecord
from sweep.spec.model import Spec
from sweep.spec.reading import STUDIES
from sweep.trials import Trial

ORIGIN = "PLIANT_SWEEP_FILE"  # where a file lay before it was sent to a cluster
SHIPPED = "the study "  # begins the origin of a sweep that is of one
DIFFERENCES = 3  # told at once
VALUES = 4  # of a setting, told at once


def origin(spec: Spec) -> str | None:
    """Where a sweep's file lies: a path, or the study's name where it ships. None for a sweep that is no file."""
    path = Path(os.environ.get(ORIGIN) or spec.file)
    if path.parent == STUDIES:
        return f"{SHIPPED}{path.stem}"
    return str(path.resolve()) if path.suffix in (".yaml", ".yml") else None


def clash(previous: SweepRecord, spec: Spec, trials: Iterable[Trial]) -> str | None:
    """Why a sweep would take the place of another of its name; None where it is the same one, perhaps grown."""
    there, here = previous.manifest.get("origin"), origin(spec)
    if there == here or there is None or previous.file_text == spec.text:
        return None
    trials = list(trials)
    left = {trial.id for trial in previous.trials}.difference(trial.id for trial in trials)
    if not left:
        return None
    how = "; ".join(differences(previous.trials, trials))
    return (
        f"the sweep {previous.identity} in this storage is of another file, {there}; this one, {here or 'no file'},"
        f" leaves out {len(left):,} of its {len(previous.trials):,} trials ({how})."
        " Say --replace to put it in its place, or give it another name (`name:` in the file)"
    )


def differences(there: Iterable[Trial], here: Iterable[Trial]) -> list[str]:
    """The settings that take other values in one list of trials than in the other."""
    ours, theirs = values(here), values(there)
    sentences = [
        f"{setting} {shown(theirs.get(setting, set()))} there, {shown(ours.get(setting, set()))} here"
        for setting in sorted({*ours, *theirs})
        if ours.get(setting) != theirs.get(setting)
    ]
    more = [f"{len(sentences) - DIFFERENCES} further settings"] if len(sentences) > DIFFERENCES else []
    return [*sentences[:DIFFERENCES], *more]


def values(trials: Iterable[Trial]) -> dict[str, set[str]]:
    """Dotted setting -> the values that trials have, as text; seeds are settings too."""
    by_setting: dict[str, set[str]] = defaultdict(set)
    for trial in trials:
        for setting, value in settings(trial.config):
            by_setting[setting].add(value)
    return by_setting


def settings(config: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """The dotted settings of a config."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from settings(value, f"{prefix}{key}.")
        else:
            yield prefix + key, str(value)


def shown(texts: set[str]) -> str:
    """Some values of a setting: `0.01, 0.003`."""
    listed = sorted(texts)
    return (", ".join(listed[:VALUES]) + (", ..." if len(listed) > VALUES else "")) or "none"
