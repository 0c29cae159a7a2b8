"""The report as a page that a sweep's progress fills: read-only, on 127.0.0.1, asked again by the browser.

How far the sweep is costs little and is told every few seconds. A page is made anew when something was written to the
ledger. The dearer either is the rarer, so that looking on takes a hundredth of the machine at most, however many look.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from dashboards.report.facts import gather
from dashboards.report.page import progress_of, rendered
from sweep import watching
from sweep.results.results import Results

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from sweep.watching import Look, Watched

EVERY = 5.0  # seconds between two looks, at least
FRESH = {"Cache-Control": "no-cache"}


class Pages:
    """What is shown of a sweep, as it was last made, for as long as nothing else is to be shown."""

    def __init__(
        self,
        watched: Watched,
        clock: Callable[[], float] = time.monotonic,
        spent: Callable[[], float] = time.thread_time,
    ) -> None:
        self.watched, self.clock, self.spent = watched, clock, spent
        self.turn = threading.Lock()
        self.fragment, self.content = "", ""
        self.stale, self.due = False, 0.0  # whether there is more to show than the page shows; when it may be made anew
        self.asked = 0.0  # when the ledger may be asked again

    def progress(self) -> tuple[str, bool]:
        """How the sweep stands, as HTML, and whether the page is to be asked for again."""
        with self.turn:
            self._ask()
            return self.fragment, self.stale and self.clock() >= self.due

    def page(self) -> str:
        """The whole page."""
        with self.turn:
            self._ask()
            if not self.content or (self.stale and self.clock() >= self.due):
                began = self.spent()
                facts = gather([Results(self.watched.record(), self.watched.ledger)])
                self.due = self.clock() + watching.pause(self.spent() - began, EVERY)
                self.content = rendered(facts, every=EVERY, look=self._look())  # dear but once, when it loads Vega
                self.stale = False
            return self.content

    def _ask(self) -> None:
        """Look whether anything was written."""
        if self.clock() < self.asked:
            return
        began = self.spent()
        if self.watched.changed():
            self.stale, self.fragment = True, progress_of(self._look())
        self.asked = self.clock() + watching.pause(self.spent() - began, 0.0)

    def _look(self) -> Look:
        return watching.look(self.watched.record(), self.watched.ledger)


def application(pages: Pages) -> Starlette:
    """The page at the root, and how the sweep stands at /progress, which says too whether there is a newer page."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import HTMLResponse
    from starlette.routing import Route

    def page(request: Request) -> Response:
        return HTMLResponse(pages.page(), headers=FRESH)

    def progress(request: Request) -> Response:
        fragment, newer = pages.progress()
        return HTMLResponse(fragment, headers={**FRESH, "X-Newer": "yes" if newer else "no"})

    # No other site's script may read it through a name that leads here.
    here = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    return Starlette(routes=[Route("/", page), Route("/progress", progress)], middleware=[here])


def serve(watched: Watched, listening: socket.socket, ready: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C; `ready` is told http://HOST:PORT once it is there."""
    import uvicorn

    pages = Pages(watched)
    pages.page()
    host, port = listening.getsockname()[:2]
    config = uvicorn.Config(application(pages), log_level="warning", timeout_graceful_shutdown=1)
    ready(f"http://{host}:{port}")
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn has stopped by then, and passes on what stopped it
        uvicorn.Server(config).run(sockets=[listening])
