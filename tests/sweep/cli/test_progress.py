"""What a run says while it trains: its speed, the time that is left, and what it is at."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest
from tiny import TINY

from sweep import service
from sweep.cli.output import speed
from sweep.cli.pace import Pace
from sweep.cli.progress import ProgressView, clock
from sweep.cluster import calibration, placement
from sweep.cluster.worker import Progress, given_up
from sweep.packing import PlannedPack

STEPS = 200  # of a pack of TINY


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Clock:
    return Clock()


@pytest.fixture
def planned(alone: None, tmp_path: Path) -> service.Plan:
    """Two packs of two trials: two widths."""
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY.replace("width: 3", "width: [3, 4]").replace("[0.01, 0.003]", "0.01"))
    found = service.plan(file, storage=str(tmp_path / "st"), workers=1)
    assert [len(pack.trials) for pack in found.packs] == [2, 2]
    return found


def at(pack: PlannedPack, step: int, seconds: float, *, attempt: str = "a", first: int = 0) -> Progress:
    return Progress(
        pack=pack.id,
        members=2,
        step=step,
        steps=STEPS,
        finished=step == STEPS,
        diverged=0,
        seconds=seconds,
        trained=2 * (step - first),
        attempt=attempt,
    )


def known(packs: list[PlannedPack], seconds: float) -> dict[str, float]:
    """A calibration in which each pack took so long."""
    return {calibration.key_of(pack): seconds / STEPS for pack in packs}


def test_the_speed_is_that_of_the_last_half_minute(planned: service.Plan, time: Clock) -> None:
    pace = Pace(planned.packs, at_once=1, measured={}, clock=time)
    first = planned.packs[0]
    time.now = 600.0  # of waiting
    pace.heard(at(first, 0, 0.0))
    for step in range(1, 61):
        time.now += 1.0
        pace.heard(at(first, step, float(step)))
    assert pace.rate() == pytest.approx(2.0), "two members, a step per second"
    for step in range(61, 91):
        time.now += 0.1
        pace.heard(at(first, step, 60 + (step - 60) / 10))
    assert pace.rate() == pytest.approx((2 * 27 + 2 * 30) / 30, rel=0.05)


def test_what_an_attempt_that_died_had_trained_counts_once(planned: service.Plan, time: Clock) -> None:
    pace = Pace(planned.packs, at_once=1, measured={}, clock=time)
    first = planned.packs[0]
    for progress in (at(first, 50, 5.0), at(first, 100, 10.0), at(first, 60, 1.0, attempt="b", first=50)):
        time.now += 5
        pace.heard(progress)
    assert pace.trained == 2 * (100 + 10)


def test_the_time_left_is_that_of_packs_like_these(planned: service.Plan, time: Clock) -> None:
    one, two = planned.packs
    pace = Pace(planned.packs, at_once=1, measured=known(planned.packs, 40.0), clock=time)
    assert pace.left() == pytest.approx(80.0)
    assert Pace(planned.packs, at_once=2, measured=known(planned.packs, 40.0), clock=time).left() == pytest.approx(40.0)
    # The first steps took 10 s to compile for; since then a step takes 0.1 s.
    pace.heard(at(one, 0, 0.0))
    pace.heard(at(one, 10, 11.0))
    pace.heard(at(one, 110, 21.0))
    assert pace.pack_left(one, 1.0) == pytest.approx(9.0)
    # So far packs take 21 s for 55 % of 40: the other one is expected to take as much longer or shorter.
    assert pace.left() == pytest.approx(9.0 + 40.0 * 21.0 / 22.0)
    pace.heard(at(one, 200, 30.0))
    pace.heard(at(two, 200, 30.0))
    assert pace.left() == 0.0 and pace.done == 1.0


def test_a_pack_that_failed_is_no_longer_under_way(planned: service.Plan, time: Clock) -> None:
    first, second = planned.packs
    pace = Pace(planned.packs, at_once=2, measured=known(planned.packs, 10.0), clock=time)
    view = ProgressView(planned.packs, at_once=2, measured=known(planned.packs, 10.0), clock=time)
    for heard in (at(first, 0, 0.0), at(first, 50, 2.5), at(second, 0, 0.0), at(second, 100, 5.0)):
        pace.heard(heard)
        view.heard(heard)
    assert pace.left() == pytest.approx(7.5)
    done = pace.done
    pace.heard(given_up(first.id))
    view.heard(given_up(first.id))
    assert pace.left() == pytest.approx(5.0) and [p.pack for p in pace.under_way] == [second.id]
    assert pace.done == done, "what it had trained is kept"
    assert view.text().startswith("0 of 4 trials, 1 pack failed, ")
    pace.heard(given_up(second.id))  # perhaps before it ever reported
    assert pace.left() == 0.0
    pace.heard(at(first, 60, 0.5, attempt="b", first=50))
    assert [p.pack for p in pace.under_way] == [first.id], "it is tried again"


def test_nothing_is_said_of_the_time_left_until_something_tells_it(planned: service.Plan, time: Clock) -> None:
    pace = Pace(planned.packs, at_once=1, measured={}, clock=time)
    assert pace.left() is None
    pace.heard(at(planned.packs[0], 0, 0.0))
    assert pace.left() is None
    pace.heard(at(planned.packs[0], 20, 1.0))
    assert pace.left() is not None


def test_a_log_names_every_stage(
    planned: service.Plan, time: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = planned.packs
    with ProgressView(planned.packs, measured=known(planned.packs, 40.0), clock=time) as view:
        view.stage("starting Ray")
        time.now = 12.0
        view.heard(at(one, 0, 0.0))
        time.now = 32.0
        view.heard(at(one, 100, 20.0))
        view.heard(at(one, 200, 20.0))
        view.heard(at(two, 0, 0.0))
        assert view.text() == "compiling 2 of 2 packs"
        time.now = 35.0
        view.heard(at(two, 200, 3.0))
    assert capsys.readouterr().err.splitlines() == [
        "starting Ray",
        "compiling 1 of 2 packs",
        "[#####---------------]  25 % 0 of 4 trials, 6 trial-steps/s, 0:32 elapsed, 1:00 left",
        "[####################] 100 % 4 of 4 trials, 23 trial-steps/s, 0:35 elapsed, 0:00 left",
    ]


class Full(io.StringIO):
    """A log file on a full disk."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_log_that_cannot_be_written_ends_no_training(
    planned: service.Plan, time: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", Full())
    with ProgressView(planned.packs, clock=time) as view:
        view.stage("starting Ray")
        view.heard(at(planned.packs[0], 0, 0.0))
    assert view.text() == "compiling 1 of 2 packs"


