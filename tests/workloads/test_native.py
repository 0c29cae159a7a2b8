"""C++ compiled while running: what is kept, who shares it, and what a machine without a working compiler is told."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from workloads import native
from workloads.engine import Lifted, build
from workloads.learner import Learner
from workloads.methods.config import SGDConfig
from workloads.native import NoCompiler, compiled
from workloads.networks.config import MLPConfig
from workloads.networks.mlp import MLP

ANSWER = 'extern "C" int answer() {{ return {}; }}'
COMPILER = shutil.which(os.environ.get("CXX") or "g++") or "g++"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the test's own; what this process has loaded is forgotten."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CXX", raising=False)
    native._loaded.cache_clear()
    return tmp_path / "cache" / "pliant" / "compiled" / "native"


def script(path: Path, text: str) -> Path:
    """An executable shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def counting(folder: Path) -> Path:
    """A compiler that does its work and leaves a line for every time it was started."""
    return script(folder / "counting", f'echo started >> "{folder}/starts"\nexec "{COMPILER}" "$@"')


def starts(folder: Path) -> int:
    file = folder / "starts"
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_a_source_is_compiled_once_and_kept_whole(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", str(counting(tmp_path)))
    assert compiled(ANSWER.format(41)).answer() == 41
    assert compiled(ANSWER.format(42)).answer() == 42
    assert compiled(ANSWER.format(41)).answer() == 41
    native._loaded.cache_clear()  # as another process would find it
    assert compiled(ANSWER.format(42)).answer() == 42
    assert starts(tmp_path) == 2
    assert sorted(file.suffix for file in cache.iterdir()) == [".cpp", ".cpp", ".so", ".so"], "no litter"


def test_the_source_of_what_is_loaded_is_kept_beside_it(cache: Path) -> None:
    text = ANSWER.format(43)
    with native.recorded() as loaded:
        native.check()
        compiled(text)
    [(source, kept)] = loaded.items()  # without what is compiled to see whether that works
    assert source == text == kept.read_text() and kept.with_suffix(".so").exists()
    kept.unlink()  # as in the cache of an earlier version
    native._loaded.cache_clear()
    assert compiled(text).answer() == 43 and kept.read_text() == text


FAULTY = """
#include <cstdlib>
extern "C" int beside(int n) { int v[4] = {1, 2, 3, 4}; return v[n]; }
extern "C" int freed(int n) { int* v = static_cast<int*>(malloc(4 * sizeof(int))); v[n] = n; free(v); return v[n]; }
"""


def in_debug(call: str, preload: str = "") -> subprocess.CompletedProcess[str]:
    """A process with PLIANT_DEBUG=1 that calls a function of FAULTY."""
    told = {"PLIANT_DEBUG": "1", "LD_PRELOAD": preload, "ASAN_OPTIONS": "detect_leaks=0"}
    program = f"from workloads.native import compiled; print(compiled({FAULTY!r}).{call})"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | told)


