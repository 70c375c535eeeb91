"""What the API counts of itself, for /prometheus and for live statistics."""

from __future__ import annotations

import threading

from prometheus_client import CollectorRegistry, Counter, Histogram

from shared import metrics
from shared.database import Database
from shared.live_stats import MONITORING, Totals

SERVICE = metrics.API


class HttpMetrics:
    """Requests answered by this process."""

    def __init__(self, registry: CollectorRegistry, *, metered: bool = True) -> None:
        """Unless it is `metered`, nothing is counted, to find out what counting costs."""
        self._requests = metrics.HTTP_REQUESTS.counter(registry)
        self._durations = metrics.HTTP_DURATION.histogram(registry)
        # Looking a child up by its labels takes as long as counting.
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._metered = metered
        self._lock = threading.Lock()
        self._served = 0
        self._failed = 0

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts an answer; `route` is one of ours, `method` may be anything."""
        if not self._metered:
            return
        requests, durations = self._child(metrics.known_method(method), route, status)
        requests.inc()
        durations.observe(seconds)
        if route not in MONITORING:
            with self._lock:
                self._served += 1
                self._failed += status >= 500

    def totals(self) -> Totals:
        """What live statistics are made of."""
        with self._lock:
            return Totals(requests=self._served, errors=self._failed)

    def _child(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        key = (method, route, status)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = (
                self._requests.labels(SERVICE, method, route, str(status)),
                self._durations.labels(SERVICE, method, route),
            )
        return child


class StateGauges:
    """Gauges of things that nobody tells when they change; `update` looks at them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        connections = metrics.DATABASE_POOL_CONNECTIONS.gauge(registry)
        self._in_use = connections.labels(SERVICE, "in_use")
        self._idle = connections.labels(SERVICE, "idle")
        self._database_up = metrics.DATABASE_UP.gauge(registry).labels(SERVICE)
        self._redis_up = metrics.REDIS_UP.gauge(registry).labels(SERVICE)
        self._size = metrics.DATABASE_POOL_SIZE.gauge(registry).labels(SERVICE)
        self._pool: Database | None = None
        metrics.BUILD_INFO.gauge(registry).labels(SERVICE, metrics.VERSION).set(1)

    def watch(self, pool: Database, size: int) -> None:
        """`pool` has up to `size` connections."""
        self._pool = pool
        self._size.set(size)

    def update(self, *, database_up: bool, redis_up: bool) -> None:
        if self._pool is not None:
            self._in_use.set(self._pool.in_use)
            self._idle.set(self._pool.idle)
        self._database_up.set(database_up)
        self._redis_up.set(redis_up)
