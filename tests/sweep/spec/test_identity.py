"""Which sweep a file is: names of any script, and two files of one name in one storage."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from tiny import TINY, Command

import sweep
from sweep.errors import InputError
from sweep.spec import identity, meaning

OTHER = TINY.replace("[0.01, 0.003]", "[0.1]")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("my sweep.yaml", "my_sweep"),
        ("研究1.yaml", "研究1"),
        ("U\u0308ber.yaml", "Über"),
        ("+++.yaml", "sweep"),
        ("a@b.yaml", "a_b"),
    ],
)
def test_the_name_that_a_file_gives(file: str, name: str) -> None:
    assert meaning.name_of(Path(file)) == name


@pytest.fixture
def quiet(tmp_path: Path) -> tuple[object, ...]:
    return ("--storage", tmp_path / "st", "--inline", "--no-track", "--no-figures")


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two sweep files of one name, in folders of their own; the second asks for something else."""
    files = tmp_path / "first" / "tiny.yaml", tmp_path / "second" / "tiny.yaml"
    for file, text in zip(files, (TINY, OTHER), strict=True):
        file.parent.mkdir()
        file.write_text(text)
    return files


def test_another_file_of_the_same_name_is_told_and_changes_nothing(
    command: Command, two: tuple[Path, Path], quiet: tuple[object, ...], tmp_path: Path
) -> None:
    first, second = two
    assert command("run", first, *quiet).code == 0
    said = command("run", second, *quiet)
    assert said.code == 2
    assert f"is of another file, {first}; this one, {second}, leaves out 4 of its 4 trials" in said.err
    assert "(optimizer.step_size 0.003, 0.01 there, 0.1 here)" in said.err and "--replace" in said.err
    assert "4 done" in command("status", "tiny", *quiet[:2]).out

    for other in ("status", "clean"):  # a path means the file
        said = command(other, second, *quiet[:2])
        assert said.code == 2 and f"is of {first}, not of {second}: say tiny@full" in said.err
    with pytest.raises(InputError, match="--replace"):
        sweep.run(second, storage=str(tmp_path / "st"), inline=True, track=False)

    assert command("run", second, *quiet, "--replace").code == 0
    assert "2 trials" in command("status", "tiny", *quiet[:2]).out
    assert command("run", second, *quiet).code == 0


def test_a_copy_and_a_file_that_grew_are_the_same_sweep(
    command: Command, two: tuple[Path, Path], quiet: tuple[object, ...]
) -> None:
    first, second = two
    assert command("run", first, *quiet).code == 0
    second.write_text(TINY)
    assert "0 trials computed, 4 done before" in command("run", second, *quiet).out
    first.write_text(TINY.replace("[0.01, 0.003]", "[0.01, 0.003, 0.1]"))
    assert command("run", first, *quiet).code == 0
    first.write_text(OTHER)  # the same file may shrink
    assert command("run", first, *quiet).code == 0


def test_a_file_that_was_sent_to_a_cluster_is_the_one_it_was_here(
    command: Command, two: tuple[Path, Path], quiet: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two
    assert command("run", first, *quiet).code == 0
    monkeypatch.setenv(identity.ORIGIN, str(first))
    assert command("run", second, *quiet).code == 0


def test_clean_asks_for_all_that_it_deletes(
    command: Command, two: tuple[Path, Path], quiet: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = two
    assert command("run", first, *quiet).code == 0
    first.write_text(TINY.replace("[0.01, 0.003]", "[0.01]"))
    assert command("run", first, *quiet).code == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    said = command("clean", "tiny", *quiet[:2])
    assert "delete the results of 4 trials, some of which no sweep holds any more, in" in said.out
    assert "deleted 4 trials in 1 pack" in said.out


def test_what_differs_is_told_in_short(command: Command, tmp_path: Path) -> None:
    def trials(text: str) -> list[identity.Trial]:
        from sweep import service

        (tmp_path / "tiny.yaml").write_text(text)
        return service.plan(tmp_path / "tiny.yaml", storage=str(tmp_path / "st")).trials

    many = OTHER.replace("seeds: 2", "seeds: 7").replace("width: 3", "width: 4").replace("tasks: 2", "tasks: 3")
    told = identity.differences(trials(TINY), trials(many))
    assert told[0] == "network.width 3 there, 4 here" and told[-1] == "1 further settings"
    assert json.dumps(told).count("there") == 3
