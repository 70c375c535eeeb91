"""Ports of this machine that nobody listens on."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

HOST = "127.0.0.1"
EPHEMERAL_FROM = 32_768
"""From here on the system gives ports to outgoing connections; a server's could be gone when it
is started again."""


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of the loopback address."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, port))
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            return False
        raise
    # Some systems let one bind to an address whose port a server of all addresses has.
    return not is_listening(port)


def is_listening(port: int) -> bool:
    """Whether something accepts connections on `port` of the loopback address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        return client.connect_ex((HOST, port)) == 0


def free_ports(front: int) -> Iterator[int]:
    """Free ports next to `front`, each given once."""
    first = front + 1 if 1024 <= front < EPHEMERAL_FROM - 1000 else 15_000
    return (port for port in range(first, EPHEMERAL_FROM) if is_free(port))
