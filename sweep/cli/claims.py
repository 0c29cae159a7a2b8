"""`sweep claims`: what sweeps say to the papers' claims."""

from __future__ import annotations

from typing import Annotated

from sweep.cli.app import AsJson, StorageOption, app, opened, swept
from sweep.cli.output import print_json, say, show, warn
from sweep.errors import InputError


@app.command(name="claims")
def claims_command(
    sweeps: Annotated[list[str] | None, swept("Sweeps that were run", "all that the storage has")] = None,
    storage: StorageOption = None,
    as_json: AsJson = False,
) -> None:
    """Hold sweeps against the papers' claims. Verdicts with effect and interval; trials may be too short for one."""
    from dashboards.claims import check, telling
    from sweep.lookup import find_sweep, none_yet

    ledger = opened(storage)
    asked = list(sweeps or (f"{name}@{scale}" for name, scale in ledger.sweeps()))
    if not asked:
        raise InputError(none_yet(ledger))
    rows = []
    for name in asked:
        record = find_sweep(ledger, name)
        try:
            findings, unanswered = check(record, ledger)
        except InputError as error:
            if sweeps:
                raise
            warn([f"{record.identity}: {error}"])
            continue
        rows += [telling.row(finding) for finding in findings]
        if as_json:
            continue
        say(f"{record.identity}: {record.manifest.get('question', '')}")
        if not findings:
            say("no claim of a paper can be looked at here")
        else:
            say(f"{telling.summary(findings)}. {telling.HOW}\n")
            show(telling.table(findings))
        if unanswered:
            say("\nnot in this sweep: " + "; ".join(f"{each.claim.name} ({each.why})" for each in unanswered))
        say()
    if as_json:
        print_json(rows)
