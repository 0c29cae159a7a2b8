"""Passwords and tokens in text that people read: found by where they stand in a URI, and hidden."""

from __future__ import annotations

import re

HIDDEN = "***"

# Up to the last @ of a word: a password that should have been escaped may hold @, / and ? itself. The paths of
# local files may hold @ as they like.
USERINFO = re.compile(r"(?<![\w+.-])(?!(?:file|sqlite)[:+])([a-z][a-z0-9+.-]*://)[^\s'\"<>]*@", re.IGNORECASE)
SECRET_NAME = (
    r"[^=&;\s]*(?:token|passw|pwd|secret|signature|credential)[^=&;\s]*|(?:[^=&;\s]*[_.-])?(?:api|access)?(?:key|auth)"
)
PARAMETER = re.compile(rf"([?&;](?:{SECRET_NAME})=)[^&;\s'\"<>#]+", re.IGNORECASE)


def redacted(text: str, *uris: str) -> str:
    """The text with *** for what comes before a URI's @ and for parameters such as ?token=.

    `uris` are addresses known to be in it: of one whose password holds spaces or quotes no pattern knows the end.
    """
    for uri in sorted(filter(None, uris), key=len, reverse=True):
        scheme, separator, rest = uri.partition("://")
        if separator and scheme not in ("file", "sqlite") and "@" in rest:
            text = text.replace(uri, f"{scheme}://{HIDDEN}@{rest.rpartition('@')[2]}")
    return PARAMETER.sub(rf"\1{HIDDEN}", USERINFO.sub(rf"\1{HIDDEN}@", text))
