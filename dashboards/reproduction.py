"""The folder that `sweep reproduce` leaves: the figures of a paper's studies, the verdict on its claims, an index page.

The page needs nothing but the files beside it: no script, no server. `claims.csv` has the verdicts as rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from jinja2 import Environment, StrictUndefined

from dashboards.claims import CLAIMS, Finding, Unanswered, check, telling
from dashboards.figures import render, write
from dashboards.papers import PAPERS
from sweep.errors import InputError
from sweep.results import answers, leaderboard

if TYPE_CHECKING:
    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord

TEMPLATE = Path(__file__).with_name("reproduction.html.j2")
FIGURE_KINDS = ("svg", "pdf", "csv")  # beside the picture


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure of a study, by file names within the folder."""

    name: str
    png: str
    others: Mapping[str, str]  # kind -> file
    caption: str  # nothing where it stands in the picture


@dataclass(frozen=True, slots=True)
class Study:
    """What one study gives to the page."""

    name: str
    question: str = ""
    counts: str = ""  # "710 trials, 3 diverged"
    answers: list[str] = field(default_factory=list)  # the leaderboard's sentences, a panel each
    pictures: list[Picture] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    unanswered: list[Unanswered] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # why it was not run, or what could not be drawn


def build(name: str, scale: str, studies: Iterable[Study], out: Path) -> Path:
    """Write the page and `claims.csv` of a paper. Returns the page's path."""
    studies = list(studies)
    paper = PAPERS[name]
    findings = [finding for study in studies for finding in study.findings if finding.paper == name]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        paper=paper,
        name=name,
        scale=scale,
        studies=studies,
        claims=by_claim(name, findings),
        unanswered=unanswered(name, studies, findings),
        summary=telling.summary(findings) or "no claim could be looked at",
        how=telling.HOW,
        sentence=telling.sentence,
    )
    out.mkdir(parents=True, exist_ok=True)
    rows = pd.DataFrame([telling.row(finding) for finding in findings])
    write(out / "claims.csv", partial(rows.to_csv, index=False))
    return write(out / "index.html", lambda path: path.write_text(page, encoding="utf-8"))


def study(name: str, record: SweepRecord, ledger: Ledger, out: Path) -> Study:
    """A study's part: its figures drawn into out/STUDY, its answers, its claims. What cannot be made is said."""
    made = Study(name, question=str(record.manifest.get("question", "")), counts=counts(record, ledger))
    try:
        board = leaderboard.leaderboard(record, ledger)
        for panel, standings in board.panels():
            made.answers.append(f"{panel}: " * bool(panel) + answers.sentence(standings))
        findings, lacking = check(record, ledger)
    except InputError as error:
        made.problems.append(str(error))
        return made
    made.findings.extend(findings)
    made.unanswered.extend(lacking)
    for figure in record.manifest["figures"]:
        try:
            made.pictures.append(picture(figure, record, ledger, out, name))
        except InputError as error:
            made.problems.append(f"figure {figure} was not drawn: {error}")
    return made


def picture(figure: str, record: SweepRecord, ledger: Ledger, out: Path, folder: str) -> Picture:
    """A figure, drawn into out/FOLDER. Raises InputError where the sweep has not got what it shows."""
    paths = {path.suffix[1:]: path for path in render(figure, record, ledger, out / folder)}
    caption = paths["txt"].read_text(encoding="utf-8") if "txt" in paths else ""
    files = {kind: f"{folder}/{path.name}" for kind, path in paths.items()}
    return Picture(figure, files["png"], {kind: files[kind] for kind in FIGURE_KINDS}, caption)


def counts(record: SweepRecord, ledger: Ledger) -> str:
    """How many trials there are, and how they ended."""
    done = ledger.done()
    own = [done[trial.id].status for trial in record.trials if trial.id in done]
    said = [f"{len(record.trials):,} trials"]
    if diverged := own.count("diverged"):
        said.append(f"{diverged:,} diverged")
    if left := len(record.trials) - len(own):
        said.append(f"{left:,} are missing")
    return ", ".join(said)


def by_claim(paper: str, findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """The findings of each claim that has any, in the paper's order."""
    by_name: dict[str, list[Finding]] = {claim.name: [] for claim in CLAIMS[paper]}
    for finding in findings:
        by_name[finding.claim.name].append(finding)
    return {name: those for name, those in by_name.items() if those}


def unanswered(paper: str, studies: Iterable[Study], findings: Iterable[Finding]) -> dict[str, str]:
    """The paper's claims that no study could answer, with what the first lacked."""
    answered = {finding.claim.name for finding in findings}
    lacking: dict[str, str] = {}
    for each in studies:
        for one in each.unanswered:
            if one.paper == paper and one.claim.name not in answered:
                lacking.setdefault(one.claim.says, f"{each.name}: {one.why}")
    return lacking
