"""Programs of torch's compiler: where they are kept, and that a process that was killed leaves nothing in the way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workloads.engine.compiling import removed
from workloads.native import TORCHS_FOLDER, torch_keeps_there

# As a pack on lanes and then one that is lifted: what traces first must not settle where torch keeps its libraries.
DOUBLED = """
import warnings
import torch
from workloads.engine.compiling import Programs
from workloads.engine.trace import trace
trace(lambda x: [x + 1], [torch.ones(1)])
warnings.filterwarnings("error", "no working C")
numbers, programs = torch.arange(4.0), Programs(small=False, compiled=True)
programs.run("double", lambda held: [held.mul_(2)] and [], [numbers])
print(numbers.tolist(), programs.compiled)
"""


def doubled(cache: Path) -> None:
    """Compile and run a program in a process of its own, whose compiled programs are kept there."""
    environment = {name: value for name, value in os.environ.items() if name != TORCHS_FOLDER}
    done = subprocess.run(
        [sys.executable, "-c", DOUBLED],
        env={**environment, "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.returncode) == ("[0.0, 2.0, 4.0, 6.0] True\n", 0), done.stderr


@pytest.mark.slow
def test_a_library_that_a_killed_process_left_half_written_is_made_anew(tmp_path: Path) -> None:
    """Nothing is in it yet, or all but its header, which a linker writes last."""
    doubled(tmp_path)
    libraries = list((tmp_path / "pliant" / "compiled").rglob("*.main.so"))
    assert libraries
    for content in (b"", bytes(4096)):
        for library in libraries:
            library.write_bytes(content)
        doubled(tmp_path)
        assert all(library.read_bytes()[:4] == b"\x7fELF" for library in libraries)


def test_what_cannot_be_loaded_is_removed_from_torchs_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TORCHS_FOLDER, str(tmp_path / "compiled"))
    (tmp_path / "compiled" / "ab").mkdir(parents=True)
    inside, outside = tmp_path / "compiled" / "ab" / "abc.main.so", tmp_path / "libother.so"
    for library in (inside, outside):
        library.touch()
        assert not removed(OSError(f"{library}: file too short"))
    assert not removed(ImportError("no name", path=None)) and not removed(ImportError("of", path=str(outside)))
    assert inside.exists() and outside.exists()
    assert removed(ImportError("file too short", path=str(inside))) and not inside.exists()


def test_libraries_are_kept_where_the_user_says_else_in_our_cache_else_where_torch_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(cache: Path, **said: str) -> str | None:
        monkeypatch.delenv(TORCHS_FOLDER, raising=False)
        for name, value in {**said, "XDG_CACHE_HOME": str(cache)}.items():
            monkeypatch.setenv(name, value)
        torch_keeps_there()
        return os.environ.get(TORCHS_FOLDER)

    assert told(tmp_path / "cache") == str(tmp_path / "cache" / "pliant" / "compiled")
    assert told(tmp_path / "cache", **{TORCHS_FOLDER: "/elsewhere"}) == "/elsewhere"
    (tmp_path / "file").touch()
    assert told(tmp_path / "file") is None
