"""A row of the bench: what was measured of a case, and the sentences that several of them make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SHARE_TARGET = 3.0  # percent of training that diagnostics may cost
CORES_TARGET = 0.9  # of N times one core's speed, for packs on N cores


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured. `valid` is false where the plain loop was over 20 % slower than its reference figure."""

    stream: str
    network: str
    batch: int
    arm: str
    members: int
    path: str
    ns_per_trial_step: float
    plain_ns: float
    ratio: float
    limit_ns: float | None  # see `limits`; None without a compiler, and for what it does not count
    target: float | None  # the ratio aimed at
    first_call_s: float  # from the pack's description to its first steps, programs compiled or from the cache
    peak_mb: float
    valid: bool
    versions: dict[str, str]
    diagnostics: float | None = None  # percent of the training, where it is measured; older records have none
    cores: int | None = None  # logical processors, with a pack on each
    all_cores: float | None = None  # how fast those were together, over so many times one alone
    age: int = 0  # steps the networks had trained; older records have newborn ones
    newborn_ns: float | None = None  # the same two of newborn networks
    newborn_plain_ns: float | None = None
    moved: float | None = None  # bytes per ns that the counted reads and writes come to, see `limits`
    triad: float | None = None  # and that this core moves at best over as large a working set
    kernels_ns: float | None = None  # of the whole command: per trial-step of its kernels alone, on all processors
    flushed: bool = True  # false: subnormal numbers were left as they are
    device: str = "cpu"  # what both sides trained on


def asides(rows: Sequence[Row]) -> list[str]:
    """What rows say besides their ratios, a paragraph each."""
    return [aside for aside in (bandwidth(rows), shares(rows), together(rows), wholes(rows)) if aside]


def shares(rows: Sequence[Row]) -> str:
    """What the diagnostics cost, a line for every row that says so; empty where none does."""
    lines = [f"  {r.network} {r.arm} x {r.members:,}: {r.diagnostics:.1f} %" for r in rows if r.diagnostics is not None]
    return under(f"diagnostics of the studies, share of training (at most {SHARE_TARGET:g} %)", lines)


def together(rows: Sequence[Row]) -> str:
    """How fast all cores were at once, a line for every row that says so; empty where none does."""
    lines = [
        f"  {r.network} {r.arm} x {r.members:,}: {r.all_cores:.2f} x {r.cores}" for r in rows if r.all_cores is not None
    ]
    return under(f"packs on all N cores at once, over one core alone (at least {CORES_TARGET:g} N)", lines)


def bandwidth(rows: Sequence[Row]) -> str:
    """How much memory the widest networks move, a line each, beside what this core moves at best."""
    lines = [
        f"  {r.network} {r.arm} x {r.members:,}: {r.moved:.1f} of {r.triad:.1f} ({r.moved / r.triad:.0%})"
        for r in rows
        if r.moved and r.triad and "-100-" not in r.network
    ]
    return under("bytes moved per ns, of what this core moves over as large a working set (triad)", lines)


def wholes(rows: Sequence[Row]) -> str:
    """How fast the whole command was, a line for every row that says so; empty where none does."""
    lines = [
        f"  {r.members:,} trials: {1e3 / r.ns_per_trial_step:,.0f} M trial-steps/s; "
        f"kernels alone, on {r.cores} processors, {1e3 / r.kernels_ns:,.0f} M"
        for r in rows
        if r.kernels_ns
    ]
    return under("sweep run as a whole: start, Ray, ledger, MLflow and figures included", lines)


def under(heading: str, lines: Sequence[str]) -> str:
    """Lines under a heading, which is nothing without them."""
    return "\n".join([heading, *lines]) if lines else ""
