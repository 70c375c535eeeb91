"""What a worker tells of itself: whether it reaches the stores, and that it is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry

from services.worker.worker import Worker
from shared import metrics
from shared.database_probe import DatabaseProbe
from shared.live_stats import LiveStats, Totals
from shared.settings import Settings

SERVICE = metrics.WORKER


class Telemetry:
    """Two threads, which live as long as the worker works."""

    def __init__(self, settings: Settings, worker: Worker, registry: CollectorRegistry) -> None:
        self._worker = worker
        self._registry = registry
        self._probe = DatabaseProbe(
            settings.database_url.get_secret_value(), name="hoplink-worker-probe"
        )
        # It serves nobody, so there is nothing to count.
        self._live = LiveStats(settings.redis_url.get_secret_value(), SERVICE, Totals, self._state)
        up = metrics.DATABASE_UP.gauge(registry).labels(SERVICE)
        up.set_function(lambda: self._probe.is_up)
        up = metrics.REDIS_UP.gauge(registry).labels(SERVICE)
        up.set_function(lambda: self._live.redis_up)
        metrics.BUILD_INFO.gauge(registry).labels(SERVICE, metrics.VERSION).set(1)

    @contextmanager
    def running(self) -> Iterator[None]:
        self._probe.start()
        self._live.start()
        try:
            yield
        finally:
            self._live.close()
            self._probe.close()

    def _state(self) -> dict[str, Any]:
        active = self._worker.is_active
        lag = self._registry.get_sample_value(metrics.CLICK_LAG.name) if active else None
        return {
            "ready": self._worker.is_ready,
            "database_up": self._probe.is_up,
            "click_lag_seconds": lag,
        }
