"""How the service scales: time and memory of each stage, from ten trials to a hundred thousand.

python -m sweep.benchmarks.scaling [--most N] [--out DIR]      some ten minutes
python -m dashboards.scaling FILE                             draws it

A stage prepares its input and returns what is to be timed. Every measurement has a process of its own, in which the
stage has run once on the fewest trials before, so that imports, compiled kernels and MLflow's tables are in no number.
`cpu` is what processors spent, all threads, and what slopes are fitted to: the wall's seconds depend on who else
uses the machine. `memory` is the process's peak beyond what it was after that first run; it holds the stage's input.

Ledgers are filled with made-up values through `Ledger.open` and `commit`: a hundred thousand trials cost seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from sweep.ledger import provenance

SIZES = (10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)  # trials
FEWEST = SIZES[0]  # of the run before the measurement
REPEATS = 3  # of a measurement; the one with the least processor time counts
LONG = 5.0  # processor seconds beyond which one is enough
FITTED = 100  # slopes are fitted from a hundredth of a stage's most trials on, where constants no longer dominate
WORKERS = 2  # that packs are planned for, whatever this machine has
TASKS, PERIOD = 3, 10
STEP_SIZES = 100  # at most; further settings are strengths of L2
DATABASE = "mlflow.db"
PEAK = Path("/proc/self/status")

SWEEP = """\
# How does the service scale?
workload: {{name: slowly_changing_regression, tasks: {tasks}, period: {period}}}
network: {{width: 5}}
seeds: {seeds}
arms:
  l2: {{optimizer: sgd, step_size: {step_sizes}, l2: {{strength: {strengths}}}}}
diagnostics: {{every: 1, probe: 20}}
track: {{trials: {track_trials}}}
"""

Work = Callable[[], object]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One stage at one size."""

    stage: str
    trials: int
    cpu: float  # seconds of processors, all threads and children
    seconds: float  # on the wall
    memory: float  # MiB at the peak, beyond the first run's


