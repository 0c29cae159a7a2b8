"""Runs of the bench, kept: one dated JSON file each, so that a ratio can be compared with what it was before.

A file is `<date>-<commit>.json`, with `-cuda` behind it where packs trained on a GPU: {date, commit, machine, versions,
note, rows}, rows as `sweep bench --json` prints them, of a commit as it is. Fields that are not known are null, and a
bare list of rows, as older versions printed, is a record too.

python -m sweep.benchmarks.bench_records FILE      prints a record as the table of the README beside this file
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sweep.benchmarks.rows import HEADINGS, AnyRow, read_row, rows_by_kind, subject
from sweep.errors import InputError
from sweep.ledger import provenance

ROOT = Path(__file__).resolve().parent.parent.parent
SHORT = 12  # characters of a commit
ALIKE = 0.1  # a ratio that changed by less has not changed

Key = tuple[str, str, str, int, str]  # stream, what it is about, arm, members, device


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A run of the bench, and where it was measured."""

    name: str  # the file's, without .json
    date: str | None  # ISO 8601, UTC; a day or a time
    commit: str | None
    machine: Mapping[str, Any]  # see provenance.machine
    versions: Mapping[str, str | None]
    note: str | None
    rows: Sequence[Mapping[str, Any]]

    @property
    def ratios(self) -> dict[Key, float]:
        """The ratio of every row that has one."""
        return {key_of(row): row["ratio"] for row in self.rows if row.get("ratio") is not None}


@dataclass(frozen=True, slots=True)
class Change:
    """A row's ratio in the last record and now; None where it was not measured."""

    row: AnyRow
    then: float | None

    @property
    def times(self) -> float | None:
        """Now over then."""
        return self.row.ratio / self.then if self.then else None


def key_of(row: Mapping[str, Any]) -> Key:
    """What makes two rows the same question."""
    return row["stream"], subject(row), row["arm"], row["members"], device_of(row)


def device_of(row: Mapping[str, Any]) -> str:
    """What a row was measured on; older records are of CPUs."""
    return str(row.get("device", "cpu"))


def default_folder() -> Path:
    """Where records are kept: the repository's dashboards/benchmarks in a checkout, else ./benchmarks."""
    return ROOT / "dashboards" / "benchmarks" if (ROOT / "pyproject.toml").exists() else Path("benchmarks")


def oldest_first(folder: Path) -> list[Record]:
    """All records of a folder. Raises InputError for a file that is none."""
    return sorted(map(read, folder.glob("*.json")), key=lambda record: (record.date or "", record.name))


def read(path: Path) -> Record:
    """One record. Raises InputError where the file is none."""
    try:
        held = json.loads(path.read_text())
        if isinstance(held, list):
            held = {"rows": held}
        day = re.match(r"\d{4}-\d{2}-\d{2}", path.stem)
        record = Record(
            name=path.stem,
            date=held.get("date") or (day[0] if day else None),
            commit=held.get("commit"),
            machine=held.get("machine") or {},
            versions=held.get("versions") or {},
            note=held.get("note"),
            rows=tuple(held["rows"]),
        )
        record.ratios  # noqa: B018 - every row must say which it is
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no record of the bench: {type(error).__name__}: {error}") from error
    return record


def last(records: Sequence[Record], device: str) -> Record | None:
    """The newest of records, oldest first, that is of a device; None where none is."""
    return next((r for r in reversed(records) if any(device_of(row) == device for row in r.rows)), None)


def refuse_changed_code() -> None:
    """Raises InputError where this checkout's files are not those of its commit: nobody could measure them again."""
    commit = provenance.commit(ROOT)
    if commit and commit.endswith("-dirty"):
        raise InputError(f"--record keeps runs of a commit, and files of {ROOT} differ from theirs: commit them first")


def write(rows: Sequence[AnyRow], folder: Path) -> Path:
    """A record of these rows, measured now on this machine: the file, which appears whole.

    A second run on one day, commit and device takes the first one's place.
    """
    facts = provenance.collect()
    date, commit = str(facts["time"]), facts["commit"]
    held: dict[str, Any] = {
        "date": date,
        "commit": commit,
        "machine": dict(provenance.machine()),
        "versions": {name: facts[name] for name in ("pliant", "torch", "numpy", "python")},
        "note": None,
        "rows": [asdict(row) for row in rows],
    }
    devices = sorted({device_of(row) for row in held["rows"]} - {"cpu"})
    if devices:
        import torch

        held["machine"]["gpu"] = torch.cuda.get_device_name()
    path = folder / ("-".join([date[:10], short(commit), *devices]) + ".json")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as beside:
        new = Path(beside, path.name)
        new.write_text(json.dumps(held, indent=1) + "\n")
        os.replace(new, path)
    return path


def short(commit: str | None) -> str:
    """A commit for people and file names."""
    if commit is None:
        return "unknown"
    whole, dirty, _ = commit.partition("-dirty")
    return whole[:SHORT] + dirty


