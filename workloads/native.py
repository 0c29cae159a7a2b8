"""C++ written while running: compiled by this machine's compiler, kept by content, called through ctypes.

A compiled file is named by a hash of its source, the flags, the compiler and the processor, so a folder shared by
different machines, a newer compiler and two processes that compile the same thing at once are all well: each writes
a file of its own name and moves it into place whole.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from workloads import machine

# No -ffast-math: it deletes tests for NaN and infinity, and replaces IEEE division and roots by estimates. What is
# given up here is errno and trapping, which nothing reads, and separate rounding of a product that is then added.
FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-fPIC", "-shared"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-w"),
)
COMPILE_SECONDS = 300.0
SHOWN = 200  # characters of a compiler's complaint
SEAL = 32  # bytes of a hash


class NoCompiler(Exception):
    """This machine has no C++ compiler that works; the text says what was tried and what it said."""


def check() -> None:
    """Compile and load something small. Raises NoCompiler."""
    compiled('extern "C" int sound() { return 1; }')


def compiled(source: str) -> ctypes.CDLL:
    """The library that `source` makes, from the cache or compiled now. Raises NoCompiler."""
    return _loaded(source, os.environ.get("CXX"))


@functools.lru_cache(maxsize=64)
def _loaded(source: str, wanted: str | None) -> ctypes.CDLL:
    compiler = _compiler(wanted)
    text = "\0".join([source, *FLAGS, compiler, _stamp(compiler), _processor()])
    name = f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.so"
    kept = cache_folder() / "native" / name
    try:
        if _whole(kept):
            return ctypes.CDLL(str(kept))
    except OSError:  # none yet, or one that cannot be read or loaded: made anew below
        pass
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        return _made(source, compiler, kept, beside=kept.parent)
    except OSError:  # a cache that cannot be written costs a compilation per process, no more
        pass
    try:
        return _made(source, compiler, None, beside=Path(tempfile.gettempdir()))
    except OSError as error:  # nowhere to write, or a compiler that makes what cannot be loaded
        raise NoCompiler(f"{compiler}: {str(error)[:SHOWN]}") from error


def _made(source: str, compiler: str, kept: Path | None, *, beside: Path) -> ctypes.CDLL:
    """Compile in a folder beside where the file shall be, so that moving it there is one step."""
    with tempfile.TemporaryDirectory(prefix="compiling-", dir=beside) as folder:
        code, library = Path(folder, "code.cpp"), Path(folder, "code.so")
        code.write_text(source)
        try:
            done = subprocess.run(
                [compiler, *FLAGS, "-o", str(library), str(code)],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=COMPILE_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NoCompiler(f"{compiler}: {str(error)[:SHOWN]}") from error
        if done.returncode != 0 or not library.exists():
            said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip())
            raise NoCompiler(f"{compiler} ended with status {done.returncode}: {said[:SHOWN]}")
        _seal(library)
        loaded = ctypes.CDLL(str(library))  # mapped by now: the file may move or go
        if kept is not None:
            os.replace(library, kept)
        return loaded


def _seal(library: Path) -> None:
    """Put a hash of the file behind its end, where no loader looks."""
    with library.open("ab") as file:
        file.write(hashlib.sha256(library.read_bytes()).digest())


def _whole(library: Path) -> bool:
    """Whether a file is as it was sealed: loading one that a crash or a full disk cut short would kill the process."""
    content = library.read_bytes()
    return hashlib.sha256(content[:-SEAL]).digest() == content[-SEAL:]


def _compiler(wanted: str | None) -> str:
    """The compiler's path: $CXX, else the first of the usual names."""
    for name in [wanted] if wanted else ["g++", "clang++", "c++"]:
        found = shutil.which(name)
        if found:
            return found
    raise NoCompiler(f"{wanted or 'none of g++, clang++, c++'} is {'not ' * bool(wanted)}on the PATH")


def _stamp(compiler: str) -> str:
    """What changes when the compiler at this path does."""
    found = os.stat(compiler)
    return f"{found.st_size}:{found.st_mtime_ns}"


@functools.lru_cache(maxsize=1)
def _processor() -> str:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    said = [line for line in lines if line.split(":")[0].strip() in ("model name", "flags", "Features")]
    return "\n".join(dict.fromkeys(said))


def cache_folder() -> Path:
    """Where compiled programs are kept between runs."""
    return machine.kept("compiled")
