"""Ports for the servers of tests, never the same for two test processes of this machine."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator

from infra.local.ports import HOST, is_free

_FIRST, _END, _SIZE = 20_000, 32_000, 50


class PortBlock:
    """A block of ports that belongs to one test process, for as long as it lives.

    Who listens on a block's first port owns it. The blocks end below the ports that the system
    gives to outgoing connections, so a server that is started again finds its port free.
    """

    def __init__(self) -> None:
        self._owner = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._first = self._take()
        self._next = itertools.cycle(range(self._first + 1, self._first + _SIZE))

    def free_port(self) -> int:
        """A port of the block that nobody listens on; the others come before it comes again."""
        for port in itertools.islice(self._next, _SIZE):
            if is_free(port):
                return port
        raise RuntimeError(f"all ports from {self._first} to {self._first + _SIZE} are taken")

    def close(self) -> None:
        self._owner.close()

    def _take(self) -> int:
        for first in self._candidates():
            try:
                self._owner.bind((HOST, first))
                self._owner.listen()
            except OSError:
                continue
            return first
        raise RuntimeError(f"no block of ports is free from {_FIRST} to {_END}")

    @staticmethod
    def _candidates() -> Iterator[int]:
        return iter(range(_FIRST, _END, _SIZE))
