"""How much faster a pack is than the loop everybody writes (`sweep.benchmarks.plain_loop`), row by row.

Both sides of a ratio are measured in one run, on one core, by the same clock, with the making of the stream, the
error bins and the divergence check inside, on networks that have aged (`ageing`): the plain loop goes on from the
state of the pack's first member. Newborn networks are measured beside them. Compilation is outside (it is paid once
and cached); the time of a first call is shown apart. Every row runs in a process of its own, so that its peak memory
is its own. How many steps are timed is found out first: as many as fill `Case.seconds`.

Some rows also say what share of the training their stream's study spends on its diagnostics, at its schedule: how long
`Training.diagnose` takes, over the steps between two of them. What a task draws once is left out: training needs it.
The same rows say how fast all cores are together, a pack on each at the same time, beside as many times one alone.
One row is of the whole command (`whole`).
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from sweep.benchmarks import ageing, whole
from sweep.benchmarks.limits import limit_ns, peaks, work_of
from sweep.errors import InputError
from workloads.methods.config import METHODS
from workloads.registry import unknown

if TYPE_CHECKING:
    from sweep.benchmarks.plain_loop import PlainLoop
    from workloads.training.loop import Training

REPEATS = 3  # of either side; the best counts, since noise only ever adds
FIRST_STEPS = 100  # at most, of the first call
REGRESSION, IMAGES = "slowly_changing_regression", "permuted_mnist"
RELABELLED, PAIRS = "relabelled", "continual_imagenet"  # an MLP at batch 32, and the convnet at batch 100

# What their tasks are; those of the last two are long enough that no test falls into a repeat.
LENGTHS: dict[str, dict[str, Any]] = {
    REGRESSION: {"flip": "all"},
    IMAGES: {"examples_per_task": 10_000},
    RELABELLED: {"dataset": "mnist", "examples": 6400, "batch": 32, "epochs": 10},
    PAIRS: {"dataset": "glyphs", "epochs": 1000},
}

# How many steps networks have trained when they are measured, at least; and how many members are aged, in whole seeds.
AGES = {REGRESSION: 200_000, IMAGES: 60_000, RELABELLED: 600, PAIRS: 60}
ELDERS = {REGRESSION: 300, IMAGES: 1, RELABELLED: 3, PAIRS: 2}

# The plain loop's ns per step on newborn networks, by stream, arm and width, on the small cloud machine the targets
# were set on. A machine on which it is over 20 % slower than this is busy or different, and its ratios would flatter:
# such a row is marked invalid.
REFERENCE_NS = {
    (REGRESSION, "sgd", 5): 145_000,
    (REGRESSION, "adam", 5): 260_000,
    (REGRESSION, "continual_backprop", 5): 365_000,
    (IMAGES, "sgd", 100): 440_000,
    (IMAGES, "continual_backprop", 100): 910_000,
    (IMAGES, "sgd", 1000): 5_800_000,
    (IMAGES, "continual_backprop", 1000): 8_200_000,
    (IMAGES, "sgd", 2000): 21_000_000,
}
SLACK = 1.2

# Optimizer and methods, by arm.
ARMS: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {
    "sgd": ({"name": "sgd"}, {}),
    "momentum": ({"name": "sgd", "momentum": 0.9}, {}),
    "continual_backprop": ({"name": "sgd"}, {"continual_backprop": {"replacement_rate": 1e-4}}),
    "continual_backprop_1e-2": ({"name": "sgd"}, {"continual_backprop": {"replacement_rate": 1e-2}}),
    "l2": ({"name": "sgd"}, {"l2": {"strength": 1e-4}}),
    "adam": ({"name": "adam"}, {}),
    "adamo": ({"name": "adamo", "isometry_strength": 1e-2}, {}),
    "adamo_every_16": ({"name": "adamo", "isometry_strength": 1e-2, "every": 16}, {}),
    "shrink_and_perturb": ({"name": "sgd"}, {"shrink_and_perturb": {}}),
    # The ends of the studies' grids, where numbers get strange; step sizes of which most diverge.
    "l2_strongest": ({"name": "sgd", "step_size": 0.01}, {"l2": {"strength": 0.1}}),
    "perturbed_most": (
        {"name": "sgd", "step_size": 0.01},
        {"shrink_and_perturb": {"strength": 0.01, "perturb_scale": 0.1}},
    ),
    "divergent": ({"name": "sgd", "step_size": 3.0}, {}),
}
EXTREMES = ("l2_strongest", "perturbed_most", "divergent")
STEP_SIZES = {"sgd": 0.003, "adam": 0.001, "adamo": 0.001}

REGRESSION_ARMS = tuple(arm for arm in ARMS if arm not in ("momentum", "adamo_every_16", *EXTREMES))
IMAGE_ARMS = tuple(arm for arm in ARMS if arm not in ("momentum", "continual_backprop_1e-2", *EXTREMES))

# The ratios aimed at.
REGRESSION_TARGETS = {
    "sgd": 6000,
    "continual_backprop": 5000,
    "continual_backprop_1e-2": 3000,
    "l2": 4000,
    "adam": 3000,
    "adamo": 2000,
    "shrink_and_perturb": 800,
    "l2_strongest": 4000,
    "perturbed_most": 800,
    "divergent": 6000,
}
FEW, FEW_PERTURBED, ALONE = 1000, 500, 150  # regression: 30 members, the same under noise, one
IMAGE_TARGETS: dict[str, float] = {
    "sgd": 30,
    "continual_backprop": 35,
    "l2": 20,
    "shrink_and_perturb": 20,
    "adam": 12,
    "adamo": 1.5,
    "adamo_every_16": 12,
}
WIDE_TARGETS = {1000: 15, 2000: 7}
SHARE_TARGET = 3.0  # percent of training that diagnostics may cost
CORES_TARGET = 0.9  # of N times one core's speed, for packs on N cores
PARITY = 0.95  # convolutions are bound by arithmetic that the plain loop does as well


@dataclass(frozen=True, slots=True)
class Case:
    """One row to measure."""

    stream: str
    arm: str
    seeds: int
    configs: int  # per seed
    width: int  # units per hidden layer
    seconds: float = 0.5  # of one timed repeat of the pack; the plain loop gets half
    older: int | None = None  # steps before it is measured; None for the stream's of `AGES`
    command: bool = False  # the whole command instead of a pack
    flushed: bool = True  # else subnormal numbers are what they are, to see what they cost

    @property
    def age(self) -> int:
        """Steps before it is measured."""
        return AGES[self.stream] if self.older is None else self.older

    @property
    def elders(self) -> int:
        """Seeds that are aged."""
        return max(1, min(self.seeds, ELDERS[self.stream] // self.configs))

    @property
    def members(self) -> int:
        """Trials in the pack."""
        return self.seeds * self.configs

    @property
    def sizes(self) -> tuple[int, ...]:
        """Inputs, hidden widths, outputs of an MLP."""
        depths = {REGRESSION: 1, IMAGES: 3, RELABELLED: 4}
        return (20, self.width, 1) if self.stream == REGRESSION else (784, *[self.width] * depths[self.stream], 10)

    @property
    def network(self) -> str:
        """The sizes as text."""
        return f"convnet of width {self.width}" if self.stream == PAIRS else "-".join(map(str, self.sizes))

    @property
    def target(self) -> float | None:
        """The ratio aimed at, where there is one."""
        if self.command:
            return None
        if self.stream in (RELABELLED, PAIRS):
            return PARITY if self.stream == PAIRS else None
        if self.stream == IMAGES:
            return WIDE_TARGETS[self.width] if self.width in WIDE_TARGETS else IMAGE_TARGETS.get(self.arm)
        few = FEW_PERTURBED if self.arm == "shrink_and_perturb" else FEW
        return {3000: REGRESSION_TARGETS[self.arm], 300: REGRESSION_TARGETS[self.arm], 30: few, 1: ALONE}.get(
            self.members
        )

    @property
    def main(self) -> bool:
        """Whether the share of the diagnostics and the speed of all cores are measured too."""
        return self.arm == "sgd" and not self.command and (self.stream, self.width, self.members) in MAIN


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured. `valid` is false where the plain loop was over 20 % slower than its reference figure."""

    stream: str
    network: str
    batch: int
    arm: str
    members: int
    path: str
    ns_per_trial_step: float
    plain_ns: float
    ratio: float
    limit_ns: float | None  # see `limits`; None without a compiler, and for what is not an MLP at batch 1
    target: float | None  # the ratio aimed at
    first_call_s: float  # from the pack's description to its first steps, programs compiled or from the cache
    peak_mb: float
    valid: bool
    versions: dict[str, str]
    diagnostics: float | None = None  # percent of the training, where it is measured; older records have none
    cores: int | None = None  # logical processors, with a pack on each
    all_cores: float | None = None  # how fast those were together, over so many times one alone
    age: int = 0  # steps the networks had trained; older records have newborn ones
    newborn_ns: float | None = None  # the same two of newborn networks
    newborn_plain_ns: float | None = None
    moved: float | None = None  # bytes per ns that the counted reads and writes come to, see `limits`
    triad: float | None = None  # and that this core moves at best over as large a working set
    kernels_ns: float | None = None  # of the whole command: per trial-step of its kernels alone, on all processors
    flushed: bool = True  # false: subnormal numbers were left as they are