@dataclass(frozen=True, slots=True)
class Place:
    """A sweep of so many trials, and where its results are."""

    root: Path
    trials: int
    seeds: int = 10  # of every setting
    filled: bool = True  # else nothing was run yet
    track_trials: bool = True
    prefix: str = "scaling"

    @property
    def name(self) -> str:
        """The sweep's."""
        return f"{self.prefix}_{self.trials}x{self.seeds}" + "_groups" * (not self.track_trials)

    @property
    def file(self) -> Path:
        """The sweep file."""
        return self.root / f"{self.name}.yaml"

    @property
    def storage(self) -> str:
        """Where results are."""
        return str(self.root / (self.name if self.filled else f"{self.name}-empty"))

    def write_file(self) -> None:
        """Write the sweep file."""
        settings = self.trials // self.seeds
        step_sizes = min(settings, STEP_SIZES)
        text = SWEEP.format(
            tasks=TASKS,
            period=PERIOD,
            seeds=self.seeds,
            step_sizes=[round(1e-4 * (i + 1), 6) for i in range(step_sizes)],
            strengths=[round(1e-6 * (i + 1), 8) for i in range(settings // step_sizes)],
            track_trials=str(self.track_trials).lower(),
        )
        self.file.write_text(text)


def fill(file: Path, storage: str) -> None:
    """A storage in which the sweep was run, with made-up values."""
    import numpy as np

    from sweep import service
    from workloads.training.pack import Pack, Snapshot
    from workloads.training.rows import Rows

    planned = service.plan(file, storage=storage, workers=WORKERS)
    names = planned.spec.metrics
    for pack in planned.packs:
        count = len(pack.trials)
        member, metric, task = (grid.ravel() for grid in np.indices((count, len(names), TASKS)))
        seeds = np.array([trial.config["seed"] for trial in pack.trials])
        rows = Rows(
            names=names,
            member=member.astype(np.int32),
            metric=metric.astype(np.int16),
            task=task.astype(np.int32),
            step=(task + 1).astype(np.int64) * PERIOD,
            value=1 / (1 + task) + 0.01 * np.sin(seeds[member] + member * 1e-4),
        )
        done = Snapshot(
            tasks=TASKS,
            step=TASKS * PERIOD,
            rows=rows,
            statuses=["done"] * count,
            ended=[TASKS] * count,
            checkpoint=None,
            weights={},
        )
        described = Pack(id=pack.id, members=pack.trials, path=pack.path, device=pack.device)
        planned.ledger.open(described).commit(done)
    planned.ledger.save_sweep(service.record_of(planned, {}, None))


# The stages: each prepares its input and returns what is timed


def expand(place: Place) -> Work:
    """Read and check the sweep file, name its trials."""
    from sweep import trials
    from sweep.spec import studies

    return lambda: trials.expand(studies.load(place.file))


def plan(place: Place) -> Work:
    """What `sweep plan` does: on an empty ledger it packs all trials, on a filled one it finds them done."""
    from sweep import service

    return lambda: service.plan(place.file, storage=place.storage, workers=WORKERS)


def run(place: Place) -> Work:
    """Train in this process what a plan asks for, which after a whole run is nothing."""
    from sweep import service

    planned = service.plan(place.file, storage=place.storage, workers=WORKERS)
    return lambda: service.execute(planned, listener=lambda progress: None, inline=True)


def command(*words: str) -> Callable[[Place], Work]:
    """`sweep ...` of these words, SWEEP among them the sweep's name; it must end well."""

    def begin(place: Place) -> Work:
        import typer

        import sweep.cli.commands  # noqa: F401 - which gives the app its commands
        from sweep.cli.app import app

        arguments = [*(place.name if word == "SWEEP" else word for word in words), "--storage", place.storage]

        def work() -> object:
            with contextlib.redirect_stdout(io.StringIO()) as told:
                typer.main.get_command(app).main(arguments, standalone_mode=False)
            return told.getvalue()

        return work

    return begin


def curves(place: Place) -> Work:
    """`sweep.curves`, every value."""
    import sweep

    return lambda: sweep.curves(place.name, storage=place.storage)


def configs(place: Place) -> Work:
    """`sweep.configs`."""
    import sweep

    return lambda: sweep.configs(place.name, storage=place.storage)


def bands(place: Place) -> Work:
    """Mean and interval over seeds, of one metric of every group at every task."""
    import sweep
    from sweep.results import bands, frames

    values = sweep.curves(place.name, storage=place.storage, metrics=["online_error"])
    configs = sweep.configs(place.name, storage=place.storage)
    dense = frames.observed(configs, values, "online_error")
    return lambda: bands.bands(dense, ["arm", "group", "metric", "task", "step"])


def track(place: Place) -> Work:
    """What `python -m sweep.tracking` does, into a database that has other sweeps already."""
    from sweep.ledger.ledger import Ledger
    from sweep.tracking.sync import sync

    uri = f"sqlite:///{place.root / DATABASE}"

    def work() -> object:
        ledger = Ledger(place.storage)
        return sync(ledger.sweep(place.name, "full"), ledger, uri)

    return work


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What is measured, and how far."""

    begin: Callable[[Place], Work]
    most: int = SIZES[-1]  # trials
    seeds: int = 10
    filled: bool = True  # the ledger it begins with
    track_trials: bool = True

    def place(self, root: Path, trials: int) -> Place:
        """Its sweep of so many trials."""
        return Place(root, trials, min(self.seeds, trials), self.filled, self.track_trials)

    def first(self, root: Path) -> Place:
        """The sweep of the run before the measurement."""
        return replace(self.place(root, FEWEST), prefix="first")


STAGES: dict[str, Stage] = {
    "read and expand": Stage(begin=expand),
    "plan, all new": Stage(begin=plan, filled=False),
    "plan, all done": Stage(begin=plan),
    "run": Stage(begin=run, most=10_000, filled=False),
    "run, all done": Stage(begin=run),
    "track trials": Stage(begin=track, most=10_000),
    "track groups": Stage(begin=track, seeds=100, track_trials=False),
    "status": Stage(begin=command("status", "SWEEP")),
    "digest": Stage(begin=command("status", "SWEEP", "--digest")),
    "list": Stage(begin=command("list")),
    "results": Stage(begin=command("results", "SWEEP")),
    "watch": Stage(begin=command("watch", "SWEEP", "--once")),
    "claims": Stage(begin=command("claims", "SWEEP")),
    "figure": Stage(begin=command("figure", "SWEEP", "--name", "arms")),
    "report": Stage(begin=command("report", "SWEEP")),
    "curves": Stage(begin=curves),
    "configs": Stage(begin=configs),
    "bands": Stage(begin=bands),
}


# Measuring


def slopes(points: Iterable[Point]) -> dict[str, float]:
    """Stage -> slope of log(cpu) over log(trials), fitted from a FITTED-th of its most trials on; NaN for one point."""
    by_stage: dict[str, list[Point]] = {}
    for point in points:
        by_stage.setdefault(point.stage, []).append(point)
    return {stage: slope(fitted(own)) for stage, own in by_stage.items()}


def fitted(points: Sequence[Point]) -> list[Point]:
    """Those of a stage's points that its slope is fitted to."""
    most = max(point.trials for point in points)
    return [point for point in points if point.trials * FITTED >= most]


def slope(points: Sequence[Point]) -> float:
    """Least squares of log(cpu) over log(trials)."""
    x = [math.log(point.trials) for point in points]
    y = [math.log(point.cpu) for point in points]
    middle = sum(x) / len(x)
    spread = sum((one - middle) ** 2 for one in x)
    return sum((one - middle) * other for one, other in zip(x, y, strict=True)) / spread if spread else math.nan


def peak() -> float:
    """The process's peak memory so far, MiB; ru_maxrss where there is no /proc, since on Linux it may be a parent's."""
    with contextlib.suppress(OSError):
        line = next(line for line in PEAK.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held / (2**20 if sys.platform == "darwin" else 2**10)


def processor_seconds() -> float:
    """What this process and its ended children have used."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def measured(name: str, trials: int, root: Path) -> Point:
    """A point, in this process; its places are prepared."""
    stage = STAGES[name]
    stage.begin(stage.first(root))()
    before = peak()
    work = stage.begin(stage.place(root, trials))
    began, cpu = time.perf_counter(), processor_seconds()
    work()
    return Point(
        stage=name,
        trials=trials,
        cpu=round(processor_seconds() - cpu, 4),
        seconds=round(time.perf_counter() - began, 4),
        memory=round(peak() - before, 1),
    )


def apart(work: Callable[..., T], *arguments: Any, root: Path) -> T:
    """What `work` returns in a new process whose caches are below `root`."""
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=settle, initargs=(root,)) as pool:
        return pool.submit(work, *arguments).result()


def settle(root: Path) -> None:
    """Keep the user's settings and caches out of a measurement."""
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "PLIANT_"))]:
        del os.environ[name]
    os.environ["XDG_CACHE_HOME"] = str(root / "cache")


