"""Ports for the servers of tests, never the same for two test processes of this machine."""

from __future__ import annotations

import itertools
import socket

from infra.local.ports import HOST, is_free

_FIRST, _END, _SIZE = 20_000, 32_000, 100


class PortBlock:
    """A block of ports that belongs to one test process, for as long as it lives.

    Who listens on a block's first port owns it. The blocks end below the ports that the system
    gives to outgoing connections, so a server that is started again finds its port free.
    """

    def __init__(self) -> None:
        self._owner = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        first = self._take()
        self._end = first + _SIZE
        self._next = itertools.cycle(range(first + 1, self._end))

    def free_port(self, *, followed_by: int = 0) -> int:
        """A port of the block that nobody listens on; the others come before it comes again.

        At least `followed_by` ports of the block come after it.
        """
        for port in itertools.islice(self._next, _SIZE):
            if port + followed_by < self._end and is_free(port):
                return port
        raise RuntimeError(f"all ports of the block that ends at {self._end} are taken")

    def close(self) -> None:
        self._owner.close()

    def _take(self) -> int:
        for first in range(_FIRST, _END, _SIZE):
            try:
                self._owner.bind((HOST, first))
                self._owner.listen()
            except OSError:
                continue
            return first
        raise RuntimeError(f"no block of ports is free from {_FIRST} to {_END}")
