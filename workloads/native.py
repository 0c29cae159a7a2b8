"""C++ written while running: compiled by this machine's compiler, kept by content, called through ctypes.

A compiled file is named by a hash of its source, the flags, the compiler and the processor, so a folder shared by
different machines, a newer compiler and two processes that compile the same thing at once are all well: each writes
a file of its own name and moves it into place whole. The source lies beside it, as `<hash>.cpp`.

With PLIANT_DEBUG=1 everything is built with -g and sanitizers, and debuggers and reports name that source. Undefined
behaviour ends the process with its line. Memory is checked too where the sanitizer's runtime was loaded before Python:

    LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so)" ASAN_OPTIONS=detect_leaks=0 \
        PLIANT_DEBUG=1 sweep trial ID --run
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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from workloads import machine

# No -ffast-math: it deletes tests for NaN and infinity, and replaces IEEE division and roots by estimates. What is
# given up here is errno and trapping, which nothing reads, and separate rounding of a product that is then added.
FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-fPIC", "-shared"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-w"),
)
DEBUG = "PLIANT_DEBUG"
DEBUG_FLAGS = ("-O1", "-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all")
COMPILE_SECONDS = 300.0
TORCHS_FOLDER = "TORCHINDUCTOR_CACHE_DIR"
SHOWN = 200  # characters of a compiler's complaint
SEAL = 32  # bytes of a hash


SOUND = 'extern "C" int sound() { return 1; }'

_records: list[dict[str, Path]] = []  # see `recorded`


class NoCompiler(Exception):
    """This machine has no C++ compiler that works; the text says what was tried and what it said."""


def check() -> None:
    """Compile and load something small. Raises NoCompiler."""
    compiled(SOUND)


def compiled(source: str) -> ctypes.CDLL:
    """The library that `source` makes, from the cache or compiled now. Raises NoCompiler."""
    library = _loaded(source, os.environ.get("CXX"), flags())
    for record in _records:
        record[source] = Path(library._name).with_suffix(".cpp")
    return library


@contextmanager
def recorded() -> Iterator[dict[str, Path]]:
    """What is asked for within: every source, and where it is kept (nowhere, if the cache cannot be written)."""
    record: dict[str, Path] = {}
    _records.append(record)
    try:
        yield record
    finally:
        _records.remove(record)
        record.pop(SOUND, None)


def flags() -> tuple[str, ...]:
    """What the compiler is told; of two that contradict each other it takes the last."""
    if os.environ.get(DEBUG, "0") in ("", "0"):
        return FLAGS
    checks = "undefined,address" if _checks_memory() else "undefined"
    return (*FLAGS, *DEBUG_FLAGS, f"-fsanitize={checks}")


def _checks_memory() -> bool:
    """Whether the address sanitizer's runtime is in this process: a library that needs it would otherwise end it."""
    try:
        return "asan" in Path("/proc/self/maps").read_text()
    except OSError:
        return False


@functools.lru_cache(maxsize=64)
def _loaded(source: str, wanted: str | None, flags: tuple[str, ...]) -> ctypes.CDLL:
    compiler = _compiler(wanted)
    text = "\0".join([source, *flags, compiler, _stamp(compiler), _processor()])
    name = f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.so"
    library = cache_folder() / "native" / name
    try:
        if library.with_suffix(".cpp").exists() and _whole(library):
            return ctypes.CDLL(str(library))
    except OSError:  # none yet, or one that cannot be read or loaded: made anew below
        pass
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        return _made(source, [compiler, *flags], library, beside=library.parent)
    except OSError:  # a cache that cannot be written costs a compilation per process, no more
        pass
    try:
        return _made(source, [compiler, *flags], None, beside=Path(tempfile.gettempdir()))
    except OSError as error:  # nowhere to write, or a compiler that makes what cannot be loaded
        raise NoCompiler(f"{compiler}: {str(error)[:SHOWN]}") from error


def _made(source: str, command: list[str], kept: Path | None, *, beside: Path) -> ctypes.CDLL:
    """Compile in a folder beside where the files shall be, so that moving one there is one step."""
    compiler = command[0]
    with tempfile.TemporaryDirectory(prefix="compiling-", dir=beside) as folder:
        code, library = Path(folder, "code.cpp"), Path(folder, "code.so")
        # Reports and debuggers are to name the file that stays.
        code.write_text(source if kept is None else f'#line 1 "{kept.with_suffix(".cpp")}"\n{source}')
        try:
            done = subprocess.run(
                [*command, "-o", str(library), str(code)],
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
        if kept is None:
            return ctypes.CDLL(str(library))  # mapped by now: the file may go
        code.write_text(source)
        os.replace(code, kept.with_suffix(".cpp"))
        os.replace(library, kept)
    try:
        return ctypes.CDLL(str(kept))  # by the name that stays, under which a sanitizer looks lines up
    except OSError:
        kept.unlink(missing_ok=True)
        kept.with_suffix(".cpp").unlink(missing_ok=True)
        raise


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
        path = shutil.which(name)
        if path:
            return path
    raise NoCompiler(f"{wanted or 'none of g++, clang++, c++'} is {'not ' * bool(wanted)}on the PATH")


def _stamp(compiler: str) -> str:
    """What changes when the compiler at this path does."""
    facts = os.stat(compiler)
    return f"{facts.st_size}:{facts.st_mtime_ns}"


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


def torch_keeps_there() -> None:
    """Have torch keep what its compiler makes there too, where that can be written.

    To be called before any function is traced: torch loads its compiler then, which settles on a folder of the system's
    temporary one unless told.
    """
    folder = cache_folder()
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            os.environ.setdefault(TORCHS_FOLDER, str(folder))
