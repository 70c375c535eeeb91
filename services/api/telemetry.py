"""What one process of the API tells of itself and knows of the others, put together."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry

from services.api.metrics import HttpMetrics, StateGauges
from services.api.monitor import Monitor
from shared.database_probe import DatabaseProbe
from shared.settings import Settings


class Telemetry:
    """Metrics and live statistics. It has threads, so each forked process needs its own."""

    def __init__(
        self,
        settings: Settings,
        *,
        exposed: CollectorRegistry | None = None,
        metered: bool = True,
    ) -> None:
        """`exposed` is what /prometheus shows, else the metrics of this process alone."""
        self.registry = CollectorRegistry()
        self.exposed = exposed or self.registry
        self.http = HttpMetrics(self.registry, metered=metered)
        self.gauges = StateGauges(self.registry)
        self.monitor = Monitor(
            settings.redis_url.get_secret_value(),
            DatabaseProbe(settings.database_url.get_secret_value(), name="hoplink-api-probe"),
            self.http.totals,
            self.gauges,
            time.time,
        )

    def start(self) -> None:
        self.monitor.start()

    def close(self) -> None:
        self.monitor.close()
