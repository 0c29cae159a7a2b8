"""What all tests of the science share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from workloads.extensions import load_code


@pytest.fixture(autouse=True)
def always_one_thread(one_thread: None) -> None:
    """Of all tests of the science."""


@pytest.fixture
def without_own_code() -> Iterator[None]:
    """The registries are afterwards as they ship: what a test loads into them is taken out again."""
    yield
    load_code({})


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server's address and its folder."""
    root = tmp_path / "site"
    root.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", root
    server.shutdown()
    thread.join()
    server.server_close()
