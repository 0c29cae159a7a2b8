"""What a Python source says, apart from how it is written down: a hash of its syntax tree.

Comments, layout, the kind of quotes and docstrings are not in it; every name, number and statement is. It is spelled
out here rather than by `ast.dump` or `ast.unparse`, whose texts differ between versions of Python.
"""

from __future__ import annotations

import ast
import hashlib
from typing import Any

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
NOT_SAID = ("kind", "type_comment", "type_ignores")  # u"" or "", and comments that type checkers read


def meaning_hash(source: str) -> str:
    """SHA-256 of what `source` says. Raises SyntaxError where it is not Python."""
    return hashlib.sha256(_spelled(ast.parse(source)).encode()).hexdigest()


def _spelled(part: Any) -> str:
    """A node of the tree, a list of them, or a plain value, in one spelling."""
    if isinstance(part, list):
        return "[" + ",".join(map(_spelled, part)) + "]"
    if not isinstance(part, ast.AST):
        return ascii(part)  # text stays itself whatever characters this Python thinks printable
    fields = {name: value for name, value in ast.iter_fields(part) if name not in NOT_SAID}
    if isinstance(part, ast.JoinedStr):  # between the parts of an f-string Python 3.12 has empty texts, 3.11 has none
        fields["values"] = [v for v in part.values if not (isinstance(v, ast.Constant) and v.value == "")]
    if isinstance(part, DOCUMENTED) and ast.get_docstring(part, clean=False) is not None:
        fields["body"] = part.body[1:]
    # What is absent is left out: later versions of Python add fields that earlier sources do not use.
    said = [
        f"{name}={_spelled(value)}"
        for name, value in fields.items()
        if isinstance(part, ast.Constant) or (value is not None and value != [])
    ]
    return f"{type(part).__name__}({','.join(said)})"