CASES = [
    *[
        Case(REGRESSION, arm, seeds, configs, 5)
        for seeds, configs in ((100, 30), (100, 3), (30, 1), (1, 1))
        for arm in REGRESSION_ARMS
    ],
    *[Case(IMAGES, arm, 30, 1, 100) for arm in IMAGE_ARMS],
    *[Case(IMAGES, arm, 1, 1, 100) for arm in ("sgd", "continual_backprop")],
    *[Case(REGRESSION, arm, 100, 3, 5) for arm in EXTREMES],
    # A repeat ends a task, which copies all weights: short ones would count that more often than a sweep does it.
    *[Case(IMAGES, arm, 1, 1, width, seconds=2.2) for width in (1000, 2000) for arm in ("sgd", "continual_backprop")],
    *[Case(RELABELLED, arm, 3, 1, 512) for arm in ("sgd", "adam")],
    Case(PAIRS, "momentum", 2, 1, 32, seconds=4.0),
    Case(REGRESSION, "sgd", 100, 60, 5, command=True),
]
MAIN = {(REGRESSION, 5, 3000), (IMAGES, 100, 30), (IMAGES, 1000, 1)}  # stream, width, members
QUICK = [Case(REGRESSION, arm, 8, 2, 5, seconds=0.1, older=20_000) for arm in ("sgd", "continual_backprop")]


