"""The worker's loop: stand for election, and while active do the jobs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import psycopg2
from prometheus_client import CollectorRegistry
from redis import RedisError

from services.worker.change_relay import INTERVAL_SECONDS, ChangeRelay
from services.worker.leadership import Candidate, candidate
from services.worker.side_job import Job, SideJob
from shared import change_log, metrics
from shared.database import Watchdog

STANDBY_SECONDS = 0.5
"""Between two tries to become active, or to reach PostgreSQL again."""
PRUNE_SECONDS = 60.0
PRUNE_LIMIT = 5_000
"""Rows that one statement prunes, so that heartbeats go on between two of them."""

_log = logging.getLogger(__name__)


class StoreState:
    """Whether a store answered when it was last asked; logs when that changes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_up = False
        self._was_asked = False

    def answered(self) -> None:
        if not self.is_up:
            _log.info("store is up", extra={"store": self.name})
        self.is_up = self._was_asked = True

    def failed(self, error: Exception) -> None:
        if self.is_up or not self._was_asked:
            _log.error("store is down", extra={"store": self.name, "reason": str(error).strip()})
        self.is_up, self._was_asked = False, True


class Worker:
    """Active while it holds the lock; several may run, one is."""

    def __init__(
        self,
        database_url: str,
        relay: ChangeRelay,
        registry: CollectorRegistry,
        *,
        change_log_retention: int,
        jobs: Sequence[Job] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database_url = database_url
        self._relay = relay
        self._retention = change_log_retention
        self._clock = clock
        self._prune_at = clock()
        self._stop = threading.Event()
        self.is_active = False
        metrics.WORKER_ACTIVE.gauge(registry).set_function(lambda: self.is_active)
        self._failures = metrics.WORKER_FAILURES.counter(registry)
        self._side_jobs = [SideJob(job, self._failures) for job in jobs]
        self.database = StoreState("database")
        self.redis = StoreState("redis")

    def stop(self) -> None:
        """Makes `run` return after the step under way. Safe in a signal handler."""
        self._stop.set()

    @property
    def is_ready(self) -> bool:
        """Whether it does its work, or would if the active one went."""
        return self.database.is_up and not self._stop.is_set()

    def state(self) -> dict[str, str]:
        """What `/ready` tells."""
        return {
            "status": "ok" if self.is_ready else "unavailable",
            "role": "active" if self.is_active else "standby",
            "database": "up" if self.database.is_up else "down",
            "redis": "up" if self.redis.is_up else "down",
        }

    def run(self) -> None:
        """Works until `stop`; no failure of a store ends it."""
        watchdog = Watchdog()
        try:
            while not self._stop.is_set():
                try:
                    with candidate(self._database_url, watchdog) as me:
                        self.database.answered()
                        self._stand(me)
                except psycopg2.Error as error:
                    self.database.failed(error)
                    self._stop.wait(STANDBY_SECONDS)
        finally:
            watchdog.close()

    def _stand(self, me: Candidate) -> None:
        while not self._stop.is_set():
            if me.wins():
                _log.info("active")
                self.is_active = True
                try:
                    with ExitStack() as side_jobs:
                        for job in self._side_jobs:
                            side_jobs.enter_context(job.running())
                        self._work(me)
                finally:
                    self.is_active = False
                    self._relay.rest()
                return
            self._stop.wait(STANDBY_SECONDS)

    def _work(self, me: Candidate) -> None:
        while not self._stop.is_set():
            try:
                self._relay.step(me.fetch)
            except RedisError as error:
                self._failures.labels("relay").inc()
                self.redis.failed(error)
                self._relay.look(me.fetch)
            else:
                self.redis.answered()
            if self._clock() >= self._prune_at:
                self._prune(me)
            self._stop.wait(INTERVAL_SECONDS)

    def _prune(self, me: Candidate) -> None:
        # Set before it can fail: heartbeats matter more than the next attempt.
        self._prune_at = self._clock() + PRUNE_SECONDS
        rows = me.fetch(change_log.PRUNE, {"seconds": self._retention, "limit": PRUNE_LIMIT})
        if rows[0][0] == PRUNE_LIMIT:
            self._prune_at = self._clock()
