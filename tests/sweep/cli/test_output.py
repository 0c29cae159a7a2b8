"""Commands whose output closes early, is full or cannot encode what is printed; and the ways to start them."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import Command

from sweep.cli import output


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which `sweep` is this Python's."""
    sweep = f'sweep() {{ "{sys.executable}" -m sweep "$@"; }}; set -o pipefail; '
    env = {**os.environ, **environment}
    return subprocess.run(["bash", "-c", sweep + line], capture_output=True, text=True, env=env)


def test_a_reader_that_has_gone_is_no_error() -> None:
    done = shell("sweep studies --json | true")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", ["studies", "--help"])
def test_a_full_disk_is_said_in_a_sentence(arguments: str) -> None:
    done = shell(f"sweep {arguments} > /dev/full")
    assert (done.returncode, done.stderr) == (1, "error: the output cannot be written: No space left on device\n")


def test_no_output_at_all() -> None:
    done = shell("sweep studies >&-")
    assert (done.returncode, done.stderr) == (0, "")


def test_what_the_output_cannot_encode_is_a_question_mark(tmp_path: Path) -> None:
    file = tmp_path / "arrow.yaml"
    file.write_text(
        "question: Does a → b?\nworkload: {name: slowly_changing_regression}\narms: {sgd: {optimizer: sgd}}\n"
    )
    done = shell(f"sweep plan {file} --storage {tmp_path}/st", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "arrow@full: Does a ? b?" in done.stdout


def test_a_study_in_the_place_of_a_command(command: Command) -> None:
    said = command("demo")
    assert (said.code, said.err) == (2, "error: 'demo' is a study, not a command: sweep run demo\n")
    assert "sweep run mine.yaml" in command("mine.yaml").err
    assert "Did you mean 'run'?" in command("runn").err


def test_a_sparkline_rises_with_its_curve() -> None:
    assert output.sparkline([0.0, 0.5, 1.0]) == "▁▄█"
    assert output.sparkline([3.0, 3.0]) == "▁▁"
    assert output.sparkline([0.0, math.nan, 1.0]) == "▁·█"
    assert output.sparkline([math.nan]) == "·" and output.sparkline([]) == ""
    long = output.sparkline([float(i) for i in range(1000)])
    assert len(long) == output.LINE and long[0] == "▁" and long[-1] == "█"
