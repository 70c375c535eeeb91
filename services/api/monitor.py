"""What /metrics and /alert-status tell: looked at every second, so that nobody waits for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import psutil

from services.api.metrics import SERVICE, StateGauges
from shared.alerts import is_high_error_rate
from shared.database_probe import DatabaseProbe
from shared.live_stats import LiveStats, Presence, Totals, Window

FRESH_SECONDS = 5.0
"""What a process said longer ago is no evidence."""

SERVICE_DOWN, HIGH_ERROR_RATE = "service_down", "high_error_rate"


class Monitor:
    """One process' view of all of Hoplink. Every process comes to the same one within seconds."""

    def __init__(
        self,
        redis_url: str,
        probe: DatabaseProbe,
        totals: Callable[[], Totals],
        gauges: StateGauges,
        clock: Callable[[], float],
    ) -> None:
        self.window = Window()
        self.cpu_percent = 0.0
        self.firing: dict[str, float | None] = {SERVICE_DOWN: None, HIGH_ERROR_RATE: None}
        """Since when, in Unix time; None while it doesn't."""
        self._probe = probe
        self._gauges = gauges
        self._clock = clock
        self._process = psutil.Process(os.getpid())
        self._live = LiveStats(
            redis_url, SERVICE, totals, self._state, listener=self._look, clock=clock
        )

    def now(self) -> float:
        """Unix time."""
        return self._clock()

    def start(self) -> None:
        psutil.cpu_percent()
        self._process.cpu_percent()
        self._probe.start()
        self._live.start()

    def close(self) -> None:
        self._live.close()
        self._probe.close()

    def _state(self) -> dict[str, Any]:
        return {
            "ready": self._probe.is_up,
            "database_up": self._probe.is_up,
            "firing": self.firing,
            "cpu_percent": self._process.cpu_percent(),
            "memory_mb": self._process.memory_info().rss / 2**20,
        }

    def _look(self, window: Window) -> None:
        """Called every second with what all processes did."""
        self.window = window
        self.cpu_percent = psutil.cpu_percent()
        self._gauges.update(database_up=self._probe.is_up, redis_up=self._live.redis_up)
        now = self._clock()
        fresh = [
            each
            for each in window.processes
            if each.service == SERVICE and now - each.seen_at <= FRESH_SECONDS
        ]
        up = self._probe.is_up or any(each.state.get("database_up") for each in fresh)
        high = is_high_error_rate(window.totals.requests, window.totals.errors)
        self.firing = {
            name: _since(name, self.firing[name], fresh, now) if fires else None
            for name, fires in ((SERVICE_DOWN, not up), (HIGH_ERROR_RATE, high))
        }


def _since(name: str, own: float | None, processes: list[Presence], now: float) -> float:
    """When the first of the processes saw it fire."""
    told = [(each.state.get("firing") or {}).get(name) for each in processes]
    return min(moment for moment in (own, *told, now) if moment is not None)
