"""A user's code: joins the registries, leaves them as it found them, and is blamed by file and line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from workloads.errors import InputError
from workloads.extensions import load_code
from workloads.methods.config import METHODS, OPTIMIZERS
from workloads.methods.implementations import IMPLEMENTATIONS
from workloads.networks.config import NETWORKS
from workloads.streams import STREAMS

HEAD = """
from dataclasses import dataclass

@dataclass(frozen=True, kw_only=True)
class Settings:
    amount: float = 1.0

    def parameters(self, inputs, outputs):
        return inputs * outputs

class Thing:
    Config = Settings
    semantics = 2
    varies = ("amount",)

"""


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    load_code({})


def test_entries_join_every_registry_and_leave_again() -> None:
    before = [dict(table) for table in (METHODS, OPTIMIZERS, STREAMS, NETWORKS, IMPLEMENTATIONS)]
    tables = 'METHODS = {"a": Thing}\nOPTIMIZERS = {"b": Thing}\nSTREAMS = {"c": Thing}\nNETWORKS = {"d": Thing}\n'
    load_code({"mine.py": HEAD + tables})
    thing = IMPLEMENTATIONS["a"]
    assert (METHODS["a"].varies, METHODS["a"].semantics, METHODS["a"].config.__name__) == (
        ("amount",),
        2,
        "Settings",
    )
    assert OPTIMIZERS["b"].config is METHODS["a"].config
    assert STREAMS["c"] is thing and NETWORKS["d"].semantics == 2
    load_code({"mine.py": HEAD + tables})
    assert IMPLEMENTATIONS["a"] is thing  # the same files again: nothing is run anew
    load_code({})
    assert [dict(table) for table in (METHODS, OPTIMIZERS, STREAMS, NETWORKS, IMPLEMENTATIONS)] == before


def test_changed_files_replace_the_earlier_ones() -> None:
    load_code({"mine.py": HEAD + 'METHODS = {"a": Thing}'})
    load_code({"mine.py": HEAD.replace("semantics = 2", "semantics = 5") + 'METHODS = {"z": Thing}'})
    assert "a" not in METHODS and METHODS["z"].semantics == 5


@pytest.mark.parametrize(
    "source, said",
    [
        (HEAD + 'METHODS = {"l2": Thing}', r"mine.py: METHODS\['l2'\]: the name 'l2' is taken"),
        (HEAD + 'METHODS = {"adam": Thing}', "the name 'adam' is taken"),
        ("x = 1\nraise ValueError('no')\n", "mine.py:2: ValueError: no"),
        ("def f(:\n", "mine.py:1: SyntaxError"),
        ("METHODS = {'a': int}\n", r"METHODS\['a'\] lacks Config and semantics"),
        (HEAD + "Thing.Config = int\nMETHODS = {'a': Thing}", "Config must be a dataclass"),
        (HEAD + "Thing.varies = ('amont',)\nMETHODS = {'a': Thing}", "varies names amont"),
        (HEAD + "del Settings.parameters\nNETWORKS = {'a': Thing}", "Config lacks parameters"),
        ("x = 1\n", "defines none of METHODS, OPTIMIZERS, STREAMS, NETWORKS"),
    ],
)
def test_a_mistake_is_explained_and_nothing_stays_behind(source: str, said: str) -> None:
    before = [dict(table) for table in (METHODS, OPTIMIZERS, STREAMS, NETWORKS, IMPLEMENTATIONS)]
    with pytest.raises(InputError, match=said):
        load_code({"good.py": HEAD + 'STREAMS = {"fine": Thing}', "mine.py": source})
    assert [dict(table) for table in (METHODS, OPTIMIZERS, STREAMS, NETWORKS, IMPLEMENTATIONS)] == before
