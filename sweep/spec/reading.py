"""The sweep file: a question as data. Read, checked against the registries, explained when wrong.

A list below `workload`, `network` or an arm is an axis; the trials are the product of axes, arms and seeds. A
scale is the same sweep at another size: `full` is the file as written (`paper` in a study that ships), the others
override parts of it. All scales are checked whenever a file is read: a slip in one should not wait for its day.

Nothing here imports torch: files are read, and refused, in well under a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweep.errors import InputError, SpecError
from sweep.spec import changes
from sweep.spec.document import SET, Document, KeyPath, Problems, read_document, unknown_key
from sweep.spec.meaning import Checked
from sweep.spec.model import Spec
from workloads.extensions import load_code
from workloads.registry import nearest

STUDIES = Path(__file__).parents[1] / "studies"
FULL, PAPER, LAPTOP = "full", "paper", "laptop"


def read_text(path: Path) -> str:
    """A sweep file's text. Raises SpecError."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        others = [file.name for file in path.parent.glob("*.y*ml")] if isinstance(error, FileNotFoundError) else []
        close = nearest(path.name, others)
        hint = f"; did you mean {path.with_name(close)}?" if close else ""
        raise SpecError(f"{path}: cannot be read: {why}{hint}") from None


def parse(
    text: str,
    path: Path,
    *,
    scale: str | None = None,
    changed: Mapping[str, Any] | None = None,
    numbered: bool = True,
) -> Spec:
    """The sweep in `text`, with what is `changed` of it for this run: dotted key -> value.

    `path` names it in messages, with lines if `numbered`, and is where `code` is looked for.
    """
    specs = all_scales(text, path, numbered=numbered)
    as_written = scale_as_written(path)
    chosen = scale or (LAPTOP if LAPTOP in specs else as_written)
    if chosen not in specs:
        meant = f"; a file of your own, as written, is at scale {FULL}" if chosen == PAPER else ""
        raise SpecError(f"{path}: {unknown_key(chosen, specs, f'scale {chosen!r}')}{meant}")
    return with_changes(specs[chosen], path, changed, numbered=numbered) if changed else specs[chosen]


def with_changes(spec: Spec, path: Path, changed: Mapping[str, Any], *, numbered: bool) -> Spec:
    """A sweep at one scale, whose file is sound, with other values of some keys: another sweep, by its name."""
    problems = Problems(str(path), numbered)
    document = read_document(spec.text, problems)
    sized = document.with_overrides(
        (document.tree.get("scales") or {}).get(spec.scale) or {}, ("scales", spec.scale), problems
    )
    problems.changed_by, written = changes.place(changed)
    problems.when, problems.lines = f"with {written}", frozenset({0})
    scale = spec.scale + changes.suffix(changed)
    checked = Checked(sized.with_overrides(changed, (SET,), problems), problems)
    made = checked.spec(path, spec.text, scale=scale, scales=spec.scales, code=spec.code)
    problems.raise_any()
    assert made is not None
    return replace(made, changed=dict(changed))


def all_scales(text: str, path: Path, *, numbered: bool = True) -> dict[str, Spec]:
    """Every scale of a file, the file as written first."""
    problems = Problems(str(path), numbered)
    document = read_document(text, problems)
    code = _load_user_code(document, path, problems)
    overrides = document.tree.get("scales") or {}
    as_written = scale_as_written(path)
    scales: dict[str, Any] = {as_written: {}, **(overrides if isinstance(overrides, dict) else {})}
    if isinstance(overrides, dict) and as_written in overrides:
        where: KeyPath = ("scales", as_written)
        problems.add(document.line(where), where, f"{as_written} is the file as written; choose another name")
    specs = {}
    for scale, sizes in scales.items():
        sized = document
        if isinstance(sizes, dict) and sizes:
            at: KeyPath = ("scales", scale)
            problems.when = f"at scale {scale}"
            problems.lines = frozenset(line for path, line in document.lines.items() if path[:2] == at)
            sized = document.with_overrides(sizes, at, problems)
        specs[scale] = Checked(sized, problems).spec(path, text, scale=scale, scales=tuple(scales), code=code)
    problems.raise_any()
    return {scale: spec for scale, spec in specs.items() if spec is not None}


def _load_user_code(document: Document, path: Path, problems: Problems) -> dict[str, str]:
    """The sources that `code` names, loaded into the registries; raises at once: the rest depends on them."""
    files: dict[str, str] = {}
    listed = document.tree.get("code", [])
    for index, name in enumerate(listed if isinstance(listed, list) else []):
        where: KeyPath = ("code", index)
        source = path.parent / str(name)
        if source.name in files:
            problems.add(document.line(where), where, "another file of this name is given already", name)
        try:
            files[source.name] = source.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            problems.add(document.line(where), where, f"{source} cannot be read: {why}", name)
    if not problems.line_of:
        try:
            load_code(files)
        except InputError as error:
            problems.add(document.line(("code",)), ("code",), str(error))
    problems.raise_any()
    return files


def scale_as_written(path: Path) -> str:
    """What the file itself is called among its scales: the studies that ship are those of papers."""
    return PAPER if path.resolve().parent == STUDIES.resolve() else FULL
