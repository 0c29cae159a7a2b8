"""How much faster a pack is than the loop everybody writes (`sweep.benchmarks.plain_loop`), row by row.

Both sides of a ratio are measured in one run, on one core, by the same clock, with the making of the stream, the
error bins and the divergence check inside, on networks that have aged (`ageing`): the plain loop goes on from the
state of the pack's first member. Newborn networks are measured beside them. Compilation is outside (it is paid once
and cached); the time of a first call is shown apart. Every row runs in a process of its own, so that its peak memory
is its own. How many steps are timed is found out first: as many as fill `Case.seconds`.

Some rows also say what share of the training their stream's study spends on its diagnostics, at its schedule: how long
`Training.diagnose` takes, over the steps between two of them. What a task draws once is left out: training needs it.
The same rows say how fast all cores are together, a pack on each at the same time, beside as many times one alone.
One row is of the whole command (`whole`), others are of agents and worlds (`acting`, `stepping`, `arcade`). On a GPU
both sides train there, the loop's batches brought over at once, and no core is set aside: what compiles needs them all.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from sweep.benchmarks import ageing, roofline, whole
from sweep.benchmarks.cases import (
    ARMS,
    IMAGES,
    PAIRS,
    REFERENCE_NS,
    REGRESSION,
    RELABELLED,
    SLACK,
    WITHOUT,
    AnyCase,
    Case,
    config_of,
)
from sweep.benchmarks.limits import limit_ns, peaks, work_of
from sweep.benchmarks.rows import AnyRow, Row, read_row, versions
from sweep.benchmarks.turns import REPEATS, by_turns, on_one_core
from sweep.benchmarks.world_cases import Agents, Games, Robots
from sweep.errors import InputError

if TYPE_CHECKING:
    from sweep.benchmarks.plain_loop import PlainLoop
    from workloads.training.loop import Training

FIRST_STEPS = 100  # at most, of the first call


def command_of(case: AnyCase) -> list[str]:
    """What measures a case in a process of its own; with a core's number after it, a pack beside others."""
    return [sys.executable, "-P", "-m", "sweep.benchmarks.bench", type(case).__name__, json.dumps(asdict(case))]


