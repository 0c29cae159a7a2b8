"""How far a sweep is: its trials, arm by arm, and where its packs stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sweep.cli.output import and_later, count, rendered
from sweep.ledger.commits import Done
from sweep.ledger.failures import Failure
from sweep.ledger.ledger import Ledger
from sweep.ledger.sweeps import SweepRecord

SHOWN = 20  # packs that are not finished, on one screen


def facts(record: SweepRecord, ledger: Ledger) -> dict[str, Any]:
    """Trials done, diverged, failed and left, of the sweep and of each arm; every pack that holds any of them."""
    ends, failed = ledger.ends(), ledger.failures()
    done = {trial: end for trial, end in ends.items() if end.status != "censored"}
    censored = {trial: end for trial, end in ends.items() if end.status == "censored"}
    wanted = {trial.id for trial in record.trials}
    arms = {arm: [t.id for t in record.trials if arm in t.arms] for arm in record.arms}
    return {
        "sweep": record.identity,
        **standing([trial.id for trial in record.trials], done, failed, censored),
        "rounds": record.manifest.get("rounds"),
        "arms": {arm: standing(ids, done, failed, censored) for arm, ids in arms.items()},
        "packs": [
            {
                "pack": pack.id,
                "members": len(pack.members),
                "first": pack.members[0],
                "finished": pack.finished,
                "tasks": pack.tasks,
                "step": pack.step,
                "attempts": pack.attempts,
                "failure": told(pack.failure) if pack.failure else None,
            }
            for pack in ledger.packs()
            if wanted.intersection(pack.members)
        ],
    }


def told(failure: Failure) -> dict[str, Any]:
    """A failure as data, and in words."""
    return asdict(failure) | {"when": failure.when, "reason": failure.reason}


def standing(
    ids: Sequence[str], done: Mapping[str, Done], failed: Mapping[str, Any], censored: Mapping[str, Done]
) -> dict[str, int]:
    """How many of these trials are what; a censored one, stopped before its end, is left for whoever wants it whole."""
    own = [done[id] for id in ids if id in done]
    return {
        "trials": len(ids),
        "done": sum(d.status == "done" for d in own),
        "diverged": sum(d.status == "diverged" for d in own),
        "failed": sum(id in failed for id in ids),
        "censored": sum(id in censored for id in ids),
        "left": len(ids) - len(own),
    }


def as_text(facts: Mapping[str, Any]) -> str:
    """`facts` for people: the sweep, its arms, and the packs that are not finished."""
    from rich.table import Table

    said = [
        f"{facts['sweep']}: {count(facts['trials'], 'trial')}, {facts['done']:,} done, {facts['diverged']:,} diverged, "
        f"{facts['left']:,} left" + (f", {facts['censored']:,} of them censored" if facts["censored"] else "")
    ]
    if rounds := facts["rounds"]:
        said.append(and_later(f"round {rounds['asked']} of {rounds['total']}", rounds["later"]))
    columns = ("trials", "done", "diverged", *(name for name in ("failed", "censored") if facts[name]), "left")
    table = Table("arm", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right")
    for arm, standing in facts["arms"].items():
        table.add_row(arm, *(f"{standing[column]:,}" for column in columns))
    said += ["", rendered(table), "", packs_of(facts["packs"])]
    under_way = [pack for pack in facts["packs"] if not pack["finished"]]
    for pack in under_way[:SHOWN]:
        said += pack_lines(pack)
    if len(under_way) > SHOWN:
        said.append(f"  and {len(under_way) - SHOWN} more; --json lists every pack")
    if fallen := next((pack for pack in under_way if pack["failure"]), None):
        said.append(
            f"the next run tries failed packs again; sweep trial {fallen['first']} shows an error with its traceback"
        )
    return "\n".join(said)


def packs_of(packs: Sequence[Mapping[str, Any]]) -> str:
    """`12 packs, 9 finished`."""
    return f"{count(len(packs), 'pack')}, {sum(pack['finished'] for pack in packs):,} finished"


def pack_lines(pack: Mapping[str, Any]) -> list[str]:
    """Where a pack stands, and why it failed."""
    state = f"at step {pack['step']:,}" if pack["attempts"] else "not begun"
    again = f", {pack['attempts']} attempts" if pack["attempts"] > 1 else ""
    lines = [f"  pack {pack['pack'][:8]}  {pack['members']:5,} trials  {state}{again}"]
    if why := pack["failure"]:
        lines.append(f"    failed {why['when']} on {why['host']}: {why['reason']}")
    return lines
