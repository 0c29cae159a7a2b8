"""A failure is data: written by the worker, shown by the commands, tried again by the next run and not before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from faulty import faulty_study, write_code
from tiny import Command

import sweep
from sweep import running
from sweep.errors import InputError, PliantError
from sweep.ledger import failures
from sweep.ledger.failures import Failure
from sweep.ledger.ledger import Ledger


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep file of two packs, one of which fails."""
    monkeypatch.setenv("PLIANT_COMMIT_SECONDS", "0")
    return faulty_study(tmp_path)


def test_a_failure_is_kept_shown_and_tried_again(command: Command, study: Path, tmp_path: Path) -> None:
    arguments = (study, "--storage", tmp_path / "st")
    ran = command("run", *arguments, "--inline", "--no-track", "--no-figures")
    assert ran.code == 1
    assert "1 of 2 packs failed (4 trials)" in ran.err
    assert "1 pack: ArithmeticError: the switch is on (faulty.py:8)" in ran.err
    assert "4 trials computed" in ran.out  # the other pack went on

    ledger = Ledger(tmp_path / "st")
    [failed] = [pack for pack in ledger.packs() if not pack.finished]
    why = failed.failure
    assert why is not None and (why.type, why.message) == ("ArithmeticError", "the switch is on")
    assert (why.place, why.step, why.deterministic) == ("faulty.py:8", 80, True)
    assert 'raise ArithmeticError("the switch is on")' in why.traceback and "site-packages" not in why.traceback
    assert ledger.failures() == dict.fromkeys(failed.members, why)

    status = command("status", "study", *arguments[1:])
    assert f"{why.host}: ArithmeticError: the switch is on (faulty.py:8)" in status.out
    facts = json.loads(command("status", "study", *arguments[1:], "--json").out)
    assert {pack["failure"] and pack["failure"]["type"] for pack in facts["packs"]} == {None, "ArithmeticError"}
    trial = command("trial", failed.members[0], *arguments[1:])
    assert "failed at step 80" in trial.out and 'raise ArithmeticError("the switch is on")' in trial.out
    assert sorted(sweep.configs("study", storage=str(tmp_path / "st"))["status"]) == ["done"] * 4 + ["failed"] * 4
    assert "1 pack: ArithmeticError: the switch is on" in command("plan", *arguments).out

    (tmp_path / "switch").unlink()
    again = command("run", *arguments, "--inline", "--no-track", "--no-figures")
    assert again.code == 0
    assert "again, after the last attempt failed:\n  1 pack: ArithmeticError: the switch is on" in again.out
    fresh = Ledger(tmp_path / "st")
    assert fresh.failures() == {} and all(pack.failure is None for pack in fresh.packs())
    assert "failed" not in command("status", "study", *arguments[1:]).out


def test_from_python_a_failed_pack_says_its_reason(alone: None, uncompiled: None, study: Path, tmp_path: Path) -> None:
    with pytest.raises(PliantError, match="1 of 2 packs failed .*\n.*ArithmeticError: the switch is on"):
        sweep.run(study, storage=str(tmp_path / "st"), inline=True, track=False)


def test_leaving_the_program_in_ones_own_code_is_a_failure_like_any_other(
    command: Command, study: Path, tmp_path: Path
) -> None:
    write_code(tmp_path, "SystemExit(3)")
    ran = command("run", study, "--storage", tmp_path / "st", "--inline", "--no-track", "--no-figures")
    assert ran.code == 1 and "1 pack: SystemExit: 3 (faulty.py:8)" in ran.err


def of(error: Exception, *, before: Failure | None = None, code: tuple[str, ...] = ()) -> Failure:
    try:
        raise error
    except Exception as raised:
        return failures.of_error(raised, pack="p", attempt="a", step=7, code=code, before=before)


def test_what_would_come_again() -> None:
    own = (__file__,)
    assert of(InputError("bad")).deterministic
    assert of(ValueError("bad"), code=own).deterministic
    assert not of(ValueError("bad")).deterministic
    for passing in (OSError("disk"), MemoryError(), ConnectionResetError("peer")):
        assert not of(passing, code=own).deterministic
    assert of(OSError("disk"), before=of(OSError("disk"))).deterministic
    assert not of(OSError("disk"), before=of(OSError("network"))).deterministic


def test_a_failure_survives_the_ledger_and_a_torn_one_is_none(tmp_path: Path) -> None:
    from workloads.training.pack import Pack, PackMember

    ledger = Ledger(tmp_path)
    pack = Pack(id="p", members=[PackMember("t", {})])
    ledger.describe(pack)
    failure = of(ValueError("bad"))
    ledger.fail(failure)
    assert Ledger(tmp_path).failures() == {"t": failure}
    assert failure.reason == "ValueError: bad"
    (tmp_path / "ledger/packs/p/a/failure.json").write_text("{")
    assert Ledger(tmp_path).failures() == {}


def test_reasons_are_told_once() -> None:
    one, other = of(ValueError("bad")), of(KeyError("x"))
    assert failures.told([one, other, one]) == ["  2 packs: ValueError: bad", "  1 pack: KeyError: 'x'"]


def test_a_pack_that_leaves_trials_out_is_a_failure_and_no_interruption(
    command: Command, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "run_inline", lambda *_: {})
    ran = command("run", study, "--storage", tmp_path / "st", "--inline", "--no-track", "--no-figures")
    assert ran.code == 1 and "Unfinished: its training ended without an error" in ran.err


@pytest.mark.parametrize("how", ["--inline", "--workers=1"])
def test_a_gpu_that_is_not_there_is_refused_before_anything_starts(
    command: Command, study: Path, tmp_path: Path, how: str
) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    said = command("run", study, "--storage", tmp_path / "st", "--device", "cuda", how, "--no-track")
    assert said.code == 2 and said.err.startswith("error: packs are to train on cuda, and torch on"), (
        "before Ray starts"
    )
    assert not list((tmp_path / "st").glob("ledger/packs/*/*/failure.json"))
