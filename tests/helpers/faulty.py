"""A sweep of two packs, one of which fails."""

from __future__ import annotations

from pathlib import Path

STUDY = """
code: [faulty.py]
workload: {name: faulty, flip: [all, one], tasks: 3, period: 40}
network: {width: 2}
seeds: 2
arms: {sgd: {optimizer: sgd, step_size: [0.01, 0.003]}}
metrics: [online_error]
"""
# The stream of one pack fails in its last task, for as long as a file called `switch` lies beside this one.
FAULTY = """
import pathlib
from workloads.streams.slowly_changing_regression import SlowlyChangingRegression

class Faulty(SlowlyChangingRegression):
    def batches(self, start, count):
        if self.config.flip == "one" and start >= 80 and pathlib.Path({switch!r}).exists():
            raise {error}
        return super().batches(start, count)

STREAMS = {{"faulty": Faulty}}
"""


def faulty_study(folder: Path, error: str = 'ArithmeticError("the switch is on")') -> Path:
    """The sweep file, in a folder, with its switch on; `error` is what is raised."""
    write_code(folder, error)
    (folder / "switch").touch()
    file = folder / "study.yaml"
    file.write_text(STUDY)
    return file


def write_code(folder: Path, error: str) -> None:
    """The study's own stream, which raises `error`."""
    (folder / "faulty.py").write_text(FAULTY.format(switch=str(folder / "switch"), error=error))
