"""A user's own code, tried before anything is computed with it: when a sweep is planned, and by `sweep check`.

Torch is imported where there is such code, and only then.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sweep.errors import InputError
from sweep.packing import path_of, shape_of
from sweep.spec import axes
from sweep.trials import Trial, canonical, structure_key
from workloads import streams
from workloads.extensions import entries, load_code, owner, told
from workloads.methods.config import METHODS, OPTIMIZERS
from workloads.networks.config import NETWORKS
from workloads.registry import fields_of
from workloads.reinforcement import CONTROLS

if TYPE_CHECKING:
    from torch import Tensor

    from workloads.checks.contracts import Make

TRIED = 3  # trials of one structure: the first, one from the middle and the last

KINDS = {
    "METHODS": "method",
    "OPTIMIZERS": "optimizer",
    "STREAMS": "workload",
    "NETWORKS": "network",
    "DIAGNOSTICS": "diagnostic",
}
STEPS, STEPS_OF_PICTURES = 60, 4  # after which paths are compared
LONG, LONG_OF_PICTURES = 500, 8  # after which numbers must be finite
ROUNDING = 1e-10  # relative, in float64

# What a method, an optimizer or a network is tried on: a tiny network with one example at a time, as lanes train it,
# and one too large for those with four examples of several classes, as lifted does.
REGRESSION = {"name": "slowly_changing_regression", "tasks": 2, "period": 1000, "task_boundaries": "shown"}
CLASSES = {"name": "permuted_mnist", "dataset": "digits", "tasks": 2, "examples_per_task": 1000, "batch": 4}
PICTURES = {"name": "continual_imagenet", "dataset": "glyphs", "classes": 4, "tasks": 2, "epochs": 2, "batch": 4}
PICTURES |= {"train_per_class": 8, "test_per_class": 2}


def check_trials(trials: Sequence[Trial]) -> None:
    """Try the streams, and the first steps of every structure, that use code of the user's own.

    Raises InputError that names the user's file and line, what was expected, the mend and the arm.
    """
    concerned = [on_examples(trial) for trial in trials if trial.config["code"]]
    for members in _alike(concerned, lambda trial: canonical(trial.config["workload"])):
        if file := owner("STREAMS", members[0].config["workload"]["name"]):
            check_workload(members[0].config["workload"], [trial.config["seed"] for trial in members], file)
    for members in _alike(concerned, lambda trial: structure_key(trial.config)):
        for name in members[0].config["metrics"]:
            if file := owner("DIAGNOSTICS", name):
                check_look(name, members, file)
        if any(owner(*part) for part in learning_parts(members[0].config)):
            try:
                check_structure(members)
            except InputError as error:
                raise InputError(f"{error} (arm {', '.join(members[0].arms)})") from error


def on_examples(trial: Trial) -> Trial:
    """The trial as it is tried: whose learner would make its own data is given a stream's, as by `sweep check`."""
    workload = trial.config["workload"]
    if workload["name"] not in CONTROLS:
        return trial
    stream = {**REGRESSION, "task_boundaries": workload["task_boundaries"]}
    return dataclasses.replace(trial, config={**trial.config, "workload": stream})


