"""Findings in words, as a table for the terminal, and as rows for scripts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

from dashboards.claims import UNDECIDED_BASELINE, Finding
from dashboards.claims.judging import Ranked, Verdict
from sweep.results import naming
from sweep.results.intervals import FEWEST_SEEDS, Estimate

if TYPE_CHECKING:
    from rich.table import Table


def sentence(finding: Finding) -> str:
    """What a sweep says to a claim: the effect with its interval and seeds, and why there is no verdict on it."""
    effect = finding.judged.effect
    way, other = finding.reading.ways
    if effect.mean < 0 and other:
        way, effect = other, Estimate(-effect.mean, -effect.high, -effect.low, effect.seeds)
    said = finding.reading.said.format(effect=estimated(effect, relative=finding.reading.relative), way=way)
    tail = [f"{effect.seeds} seeds" if effect.seeds != 1 else "1 seed"]
    if lost := len(finding.reading.values) - effect.seeds:
        tail.append(f"{lost} more diverged or are missing")
    said += f" ({', '.join(tail)})"
    return f"{said}; {why}" if (why := undecided(finding)) else said


def undecided(finding: Finding) -> str:
    """Why there is no verdict; nothing where there is one."""
    if finding.short:
        return finding.short
    needed, seeds = finding.judged.would_decide, finding.judged.effect.seeds
    if finding.moot and not (few(finding) and finding.moot == UNDECIDED_BASELINE):  # more seeds decide that too
        return finding.moot
    if finding.judged.verdict != "undecided":
        return ""
    if few(finding):
        more = f", for what is seen here some {needed:,}" if needed and needed > FEWEST_SEEDS else ""
        return f"too few seeds: it takes {FEWEST_SEEDS} at least{more}"
    if isinstance(finding.reading.values, Ranked):
        return "more ways of learning would decide"
    if needed is None:
        return "no number of seeds is in sight that would decide"
    return f"some {max(needed, seeds + 1):,} seeds would decide"


def few(finding: Finding) -> bool:
    """Whether there are so few seeds that nothing could be decided, whatever they say."""
    return finding.judged.effect.seeds < FEWEST_SEEDS


def estimated(estimate: Estimate, *, relative: bool) -> str:
    """`0.31 [0.28, 0.34]`; a share as per cent; no interval where there is none."""
    mean, low, high = (
        f"{naming.rounded(100 * number)} %" if relative else naming.rounded(number)
        for number in (estimate.mean, estimate.low, estimate.high)
    )
    return mean if math.isnan(estimate.low) else f"{mean} [{low}, {high}]"


HOW = (
    "Settings, and the best stretch (a tenth) of a curve, are chosen for each seed by the half of the seeds that it is"
    " not in."
)


def table(findings: Sequence[Finding]) -> Table:
    """A row for each claim and place: verdict, the claim, what was found."""
    from rich.table import Table

    shown = Table("verdict", "claim", "in this sweep", box=None, pad_edge=False)
    shown.columns[0].no_wrap = True
    before = None
    for finding in findings:
        says = f"{finding.claim.says} ({finding.claim.source})" if finding.claim is not before else ""
        where = f"{finding.place}: " if finding.place else ""
        shown.add_row(finding.verdict, says, where + sentence(finding))
        before = finding.claim
    return shown


def summary(findings: Sequence[Finding]) -> str:
    """`3 supported, 1 contradicted, 2 undecided`, and that more seeds are needed where there are too few for any."""
    verdicts = [finding.verdict for finding in findings]
    counted = ", ".join(f"{verdicts.count(kind)} {kind}" for kind in get_args(Verdict) if kind in verdicts)
    tested = [finding for finding in findings if not finding.short]
    if not tested or not all(map(few, tested)):
        return counted
    most = max(finding.judged.effect.seeds for finding in tested)
    seeds = f"{most} seeds" if most > 1 else "1 seed"
    return f"{counted}: with {seeds} nothing can be decided, it takes {FEWEST_SEEDS} at least"


def row(finding: Finding) -> dict[str, Any]:
    """A finding as scalars, for --json and CSV."""
    effect = finding.judged.effect
    return {
        "paper": finding.paper,
        "claim": finding.claim.name,
        "says": finding.claim.says,
        "source": finding.claim.source,
        "sweep": finding.sweep,
        "place": finding.place,
        "verdict": finding.verdict,
        "found": sentence(finding),
        "metric": finding.reading.metric,
        "effect": effect.mean,
        "ci_low": effect.low,
        "ci_high": effect.high,
        "relative": finding.reading.relative,
        "seeds": effect.seeds,
        "test": finding.claim.test,
        "limit": finding.claim.of(finding.reading),
        "seeds_that_would_decide": finding.judged.would_decide,
        "too_short": finding.short,
        "moot": finding.moot,
    }
