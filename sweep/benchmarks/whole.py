"""The whole command: `sweep run` on thousands of regression trials, from the first line to the last figure.

Starting, planning, Ray, the ledger, MLflow and the figures included, beside what the kernels alone would give on all
processors at once. A user waits for this, not for kernels.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

SWEEP = """\
# How long does a whole sweep take?
workload: {{name: slowly_changing_regression, flip: all, tasks: {tasks}}}
network: {{name: mlp, width: 5, depth: 1, activation: relu}}
seeds: {seeds}
arms:
  sgd: {{optimizer: sgd, step_size: {step_sizes}}}
metrics: [online_error, weight_magnitude]
diagnostics: {{every: 10}}
figures: [arms]
"""
TASKS, PERIOD = 50, 10_000  # the stream's default period


def steps() -> int:
    """Of each trial."""
    return TASKS * PERIOD


def seconds(*, seeds: int, configs: int, tasks: int = TASKS) -> float:
    """Of `sweep run` on seeds x configs trials, in a fresh storage. Raises RuntimeError where it fails."""
    with tempfile.TemporaryDirectory(prefix="pliant-whole-") as folder:
        file = Path(folder, "whole.yaml")
        step_sizes = [float(f"{0.01 * 10 ** (-which / configs):.6g}") for which in range(configs)]
        file.write_text(SWEEP.format(tasks=tasks, seeds=seeds, step_sizes=step_sizes))
        command = [sys.executable, "-P", "-m", "sweep", "run", str(file), "--storage", str(Path(folder, "storage"))]
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        taken = time.perf_counter() - began
    if done.returncode != 0:
        raise RuntimeError(f"sweep run of {seeds * configs:,} trials failed:\n{done.stderr[-2000:]}")
    return taken
