"""The token a Ray cluster may want: where it is found, when it is sent, and what is said where it is wanted.

Ray turns tokens on by itself for clusters of this machine, so it takes no setting to talk to one; to another machine a
token goes only when the user says so, with RAY_AUTH_MODE=token.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from sweep.errors import ClusterError

MODE = "RAY_AUTH_MODE"


def headers(*, local: bool) -> list[dict[str, str]]:
    """What to send, to be tried in this order: nothing and then the token, or the one that is right."""
    mode = os.environ.get(MODE, "").lower()
    if mode == "token":
        return [authorization()]
    token = authorization() if local and not mode else {}
    return [{}, token] if token else [{}]


def authorization() -> dict[str, str]:
    """The header with the user's token, from the places and in the order that Ray uses; empty without one."""
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    if not token and (named or path.is_file()):
        try:
            token = path.read_text()
        except OSError as error:
            raise ClusterError(f"the token file {path} cannot be read ({error.strerror})") from error
    return {"authorization": f"Bearer {token.strip()}"} if token.strip() else {}


def refused(where: str, sent: dict[str, str]) -> ClusterError:
    """What to say of a cluster that wants a token, or another one than was sent."""
    if sent:
        return ClusterError(
            f"the Ray cluster at {where} does not accept this token: set RAY_AUTH_TOKEN (or the content of "
            "~/.ray/auth_token) to what `ray get-auth-token` on the head node prints"
        )
    return ClusterError(
        f"the Ray cluster at {where} wants a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN=<its token> "
        "(or keep the token in ~/.ray/auth_token); `ray get-auth-token` on the head node prints it"
    )


def is_local(host: str | None) -> bool:
    """Whether the host is an address of this machine: only such an address can be bound to."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(place)
    except OSError:
        return False
    return True