def learning_parts(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What learns in a trial, as entries of the tables."""
    parts = [("NETWORKS", config["network"]["name"]), ("OPTIMIZERS", config["optimizer"]["name"])]
    return [*parts, *(("METHODS", name) for name in config["methods"])]


def check_workload(workload: Mapping[str, Any], seeds: Sequence[int], file: str) -> None:
    """One setting of a user's stream, for all seeds that it is wanted for."""
    from workloads.checks.streams import check_stream

    check_stream(lambda seed: streams.made(workload, seed), list(dict.fromkeys(seeds)), file, workload["name"])


def check_structure(members: Sequence[Trial]) -> None:
    """The first steps of a few of the trials that one pack could hold."""
    from workloads.checks.learning import LARGE, check_learning

    chosen = {0, len(members) // 2, len(members) - 1}
    if shape_of(members[0].config).parameters > LARGE:
        chosen = {0, len(members) - 1}
    check_learning([members[place] for place in sorted(chosen)])


def check_look(name: str, members: Sequence[Trial], file: str) -> dict[str, float]:
    """A first look of a user's diagnostic at a few of the trials that one pack could hold; what it measures there."""
    from workloads.checks.diagnostics import check_diagnostic

    return check_diagnostic(name, members[:TRIED], file)


def _alike(trials: Sequence[Trial], key: Any) -> list[list[Trial]]:
    """The trials by a key, in order; what is the same for a whole group is asked once per group."""
    groups: dict[str, list[Trial]] = {}
    keys: dict[str, str] = {}
    for trial in trials:
        if trial.group not in keys:
            keys[trial.group] = key(trial)
        groups.setdefault(keys[trial.group], []).append(trial)
    return list(groups.values())


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise of one entry of a user's file: kept, or what is wrong."""

    entry: str  # "method bounded_weights"
    promise: str
    kept: bool
    text: str


def check_file(file: Path) -> Iterator[Finding]:
    """Try every promise on every entry of a user's file. Raises InputError where it cannot be loaded."""
    if file.suffix != ".py":
        raise InputError(f"{file}: a Python file is expected; `sweep plan` tries the code that a sweep file names")
    try:
        source = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"{file}: cannot be read: {why}") from None
    load_code({file.name: source})
    for table, name in entries():
        entry = f"{KINDS[table]} {name}"
        try:
            trials = [trials_of(table, name, workload) for workload in workloads_for(table, name)]
        except (Exception, SystemExit) as error:
            yield Finding(entry, "defaults", False, f"{told(error)}; it is tried with its defaults")
            continue
        yield from looked(entry, name, trials) if table == "DIAGNOSTICS" else checked(entry, table, name, trials)


def workloads_for(table: str, name: str) -> list[dict[str, Any]]:
    """What an entry is tried on."""
    if table == "STREAMS":
        return [{"name": name}]
    return [PICTURES] if table == "NETWORKS" and NETWORKS[name].pictures else [REGRESSION, CLASSES]


def trials_of(table: str, name: str, workload: Mapping[str, Any]) -> list[Trial]:
    """Three trials of an entry with its defaults: other seeds, and other values of what may vary."""
    made = []
    kind = streams.STREAMS[workload["name"]]
    shape = {"name": "mlp", "width": 60, "depth": 2} if workload is CLASSES else {"name": "mlp", "width": 5, "depth": 1}
    for seed in range(TRIED):
        stream = {"name": workload["name"], **dataclasses.asdict(kind.Config(**fields_of(workload)[1]))}
        config = {
            "workload": stream,
            "network": settings(name, NETWORKS[name], seed) if table == "NETWORKS" else shape,
            "optimizer": settings(name, OPTIMIZERS[name], seed) if table == "OPTIMIZERS" else {"name": "sgd"},
            "methods": {name: {}} if table == "METHODS" else {},
            "seed": seed,
            "metrics": [kind.online_metric],
            **{"every": 1, "probe": 8, "dtype": "float64", "keep": "none", "code": [name]},
        }
        if table == "METHODS":
            config["methods"] = dict([fields_of(settings(name, METHODS[name], seed))])
        made.append(Trial(str(seed), config, (name,), name))
    return made


def settings(name: str, spec: Any, index: int) -> dict[str, Any]:
    """A part's settings: its defaults; for later members smaller values of what may vary, where those are allowed."""
    fields = dataclasses.asdict(spec.config())
    for varying in getattr(spec, "varies", ()):
        value = fields[varying] / (1 + index) if isinstance(fields[varying], float) else fields[varying]
        try:
            fields[varying] = axes.adapters(spec.config)[varying].validate_python(value)
        except ValidationError:
            continue
    return {"name": name, **fields}


def checked(entry: str, table: str, name: str, groups: Sequence[list[Trial]]) -> Iterator[Finding]:
    """The promises in turn; the first steps decide whether the others mean anything."""
    try:
        for trials in groups:
            if table == "STREAMS":
                check_workload(trials[0].config["workload"], [0, 1, 2], owner(table, name) or name)
            check_structure(trials)
    except InputError as error:
        yield Finding(entry, "first steps", False, str(error))
        return
    same = "examples of each seed" if table == "STREAMS" else "one network, members together and traced"
    yield Finding(entry, "first steps", True, f"{same} are the same, asked twice or in other ways")
    paths = [path_of(trials[0].config, "cpu") for trials in groups]
    for promise, ask in PROMISES.items():
        said = [ask(trials, path) for trials, (path, _) in zip(groups, paths, strict=True)]
        broken = [text for kept, text in said if not kept]
        yield Finding(entry, promise, not broken, broken[0] if broken else said[0][1])
    yield Finding(entry, "path", True, ": ".join(paths[0]))


def looked(entry: str, name: str, groups: Sequence[list[Trial]]) -> Iterator[Finding]:
    """A diagnostic's promises, each of networks of one kind."""
    from sweep.results.naming import number

    for trials in groups:
        network = trials[0].config["network"]
        shape = f"mlp, width {network['width']}, depth {network['depth']}"
        try:
            values = check_look(name, trials, owner("DIAGNOSTICS", name) or name)
        except InputError as error:
            yield Finding(entry, "first looks", False, str(error))
            return
        said = ", ".join(f"{metric} {number(float(f'{value:.3g}'))}" for metric, value in values.items())
        yield Finding(entry, "first looks", True, f"the same again, alone and beside a spoilt member; {shape}: {said}")


def _made(trials: list[Trial], steps: int, few: int) -> tuple[Make, Tensor, Tensor]:
    """Members of these trials, and the examples of their first steps."""
    from workloads.checks.contracts import of_trials

    make, training = of_trials(trials)
    count = few if NETWORKS[trials[0].config["network"]["name"]].pictures else steps
    x, y = training.feed.batches(0, min(count, training.stream.task_start(training.stream.tasks)))
    return make, x, y


def paths_agree(trials: list[Trial], path: str) -> tuple[bool, str]:
    """Every path that takes these trials comes to what one network at a time does."""
    from workloads.checks.contracts import disagreement

    make, x, y = _made(trials, STEPS, STEPS_OF_PICTURES)
    liftable = NETWORKS[trials[0].config["network"]["name"]].liftable
    paths = dict.fromkeys([path, *(["lifted"] if liftable else [])])
    gaps = {way: disagreement(make, x, y, way, range(len(trials))) for way in paths if way != "looped"}
    said = ", ".join(f"{way} {gap:.0e}" for way, gap in gaps.items()) or "it runs one network after the other"
    return all(gap < ROUNDING for gap in gaps.values()), f"after {len(x)} steps, from one network at a time: {said}"


def resume_changes_nothing(trials: list[Trial], path: str) -> tuple[bool, str]:
    """Stopped and continued, a pack comes to the same bits."""
    from workloads.checks.contracts import resumes

    kept = resumes(*_made(trials, STEPS, STEPS_OF_PICTURES), path, range(len(trials)))
    return (
        kept,
        "stopped and continued it comes to the same bits" if kept else "stopped and continued it comes out otherwise",
    )


def neighbours_change_nothing(trials: list[Trial], path: str) -> tuple[bool, str]:
    """A member is what it is alone."""
    from workloads.checks.contracts import apart_from_neighbours

    gap = apart_from_neighbours(*_made(trials, STEPS, STEPS_OF_PICTURES), path, range(len(trials)), 1)
    how = "to the bit" if gap == 0 else f"within {gap:.0e}"
    return gap < ROUNDING, f"a member among others is {how} what it is alone"


def stays_finite(trials: list[Trial], path: str) -> tuple[bool, str]:
    """With the default settings a few hundred steps end in numbers."""
    import torch

    make, x, y = _made(trials, LONG, LONG_OF_PICTURES)
    state = make(range(len(trials)), path).train(x, y).state()
    finite = all(bool(torch.isfinite(value).all()) for value in [state["loss"], *state["params"].values()])
    what = "loss and weights are finite" if finite else "loss or weights are not finite"
    return finite, f"{what} after {len(x)} steps with the defaults"


PROMISES: dict[str, Callable[[list[Trial], str], tuple[bool, str]]] = {
    "paths": paths_agree,
    "resume": resume_changes_nothing,
    "members": neighbours_change_nothing,
    "finite": stays_finite,
}
