"""A job that the active worker does beside the relay, in a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import psycopg2
from prometheus_client import Counter
from redis import RedisError

RETRY_SECONDS = 0.5
STOP_SECONDS = 1.0
HEALTHY_SECONDS = 60.0
"""A job that ran for so long did its work: its next failure is another one. A store that is away
fails it sooner, whichever time-out it takes."""

_log = logging.getLogger(__name__)


class Job(Protocol):
    """Work that goes on until it is stopped."""

    name: str

    def run(self, stop: threading.Event) -> None:
        """Returns soon after `stop` is set. May raise anything, and is run again then."""

    def stopped(self) -> None:
        """It isn't run again before another worker may have run it."""


class SideJob:
    """Runs a job again and again, whatever happens to it. Each failure is counted."""

    def __init__(self, job: Job, failures: Counter) -> None:
        self._job = job
        self._failures = failures.labels(job.name)
        self._last_failure = ""

    @contextmanager
    def running(self) -> Iterator[None]:
        """The job runs as long as the context lasts, and a second longer at the most.

        Then it must stand being cut off, or meeting another one that does the same.
        """
        stop = threading.Event()
        # A daemon, since a store that is frozen must not keep the process from ending.
        thread = threading.Thread(
            target=self._repeat, args=(stop,), name=self._job.name, daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(STOP_SECONDS)
            if thread.is_alive():
                _log.warning("job does not end in time", extra={"job": self._job.name})

    def _repeat(self, stop: threading.Event) -> None:
        while not stop.is_set():
            started = time.monotonic()
            try:
                self._job.run(stop)
            except (psycopg2.Error, RedisError) as error:
                if time.monotonic() - started >= HEALTHY_SECONDS:
                    self._last_failure = ""
                self._failed(type(error).__name__, str(error).strip())
            except Exception:  # noqa: BLE001  # a bug in it must neither end it nor go unseen
                self._failures.inc()
                _log.exception("job failed", extra={"job": self._job.name})
            stop.wait(RETRY_SECONDS)
        self._job.stopped()

    def _failed(self, kind: str, reason: str) -> None:
        self._failures.inc()
        if kind != self._last_failure:
            _log.warning("job failed", extra={"job": self._job.name, "reason": reason})
        self._last_failure = kind
