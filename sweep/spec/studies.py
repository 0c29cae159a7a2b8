"""A sweep by the words of a user: a shipped study's name, a file's path, or a mapping of a file's keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep.errors import SpecError
from sweep.spec.document import as_file, unknown_key
from sweep.spec.model import Spec
from sweep.spec.reading import PAPER, STUDIES, all_scales, parse, read_text


@dataclass(frozen=True, slots=True)
class Study:
    """A sweep that ships with Pliant."""

    name: str
    question: str
    path: Path
    trials: Mapping[str, int]  # scale -> trials


def load(
    study: str | Path | Mapping[str, Any], scale: str | None = None, changed: Mapping[str, Any] | None = None
) -> Spec:
    """The sweep called `study`, a path or a shipped one's name, at `scale` (`laptop` where there is one).

    A mapping is a sweep too: the keys of a sweep file, `name` among them. `changed`: dotted key -> other value.
    Raises SpecError: for every mistake file, line, key, value, what is allowed and the nearest name.
    """
    if isinstance(study, Mapping):
        text, name = as_file(study)
        return parse(text, Path(name), scale=scale, changed=changed, numbered=False)
    if not isinstance(study, str | Path):
        raise SpecError(f"a sweep is a path, a shipped study's name or a mapping of its keys, not {study!r:.60}")
    path = study_path(study)
    return parse(read_text(path), path, scale=scale, changed=changed)


def study_path(study: str | Path) -> Path:
    """Where a study's file is: a path as it is, a bare name among those that ship."""
    path = Path(study)
    if isinstance(study, Path) or path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        return path
    shipped = {file.stem: file for file in sorted(STUDIES.glob("*.yaml"))}
    if study not in shipped:
        if (own := path.with_suffix(".yaml")).is_file():
            raise SpecError(f"no study {study!r} ships; the file of that name is given by its path: {own}")
        text = unknown_key(study, shipped, f"study {study!r}")
        raise SpecError(f"{text}; a file of your own is given by its path, such as {study}.yaml")
    return shipped[study]


def is_shipped(path: Path) -> bool:
    """Whether a file is that of a study that ships."""
    return path.resolve().parent == STUDIES.resolve()


def is_study(word: str) -> bool:
    """Whether a word names a study that ships, or a sweep file by its ending."""
    return Path(word).suffix in (".yaml", ".yml") or (STUDIES / f"{word}.yaml").is_file()


def studies() -> list[Study]:
    """The sweeps that ship, by name."""
    shipped = []
    for path in sorted(STUDIES.glob("*.yaml")):
        specs = all_scales(path.read_text(encoding="utf-8"), path)
        spec = specs[PAPER]
        shipped.append(Study(spec.name, spec.question, path, {name: s.size for name, s in specs.items()}))
    return shipped


def sizes(study: str | Path) -> dict[str, int]:
    """Scale -> trials of a study. Raises SpecError."""
    path = study_path(study)
    return {scale: spec.size for scale, spec in all_scales(read_text(path), path).items()}
