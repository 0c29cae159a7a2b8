"""Measured times: kept, found again by what makes packs alike, and no trouble when the file is."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sweep.cluster import calibration
from sweep.packing import PlannedPack, looks_at, plan_packs
from sweep.spec.reading import parse
from sweep.trials import expand
from workloads.training.loop import Training

HEAD = "workload: {name: slowly_changing_regression, tasks: 2, period: 30}\nnetwork: {width: 3}\n"


def pack(arm: str = "optimizer: sgd", *, seeds: int = 5) -> PlannedPack:
    [planned] = plan_packs(expand(parse(f"{HEAD}seeds: {seeds}\narms: {{a: {{{arm}}}}}", Path("x.yaml"))), workers=1)
    return planned


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "pliant" / "calibration.json"


def test_what_is_recorded_is_read_and_the_last_counts(cache: Path) -> None:
    assert calibration.read() == {} and calibration.cache_file() == cache
    calibration.record({"a": 0.5, "b": 1.0})
    calibration.record({"b": 0.25})
    assert calibration.read() == {"a": 0.5, "b": 0.25}
    assert [file.name for file in cache.parent.iterdir()] == ["calibration.json"]


def test_an_empty_variable_means_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert calibration.cache_file() == tmp_path / ".cache" / "pliant" / "calibration.json"


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null", '{"a": "soon"}'])
def test_a_damaged_file_counts_as_empty_and_is_replaced(cache: Path, text: str) -> None:
    cache.parent.mkdir()
    cache.write_text(text)
    assert calibration.read() == {}
    calibration.record({"a": 2.0})
    assert calibration.read() == {"a": 2.0}


def test_a_cache_that_cannot_be_written_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    calibration.record({"a": 1.0})
    assert calibration.read() == {}


def test_packs_are_alike_by_structure_path_and_rough_size() -> None:
    key = calibration.key_of(pack())
    assert key == calibration.key_of(pack("optimizer: sgd, step_size: 0.3", seeds=8)), "5 and 8 members cost the same"
    assert key != calibration.key_of(pack(seeds=4))
    assert key != calibration.key_of(pack("optimizer: adam"))


def test_a_pack_is_measured_by_training_it_and_looking_at_it(uncompiled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    for name in ("train", "diagnose"):
        function = getattr(Training, name)
        monkeypatch.setattr(Training, name, lambda *a, f=function, n=name: (asked.append(n), f(*a))[1])
    stretches = [0.0, 2.0, 2.0, 4.0, 4.0, 90.0, 90.0, 93.0, 93.0, 94.0]  # a program is compiled in the third
    monkeypatch.setattr(time, "perf_counter", iter((*stretches, 100.0, 105.0)).__next__)
    measured = pack(seeds=2)
    shape = measured.shape
    seconds = calibration.measure(measured, steps=20)
    assert asked == [*["train"] * 6, "diagnose"]
    looks = looks_at(measured.trials[0].config, shape)
    looking = 5.0 * looks / shape.steps  # by the clock that is set here
    assert seconds == {
        calibration.key_of(measured): pytest.approx(2.0 / 4 + looking),
        calibration.looks_key(measured): pytest.approx(looking),
    }
