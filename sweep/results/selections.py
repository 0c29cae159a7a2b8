"""Which setting stands for an arm, and which trials it is chosen by and shown on.

Of a sweep in two stages the chosen settings are reported on fresh seeds, once some of those trials have ended: on the
seeds that a setting was chosen on it looks better than it is, the more so the more settings there were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sweep.results import naming

if TYPE_CHECKING:
    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord


def best_settings(trials: pd.DataFrame, judged: pd.DataFrame, by: Sequence[str], *, higher: bool) -> pd.DataFrame:
    """The best group of `trials` for every combination of the `by` columns, judged by a frame of
    `late`.

    Fewest diverged trials first, then the best mean over the seeds. Columns: by, arm, group, and candidates,
    the number of groups it was chosen from. An arm is judged by all of its settings, other arms' too.
    """
    by = list(by)
    keys = list(dict.fromkeys([*by, "arm", "group"]))
    config = trials.reset_index()[list(dict.fromkeys(["trial", "arm", *by]))]
    judged = judged.merge(config, on=["trial", "arm"])
    judged["diverged"] = judged["status"] == "diverged"
    grouped = judged.groupby(keys, dropna=False, sort=False)
    ranked = grouped.agg(diverged=("diverged", "sum"), mean=("value", "mean")).reset_index()
    ranked["mean"] = ranked["mean"].fillna(-np.inf if higher else np.inf)
    ranked = ranked.sort_values(["diverged", "mean", "group"], ascending=[True, not higher, True])
    cells = ranked.groupby(by, dropna=False, sort=False) if by else ranked.groupby(np.zeros(len(ranked)))
    ranked["candidates"] = cells["group"].transform("nunique")
    return ranked[cells.cumcount() == 0].drop(columns=["diverged", "mean"]).reset_index(drop=True)


def reported(record: SweepRecord, ledger: Ledger) -> SweepRecord:
    """The record with the trials that results are read from: those on fresh seeds where there are any, else all."""
    seeds = record.manifest.get("seeds", {})
    fresh = [trial for trial in record.trials if trial.config["seed"] in frozenset(seeds.get("evaluate", ()))]
    done = ledger.done() if fresh else {}
    return replace(record, trials=fresh) if any(trial.id in done for trial in fresh) else record


def evaluated(part: SweepRecord) -> bool:
    """Whether a record holds trials on fresh seeds alone, as `reported` gives it."""
    fresh = frozenset(part.manifest.get("seeds", {}).get("evaluate", ()))
    return bool(fresh) and all(trial.config["seed"] in fresh for trial in part.trials)


def selection(record: SweepRecord) -> SweepRecord:
    """The record with the trials that settings are chosen by: every setting on the first seeds."""
    seeds = record.manifest.get("seeds")
    if not seeds:
        return record
    return replace(record, trials=[t for t in record.trials if t.config["seed"] in frozenset(seeds["select"])])


def told(part: SweepRecord) -> str:
    """On which seeds settings were chosen and on which they are shown, as a sentence; nothing for one stage."""
    if "seeds" not in part.manifest:
        return ""
    select, evaluate = spans(part)
    if not evaluated(part):
        return f"Settings are chosen and shown on the same seeds, {select}; fresh ones, {evaluate}, are still to come."
    rounds = part.manifest["rounds"]
    by = f"{naming.metric(rounds['objective'])} over the last {rounds['window']:.0%} of the tasks"
    return f"Settings were chosen on seeds {select}, by {by}; shown is what they do on fresh seeds, {evaluate}."


def briefly(part: SweepRecord, *, every: bool = False) -> str:
    """As `told`, for a figure's footnote; `every`: it shows all settings, and not those that were chosen."""
    if "seeds" not in part.manifest:
        return ""
    select, evaluate = spans(part)
    if every:
        return f"every setting on the seeds it is chosen by, {select}"
    if not evaluated(part):
        return f"chosen on the seeds shown, {select}"
    return f"chosen on seeds {select}, shown on fresh ones, {evaluate}"


def spans(part: SweepRecord) -> tuple[str, str]:
    """The seeds of both stages, for people."""
    seeds = part.manifest["seeds"]
    return naming.numbers(seeds["select"]), naming.numbers(seeds["evaluate"])
