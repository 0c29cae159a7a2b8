"""What the shell offers after TAB: studies and files, scales, sweeps of the storage with their trials, arms and
metrics, figures, datasets.

`sweep --install-completion` sets it up. Nothing is said here: a storage that cannot be read has no sweeps to offer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sweep.errors import PliantError

if TYPE_CHECKING:
    from sweep.ledger.sweeps import SweepRecord

MOST = 200  # trials offered at once


def studies(ctx: typer.Context, args: list[str], incomplete: str) -> Iterator[tuple[str, str]]:
    """(study, question) of those that ship, and the sweep files of the folder that is being typed."""
    from sweep.spec.meaning import question_of
    from sweep.spec.reading import STUDIES

    for path in sorted(STUDIES.glob("*.yaml")):
        if path.stem.startswith(incomplete):
            yield path.stem, question_of(path.read_text(encoding="utf-8"))
    folder = Path(incomplete) if incomplete.endswith("/") else Path(incomplete).parent
    for entry in sorted(folder.glob("*")) if folder.is_dir() else []:
        shown = f"{entry}/" if entry.is_dir() else str(entry)
        if shown.startswith(incomplete) and (entry.is_dir() or entry.suffix in (".yaml", ".yml")):
            yield shown, ""


def named(ctx: typer.Context, argument: str) -> str:
    """A command's argument that was given before; with an option's value missing, it may not be parsed yet."""
    return ctx.params.get(argument) or next((word for word in ctx.args if not word.startswith("-")), "")


def scales(ctx: typer.Context, args: list[str], incomplete: str) -> Iterator[tuple[str, str]]:
    """(scale, how many trials) of the study that was named before."""
    from sweep.spec.studies import sizes

    try:
        offered = sizes(named(ctx, "study"))
    except PliantError:
        return
    for scale, trials in offered.items():
        if scale.startswith(incomplete):
            yield scale, f"{trials:,} trials"


def settings(ctx: typer.Context, args: list[str], incomplete: str) -> Iterator[str]:
    """`KEY=` for what --set may change of the study that was named before."""
    from sweep.spec.studies import load

    try:
        spec = load(named(ctx, "study"), ctx.params.get("scale"))
    except PliantError:
        return
    keys = ["seeds", "metrics", "dtype", "keep", "figures"]
    parts = {"workload": spec.workload, "network": spec.arms[0].network}
    for arm in spec.arms:
        parts |= {f"arms.{arm.label}": arm.optimizer} | {f"arms.{arm.label}.{part.name}": part for part in arm.methods}
    keys += [f"{place}.{field}" for place, part in parts.items() for field in part.settings[0] if field != "name"]
    yield from (f"{key}=" for key in keys if key.startswith(incomplete))


def sweeps(ctx: typer.Context, args: list[str], incomplete: str) -> Iterator[str]:
    """The sweeps that the storage has, as NAME@SCALE."""
    from sweep.ledger.ledger import Ledger
    from sweep.lookup import storage_of

    try:
        identities = Ledger(storage_of(ctx.params.get("storage"))).sweeps()
    except PliantError:
        return
    yield from (identity for identity in (f"{n}@{s}" for n, s in identities) if identity.startswith(incomplete))


def trials(ctx: typer.Context, args: list[str], incomplete: str) -> Iterator[tuple[str, str]]:
    """(trial, arms and seed) of the storage, the first few that begin so."""
    from sweep.ledger.ledger import Ledger
    from sweep.lookup import storage_of

    try:
        ledger = Ledger(storage_of(ctx.params.get("storage")))
        by_id = {
            t.id: t for sweep in ledger.sweeps() for t in ledger.sweep(*sweep).trials if t.id.startswith(incomplete)
        }
    except PliantError:
        return
    for trial in list(by_id.values())[:MOST]:
        yield trial.id, f"{', '.join(trial.arms)}, seed {trial.config['seed']}"


def arms(ctx: typer.Context, args: list[str], incomplete: str) -> list[str]:
    """The arms of the sweep that was named before."""
    record = recorded(ctx)
    return [arm for arm in record.arms if arm.startswith(incomplete)] if record else []


def several_arms(ctx: typer.Context, args: list[str], incomplete: str) -> list[str]:
    """The same for a list, `A,B`: another arm behind the last comma."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{arm}" for arm in arms(ctx, args, last) if arm not in before.split(",")]


def metrics(ctx: typer.Context, args: list[str], incomplete: str) -> list[str]:
    """What the sweep that was named before recorded, else all there are."""
    from workloads import metrics

    record = recorded(ctx)
    names = record.trials[0].config["metrics"] if record else metrics.known()
    return [name for name in metrics.ranked(names) if name.startswith(incomplete)]


def recorded(ctx: typer.Context) -> SweepRecord | None:
    """The sweep that was named before, where the storage has one."""
    from sweep.ledger.ledger import Ledger
    from sweep.lookup import find_sweep, storage_of

    try:
        return find_sweep(Ledger(storage_of(ctx.params.get("storage"))), named(ctx, "sweep"))
    except PliantError:
        return None


def kinds(ctx: typer.Context, args: list[str], incomplete: str) -> list[str]:
    """What `sweep init` has examples of."""
    from sweep.examples import NAMES

    return [name for name in NAMES if name.startswith(incomplete)]


def figures(ctx: typer.Context, args: list[str], incomplete: str) -> list[str]:
    """The figures there are."""
    from sweep.spec.figures import FIGURES

    return [name for name in FIGURES if name.startswith(incomplete)]


def papers(ctx: typer.Context, args: list[str], incomplete: str) -> list[str]:
    """The papers whose studies ship."""
    from dashboards.papers import PAPERS

    return [name for name in PAPERS if name.startswith(incomplete)]


def datasets(ctx: typer.Context, args: list[str], incomplete: str) -> list[str]:
    """The datasets there are."""
    from workloads.data.catalogue import DATASETS

    return [name for name in DATASETS if name.startswith(incomplete)]


def names(ctx: typer.Context, args: list[str], incomplete: str) -> list[str]:
    """What `sweep describe` knows."""
    from sweep.spec.figures import FIGURES
    from workloads import metrics
    from workloads.kinds import WORKLOADS
    from workloads.methods.config import METHODS, OPTIMIZERS
    from workloads.networks.config import NETWORKS

    everything = dict.fromkeys([*OPTIMIZERS, *METHODS, *WORKLOADS, *NETWORKS, *metrics.known(), *FIGURES])
    return [name for name in everything if name.startswith(incomplete)]