def changes(rows: Sequence[AnyRow], last: Record | None) -> list[Change]:
    """The rows beside what they were in a record."""
    then = last.ratios if last else {}
    return [Change(row, then.get(key_of(asdict(row)))) for row in rows]


def comparison(changed: Sequence[Change], last: Record) -> str:
    """The changes in a few lines: against which record, how many rows got faster, and every row that got slower."""
    of_both = [(change.times, change) for change in changed if change.times is not None]
    faster = sum(times > 1 + ALIKE for times, _ in of_both)
    slower = [(times, change) for times, change in of_both if times < 1 - ALIKE]
    lines = [
        f"against {last.name}: of {len(of_both)} rows that both have, {faster} are faster, {len(slower)} slower, "
        f"{len(of_both) - faster - len(slower)} within {ALIKE:.0%}"
    ]
    cpu = provenance.machine()["cpu"]
    if last.machine.get("cpu") not in (None, cpu):
        lines.append(f"that was another machine ({last.machine['cpu']}; this is {cpu}): compare with care")
    for times, change in sorted(slower, key=lambda pair: pair[0]):
        stream, about, arm, members, _ = key_of(asdict(change.row))
        lines.append(
            f"slower: {stream} {about} {arm} x {members}: "
            f"ratio {change.then:,.1f} then, {change.row.ratio:,.1f} now ({times:.2f} times)"
        )
    return "\n".join(lines)


def table(record: Record) -> str:
    """A record's rows as tables in Markdown, one of packs and one for every kind of world."""
    packs = [cells_of(row) | costs_of(row, record) for row in record.rows if "kind" not in row]
    worlds = rows_by_kind([read_row(row) for row in record.rows if "kind" in row])
    others = [f"{HEADINGS[kind]}:\n\n{markdown([row.cells for row in rows])}" for kind, rows in worlds.items()]
    return "\n\n".join([*([markdown(packs)] if packs else []), *others])


def costs_of(row: Mapping[str, Any], record: Record) -> dict[str, str]:
    """What a step costs beside one of plain SGD: measured in the same record, and as planning has it declared."""
    measured, declared = beside_sgd(row, record), declared_beside_sgd(row)
    return {"steps of SGD": amount(measured), "declared": amount(declared)}


def beside_sgd(row: Mapping[str, Any], record: Record) -> float | None:
    """A row's time for a step over that of SGD, for as many trials of the same network; None where SGD has no row."""
    alike = ("stream", "network", "members")
    for other in record.rows:
        same = all(other.get(name) == row.get(name) for name in alike) and device_of(other) == device_of(row)
        if same and other["arm"] == "sgd":
            ns: float | None = row.get("ns_per_trial_step")
            return None if not ns or not other.get("ns_per_trial_step") else ns / other["ns_per_trial_step"]
    return None


def declared_beside_sgd(row: Mapping[str, Any]) -> float | None:
    """What optimizer and methods of a row declare of their cost, in steps of SGD; None of an arm that is none of ours.

    An arm with code of a user's own declares what that says.
    """
    from sweep.benchmarks.cases import CASES, OWN, Case, config_of
    from sweep.packing import cost_of, shape_of

    asked = tuple(row.get(name) for name in ("stream", "network", "arm", "members"))
    ours = (case for case in CASES if isinstance(case, Case) and not case.command and case.arm not in OWN)
    case = next((case for case in ours if (case.stream, case.network, case.arm, case.members) == asked), None)
    if case is None:
        return None
    own, plain = ({**config_of(of, 0, 0), "metrics": []} for of in (case, replace(case, arm="sgd")))
    return cost_of(own, shape_of(own)) / cost_of(plain, shape_of(plain))


def cells_of(row: Mapping[str, Any]) -> dict[str, str]:
    """A pack's, as written; what it does not know stays empty."""
    newborn = row["newborn_plain_ns"] / row["newborn_ns"] if row.get("newborn_ns") else None
    return {
        "stream, network": f"{row['stream']}, {row['network']}",
        "arm": row["arm"],
        "trials": f"{row['members']:,}",
        "age": f"{row.get('age', 0):,}",
        "plain loop, ns": amount(row.get("plain_ns")),
        "pack, ns": amount(row.get("ns_per_trial_step")),
        "ratio": amount(row.get("ratio")),
        "newborn": amount(newborn),
    }


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows under their heads; a first cell like the one above it stays empty."""
    lines = [f"| {' | '.join(rows[0])} |", "|---" * len(rows[0]) + "|"]
    shown = ""
    for row in rows:
        first, *others = row.values()
        lines.append(f"| {' | '.join(['' if first == shown else first, *others])} |")
        shown = first
    return "\n".join(lines)


def amount(value: float | None) -> str:
    """A number with a decimal where it is small, nothing for None."""
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"


if __name__ == "__main__":
    print(table(read(Path(sys.argv[1]))))
