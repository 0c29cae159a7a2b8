"""A row of the bench: what was measured of a case, and the sentences that several of them make.

Packs are told by a `Row`, worlds (`world_cases`) by one of three others, each with what it alone knows. All have a
stream, an arm, members, a ratio and the ratio aimed at, and are about something: a network, an environment or a game.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

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


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentsRow:
    """Steps a second on one core, learning included: those of a pack's agents together, and of one in either loop."""

    kind: Literal["agents"] = "agents"
    stream: str
    network: str  # hidden layers of both
    arm: str
    members: int
    envs: int  # of each
    path: str
    pack: float
    plain: float  # the loop of torch.nn in the same worlds
    gymnasium: float  # the same loop in Gymnasium's environments, stepped one after the other
    ratio: float  # pack over plain
    target: float
    physics: float | None  # shares of the pack's time: MuJoCo's, part of
    worlds: float  # that of worlds;
    asking: float  # of asking networks for actions and values,
    learning: float  # and of the engines
    first_call_s: float  # from the pack's description to the end of its first iteration
    versions: dict[str, str]

    @property
    def cells(self) -> dict[str, str]:
        """For a table."""
        return {
            "world, networks": f"{self.stream}, {self.network}",
            "agents": f"{self.members}",
            "path": self.path,
            "pack": f"{self.pack:,.0f}",
            "loop": f"{self.plain:,.0f}",
            "loop, Gymnasium": f"{self.gymnasium:,.0f}",
            "ratio": f"{self.ratio:.1f}",
            "target": f"{self.target:g}",
            "worlds": f"{self.worlds:.0%}",
            "physics": "" if self.physics is None else f"{self.physics:.0%}",
            "asking": f"{self.asking:.0%}",
            "learning": f"{self.learning:.0%}",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RobotsRow:
    """Microseconds of processor time per environment's step, one environment a member."""

    kind: Literal["robots"] = "robots"
    stream: str
    environment: str  # as Gymnasium has it
    arm: str
    members: int
    physics_us: float  # `mj_step` alone, from the same states
    worlds_us: float
    gymnasium_us: float  # its vector of as many environments
    ratio: float  # the share of the worlds' time that is physics
    target: float
    cores: int
    times: float  # as fast on the clock by as many threads as by one
    versions: dict[str, str]

    @property
    def cells(self) -> dict[str, str]:
        """For a table."""
        return {
            "robot": self.environment,
            "members": f"{self.members}",
            "mj_step, us": f"{self.physics_us:.1f}",
            "worlds, us": f"{self.worlds_us:.1f}",
            "ratio": f"{self.ratio:.0%}",
            "target": f"{self.target:.0%}",
            "Gymnasium, us": f"{self.gymnasium_us:.1f}",
            "all cores, times": f"{self.times:.1f} of {self.cores}",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class GamesRow:
    """Nanoseconds of processor time per environment's step."""

    kind: Literal["games"] = "games"
    stream: str
    game: str
    arm: str
    members: int
    envs: int  # of each
    package_ns: float
    arcade_ns: float
    worlds_ns: float  # as PPO takes it
    ratio: float  # package over arcade
    target: float | None
    versions: dict[str, str]

    @property
    def cells(self) -> dict[str, str]:
        """For a table."""
        return {
            "game": self.game,
            "members": f"{self.members}",
            "environments": f"{self.envs}",
            "package, ns": f"{self.package_ns:,.0f}",
            "arcade, ns": f"{self.arcade_ns:,.0f}",
            "ratio": f"{self.ratio:.0f}",
            "target": "" if self.target is None else f"{self.target:g}",
            "worlds, ns": f"{self.worlds_ns:,.0f}",
        }


WorldRow = AgentsRow | RobotsRow | GamesRow
AnyRow = Row | WorldRow
KINDS: dict[str, type[WorldRow]] = {"agents": AgentsRow, "robots": RobotsRow, "games": GamesRow}
HEADINGS = {
    "agents": "agents that learn by PPO: steps a second on one core, learning included, and shares of the pack's time",
    "robots": "robots stepped alone: processor time per step of an environment; the ratio is what share is physics",
    "games": "MinAtar stepped alone: processor time per step of an environment; the ratio is to the package",
}


def read_row(held: Mapping[str, Any]) -> AnyRow:
    """The row that was written as JSON. Raises TypeError where it is none."""
    kind: type[AnyRow] = KINDS.get(held.get("kind", ""), Row)
    return kind(**held)


def rows_by_kind(rows: Sequence[AnyRow]) -> dict[str, list[WorldRow]]:
    """Those of worlds, kind by kind."""
    worlds = [row for row in rows if not isinstance(row, Row)]
    return {kind: found for kind in KINDS if (found := [row for row in worlds if row.kind == kind])}


def subject(held: Mapping[str, Any]) -> str:
    """What a row as written is about. Raises KeyError where it does not say."""
    about: str = held[next((name for name in ("environment", "game") if name in held), "network")]
    return about


def versions(*others: str) -> dict[str, str]:
    """Of what decides how fast a row is; `others` are distributions."""
    found = {name: importlib.metadata.version(name) for name in ("pliant", "torch", *others)}
    return found | {"python": platform.python_version()}


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
