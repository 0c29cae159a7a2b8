"""How much faster a pack is than the loop everybody writes: torch.nn, torch.optim, one network, step by step.

Both sides of a ratio are measured in one run, on one core, by the same clock, with the making of the stream, the
error bins and the divergence check inside. Compilation is outside (it is paid once and cached); the time of a first
call is shown apart. Every row runs in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sweep.errors import InputError
from workloads.registry import unknown

if TYPE_CHECKING:
    import torch

    from workloads.streams.base import Stream

REPEATS = 3  # of either side; the best counts, since noise only ever adds

# The plain loop's ns per step on the small cloud machine the targets were set on. A machine on which it is over 20 %
# slower than this is busy or different, and its ratios would flatter: such a row is marked invalid.
REFERENCE_NS = {
    ("slowly_changing_regression", "sgd"): 145_000,
    ("slowly_changing_regression", "adam"): 260_000,
    ("slowly_changing_regression", "continual_backprop"): 365_000,
    ("permuted_mnist", "sgd"): 440_000,
    ("permuted_mnist", "continual_backprop"): 910_000,
}
SLACK = 1.2

ARMS: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {
    "sgd": ({"name": "sgd"}, {}),
    "adam": ({"name": "adam"}, {}),
    "adamo": ({"name": "adamo", "isometry_strength": 1e-2}, {}),
    "l2": ({"name": "sgd"}, {"l2": {"strength": 1e-4}}),
    "shrink_and_perturb": ({"name": "sgd"}, {"shrink_and_perturb": {}}),
    "continual_backprop": ({"name": "sgd"}, {"continual_backprop": {"replacement_rate": 1e-4}}),
}
STEP_SIZES = {"sgd": 0.003, "adam": 0.001, "adamo": 0.001}


@dataclass(frozen=True, slots=True)
class Case:
    """One row to measure."""

    stream: str
    arm: str
    seeds: int
    configs: int  # per seed
    steps: int  # timed, of the pack
    plain_steps: int  # timed, of the plain loop

    @property
    def members(self) -> int:
        """Trials in the pack."""
        return self.seeds * self.configs


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
    first_call_s: float
    peak_mb: float
    valid: bool
    versions: dict[str, str]


REGRESSION, IMAGES = "slowly_changing_regression", "permuted_mnist"

CASES = [
    *[Case(REGRESSION, arm, 100, 30, 10_000, 3_000) for arm in ARMS],
    *[Case(REGRESSION, arm, 30, 1, 10_000, 3_000) for arm in ARMS],
    *[Case(IMAGES, arm, 30, 1, 300, 600) for arm in ("sgd", "continual_backprop")],
]
QUICK = [Case(REGRESSION, "sgd", 8, 2, 1_000, 300), Case(REGRESSION, "continual_backprop", 8, 2, 1_000, 300)]


def selected(*, quick: bool, stream: str | None, arm: str | None) -> list[Case]:
    """The cases asked for. Raises InputError where none is."""
    for name, kind, known in ((stream, "stream", {c.stream for c in CASES}), (arm, "arm", set(ARMS))):
        if name is not None and name not in known:
            raise InputError(unknown(name, kind, known))
    cases = QUICK if quick else CASES
    found = [c for c in cases if (stream is None or c.stream == stream) and (arm is None or c.arm == arm)]
    if not found:
        there = ", ".join(f"{arm} on {stream}" for stream, arm in dict.fromkeys((c.stream, c.arm) for c in cases))
        raise InputError(f"there is no such row{' among the quick ones' if quick else ''}; there is: {there}")
    return found


def config_of(case: Case, seed: int, which: int) -> dict[str, Any]:
    """A trial's config for the bench; `which` spreads the step sizes, as a sweep would."""
    optimizer, methods = ARMS[case.arm]
    step_size = STEP_SIZES[optimizer["name"]] * 10 ** (-which / case.configs)
    if case.stream == REGRESSION:
        workload = {"name": case.stream, "tasks": 10, "flip": "all"}
        network = {"name": "mlp", "width": 5, "depth": 1}
    else:
        workload = {"name": case.stream, "tasks": 10, "examples_per_task": 10_000}
        network = {"name": "mlp", "width": 100, "depth": 3}
    metric = "online_error" if case.stream == REGRESSION else "online_accuracy"
    return {
        "workload": workload,
        "network": network,
        "optimizer": {**optimizer, "step_size": step_size},
        "methods": methods,
        "seed": seed,
        "metrics": [metric],
        "every": 1000,
        "probe": 10,
        "dtype": "float32",
        "keep": "none",
    }


