"""Redis, for what a request would like to have of it but can do without."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from prometheus_client import Counter
from redis.connection import Connection, ConnectionPool
from redis.exceptions import ConnectionError as HungUp
from redis.exceptions import RedisError

TIMEOUT_SECONDS = 0.1
"""For a connection, and again for an answer: a request waits 200 ms at most."""
PAUSE_SECONDS = 1.0
"""After a failure, for so long no request waits for Redis."""

_log = logging.getLogger(__name__)


class RedisUnavailable(Exception):
    """Redis failed now or a moment ago; go on without it."""


class RedisGate:
    """Lets commands through to Redis, except for a second after each failure.

    When that second is over one caller tries again, and the others wait for what it finds out.
    Commands must be such that doing them twice does no harm.
    """

    def __init__(
        self, url: str, failures: Counter, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pool: Any = ConnectionPool.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            client_name="hoplink-api",
            protocol=2,
            # It would be told to Redis at the start of each connection, in two round trips more.
            driver_info=None,
        )
        self._failures = failures
        self._clock = clock
        self._of_thread = threading.local()
        self._lock = threading.Lock()
        self._closed_until: float | None = None

    def call(self, *command: bytes | str | int) -> Any:
        """The reply to one command; raises RedisUnavailable."""
        if self._closed_until is not None:
            self._pass()
        try:
            reply = self._exchange(command)
        except RedisError as error:
            self._failures.inc()
            _log.warning("Redis failed", extra={"reason": repr(error)})
            self._closed_until = self._clock() + PAUSE_SECONDS
            raise RedisUnavailable from error
        self._closed_until = None
        return reply

    def _pass(self) -> None:
        with self._lock:
            if self._closed_until is not None:
                if self._clock() < self._closed_until:
                    raise RedisUnavailable
                self._closed_until = self._clock() + PAUSE_SECONDS

    def _exchange(self, command: tuple[bytes | str | int, ...]) -> Any:
        # A connection for each thread: redis-py's pool costs more than all else that happens here.
        connection: Connection | None = getattr(self._of_thread, "connection", None)
        if connection is None:
            connection = self._of_thread.connection = self._pool.make_connection()
        try:
            return _exchange(connection, command)
        except HungUp:
            # While it was idle, if Redis was restarted; a new connection will tell.
            return _exchange(connection, command)


def _exchange(connection: Any, command: tuple[bytes | str | int, ...]) -> Any:
    connection.send_command(*command)
    return connection.read_response()
