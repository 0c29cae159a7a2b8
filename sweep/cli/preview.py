"""What running a sweep would do, as `sweep plan` says it: one screen for people, everything for scripts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweep.cli.output import and_later, count, duration, rendered, size
from sweep.cluster import calibration, placement
from sweep.packing import PlannedPack, looking, sizes_of
from sweep.results import naming
from sweep.service import Plan
from workloads.diagnostics import DIAGNOSTICS
from workloads.diagnostics.costs import costliest

ROWS = 16  # of packs, on one screen
SHOWN = 6  # values of an axis in a row
GUESSED = "by a guess, within a factor of some three (--measure: as measured)"
# Tested over random sweeps: tests/contracts/test_random_sweeps.py.
PROMISE = (
    "every path trains the same up to rounding; where that decides, as between units of equal utility, paths may part"
)


def as_data(planned: Plan, workers: int | None = None) -> dict[str, Any]:
    """A plan for scripts: every pack."""
    measured = calibration.read()
    packs = [
        {
            "pack": pack.id,
            "arms": arms_of([pack]),
            "trials": len(pack.trials),
            "steps": pack.shape.steps,
            "path": pack.path,
            "reason": pack.reason,
            "memory_bytes": pack.memory,
            "seconds": planned.seconds(pack, measured),
            "resumes": pack.resumes,
        }
        for pack in planned.packs
    ]
    here = placement.trains_here(planned.packs, times=planned.times, workers=workers)
    return {
        "sweep": planned.identity,
        "storage": planned.storage,
        "trials": len(planned.trials),
        "already_done": len(planned.done),
        "to_run": planned.missing,
        "round": len(planned.rounds.asked),
        "rounds": planned.rounds.total,
        "later": planned.later,
        "trains": "in this process" if here else "on Ray",
        "diagnostics_share": share_of_looks(planned.packs, measured)[0] if planned.packs else 0.0,
        "packs": packs,
        "warnings": planned.warnings(),
    }


def as_text(planned: Plan, workers: int | None = None) -> str:
    """A plan for people: alike packs in one row, and why each path once."""
    spec = planned.spec
    said = [
        f"{planned.identity}: {spec.question}",
        f"{count(len(planned.trials), 'trial')}, {len(planned.done):,} already done, {planned.missing:,} to run"
        f" in {count(len(planned.packs), 'pack')}; results in {planned.storage}",
    ]
    said += stages(planned)
    said += planned.again()
    if planned.packs:
        measured = calibration.read()
        said += ["", table(planned, measured), "", *reasons(planned.packs)]
        said += [diagnostics(planned.packs, measured), time_of(planned, measured, workers)]
    return "\n".join(said)


def stages(planned: Plan) -> list[str]:
    """The rounds of a sweep that has several: what is drawn, what is chosen by what, and what later ones come to."""
    spec, said = planned.spec, list[str]()
    chosen = f"chosen by: {naming.metric(spec.objective)} over {spec.window.words}"
    if not planned.round:
        return [chosen] if spec.window.end == "first" else said
    settings = f"{count(len(spec.seeds), 'seed')} ({naming.numbers(spec.seeds)})"
    if (search := spec.search) is not None:
        drawn = [arm.label for arm in spec.arms if arm.ranges]
        grid = [f"; {arm.label} has {count(spec.settings(arm), 'setting')}" for arm in spec.arms if not arm.ranges]
        said.append(
            f"search: {search.trials:,} settings for {naming.listed(drawn)}, {search.at_once} at a time by"
            f" {search.sampler}{''.join(grid)}; each on {settings}"
        )
    else:
        said.append(f"selection: {count(sum(map(spec.settings, spec.arms)), 'setting')}, each on {settings}")
    if spec.evaluate:
        said.append(
            f"evaluation: the chosen setting of each arm on {count(len(spec.evaluate), 'fresh seed')}"
            f" ({naming.numbers(spec.evaluate)})"
        )
    said.append(chosen)
    if planned.later:
        said.append(f"this is {and_later(planned.round, planned.later)}")
    return said


def of_later(planned: Plan, seconds: Sequence[float], slots: int) -> str:
    """What rounds that are not known yet would add, if their trials take as long as this round's."""
    if not planned.later or not planned.missing:
        return ""
    return f"; later rounds some {duration(sum(seconds) * planned.later / planned.missing / slots)} more"


