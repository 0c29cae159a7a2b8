"""Programs of torch's compiler: where they are kept, and that a process that was killed leaves nothing in the way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workloads.engine.compiling import keep_libraries

FOLDER = "TORCHINDUCTOR_CACHE_DIR"

DOUBLED = """
import warnings
warnings.simplefilter("error", UserWarning)
import torch
from workloads.engine.compiling import Programs
numbers, programs = torch.arange(4.0), Programs(small=False, compiled=True)
programs.run("double", lambda held: [held.mul_(2)] and [], [numbers])
print(numbers.tolist(), programs.compiled)
"""


def doubled(cache: Path) -> None:
    """Compile and run a program in a process of its own, whose compiled programs are kept there."""
    environment = {name: value for name, value in os.environ.items() if name != FOLDER}
    done = subprocess.run(
        [sys.executable, "-c", DOUBLED],
        env={**environment, "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.returncode) == ("[0.0, 2.0, 4.0, 6.0] True\n", 0), done.stderr


@pytest.mark.slow
def test_a_library_that_a_killed_process_left_half_written_is_made_anew(tmp_path: Path) -> None:
    doubled(tmp_path)
    libraries = list((tmp_path / "pliant" / "compiled").rglob("*.main.so"))
    assert libraries
    for cut in (0, 100):
        for library in libraries:
            library.write_bytes(library.read_bytes()[:cut])
        doubled(tmp_path)
        assert all(library.stat().st_size > 1000 for library in libraries)


def test_libraries_are_kept_where_the_user_says_else_in_our_cache_else_where_torch_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(cache: Path, **said: str) -> str | None:
        monkeypatch.delenv(FOLDER, raising=False)
        for name, value in {**said, "XDG_CACHE_HOME": str(cache)}.items():
            monkeypatch.setenv(name, value)
        keep_libraries()
        return os.environ.get(FOLDER)

    assert told(tmp_path / "cache") == str(tmp_path / "cache" / "pliant" / "compiled")
    assert told(tmp_path / "cache", **{FOLDER: "/elsewhere"}) == "/elsewhere"
    (tmp_path / "file").touch()
    assert told(tmp_path / "file") is None
