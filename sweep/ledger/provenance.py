"""Where and with what a result was computed: versions, machine, instruction set, commit.

Collected once per process. Versions come from the installed packages' metadata: none of them is imported.
"""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from workloads.machine import cpus

PACKAGES = ("pliant", "torch", "ray", "mlflow", "numpy")
CPU_INFO = Path("/proc/cpuinfo")
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
FLAGS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512dq", "avx512bw", "avx512vl", "asimd", "sve")  # that matter


@functools.cache
def _collected() -> tuple[tuple[str, str | None], ...]:
    facts = {package: version(package) for package in PACKAGES}
    facts |= {
        "python": platform.python_version(),
        "host": platform.node(),
        "platform": platform.platform(),
        "instruction_set": instruction_set(),
        "commit": commit(Path(__file__).resolve().parents[2]),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return tuple(facts.items())


def collect() -> dict[str, str | None]:
    """Versions of `PACKAGES`, python, host, platform, instruction_set, commit, and the first call's time.

    The time is UTC, ISO 8601. A fact that cannot be had is None.
    """
    return dict(_collected())


def version(package: str) -> str | None:
    """The installed version of a package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def machine() -> dict[str, str | int | float | list[str] | None]:
    """What decides how fast this machine is, None if unknown: cpu (its name), caches, cores, flags, memory_gb.

    Caches are those of the first processor, such as "L1d 32K, L2 1024K, L3 32768K"; flags those of `FLAGS`.
    """
    facts = cpu_facts()
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    try:
        memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        memory = None
    return {
        "cpu": facts.get("model name") or platform.processor() or platform.machine() or None,
        "caches": caches(),
        "cores": cpus(),
        "flags": [flag for flag in FLAGS if flag in flags],
        "memory_gb": memory,
    }


def caches() -> str | None:
    """The data caches of the first processor, from the nearest; None where the system does not tell."""
    sizes = {}
    try:
        for cache in sorted(CACHES.glob("index*")):
            level, kind, size = ((cache / name).read_text().strip() for name in ("level", "type", "size"))
            if kind != "Instruction":
                sizes[f"L{level}{'d' * (kind == 'Data')}"] = size
    except OSError:
        return None
    return ", ".join(f"{name} {size}" for name, size in sizes.items()) or None


def cpu_facts() -> dict[str, str]:
    """/proc/cpuinfo of the first processor; empty where there is none."""
    try:
        lines = CPU_INFO.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in reversed(lines))
    return {key.strip(): value.strip() for key, _, value in pairs}


def instruction_set() -> str:
    """The CPU's widest vectors, avx512 or avx2; the machine's name (aarch64, ...) where there are none.

    Sums are ordered by the width of the vectors, so the last bits of a result may depend on it.
    """
    flags = cpu_facts().get("flags", "").split()
    return "avx512" if "avx512f" in flags else "avx2" if "avx2" in flags else platform.machine()


def commit(root: Path) -> str | None:
    """The git commit checked out at `root`, with "-dirty" after it where tracked files differ from it.

    None where `root` is not the top of a repository: a package installed somewhere below another project's
    repository must not report that project's commit.
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != root.resolve():
        return None
    return _git(root, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
