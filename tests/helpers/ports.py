"""Ports of this machine that nobody listens at."""

from __future__ import annotations

import socket


def free_ports(count: int) -> list[int]:
    """So many, all different."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