def selected(
    *, quick: bool, stream: str | None, arm: str | None, members: int | None = None, flushed: bool = True
) -> list[Case]:
    """The cases asked for. Raises InputError where none is."""
    for name, kind, known in ((stream, "stream", {c.stream for c in CASES}), (arm, "arm", set(ARMS))):
        if name is not None and name not in known:
            raise InputError(unknown(name, kind, known))
    cases = QUICK if quick else CASES
    found = [c for c in cases if (stream in (None, c.stream)) and (arm in (None, c.arm))]
    if not found:
        there = ", ".join(f"{arm} on {stream}" for stream, arm in dict.fromkeys((c.stream, c.arm) for c in cases))
        raise InputError(f"there is no such row{' among the quick ones' if quick else ''}; there is: {there}")
    chosen = [c for c in found if members in (None, c.members)]
    if not chosen:
        sizes = ", ".join(map(str, sorted({c.members for c in found})))
        raise InputError(f"there is no such row with {members} members; there is: {sizes}")
    return [replace(case, flushed=flushed) for case in chosen]


def config_of(case: Case, seed: int, which: int) -> dict[str, Any]:
    """A trial's config for the bench; `which` spreads the step sizes, as a sweep would."""
    optimizer, methods = ARMS[case.arm]
    largest = optimizer.get("step_size", STEP_SIZES[optimizer["name"]])
    if case.stream == PAIRS:
        network = {"name": "convnet", "width": case.width}
    else:
        network = {"name": "mlp", "width": case.width, "depth": len(case.sizes) - 2}
    return {
        "workload": {"name": case.stream, "tasks": 10_000, **LENGTHS[case.stream]},  # more than anybody gets through
        "network": network,
        "optimizer": {**optimizer, "step_size": largest * 10 ** (-which / case.configs)},
        "methods": {name: asdict(METHODS[name].config(**chosen)) for name, chosen in methods.items()},
        "seed": seed,
        "metrics": ["online_error" if case.stream == REGRESSION else "online_accuracy"],
        "every": 1000,
        "probe": 10,
        "dtype": "float32",
        "keep": "none",
    }


def command_of(case: Case) -> list[str]:
    """What measures a case in a process of its own; with a core's number after it, beside others."""
    return [sys.executable, "-P", "-m", "sweep.benchmarks.bench", json.dumps(asdict(case))]


