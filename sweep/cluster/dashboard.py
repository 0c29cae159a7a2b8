"""A Ray cluster's dashboard: which one an address means, whether it answers, and the client of its jobs."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sweep.cluster import tokens
from sweep.errors import ClusterError, InputError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient


DASHBOARD_PORT = 8265
ANSWER_WITHIN = 4.0  # seconds to wait for the dashboard before it counts as absent
LISTED_WITHIN = 15.0  # seconds until a head node that has just started lists its own nodes
ADDRESSES = "http://host:8265, host:8265, ray://host:10001 or auto"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A dashboard that has answered: its URL and the headers it wants."""

    url: str
    headers: dict[str, str]


def reach(address: str) -> Cluster:
    """The cluster at the address; ClusterError within seconds when none answers or it wants another token."""
    url = dashboard_of(address)
    for headers in tokens.headers(local=_is_local(url)):
        if _probe(url, headers) is None:
            return Cluster(url, headers)
    raise tokens.refused(url, headers)


def dashboard_of(address: str) -> str:
    """The URL of the dashboard that an address means; InputError for what is no address."""
    given = address
    if address == "auto":
        address = os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS") or "auto"
        if address == "auto":
            return f"http://127.0.0.1:{DASHBOARD_PORT}"
        if "://" not in address and not os.environ.get("RAY_API_SERVER_ADDRESS"):
            address = f"ray://{address}"  # in RAY_ADDRESS a bare port is the cluster's, not its dashboard's
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if not host or parts.scheme not in {"http", "https", "ray"}:
        named = f"{given!r}" if given == address else f"{address!r} (from the environment)"
        raise InputError(f"address {named} is not an address of a Ray cluster; allowed: {ADDRESSES}")
    if parts.scheme != "ray" and "://" in address:
        return address.rstrip("/")
    bracketed = f"[{host}]" if ":" in host else host
    return f"http://{bracketed}:{DASHBOARD_PORT if parts.scheme == 'ray' or port is None else port}"


def _probe(url: str, headers: dict[str, str]) -> int | None:
    """None if a Ray dashboard answers, 401 or 403 if it wants a token or another one, else ClusterError."""
    foreign = f"{url} answers, but not as a Ray dashboard; give the dashboard's address ({ADDRESSES})"
    try:
        answer = _get(f"{url}/api/version", headers)
    except urllib.error.HTTPError as error:
        with error:
            text = error.read().decode(errors="replace")
        if error.code in {401, 403} and "authentication token" in text:
            return error.code
        if error.code in {502, 503, 504}:  # a proxy speaks for a host it could not reach
            raise ClusterError(f"no Ray cluster answers at {url} (HTTP {error.code})") from error
        raise ClusterError(foreign) from error
    except (http.client.HTTPException, ValueError) as error:
        raise ClusterError(foreign) from error
    except OSError as error:  # URLError, refused connections and time-outs
        reason = getattr(error, "reason", error)
        reason = getattr(reason, "strerror", None) or reason
        raise ClusterError(f"no Ray cluster answers at {url} ({reason})") from error
    if "ray_version" not in answer:
        raise ClusterError(foreign)
    return None


def _get(url: str, headers: dict[str, str]) -> dict[str, Any]:
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=ANSWER_WITHIN) as response:
        content = json.load(response)
    return content if isinstance(content, dict) else {}


def _is_local(url: str) -> bool:
    """Whether the URL's host is an address of this machine."""
    return tokens.is_local(urlsplit(url).hostname)


def is_here(cluster: Cluster) -> bool:
    """Whether the cluster is on this machine alone; a local address may also be the port of a tunnel."""
    if not _is_local(cluster.url):
        return False
    deadline = time.monotonic() + LISTED_WITHIN
    names: list[str] = []
    while not names and time.monotonic() < deadline:
        try:
            names = _get(f"{cluster.url}/nodes?view=hostNameList", cluster.headers)["data"]["hostNameList"]
        except (OSError, KeyError, ValueError):
            return False
        if not names:
            time.sleep(0.2)
    return set(names) == {socket.gethostname()}


def client_of(cluster: Cluster) -> JobSubmissionClient:
    from ray.job_submission import JobSubmissionClient

    # Ray lets its variables override the address it is given; the one that was asked for here must win.
    before = os.environ.get("RAY_API_SERVER_ADDRESS")
    os.environ["RAY_API_SERVER_ADDRESS"] = cluster.url
    try:
        with explained(cluster.url):
            return JobSubmissionClient(cluster.url, headers=dict(cluster.headers))
    finally:
        if before is None:
            del os.environ["RAY_API_SERVER_ADDRESS"]
        else:
            os.environ["RAY_API_SERVER_ADDRESS"] = before


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Ray's errors as ours: one sentence that says what failed and where."""
    from ray.exceptions import RayError

    try:
        yield
    except (OSError, RuntimeError, RayError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ClusterError(f"the Ray cluster at {url} did not do as asked: {reason}") from error
