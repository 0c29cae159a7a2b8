"""Serving MLflow's pages on this machine, and the address at which they open on a sweep's comparison."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
import urllib.request
import webbrowser
from collections.abc import Callable
from typing import TYPE_CHECKING

from sweep.errors import InputError
from sweep.tracking import serving
from sweep.tracking.redaction import redacted

if TYPE_CHECKING:
    import uvicorn

HOST = "127.0.0.1"
EVERY = 0.1  # seconds between two looks whether the pages answer
CLOSE_WITHIN = 2  # seconds that open pages are given when the server stops


def has_own(tracking_uri: str) -> bool:
    """Whether it is a server, which has its own pages, rather than a database."""
    return tracking_uri.startswith(("http://", "https://"))


def address(here: str, tracking_uri: str, experiment: str | None) -> str:
    """The page on a sweep's arms at the server `here`, or its list of experiments where the sweep is not tracked."""
    view = serving.view_address(tracking_uri, experiment) if experiment else None
    return redacted(f"{here.rstrip('/')}{view or '/#/experiments?workflowType=machine_learning'}")


def has_browser() -> bool:
    """Whether a page can be opened here: $BROWSER, or a desktop with a browser that is no program of the terminal."""
    if os.environ.get("BROWSER"):
        return True
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        return type(webbrowser.get()) is not webbrowser.GenericBrowser  # as those of the terminal are
    except webbrowser.Error:
        return False


def held(port: int) -> socket.socket:
    """A socket that holds a port and is closed at the end of a `with`. Raises InputError where it is taken."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was served a moment ago is free
    try:
        listening.bind((HOST, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise InputError(
            f"port {port} of {HOST} cannot be used ({error.strerror}): another program listens there, perhaps another"
            " `sweep ui`.\nName a free one with --port."
        ) from error
    return listening


def serve(tracking_uri: str, listening: socket.socket, ready: Callable[[str], None]) -> None:
    """Serve the pages of a database until Ctrl-C; `ready` is told http://HOST:PORT once they answer.

    Raises TrackingError where the database cannot be used.
    """
    import uvicorn

    config = uvicorn.Config(serving.server(tracking_uri), log_level="warning", timeout_graceful_shutdown=CLOSE_WITHIN)
    server = uvicorn.Server(config)
    here = f"http://{HOST}:{listening.getsockname()[1]}"
    threading.Thread(target=_announce, args=(server, here, ready), daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn has stopped by then, and passes on what stopped it
        server.run(sockets=[listening])


def _announce(server: uvicorn.Server, here: str, ready: Callable[[str], None]) -> None:
    """Wait until the pages answer, then say so."""
    while not server.should_exit:
        if server.started and _answers(here):
            ready(here)
            return
        time.sleep(EVERY)


def _answers(here: str) -> bool:
    try:
        with urllib.request.urlopen(f"{here}/health", timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
