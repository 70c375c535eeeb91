"""What brings something of one process to Redis, over and over, beside the work."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

TIMEOUT_SECONDS = 1.0
"""For a connection, and for an answer."""


class RedisReporter(ABC):
    """It has a thread and a connection, so each forked process needs its own."""

    first_pause = 0.0
    """Seconds before the first report."""

    def __init__(self, redis_url: str, name: str) -> None:
        self._redis = Redis.from_url(
            redis_url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            client_name=f"hoplink-{name}",
            protocol=2,
            # The next report is the retry.
            retry=Retry(NoBackoff(), 0),
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{name}-reporter", daemon=True)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Reports as long as the context lasts."""
        self.start()
        try:
            yield
        finally:
            self.close()

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Waits for the last report, which a Redis that doesn't answer holds up for a while."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(3 * TIMEOUT_SECONDS)

    @abstractmethod
    def report(self) -> float:
        """One round; returns the seconds until the next. Must not raise."""

    @abstractmethod
    def report_last(self) -> None:
        """The round at the end."""

    def _run(self) -> None:
        pause = self.first_pause
        while not self._stop.wait(pause):
            pause = self.report()
        self.report_last()