def test_numbers_of_progress() -> None:
    assert [clock(s) for s in (9.4, 778, 11_220)] == ["0:09", "12:58", "3:07:00"]
    assert [speed(r) for r in (21_341.0, 2.04e6)] == ["21,341 trial-steps/s", "2.0 M trial-steps/s"]


# Where a run trains


def test_small_sweeps_train_here_and_large_ones_on_ray(planned: service.Plan) -> None:
    assert placement.trains_here(planned.packs), "a few thousand steps are done before Ray has started"
    calibration.record(known(planned.packs, 25.0))
    assert not placement.trains_here(planned.packs, workers=2), "50 s here, or 12 + 25 on Ray"
    assert placement.trains_here(planned.packs, workers=1)
    calibration.record(known(planned.packs, 100.0))
    assert not placement.trains_here(planned.packs, workers=1), "long runs are worth Ray's start"
    # What was asked for, or needs a cluster, is not a question of time.
    assert placement.trains_here(planned.packs, asked=True) and not placement.trains_here([], asked=False)
    calibration.record(known(planned.packs, 1.0))
    assert not placement.trains_here(planned.packs, address="auto")


@pytest.mark.parametrize(
    "study, here", [("demo@smoke", True), ("demo@laptop", False), ("permuted_mnist@methods", False)]
)
def test_what_was_never_measured_is_guessed_well_enough(alone: None, tmp_path: Path, study: str, here: bool) -> None:
    name, _, scale = study.partition("@")
    found = service.plan(name, scale=scale, storage=str(tmp_path), workers=2)
    assert placement.trains_here(found.packs, workers=2) is here


def test_how_long_a_start_takes_is_learned(alone: None, uncompiled: None, planned: service.Plan) -> None:
    assert placement.to_start(placement.HERE, calibration.read()) == placement.TO_START[placement.HERE]
    service.execute(planned, listener=lambda progress: None, inline=True)
    assert 0 < placement.to_start(placement.HERE, calibration.read()) < 60
    assert placement.start_key(placement.RAY) not in calibration.read()
