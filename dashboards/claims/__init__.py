"""What papers claim, and what sweeps say to it: supported, contradicted, undecided, or that they are too short to tell.

One file per paper (`loss_of_plasticity`, and what it says of learners that act, `reinforcement`; `isometry`,
`warm_start`, `upgd`): its claims, each with its source, the learners and the part of the curve it reads, its test, and
the smallest effect that matters. `check` reads them in one sweep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from dashboards.claims import isometry, loss_of_plasticity, reinforcement, upgd, warm_start
from dashboards.claims.claim import Claim
from dashboards.claims.effects import Reading
from dashboards.claims.evidence import Evidence, Place, Unread
from dashboards.claims.judging import Judged, Verdict, judged, untested
from sweep.results import frames, naming, selections

if TYPE_CHECKING:
    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord

CLAIMS: dict[str, tuple[Claim, ...]] = {
    "loss-of-plasticity": loss_of_plasticity.CLAIMS,
    "loss-of-plasticity-agents": reinforcement.CLAIMS,
    "isometry": isometry.CLAIMS,
    "warm-start": warm_start.CLAIMS,
    "upgd": upgd.CLAIMS,
}


UNDECIDED_BASELINE = "whether the baseline loses anything here is undecided"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one sweep says to one claim in one place."""

    paper: str
    claim: Claim
    sweep: str
    place: str  # "tanh, adam"; nothing where there is one
    reading: Reading
    judged: Judged
    short: str  # how long trials are here, and how long the claim's source, where that is more: it is not tested
    moot: str  # what the claim's subject lacks here, so that it is not decided; nothing where it is

    @property
    def verdict(self) -> Verdict:
        """Supported, contradicted, undecided, or too short to tell."""
        return "undecided" if self.moot else self.judged.verdict


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A claim on a sweep's stream that the sweep cannot answer, and what it lacks."""

    paper: str
    claim: Claim
    why: str


def check(record: SweepRecord, ledger: Ledger) -> tuple[list[Finding], list[Unanswered]]:
    """Every claim on this sweep's stream, in the papers' order. Raises InputError where no trial has ended.

    Of a sweep in two stages the fresh seeds alone are read.
    """
    part = selections.reported(record, ledger)
    trials = frames.trials(part, ledger)
    evidence = Evidence(trials, lambda metric: frames.curves(part, ledger, [metric]), names(part, trials))
    findings, unanswered = list[Finding](), list[Unanswered]()
    for paper, claims in CLAIMS.items():
        for claim in claims:
            if not evidence.workloads.intersection(claim.workloads):
                continue
            try:
                findings += of_claim(paper, claim, record.identity, evidence)
            except Unread as lacking:
                unanswered.append(Unanswered(paper, claim, str(lacking)))
    return findings, unanswered


def names(part: SweepRecord, trials: pd.DataFrame) -> dict[str, str]:
    """Group -> what its setting is called within a panel."""
    axes = frames.panel_axes(frames.split(trials)[0])
    return {
        group: naming.name(arm, {column: value for column, value in values.items() if column not in axes})
        for (arm, group), values in naming.settings(part.trials).items()
    }


def too_short(claim: Claim, evidence: Evidence, place: Place) -> str:
    """How long trials are in a place and how long they must be, where that is longer; else nothing."""
    workload = evidence.workload(place)
    return claim.too_short(workload, evidence.length(place)) if workload in claim.millions else ""


def of_claim(paper: str, claim: Claim, sweep: str, evidence: Evidence) -> list[Finding]:
    """A claim in every place where it can be read. Raises Unread where that is none."""
    readings, lacking = list[tuple[Place, Reading]](), list[str]()
    for place in evidence.places([None] if claim.fixed else claim.optimizers, claim.effect.without):
        try:
            readings.append((place, claim.effect.read(evidence, place)))
        except Unread as error:
            lacking.append(str(error))
    if not readings:
        raise Unread(lacking[0])
    short = [too_short(claim, evidence, place) for place, _ in readings]
    tested = [reading for (_, reading), why in zip(readings, short, strict=True) if not why]
    verdicts = iter(judged([(reading.values, claim.of(reading)) for reading in tested], claim.test))
    several = len({place.optimizer for place, _ in readings}) > 1
    return [
        Finding(
            paper=paper,
            claim=claim,
            sweep=sweep,
            place=", ".join(
                part for part in (place.panel, place.optimizer or "") if part and (several or part != place.optimizer)
            ),
            reading=reading,
            judged=untested(reading.values) if why else next(verdicts),
            short=why,
            moot=moot(paper, evidence, place) if claim.moot_without_loss and not why else "",
        )
        for (place, reading), why in zip(readings, short, strict=True)
    ]


def moot(paper: str, evidence: Evidence, place: Place) -> str:
    """Why a claim on how loss is avoided is not decided in a place: that nothing is lost there; nothing where it is."""
    for claim in CLAIMS[paper]:
        if not claim.baseline or not evidence.workloads.intersection(claim.workloads):
            continue
        try:
            reading = claim.effect.read(evidence, place)
        except Unread as lacking:
            return f"there is no baseline that could lose: {lacking}"
        [verdict] = judged([(reading.values, claim.of(reading))], claim.test)
        if verdict.verdict == "contradicted":
            return "the baseline loses nothing here that could be kept"
        if verdict.verdict == "undecided":
            return UNDECIDED_BASELINE
    return ""
