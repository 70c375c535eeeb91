"""PostgreSQL for the services that use it from threads: a pool, and a way out of a dead wait."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from peewee import OperationalError
from playhouse.pool import PooledPostgresqlDatabase

CONNECT_TIMEOUT_SECONDS = 2
"""The least that libpq takes."""
RETRY_SECONDS = 0.5
"""After a failed connection, for so long nobody else waits for another attempt."""


class Database(PooledPostgresqlDatabase):  # type: ignore[misc]  # peewee has no types for it
    """Connections for at most `size` threads at a time; more of them wait up to a second.

    A connection that the server closed while it was idle is noticed and replaced. While the
    server is unreachable, threads fail at once instead of queueing up for the same time-out.
    Failures to connect are peewee.OperationalError.
    """

    def __init__(self, url: str, *, size: int, statement_timeout_ms: int, name: str) -> None:
        self._failed_at = float("-inf")
        super().__init__(
            url,
            max_connections=size,
            timeout=1,
            autoconnect=False,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            application_name=name,
            options=(
                f"-c statement_timeout={statement_timeout_ms} -c timezone=UTC"
                f" -c idle_in_transaction_session_timeout={statement_timeout_ms}"
            ),
        )

    @property
    def in_use(self) -> int:
        """Connections that threads have now."""
        return len(self._in_use)

    @property
    def idle(self) -> int:
        """Connections that wait for a thread."""
        return len(self._connections)

    def _connect(self) -> Any:
        if time.monotonic() - self._failed_at < RETRY_SECONDS:
            raise OperationalError("PostgreSQL could not be reached a moment ago")
        try:
            return super()._connect()
        except OperationalError:
            self._failed_at = time.monotonic()
            raise

    def _is_closed(self, conn: Any) -> bool:
        # A round trip would tell as well, but could hang; a server that hangs up is readable.
        return bool(conn.closed) or _is_readable(conn.fileno())


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


class Watchdog:
    """Cuts a connection whose server neither answers nor hangs up.

    A server that is frozen keeps its sockets open and never runs its own statement_timeout, and
    psycopg2 waits without a limit. Shutting the socket down makes that wait fail at once.
    """

    _TICK_SECONDS = 0.1

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._guarded: dict[int, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    @contextmanager
    def limit(self, connection: Any, seconds: float) -> Iterator[None]:
        """Within it, `connection` (psycopg2's) fails with OperationalError after `seconds`."""
        # A duplicate can't be closed and given to another socket behind our back.
        descriptor = os.dup(connection.fileno())
        with self._lock:
            self._guarded[descriptor] = time.monotonic() + seconds
        try:
            yield
        finally:
            with self._lock:
                del self._guarded[descriptor]
                os.close(descriptor)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self._TICK_SECONDS):
            now = time.monotonic()
            with self._lock:
                for descriptor, deadline in self._guarded.items():
                    if now >= deadline:
                        _shut_down(descriptor)


def _shut_down(descriptor: int) -> None:
    # It may have been closed from the other side meanwhile, which is as good.
    with suppress(OSError):
        connection = socket.socket(fileno=descriptor)
        try:
            connection.shutdown(socket.SHUT_RDWR)
        finally:
            connection.detach()