def measured_apart(case: AnyCase) -> AnyRow:
    """One row, measured by a process of its own. Raises RuntimeError where it fails."""
    done = subprocess.run(command_of(case), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the bench of {case} failed:\n{done.stderr[-2000:]}")
    row = read_row(json.loads(done.stdout.splitlines()[-1]))
    if not (isinstance(case, Case) and isinstance(row, Row) and case.main and hasattr(os, "sched_getaffinity")):
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
        outputs = [child.communicate("go\n" if all(ready) else "")[0] for child in children]
        for child, log in zip(children, logs, strict=True):
            if child.returncode != 0:
                log.seek(0)
                raise RuntimeError(f"the bench of {case} on {len(cores)} cores failed:\n{log.read()[-2000:]}")
    return sum(1 / float(out) for out in outputs)


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


def measured_of(case: AnyCase) -> AnyRow:
    """One row, in this process. Raises InputError where something to measure it with is not installed."""
    if isinstance(case, Case):
        return measured(case)
    from sweep.benchmarks import acting, arcade, stepping

    if isinstance(case, Robots):
        return stepping.measured(case)
    on_one_core()
    return acting.measured(case) if isinstance(case, Agents) else arcade.measured(case)


def measured(case: Case) -> Row:
    """One row of a pack, in this process, which it pins to one core."""
    from workloads.engine import computing

    computing.FLUSHED = case.flushed
    if case.command:
        return measured_whole(case)
    if case.device == "cpu":
        on_one_core()
    training, first_call = new_pack(case)
    loop = plain_loop(case)
    brief = replace(case, seconds=case.seconds / 3)
    newborn = (plain_timer(loop, brief, 0)(), pack_timer(training, brief)())
    training = aged(case, training)
    ageing.hand_over(training, loop)
    pack_once, plain_once = pack_timer(training, case), plain_timer(loop, case, training.step)
    look_once = diagnosis_timer(training) if case.main else lambda: math.nan
    plain_ns, pack_ns, look_ns = map(min, by_turns([plain_once, pack_once, look_once]))
    row = row_of(case, training.path, training.stream.batch, pack_ns, plain_ns, first_call, resource.RUSAGE_SELF)
    reference = REFERENCE_NS.get((case.stream, case.arm, case.width)) if case.device == "cpu" else None
    row = replace(
        row,
        valid=reference is None or newborn[0] <= SLACK * reference,
        diagnostics=round(100 * look_ns / pack_ns, 2) if case.main else None,
        age=case.age,
        newborn_ns=round(newborn[1], 2),
        newborn_plain_ns=round(newborn[0], 1),
    )
    return beside_limits(case, training, row)


def row_of(case: Case, path: str, batch: int, ns: float, plain_ns: float, first_call: float, whose: int) -> Row:
    """What every row says: ns per trial-step of ours and of the plain loop; `whose` memory was used, of RUSAGE_*."""
    return Row(
        stream=case.stream,
        network=case.network,
        batch=batch,
        arm=case.arm,
        members=case.members,
        path=path,
        ns_per_trial_step=round(ns, 2),
        plain_ns=round(plain_ns, 1),
        ratio=round(plain_ns / ns, 1),
        limit_ns=None,
        target=case.target,
        first_call_s=round(first_call, 2),
        peak_mb=round(resource.getrusage(whose).ru_maxrss / 1024, 1),
        valid=True,
        versions=versions(),
        flushed=case.flushed,
        device=case.device,
    )


def beside_limits(case: Case, training: Training, row: Row) -> Row:
    """The row with what its counted work would take at this core's peaks, where that can be said."""
    from workloads.paths import LANES

    if case.device == "cuda":
        return replace(row, limit_ns=gpu_limit(case))
    if case.stream not in (REGRESSION, IMAGES) or case.arm in WITHOUT:  # whose work `limits` does not count
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


def gpu_limit(case: Case) -> float | None:
    """The bound of this GPU's data sheet in ns per trial-step, where `roofline` counts the work and knows the GPU."""
    import torch

    name = torch.cuda.get_device_name()
    gpu = next((known for known in roofline.KNOWN if known.name.split()[0] in name), None)
    if gpu is None or case.arm not in ("sgd", "momentum") or case.stream == RELABELLED:
        return None
    if case.stream == PAIRS:
        counted = roofline.convnet_case(case.network, case.members, 100)
    else:
        counted = roofline.mlp_case(case.network, case.members, case.sizes)
    return round(roofline.roofline(counted, gpu).ns, 2)


def measured_whole(case: Case) -> Row:
    """The row of the whole command, in this process and its children, on all processors."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    taken = whole.seconds(seeds=case.seeds, configs=case.configs)
    whole_ns = taken / (whole.steps() * case.members) * 1e9
    kernels = replace(case, configs=min(case.configs, 30), command=False)
    training, first_call = new_pack(kernels)
    kernels_ns = pack_timer(aged(kernels, training), kernels)() / cores
    plain_ns = plain_timer(plain_loop(case), case, 0)()
    row = row_of(case, "sweep run", 1, whole_ns, plain_ns, first_call, resource.RUSAGE_CHILDREN)
    return replace(row, cores=cores, kernels_ns=round(kernels_ns, 2))


def new_pack(case: Case, seeds: int | None = None, *, path: str | None = None) -> tuple[Training, float]:
    """(the case's pack of newborn networks, seconds from its description to its first steps).

    On the path that its trials would have in a sweep, unless another is given.
    """
    from sweep.packing import path_of
    from workloads.training.loop import Training
    from workloads.training.pack import Pack, PackMember

    members = [
        PackMember(f"{seed}-{which}", config_of(case, seed, which))
        for seed in range(seeds or case.seeds)
        for which in range(case.configs)
    ]
    path = path or path_of(members[0].config, case.device)[0]
    began = time.perf_counter()
    training = Training(Pack(id="bench", members=members, path=path, device=case.device))
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
    diagnostics = [name for name in study.metrics if name in DIAGNOSTICS]
    training.config = {**training.config, "metrics": [*training.config["metrics"], *diagnostics], "probe": study.probe}
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
    settled(training)
    taken = time.perf_counter() - began
    if not ended:
        began = time.perf_counter()
        training.end_task(task)
        taken += (time.perf_counter() - began) * count / (last - first)
    training.table.take()
    return taken


def settled(training: Training) -> None:
    """Wait for what a GPU has still to do."""
    if training.device.type == "cuda":
        import torch

        torch.cuda.synchronize(training.device)


def plain_loop(case: Case) -> PlainLoop:
    """The case's first trial as everybody would write it, newborn."""
    import torch

    from sweep.benchmarks.plain_loop import PlainLoop
    from workloads.training.assembled import stream_of

    torch.manual_seed(0)
    config = config_of(case, 0, 0)
    with torch.device(case.device):
        return PlainLoop(config, stream_of(config, 0))


def plain_timer(loop: PlainLoop, case: Case, at: int) -> Callable[[], float]:
    """Function that trains a plain loop from step `at` for a repeat, stream and error bins included: ns per step."""

    import torch

    def run(count: int) -> float:
        nonlocal at
        began = time.perf_counter()
        with torch.device(case.device):
            loop.run(at, count)  # which waits for the loss of every step
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
    # Twice each: the first time may be the one in which a program is compiled, or a GPU's steps are recorded.
    while (taken := min(run(count), run(count))) < seconds / 4:
        count *= 2
    return max(1, round(count * seconds / taken))


def main(kind: str, described: str, core: str = "") -> None:
    """What `command_of` starts: prints a case's row as JSON."""
    kinds: dict[str, type[AnyCase]] = {one.__name__: one for one in (Case, Agents, Robots, Games)}
    case = kinds[kind](**json.loads(described))
    if core:
        assert isinstance(case, Case)
        return beside_others(case, int(core))
    try:
        print(json.dumps(asdict(measured_of(case))))
    except InputError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