def rows(cases: list[Case]) -> Iterator[Row]:
    """Measure, one process per case, pinned to one core."""
    for case in cases:
        command = [sys.executable, "-P", "-m", "sweep.bench", json.dumps(asdict(case))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"the bench of {case} failed:\n{done.stderr[-2000:]}")
        yield Row(**json.loads(done.stdout.splitlines()[-1]))


def measured(case: Case) -> Row:
    """One row, in this process."""
    import torch

    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    # The two sides alternate, so that a machine that slows down slows both.
    pack_times, plain_times = [], []
    path, batch, first_call, pack_once = pack_timer(case)
    for _ in range(REPEATS):
        plain_times.append(plain_time(case))
        pack_times.append(pack_once())
    pack_ns, plain_ns = min(pack_times), min(plain_times)
    reference = REFERENCE_NS.get((case.stream, case.arm))
    return Row(
        stream=case.stream,
        network="20-5-1" if case.stream == REGRESSION else "784-100-100-100-10",
        batch=batch,
        arm=case.arm,
        members=case.members,
        path=path,
        ns_per_trial_step=round(pack_ns, 2),
        plain_ns=round(plain_ns, 1),
        ratio=round(plain_ns / pack_ns, 1),
        first_call_s=round(first_call, 2),
        peak_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        valid=reference is None or plain_ns <= SLACK * reference,
        versions={
            "pliant": importlib.metadata.version("pliant"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    )


def pack_timer(case: Case) -> tuple[str, int, float, Callable[[], float]]:
    """(path, batch, seconds of the first call, function that trains `case.steps` more steps: ns per trial-step)."""
    from sweep.packing import path_of
    from workloads.pack import Pack, PackMember, Training

    members = [
        PackMember(f"{seed}-{which}", config_of(case, seed, which))
        for seed in range(case.seeds)
        for which in range(case.configs)
    ]
    path, _ = path_of(members[0].config, "cpu")
    training = Training(Pack(id="bench", members=members, path=path))
    training.begin()
    began = time.perf_counter()
    training.train(training.step + min(case.steps, 500))
    first_call = time.perf_counter() - began

    def once() -> float:
        start, began = training.step, time.perf_counter()
        training.train(start + case.steps)
        training.end_task(training.stream.task_of(training.step - 1))
        taken = time.perf_counter() - began
        training.table.take()
        return taken / (case.steps * case.members) * 1e9

    return path, training.stream.batch, first_call, once


def plain_time(case: Case) -> float:
    """ns per step of the plain loop, stream and error bins included."""
    import torch

    from workloads.pack import stream_of

    config = config_of(case, 0, 0)
    stream = stream_of(config, 0)
    torch.manual_seed(0)
    loop = PlainLoop(config, stream)
    loop.run(0, 100)
    began = time.perf_counter()
    loop.run(100, case.plain_steps)
    taken = time.perf_counter() - began
    if not math.isfinite(statistics.fmean(loop.losses)):
        raise RuntimeError("the plain loop diverged: its time would mean nothing")
    return taken / case.plain_steps * 1e9


class PlainLoop:
    """One network as everybody writes it: torch.nn modules, a torch.optim optimizer, a Python loop over examples."""

    def __init__(self, config: dict[str, Any], stream: Stream) -> None:
        import torch
        from torch import nn

        self.stream = stream
        width, depth = config["network"]["width"], config["network"]["depth"]
        sizes = [stream.inputs, *[width] * depth]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False))
        self.head = nn.Linear(width, stream.outputs)
        for layer in [*self.hidden, self.head]:
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear" if layer is self.head else "relu")
            nn.init.zeros_(layer.bias)
        self.parameters = [*self.hidden.parameters(), *self.head.parameters()]
        self.methods = config["methods"]
        name, step_size = config["optimizer"]["name"], config["optimizer"]["step_size"]
        self.isometry = config["optimizer"].get("isometry_strength", 0.0) * step_size
        decay = self.methods.get("l2", {}).get("strength", 0.0)
        if "shrink_and_perturb" in self.methods:
            decay = 1e-4
        kind = torch.optim.SGD if name == "sgd" else torch.optim.Adam
        self.optimizer = kind(self.parameters, lr=step_size, weight_decay=decay)
        self.loss = nn.MSELoss() if stream.loss == "squared_error" else nn.CrossEntropyLoss()
        self.losses: list[float] = []
        if "continual_backprop" in self.methods:
            self.replacement = PlainReplacement(self.hidden, self.head)

    def run(self, start: int, count: int) -> None:
        """Train `count` steps, one bin of the online loss at the end."""
        import torch

        inputs, targets = (torch.from_numpy(v) for v in self.stream.batches(start, count))
        total = 0.0
        for x, y in zip(inputs, targets, strict=True):
            activations = []
            for layer in self.hidden:
                x = torch.relu(layer(x))
                activations.append(x)
            loss = self.loss(self.head(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            if self.isometry:
                self.pull()
            if "shrink_and_perturb" in self.methods:
                with torch.no_grad():
                    for value in self.parameters:
                        value.add_(torch.randn_like(value), alpha=1e-5)
            if "continual_backprop" in self.methods:
                self.replacement.step(activations)
            total += loss.item()
        self.losses.append(total / count)

    def pull(self) -> None:
        """AdamO's decoupled step towards an isometry."""
        import torch

        with torch.no_grad():
            for layer in [*self.hidden, self.head]:
                weight = layer.weight
                out, inp = weight.shape
                if out >= inp:
                    weight.sub_(4 * self.isometry * weight @ (weight.T @ weight - torch.eye(inp)))
                else:
                    weight.sub_(4 * self.isometry * (weight @ weight.T - torch.eye(out)) @ weight)


class PlainReplacement:
    """Continual backprop beside the plain loop, layer by layer, in the usual eager style."""

    def __init__(self, hidden: torch.nn.ModuleList, head: torch.nn.Linear) -> None:
        import torch

        self.layers: list[Any] = [*hidden, head]
        self.utility = [torch.zeros(layer.out_features) for layer in self.layers[:-1]]
        self.mean = [torch.zeros(layer.out_features) for layer in self.layers[:-1]]
        self.age = [torch.zeros(layer.out_features) for layer in self.layers[:-1]]

    def step(self, activations: list[torch.Tensor]) -> None:
        """Utilities, then replacement with probability rate x eligible."""
        import torch

        decay, rate, maturity = 0.99, 1e-4, 100
        with torch.no_grad():
            for k, hidden in enumerate(activations):
                layer, after = self.layers[k], self.layers[k + 1]
                self.age[k] += 1
                self.utility[k] *= decay
                self.mean[k] = decay * self.mean[k] + (1 - decay) * hidden.mean(0)
                correction = 1 - decay ** self.age[k]
                incoming, outgoing = layer.weight.abs().mean(1), after.weight.abs().mean(0)
                contribution = outgoing * (hidden - self.mean[k] / correction).abs().mean(0)
                self.utility[k] += (1 - decay) * contribution / incoming
                ranked = self.utility[k] / correction
                eligible = torch.where(self.age[k] > maturity)[0]
                if len(eligible) == 0 or torch.rand(1).item() >= rate * len(eligible):
                    continue
                unit = eligible[torch.argmin(ranked[eligible])]
                bound = math.sqrt(6 / layer.in_features)
                layer.weight[unit] = torch.empty(layer.in_features).uniform_(-bound, bound)
                layer.bias[unit] = 0
                after.weight[:, unit] = 0
                self.utility[k][unit] = self.mean[k][unit] = self.age[k][unit] = 0


if __name__ == "__main__":
    print(json.dumps(asdict(measured(Case(**json.loads(sys.argv[1]))))))
