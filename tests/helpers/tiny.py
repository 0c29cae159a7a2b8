"""A small sweep, and `sweep ...` in this process. The fixtures around them are in conftest.py."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sweep.cli import commands

TINY = """\
# Does a small sweep run?
workload: {name: slowly_changing_regression, tasks: 2, period: 100}
network: {width: 3}
seeds: 2
arms:
  sgd: {optimizer: sgd, step_size: [0.01, 0.003]}
metrics: [online_error, effective_rank]
diagnostics: {every: 1, probe: 20}
keep: final
"""


# A sweep file's `code`: the regression at a pace that leaves time to stop or kill what trains on it.
PACED = """
import time
from workloads.streams.slowly_changing_regression import SlowlyChangingRegression

class Paced(SlowlyChangingRegression):
    name = "paced"

    def batches(self, start, count):
        time.sleep({seconds})
        return super().batches(start, count)

STREAMS = {{"paced": Paced}}
"""


@dataclass(frozen=True)
class Said:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


Command = Callable[..., Said]


def sweep_command(*arguments: object) -> Said:
    """`sweep ARGUMENTS` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["sweep", *map(str, arguments)])
        try:
            commands.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    return Said(code, out.getvalue(), err.getvalue())


def without_compiling(patch: pytest.MonkeyPatch) -> None:
    """No seconds of compiling in this process: lifted packs run uncompiled, lanes are compiled once for all."""
    from workloads import native
    from workloads.engine import compiling

    patch.setattr(compiling, "compiled_program", lambda function, arguments, *, small: function)
    patch.setattr(native, "cache_folder", lambda: Path.home() / ".cache" / "pliant" / "compiled")


def stored(file: Path, text: str) -> Path:
    """A storage beside the sweep file, in which what the file then says was run, with a cache of its own."""
    file.write_text(text)
    storage = file.parent / "storage"
    with pytest.MonkeyPatch.context() as patch:
        without_compiling(patch)
        patch.setenv("XDG_CACHE_HOME", str(file.parent / "cache"))
        said = sweep_command("run", file, "--storage", storage, "--inline", "--no-track")
    assert said.code == 0, said.err
    return storage