def measured_apart(case: Case) -> Row:
    """One row, measured by a process of its own. Raises RuntimeError where it fails."""
    done = subprocess.run(command_of(case), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the bench of {case} failed:\n{done.stderr[-2000:]}")
    row = Row(**json.loads(done.stdout.splitlines()[-1]))
    if not case.main or not hasattr(os, "sched_getaffinity"):
        return row
    cores = sorted(os.sched_getaffinity(0))
    alone, together = at_once(case, cores[:1]), at_once(case, cores)
    return replace(row, cores=len(cores), all_cores=round(together / (len(cores) * alone), 3))


def at_once(case: Case, cores: Sequence[int]) -> float:
    """Trial-steps per ns of a pack on each of these logical processors, all training at the same time.

    Raises RuntimeError where one fails.
    """
    pipe = subprocess.PIPE
    with contextlib.ExitStack() as stack:
        logs = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in cores]
        children = []
        for core, log in zip(cores, logs, strict=True):
            child = subprocess.Popen([*command_of(case), str(core)], stdin=pipe, stdout=pipe, stderr=log, text=True)
            children.append(stack.enter_context(child))
            stack.callback(child.kill)
        ready = [child.stdout is not None and child.stdout.readline() for child in children]
        told = [child.communicate("go\n" if all(ready) else "")[0] for child in children]
        for child, log in zip(children, logs, strict=True):
            if child.returncode != 0:
                log.seek(0)
                raise RuntimeError(f"the bench of {case} on {len(cores)} cores failed:\n{log.read()[-2000:]}")
    return sum(1 / float(out) for out in told)


def beside_others(case: Case, core: int) -> None:
    """What `at_once` starts: says when the pack is warm, waits for a line, trains for a time, prints ns per trial-step.

    All train equally long, whatever they get done, so that none is alone for more than a part of its last repeat.
    """
    on_one_core(core)
    training, _ = new_pack(case)
    once = pack_timer(aged(case, training), case)
    print("ready", flush=True)
    if not sys.stdin.readline():
        return  # nobody is there any more
    began, times = time.perf_counter(), []
    while time.perf_counter() < began + 2 * REPEATS * case.seconds:
        times.append(once())
    print(statistics.fmean(times))


def on_one_core(core: int) -> None:
    """Pin this process and keep torch to one thread."""
    import torch

    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


def measured(case: Case) -> Row:
    """One row, in this process, which it pins to one core."""
    from workloads.engine import computing

    computing.FLUSHED = case.flushed
    if case.command:
        return measured_whole(case)
    on_one_core(min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0)
    training, first_call = new_pack(case)
    loop = plain_loop(case)
    brief = replace(case, seconds=case.seconds / 3)
    newborn = (plain_timer(loop, brief, 0)(), pack_timer(training, brief)())
    training = aged(case, training)
    ageing.hand_over(training, loop)
    pack_once, plain_once = pack_timer(training, case), plain_timer(loop, case, training.step)
    look_once = diagnosis_timer(training) if case.main else lambda: math.nan
    # The sides alternate, so that a machine that slows down slows all.
    times = [(plain_once(), pack_once(), look_once()) for _ in range(REPEATS)]
    plain_ns, pack_ns, look_ns = (min(side) for side in zip(*times, strict=True))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    reference = REFERENCE_NS.get((case.stream, case.arm, case.width))
    row = Row(
        stream=case.stream,
        network=case.network,
        batch=training.stream.batch,
        arm=case.arm,
        members=case.members,
        path=training.path,
        ns_per_trial_step=round(pack_ns, 2),
        plain_ns=round(plain_ns, 1),
        ratio=round(plain_ns / pack_ns, 1),
        limit_ns=None,
        target=case.target,
        first_call_s=round(first_call, 2),
        peak_mb=round(peak_mb, 1),
        valid=reference is None or newborn[0] <= SLACK * reference,
        versions=versions(),
        diagnostics=round(100 * look_ns / pack_ns, 2) if case.main else None,
        age=case.age,
        newborn_ns=round(newborn[1], 2),
        newborn_plain_ns=round(newborn[0], 1),
        flushed=case.flushed,
    )
    return beside_limits(case, training, row)