@dataclass(frozen=True, slots=True)
class Row:
    """Packs of one kind, and what sets them apart from the others of their arms."""

    packs: list[PlannedPack]
    settings: Mapping[str, Sequence[Any]]  # column -> values

    @property
    def kind(self) -> tuple[Any, ...]:
        """What rows that may be told as one have in common."""
        return (*arms_of(self.packs), self.packs[0].path, self.packs[0].shape.steps)


def table(planned: Plan, measured: Mapping[str, float]) -> str:
    """The packs by kind. Where kinds are many, those that differ in settings alone are one row."""
    from rich.table import Table

    rows = list(kinds(planned))
    if len(rows) > ROWS:
        rows = merged(rows)
    head = ["arms", "packs", "trials", "steps", "path", "memory", "time"]
    if settled := any(row.settings for row in rows):
        head.insert(1, "settings")
    shown = Table(*head, box=None, pad_edge=False)
    for name in ("packs", "trials", "steps"):
        shown.columns[head.index(name)].justify = "right"
    for row in rows[:ROWS]:
        pack, several = row.packs[0], len(row.packs) > 1
        memory = max(p.memory for p in row.packs)
        seconds = [placement.measured_seconds(p, measured) for p in row.packs]
        times = [s for s in seconds if s is not None]
        each = " each" if several else ""
        cells = [
            ", ".join(arms_of(row.packs)),
            *[settings_of(row)] * settled,
            f"{len(row.packs):,}",
            f"{sum(len(p.trials) for p in row.packs):,}",
            f"{pack.shape.steps:,}",
            pack.path,
            size(max(memory, 1 << 20)) + each if memory else "",
            duration(sum(times) / len(times)) + each if len(times) == len(seconds) else "not measured",
        ]
        shown.add_row(*cells)
    more = [f"and {len(rows) - ROWS} more such rows; --json lists every pack"] if len(rows) > ROWS else []
    return "\n".join([rendered(shown), *more])


def kinds(planned: Plan) -> Iterator[Row]:
    """The packs that share everything but seeds and the scalars that vary inside a pack."""
    groups: dict[tuple[str, str], list[PlannedPack]] = {}
    for pack in planned.packs:
        groups.setdefault((pack.structure, pack.path), []).append(pack)
    settings = naming.settings(planned.trials)
    for packs in groups.values():
        values: dict[str, dict[Any, None]] = {}  # column -> its values in this kind
        for arm, group in {(arm, trial.group): None for pack in packs for trial in pack.trials for arm in trial.arms}:
            for column, value in settings[arm, group].items():
                values.setdefault(column, {})[value] = None
        yield Row(packs, {column: list(options) for column, options in values.items() if len(options) == 1})


