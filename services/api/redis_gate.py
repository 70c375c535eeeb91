"""Redis, for what a request would like to have of it but can do without."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from prometheus_client import Counter
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

TIMEOUT_SECONDS = 0.1
"""For a connection, and again for an answer: a request waits 200 ms at most."""
PAUSE_SECONDS = 1.0
"""After a failure, for so long no request waits for Redis."""

_log = logging.getLogger(__name__)


class RedisUnavailable(Exception):
    """Redis failed now or a moment ago; go on without it."""


def connect(url: str, *, size: int) -> Redis:
    """A client for `size` threads that never waits long and never tries again by itself."""
    return Redis.from_url(
        url,
        max_connections=size,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        lib_name=None,
        lib_version=None,
    )


class RedisGate:
    """Lets calls through to Redis, except for a second after each failure.

    When that second is over one call tries again, and the others wait for what it finds out.
    """

    def __init__(
        self, redis: Redis, failures: Counter, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._redis = redis
        self._failures = failures
        self._clock = clock
        self._lock = threading.Lock()
        self._closed_until: float | None = None

    def call(self, *command: bytes | str | int) -> Any:
        """The reply to one command; raises RedisUnavailable."""
        self._pass()
        try:
            reply: Any = self._redis.execute_command(*command)  # type: ignore[no-untyped-call]
        except RedisError as error:
            self._failures.inc()
            _log.warning("Redis failed", extra={"reason": repr(error)})
            self._closed_until = self._clock() + PAUSE_SECONDS
            raise RedisUnavailable from error
        self._closed_until = None
        return reply

    def _pass(self) -> None:
        if self._closed_until is None:
            return
        with self._lock:
            if self._closed_until is not None:
                if self._clock() < self._closed_until:
                    raise RedisUnavailable
                self._closed_until = self._clock() + PAUSE_SECONDS