def point(name: str, trials: int, root: Path) -> Point:
    """A point, the best of some measurements, each in a process of its own."""
    stage = STAGES[name]
    places = (stage.first(root), stage.place(root, trials))
    for place in places:
        place.write_file()
        if place.filled and not Path(place.storage).exists():
            apart(fill, place.file, place.storage, root=root)
    tried: list[Point] = []
    while len(tried) < REPEATS and not any(one.cpu > LONG for one in tried):
        tried.append(apart(measured, name, trials, root, root=root))
        for path in [root / DATABASE, *(Path(place.storage) for place in places if not place.filled)]:
            remove(path)
    return min(tried, key=lambda one: one.cpu)


def remove(path: Path) -> None:
    """Delete what a measurement wrote, so that the next one finds what it found."""
    if path.is_dir():
        shutil.rmtree(path)
    for file in path.parent.glob(f"{path.name}*"):
        if file.is_file():
            file.unlink()


def points(most: int, root: Path, names: Sequence[str] = tuple(STAGES)) -> Iterator[Point]:
    """Stages at all sizes up to `most` trials, in turn. `root` is an empty folder for ledgers and caches."""
    for name in names:
        for trials in SIZES:
            if trials <= min(most, STAGES[name].most):
                yield point(name, trials, root)


def write(measurements: Sequence[Point], folder: Path) -> Path:
    """A record of these points, measured now on this machine; one of the same day is replaced."""
    facts = provenance.collect()
    date = str(facts["time"])
    held = {
        "date": date,
        "commit": facts["commit"],
        "machine": provenance.machine(),
        "versions": {name: facts[name] for name in (*provenance.PACKAGES, "python")},
        "fitted": f"cpu, from 1/{FITTED} of a stage's most trials on",
        "slopes": {stage: round(slope, 3) for stage, slope in slopes(measurements).items() if math.isfinite(slope)},
        "points": [asdict(one) for one in measurements],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{date[:10]}-scaling.json"
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as beside:
        new = Path(beside, path.name)
        new.write_text(json.dumps(held, indent=1) + "\n")
        os.replace(new, path)
    return path


def default_folder() -> Path:
    """Where records are kept: in a folder of their own, since all files beside it are the bench's."""
    from sweep.benchmarks import bench_records

    return bench_records.default_folder() / "scaling"


def main(arguments: Sequence[str] | None = None) -> int:
    """Time and memory of every stage over the number of trials; writes <date>-scaling.json."""
    parser = argparse.ArgumentParser(prog="python -m sweep.benchmarks.scaling", description=main.__doc__)
    parser.add_argument("--most", type=int, default=SIZES[-1], metavar="N", help="trials; default: %(default)s")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: dashboards/benchmarks/scaling of a checkout")
    options = parser.parse_args(arguments)
    if options.most < FEWEST:
        parser.error(f"--most {options.most}: at least {FEWEST}")
    measurements = []
    with tempfile.TemporaryDirectory(prefix="pliant-scaling-") as root:
        for one in points(options.most, Path(root)):
            measurements.append(one)
            print(f"{one.stage:16} {one.trials:7,} trials {one.cpu:9.3f} s {one.memory:7.1f} MiB", flush=True)
    for stage, steepness in slopes(measurements).items():
        print(f"{stage:16} slope {steepness:.2f}")
    print(f"record    {write(measurements, options.out or default_folder())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
