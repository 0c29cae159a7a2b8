"""Settings that came later leave the ids of earlier trials as they were."""

from __future__ import annotations

from dataclasses import dataclass

from workloads.networks.config import MLPConfig
from workloads.settings import later, written


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    rate: float = 0.1
    form: str = later("old")


def test_a_later_setting_is_written_only_where_it_is_not_the_default() -> None:
    assert written(Config()) == {"rate": 0.1} == written(Config(form="old"))
    assert written(Config(form="new")) == {"rate": 0.1, "form": "new"}
    assert Config(**written(Config(form="new"))) == Config(form="new") and Config(**written(Config())) == Config()  # type: ignore[arg-type]


def test_a_perceptron_is_written_as_before_it_could_be_normalised() -> None:
    assert list(written(MLPConfig())) == ["width", "depth", "activation", "initialisation", "biases"]
    assert written(MLPConfig(normalisation="layer"))["normalisation"] == "layer"