def runtime(name: str) -> str:
    """The place of a library that comes with the compiler; skips where it does not."""
    place = subprocess.run([COMPILER, f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip()
    if not Path(place).is_absolute():
        pytest.skip(f"{COMPILER} has no {name}")
    return place


def test_debugging_names_the_line_of_what_is_undefined(cache: Path) -> None:
    runtime("libubsan.so")
    assert in_debug("beside(3)").stdout == "4\n"
    done = in_debug("beside(4)")
    assert done.returncode != 0 and "index 4 out of bounds" in done.stderr
    [place] = [line for line in done.stderr.splitlines() if "runtime error" in line]
    file, line, *_ = place.split(":")
    assert Path(file).parent == cache and "beside" in Path(file).read_text().splitlines()[int(line) - 1]


def test_debugging_watches_memory_where_its_runtime_is_loaded(cache: Path) -> None:
    preload = f"{runtime('libasan.so')} {runtime('libstdc++.so')}"
    done = in_debug("freed(1)", preload)
    assert done.returncode != 0 and "heap-use-after-free" in done.stderr
    assert re.search(rf"{re.escape(str(cache))}/\w+\.cpp:4", done.stderr), done.stderr


def test_another_compiler_or_other_flags_give_another_file(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled(ANSWER.format(1))
    monkeypatch.setenv("CXX", str(counting(tmp_path)))
    compiled(ANSWER.format(1))
    monkeypatch.setattr(native, "FLAGS", (*native.FLAGS, "-DOTHER"))
    native._loaded.cache_clear()
    compiled(ANSWER.format(1))
    assert starts(tmp_path) == 2 and len(list(cache.glob("*.so"))) == 3


def test_damaged_files_are_made_anew(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut short anywhere, or with zeros where a disk did not write: loaded, some of these would kill the process."""
    monkeypatch.setenv("CXX", str(counting(tmp_path)))
    damages = [(share, filled) for share in (0.0, 0.001, 0.3, 0.999) for filled in (False, True)]
    program = "from workloads.native import compiled\n" + "\n".join(
        f"print(compiled({ANSWER.format(k)!r}).answer())" for k in range(len(damages))
    )

    def elsewhere() -> None:
        """In a process of its own, which has loaded nothing yet."""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert done.stdout.split() == [str(k) for k in range(len(damages))], f"status {done.returncode}"

    elsewhere()
    whole = {file: file.read_bytes() for file in cache.glob("*.so")}
    for (file, content), (share, filled) in zip(whole.items(), damages, strict=True):
        left = content[: int(share * len(content))]
        file.unlink()
        file.write_bytes(left + bytes(len(content) - len(left)) * filled)
    elsewhere()
    assert {file: len(file.read_bytes()) for file in cache.glob("*.so")} == {f: len(c) for f, c in whole.items()}
    assert starts(tmp_path) == 2 * len(damages)


def test_a_cache_that_cannot_be_written_costs_a_compilation_and_no_more(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()  # root may write into any folder, but nobody into a file
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert compiled(ANSWER.format(5)).answer() == 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo 'code.cpp: fatal error: no disk' >&2; exit 3", "ended with status 3: code.cpp: fatal error: no disk"),
        ("exit 0", "ended with status 0"),
        ("printf 'd\\351sol\\351: error\\n' >&2; exit 1", "d\ufffdsol\ufffd: error"),  # not UTF-8
        ('while [ "$1" != -o ]; do shift; done; echo junk > "$2"', "file too short"),
    ],
)
def test_a_broken_compiler_is_named(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    broken = script(tmp_path / "broken", text)
    monkeypatch.setenv("CXX", str(broken))
    with pytest.raises(NoCompiler) as error:
        compiled(ANSWER.format(1))
    assert str(error.value).startswith(str(broken)) and said in str(error.value)
    assert list(cache.iterdir()) == [], "no litter"


def test_no_compiler_says_what_was_looked_for(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoCompiler, match=r"none of g\+\+, clang\+\+, c\+\+ is on the PATH"):
        native.check()
    monkeypatch.setenv("CXX", "icpx")
    with pytest.raises(NoCompiler, match="icpx is not on the PATH"):
        native.check()


def test_two_processes_that_compile_the_same_leave_one_file(cache: Path) -> None:
    program = f"from workloads.native import compiled; print(compiled({ANSWER.format(9)!r}).answer())"
    both = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=120)[0] for process in both] == ["9\n", "9\n"]
    assert sorted(file.suffix for file in cache.iterdir()) == [".cpp", ".so"]


@pytest.mark.parametrize("path", ["lanes", "online"])
def test_without_a_compiler_a_pack_trains_on_lifted_and_says_so_once(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    learner = Learner(MLP(MLPConfig(width=3), 4, 1), "squared_error", ("sgd", SGDConfig()), {})
    hyper = {"optimizer": {"step_size": torch.full((2,), 0.01), "weight_decay": torch.zeros(2)}}
    with pytest.warns(UserWarning, match="no working C") as said:
        engine = build(path, learner, hyper, torch.arange(2))
    assert isinstance(engine, Lifted) and not engine.programs.compiled and len(said) == 1
