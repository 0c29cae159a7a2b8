"""What the documents name is there, and the code they show does what they say."""

from __future__ import annotations

import importlib
import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.main import get_command

from sweep.cli.commands import app

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "workloads" / "README.md",
    ROOT / "workloads" / "engine" / "README.md",
    ROOT / "sweep" / "README.md",
    ROOT / "sweep" / "benchmarks" / "README.md",
]
MAKE = re.compile(r"^(\w+):", re.MULTILINE)
STANDS_FOR = re.compile(r"[A-Z]{2,}")  # NAME, ID: what a reader puts in


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def prose(document: Path) -> str:
    """A document without the code that is its readers' to write."""
    return re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)


def paths(document: Path) -> set[str]:
    """What looks like a file or folder of ours: a/b, or a name with an ending that we use."""
    named = re.findall(r"(?<![\w./:*\[-])((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:py|h|cpp|md))(?![\w/*])", prose(document))
    return {
        name.rstrip(".")
        for name in named
        if not STANDS_FOR.search(name.replace("README", "").replace("CONTRIBUTING", ""))
    }


def exists(name: str, document: Path) -> bool:
    """Whether a file or folder is there: from the root, from the document's folder, or by its own name below it."""
    folder = document.parent
    return (ROOT / name).exists() or (folder / name).exists() or ("/" not in name and any(folder.rglob(name)))


OURS = re.compile(r"^(workloads|sweep|dashboards|tests)/")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_documents_name_exist(document: Path) -> None:
    named = {name for name in paths(document) if OURS.match(name) or document.parent != ROOT}
    assert [name for name in sorted(named) if not exists(name, document)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_that_documents_name_exist(document: Path) -> None:
    named = set(re.findall(r"\b(?:sweep|workloads|dashboards)(?:\.\w+)+\b", prose(document)))
    for name in sorted(named):
        module, _, attribute = name.rpartition(".")
        assert find_spec(module), name
        assert find_spec(name) or hasattr(importlib.import_module(module), attribute), name


def known_words() -> dict[tuple[str, ...], set[str]]:
    """Command -> its options."""
    found: dict[tuple[str, ...], set[str]] = {}

    def walk(command: typer.core.TyperCommand | typer.core.TyperGroup, name: tuple[str, ...]) -> None:
        inner = getattr(command, "commands", {})
        found[name] = {word for parameter in command.params for word in [*parameter.opts, *parameter.secondary_opts]}
        for word, each in inner.items():
            walk(each, (*name, word))

    walk(get_command(app), ())  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_that_documents_name_exist(document: Path) -> None:
    known = known_words()
    text = document.read_text()
    said = [
        *re.findall(r"`(sweep [a-z][^`\n]*)`", text),
        *re.findall(r"^ {4,}(?:\w+=\S+ )*(sweep [a-z][^\n#]*)", text, re.MULTILINE),
    ]
    for line in said:
        words = shlex.split(line.partition("  ")[0])[1:]
        command: tuple[str, ...] = ()
        while words and (*command, words[0].partition("|")[0]) in known:
            command = (*command, words.pop(0))
        assert command, line
        options = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert options <= known[command] | {"--help", "-h"}, line


def test_make_targets_that_documents_name_exist() -> None:
    targets = set(MAKE.findall((ROOT / "Makefile").read_text()))
    for document in DOCUMENTS:
        assert set(re.findall(r"\bmake ([a-z]+)\b(?=[`\s]{1,}(?:#|\n|[`]))", document.read_text())) <= targets


def test_the_worked_example_is_what_is_emitted_and_computes_what_torch_does() -> None:
    text = (ROOT / "workloads" / "engine" / "README.md").read_text()
    [program], [shown] = blocks(text, "python"), blocks(text, "cpp")
    names: dict[str, str] = {}
    exec(program, names)  # which compares its result with torch's
    assert names["body"] == shown.rstrip()


def test_the_readmes_training_scripts_train(one_thread: None) -> None:
    scripts = [text for text in blocks((ROOT / "README.md").read_text(), "python") if "workloads.torch_optim" in text]
    assert len(scripts) == 2
    for script in scripts:
        torch.manual_seed(0)
        names: dict[str, Any] = {}
        exec(script, names)
        assert names["loss"].item() < 0.7  # 1 without learning
        assert "cbp" not in names or names["cbp"].replaced > 0


def test_the_readmes_environment_steps() -> None:
    [script] = [text for text in blocks((ROOT / "README.md").read_text(), "python") if "gymnasium" in text]
    names: dict[str, Any] = {}
    exec(script, names)
    assert 0.02 <= names["info"]["friction"] <= 2.0 and names["observation"].shape == (111,)


def test_the_changelog_begins_with_what_is_not_released() -> None:
    """It may name what is gone, so it is none of the documents above."""
    headings = re.findall(r"^## (.*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