def beside_limits(case: Case, training: Training, row: Row) -> Row:
    """The row with what its counted work would take at this core's peaks, where that can be said."""
    from workloads.paths import LANES

    if case.stream not in (REGRESSION, IMAGES):
        return row
    shares = ageing.shares_read(training) if case.stream == IMAGES else None
    sharing = min(case.configs, LANES) if case.stream == REGRESSION else 1
    work = work_of(case.sizes, *ARMS[case.arm], shares=shares, sharing=sharing)
    reached = peaks(work.resident)
    if reached is None:
        return row
    row = replace(row, limit_ns=round(limit_ns(work, reached), 2))
    if not shares:
        return row
    return replace(row, moved=round(work.moved / row.ns_per_trial_step, 1), triad=round(reached.moved, 1))


def measured_whole(case: Case) -> Row:
    """The row of the whole command, in this process and its children, on all processors."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    taken = whole.seconds(seeds=case.seeds, configs=case.configs)
    whole_ns = taken / (whole.steps() * case.members) * 1e9
    kernels = replace(case, configs=min(case.configs, 30), command=False)
    training, first_call = new_pack(kernels)
    kernels_ns = pack_timer(aged(kernels, training), kernels)() / cores
    plain_ns = plain_timer(plain_loop(case), case, 0)()
    return Row(
        stream=case.stream,
        network=case.network,
        batch=1,
        arm=case.arm,
        members=case.members,
        path="sweep run",
        ns_per_trial_step=round(whole_ns, 2),
        plain_ns=round(plain_ns, 1),
        ratio=round(plain_ns / whole_ns, 1),
        limit_ns=None,
        target=case.target,
        first_call_s=round(first_call, 2),
        peak_mb=round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, 1),
        valid=True,
        versions=versions(),
        cores=cores,
        kernels_ns=round(kernels_ns, 2),
        flushed=case.flushed,
    )


def versions() -> dict[str, str]:
    """Of what decides how fast a row is."""
    return {name: importlib.metadata.version(name) for name in ("pliant", "torch")} | {
        "python": platform.python_version()
    }


def new_pack(case: Case, seeds: int | None = None) -> tuple[Training, float]:
    """(the case's pack of newborn networks, seconds from its description to its first steps)."""
    from sweep.packing import path_of
    from workloads.training.loop import Training
    from workloads.training.pack import Pack, PackMember

    members = [
        PackMember(f"{seed}-{which}", config_of(case, seed, which))
        for seed in range(seeds or case.seeds)
        for which in range(case.configs)
    ]
    path, _ = path_of(members[0].config, "cpu")
    began = time.perf_counter()
    training = Training(Pack(id="bench", members=members, path=path))
    training.begin()
    training.train(min(FIRST_STEPS, training.feed.chunk))
    return training, time.perf_counter() - began


def aged(case: Case, training: Training) -> Training:
    """The case's pack at its age; `training` is it newborn."""
    if case.elders == case.seeds:
        ageing.grow(training, case.age)
        return training
    elder, _ = new_pack(case, case.elders)
    ageing.grow(elder, case.age)
    ageing.take_over(training, elder, configs=case.configs)
    return training


def pack_timer(training: Training, case: Case) -> Callable[[], float]:
    """Function that trains a pack for a repeat: ns per trial-step."""
    steps = filling(case.seconds, lambda count: trained(training, count))

    def once() -> float:
        taken = trained(training, steps)
        if case.arm != "divergent" and not bool(training.alive.all()):
            raise RuntimeError("members of the pack diverged: its time would mean nothing")
        return taken / (steps * case.members) * 1e9

    return once


def diagnosis_timer(training: Training) -> Callable[[], float]:
    """Function that takes the diagnostics of the stream's study: ns per trial-step between two of them."""
    from sweep.spec import reading, studies
    from workloads.diagnostics import DIAGNOSTICS
    from workloads.training.assembled import stream_of

    study = studies.load(training.stream.name, reading.PAPER)
    asked = [name for name in study.metrics if name in DIAGNOSTICS]
    training.config = {**training.config, "metrics": [*training.config["metrics"], *asked], "probe": study.probe}
    steps = study.every * stream_of({"workload": study.workload.settings[0]}, 0).task_start(1)

    def once() -> float:
        task = training.stream.task_of(training.step) + 1
        for stream in training.streams:
            stream.batches(stream.task_start(task), 1)
        began = time.perf_counter()
        training.diagnose(task)
        taken = time.perf_counter() - began
        training.table.take()
        return taken / (steps * len(training.seeds)) * 1e9

    return once


def shares(rows: Sequence[Row]) -> str:
    """What the diagnostics cost, a line for every row that says so; empty where none does."""
    lines = [f"  {r.network} {r.arm} x {r.members:,}: {r.diagnostics:.1f} %" for r in rows if r.diagnostics is not None]
    return under(f"diagnostics of the studies, share of training (at most {SHARE_TARGET:g} %)", lines)


def together(rows: Sequence[Row]) -> str:
    """How fast all cores were at once, a line for every row that says so; empty where none does."""
    lines = [
        f"  {r.network} {r.arm} x {r.members:,}: {r.all_cores:.2f} x {r.cores}" for r in rows if r.all_cores is not None
    ]
    return under(f"packs on all N cores at once, over one core alone (at least {CORES_TARGET:g} N)", lines)


def bandwidth(rows: Sequence[Row]) -> str:
    """How much memory the widest networks move, a line each, beside what this core moves at best."""
    lines = [
        f"  {r.network} {r.arm} x {r.members:,}: {r.moved:.1f} of {r.triad:.1f} ({r.moved / r.triad:.0%})"
        for r in rows
        if r.moved and r.triad and "-100-" not in r.network
    ]
    return under("bytes moved per ns, of what this core moves over as large a working set (triad)", lines)


def wholes(rows: Sequence[Row]) -> str:
    """How fast the whole command was, a line for every row that says so; empty where none does."""
    lines = [
        f"  {r.members:,} trials: {1e3 / r.ns_per_trial_step:,.0f} M trial-steps/s; "
        f"kernels alone, on {r.cores} processors, {1e3 / r.kernels_ns:,.0f} M"
        for r in rows
        if r.kernels_ns
    ]
    return under("sweep run as a whole: start, Ray, ledger, MLflow and figures included", lines)


def under(heading: str, lines: Sequence[str]) -> str:
    """Lines under a heading, which is nothing without them."""
    return "\n".join([heading, *lines]) if lines else ""


def trained(training: Training, count: int) -> float:
    """Seconds of `count` more steps; where they end no task, their share of what the end of one takes."""
    began, end, ended = time.perf_counter(), training.step + count, False
    while training.step < end:
        task = training.stream.task_of(training.step)
        first, last = training.stream.task_start(task), training.stream.task_start(task + 1)
        training.train(min(end, last))
        if training.step == last:
            training.end_task(task)
            ended = True
    taken = time.perf_counter() - began
    if not ended:
        began = time.perf_counter()
        training.end_task(task)
        taken += (time.perf_counter() - began) * count / (last - first)
    training.table.take()
    return taken


def plain_loop(case: Case) -> PlainLoop:
    """The case's first trial as everybody would write it, newborn."""
    import torch

    from sweep.benchmarks.plain_loop import PlainLoop
    from workloads.training.assembled import stream_of

    torch.manual_seed(0)
    config = config_of(case, 0, 0)
    return PlainLoop(config, stream_of(config, 0))


def plain_timer(loop: PlainLoop, case: Case, at: int) -> Callable[[], float]:
    """Function that trains a plain loop from step `at` for a repeat, stream and error bins included: ns per step."""

    def run(count: int) -> float:
        nonlocal at
        began = time.perf_counter()
        loop.run(at, count)
        at += count
        return time.perf_counter() - began

    steps = filling(case.seconds / 2, run)

    def once() -> float:
        taken = run(steps)
        if case.arm != "divergent" and not math.isfinite(loop.losses[-1]):
            raise RuntimeError("the plain loop diverged: its time would mean nothing")
        return taken / steps * 1e9

    return once


def filling(seconds: float, run: Callable[[int], float]) -> int:
    """How many steps take about as long, `run(count)` taking seconds; it is warm then, too."""
    run(1)  # which finds a task's permutations and fills caches
    count = 1
    while (taken := run(count)) < seconds / 4:
        count *= 2
    return max(1, round(count * seconds / taken))


if __name__ == "__main__":
    asked = Case(**json.loads(sys.argv[1]))
    if len(sys.argv) > 2:
        beside_others(asked, int(sys.argv[2]))
    else:
        print(json.dumps(asdict(measured(asked))))
