"""The hash of what a source says: blind to layout, and to nothing else."""

from __future__ import annotations

import pytest

from workloads.syntax import meaning_hash

SOURCE = """
def f(x, *, scale=1.0):
    y = {"a": x, **x} if x else None
    return [y[1:2], f"{x!r:>{scale}}", -x ** 2]
"""


@pytest.mark.parametrize(
    "other",
    [
        "# why\n" + SOURCE,
        SOURCE.replace("x, *, scale", "x,   *,scale"),
        SOURCE.replace('"a"', "'a'"),
        SOURCE.replace("return [", "return [  # here\n        "),
        SOURCE.replace("    y =", '    """What it does."""\n    y ='),
        '"""A module."""' + SOURCE,
        SOURCE.replace("-x ** 2", "-(x ** 2)").replace("1.0", "1e0"),
    ],
)
def test_layout_is_not_in_it(other: str) -> None:
    assert other != SOURCE and meaning_hash(other) == meaning_hash(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1.0", "1.5"),
        ("1.0", "1"),
        ("1.0", "True"),
        ("None", "0"),
        ("None", "'None'"),
        ("1:2", "1::2"),
        ("1:2", "1:"),
        ("**x", '"b": x'),
        ("-x ** 2", "(-x) ** 2"),
        ("!r", ""),
        ("*, scale", "scale"),
        ("return", "yield"),
        ("    y =", '    x = """What it does."""\n    y ='),
    ],
)
def test_everything_else_is(old: str, new: str) -> None:
    assert old in SOURCE and meaning_hash(SOURCE.replace(old, new)) != meaning_hash(SOURCE)


def test_it_is_the_same_whatever_the_version_of_python() -> None:
    """Stored when this was written, under 3.11: trials are named by it on every machine."""
    assert meaning_hash(SOURCE) == "ccb2f3f965b87d09c328b17b7802e6da03d681b04f5273f72260c9d58c771785"