def merged(rows: Sequence[Row]) -> list[Row]:
    """Rows that differ in settings alone as one."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(row.kind, []).append(row)
    one_of_each = []
    for alike in groups.values():
        columns = dict.fromkeys(column for row in alike for column in row.settings)
        values = {c: list(dict.fromkeys(v for row in alike for v in row.settings.get(c, ()))) for c in columns}
        one_of_each.append(Row([pack for row in alike for pack in row.packs], values))
    return one_of_each


def settings_of(row: Row) -> str:
    """`width 5, relu`: what sets a row apart; a setting that its trials have not got is none."""
    there = {column: [v for v in values if v is not None] for column, values in row.settings.items()}
    return ", ".join(axis(column, values) for column, values in there.items() if values)


def axis(column: str, values: Sequence[Any]) -> str:
    """`width 5`, `width 5, 20`, `width 5 to 2000 (12 values)`; nothing where no trial says it."""
    if not (values := [value for value in values if value is not None]):
        return ""
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(values) > SHOWN and len(numbers) == len(values):
        ends = naming.setting({column: min(numbers)}), naming.number(max(numbers))
        return f"{' to '.join(ends)} ({len(values)} values)"
    first, *rest = values
    others = [naming.number(v) if v in numbers else str(v) for v in rest]
    texts = [naming.setting({column: first}), *others]
    return ", ".join(texts if len(texts) <= SHOWN else [*texts[:SHOWN], f"... ({len(texts)} values)"])


def arms_of(packs: Sequence[PlannedPack]) -> list[str]:
    """The labels of all arms that have trials in these packs, sorted."""
    return sorted({arm for pack in packs for trial in pack.trials for arm in trial.arms})


def reasons(packs: Sequence[PlannedPack]) -> list[str]:
    """Why the packs take the paths they take, each reason once, with the arms where a path has several."""
    begun = [pack for pack in packs if pack.resumes]
    by_path: dict[str, dict[str, list[PlannedPack]]] = {}
    for pack in packs:
        if not pack.resumes:
            by_path.setdefault(pack.path, {}).setdefault(pack.reason, []).append(pack)
    width = max(map(len, by_path), default=0)
    said = []
    for path, why in by_path.items():
        for reason, those in why.items():
            whose = f" ({', '.join(arms_of(those))})" if len(why) > 1 else ""
            said.append(f"{path:{width}}  {reason}{whose}")
    if said:
        said.append(PROMISE)
    if begun:
        said.append(f"{count(len(begun), 'pack')} that an earlier run began: from the last commit, on the path it took")
    return said


def diagnostics(packs: Sequence[PlannedPack], measured: Mapping[str, float]) -> str:
    """What share of the run goes into looking at the networks, and what most of that is for; nothing without any."""
    dearest = max(packs, key=lambda pack: looking(pack.trials[0].config, pack.shape))
    config = dearest.trials[0].config
    names = [name for name in config["metrics"] if name in DIAGNOSTICS]
    if not names:
        return ""
    share, how = share_of_looks(packs, measured)
    percent = f"{100 * share:.0f} %" if share >= 0.01 else "less than 1 %"
    often = "every task" if config["every"] == 1 else f"every {config['every']:,} tasks"
    most = f", most of it for {costliest(names, sizes_of(config, dearest.shape))}" if len(names) > 1 else ""
    return f"diagnostics, {often}: {percent} of the run {how}{most}"


def share_of_looks(packs: Sequence[PlannedPack], measured: Mapping[str, float]) -> tuple[float, str]:
    """From 0 to 1, and whether that is of measured times or of those that are guessed of packs like these."""
    seconds = [(measured.get(calibration.looks_key(p)), placement.measured_seconds(p, measured)) for p in packs]
    known = [(look * p.shape.steps, whole) for p, (look, whole) in zip(packs, seconds, strict=True) if look and whole]
    if len(known) == len(packs):
        return min(1.0, sum(look for look, _ in known) / sum(whole for _, whole in known)), "as measured"
    looks = sum(map(placement.guessed_looks, packs))
    return looks / (looks + sum(map(placement.guessed_training, packs))), GUESSED


def time_of(planned: Plan, measured: Mapping[str, float], workers: int | None) -> str:
    """How long a run takes and where it trains, as far as packs like these were measured."""
    here = placement.trains_here(planned.packs, times=planned.times, workers=workers)
    slots = 1 if here else placement.at_once(planned.packs, workers)
    start = placement.to_start(placement.HERE if here else placement.RAY, measured)
    where = "in this process (--ray: on Ray)" if here else "on Ray"
    seconds = [s for s in (planned.seconds(pack, measured) for pack in planned.packs) if s is not None]
    if len(seconds) < len(planned.packs):
        unmeasured = (
            f"{count(len(planned.packs) - len(seconds), 'pack')} not measured: --measure trains each kind a moment"
        )
        least = f"over {duration(start + placement.together(seconds, slots))}; " if seconds else ""
        return f"{least}{unmeasured}\ntrains {where}, {count(slots, 'pack')} at once; {duration(start)} to start"
    total = duration(start + placement.together(seconds, slots))
    later = of_later(planned, seconds, slots)
    return (
        f"about {total}, {count(slots, 'pack')} at once {where}, {duration(start)} of it to start{later};"
        " then figures, MLflow"
    )
