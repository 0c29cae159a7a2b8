"""How the service scales: slopes by hand, the record and its picture, and the stages at their smallest."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from dashboards import scaling as pictures
from sweep.benchmarks import scaling
from sweep.benchmarks.scaling import STAGES, Point, slopes


def point(stage: str, trials: int, cpu: float) -> Point:
    return Point(stage=stage, trials=trials, cpu=cpu, seconds=2 * cpu, memory=trials / 100)


# Linear, quadratic, and linear above a constant that rules the small sizes.
SIZES = (10, 100, 1000, 10_000, 100_000)
POINTS = [
    *(point("linear", n, n / 1000) for n in SIZES),
    *(point("quadratic", n, n * n / 1e6) for n in SIZES),
    *(point("constant below", n, max(1.0, n / 1000)) for n in SIZES),
    point("alone", 10, 1.0),
]


def test_slopes_are_those_of_the_upper_decades() -> None:
    found = slopes(POINTS)
    assert found["linear"] == pytest.approx(1)
    assert found["quadratic"] == pytest.approx(2)
    assert found["constant below"] == pytest.approx(1), "1,000 to 100,000 trials; all five sizes would give 0.6"
    assert math.isnan(found["alone"])


def test_a_record_reads_back_and_is_drawn(tmp_path: Path) -> None:
    file = scaling.write(POINTS, tmp_path)
    held = json.loads(file.read_text())
    assert held["slopes"] == {"linear": 1.0, "quadratic": 2.0, "constant below": 1.0}
    assert {"date", "commit", "machine", "versions"} <= held.keys()
    assert pictures.read(file)[0] == POINTS
    drawn = pictures.render(file)
    assert sorted(path.suffix for path in drawn) == [".png", ".svg"] and all(path.stat().st_size for path in drawn)
    assert "quadratic, slope 2.00" in next(path for path in drawn if path.suffix == ".svg").read_text()


def test_too_few_trials_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        scaling.main(["--most", "3"])
    assert end.value.code == 2 and "--most 3: at least 10" in capsys.readouterr().err


def test_of_several_measurements_the_one_with_the_least_processor_time_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = iter(point("status", 10, cpu) for cpu in (3.0, 1.0, 2.0))
    monkeypatch.setattr(scaling, "apart", lambda work, *_, root: next(tried) if work is scaling.measured else None)
    assert scaling.point(next(iter(STAGES)), 10, tmp_path).cpu == 1.0
    assert next(tried, None) is None


@pytest.mark.slow
def test_every_stage_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling, "REPEATS", 1)
    assert scaling.main(["--most", "10", "--out", str(tmp_path)]) == 0
    [file] = tmp_path.glob("*-scaling.json")
    points, _ = pictures.read(file)
    assert [(p.stage, p.trials) for p in points] == [(stage, 10) for stage in STAGES]
    assert all(p.cpu >= 0 and p.memory >= 0 for p in points)
    assert "record" in capsys.readouterr().out
