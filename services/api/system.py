"""What the API tells of itself and of all of Hoplink: no page here but /ready waits on a store."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from typing import Any

import falcon
import psutil
import psycopg2
from peewee import PeeweeException
from playhouse.pool import MaxConnectionsExceeded
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from services.api.connections import Connections
from services.api.metrics import SERVICE
from services.api.monitor import Monitor
from services.api.redis_gate import RedisGate, RedisUnavailable
from services.api.resources import Readable
from services.api.schemas import to_json
from shared import alerts
from shared.live_stats import TIERS, Presence, Window


class Health(Readable):
    """/health: touches no store."""

    def __init__(self) -> None:
        self._answer = to_json({"status": "ok", "hostname": socket.gethostname()})

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        resp.data = self._answer


class Ready(Readable):
    """/ready: 503 while PostgreSQL does not answer. Redis is only reported, not needed."""

    def __init__(self, connections: Connections, redis: RedisGate) -> None:
        """`connections` are of its own: all others may be in use without PostgreSQL being down."""
        self._connections = connections
        self._redis = redis

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        database = self._database_is_up()
        if not database:
            resp.status = falcon.HTTP_503
            resp.retry_after = 1
        resp.data = to_json(
            {
                "status": "ok" if database else "unavailable",
                "database": "up" if database else "down",
                "redis": "up" if self._redis_is_up() else "down",
            }
        )

    def _database_is_up(self) -> bool:
        try:
            with self._connections.lend() as database:
                database.execute_sql("SELECT 1")
        except (PeeweeException, psycopg2.Error, MaxConnectionsExceeded):
            return False
        return True

    def _redis_is_up(self) -> bool:
        try:
            self._redis.call("PING")
        except RedisUnavailable:
            return False
        return True


class Prometheus(Readable):
    """/prometheus: the metrics of all processes of this server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = CONTENT_TYPE_LATEST
        resp.data = generate_latest(self._registry)


class Metrics(Readable):
    """/metrics: the last two minutes of all services, as of a second ago."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._hostname = socket.gethostname()

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        window = self._monitor.window
        memory = psutil.virtual_memory()
        resp.data = to_json(
            {
                "hostname": self._hostname,
                "cpu_percent": self._monitor.cpu_percent,
                "memory": {
                    "total": _mib(memory.total),
                    "used": _mib(memory.used),
                    "available": _mib(memory.available),
                    "percent": memory.percent,
                },
                "api": _own_share(window),
                "requests": requests(window),
                "redirects": {
                    "per_second": round(window.redirects_per_second, 1),
                    "window_seconds": window.recent_seconds,
                    "p50_ms": _milliseconds(window.recent.percentile(0.5)),
                    "p99_ms": _milliseconds(window.recent.percentile(0.99)),
                    "by_tier": {tier: window.recent.tiers.get(tier, 0) for tier in TIERS},
                },
                "clicks": {"lag_seconds": _click_lag(window)},
                "services": [self._listed(each) for each in window.processes],
                "complete": window.complete,
            }
        )

    def _listed(self, process: Presence) -> dict[str, Any]:
        seconds = self._monitor.now() - process.seen_at
        return {
            "service": process.service,
            "instance": process.instance,
            "ready": bool(process.state.get("ready")),
            "database_up": bool(process.state.get("database_up")),
            "redis_up": bool(process.state.get("redis_up")),
            "seen_seconds_ago": round(max(0.0, seconds), 1),
        }


class AlertStatus(Readable):
    """/alert-status: the two alerts that Hoplink promises, and the figures behind them."""

    def __init__(self, monitor: Monitor, *, email_configured: bool) -> None:
        self._monitor = monitor
        self._email_configured = email_configured

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        resp.data = to_json(
            {
                "alerts": {
                    name: {"firing": since is not None, "since": _time(since)}
                    for name, since in self._monitor.firing.items()
                },
                "thresholds": {
                    "error_rate": alerts.HIGH_ERROR_RATE,
                    "min_requests": alerts.MIN_REQUESTS,
                    "window_seconds": alerts.WINDOW_SECONDS,
                },
                "current_metrics": requests(self._monitor.window),
                "email_configured": self._email_configured,
                "complete": self._monitor.window.complete,
            }
        )


def requests(window: Window) -> dict[str, Any]:
    total, errors = window.totals.requests, window.totals.errors
    return {
        "total": total,
        "errors": errors,
        "error_rate": round(errors / total, 4) if total else 0.0,
        "per_second": round(window.requests_per_second, 1),
        "window_seconds": alerts.WINDOW_SECONDS,
    }


def _own_share(window: Window) -> dict[str, Any]:
    states = [each.state for each in window.processes if each.service == SERVICE]
    return {
        "processes": len(states),
        "cpu_percent": round(sum(state.get("cpu_percent", 0.0) for state in states), 1),
        "memory": round(sum(state.get("memory_mb", 0.0) for state in states), 1),
    }


def _click_lag(window: Window) -> float | None:
    """None while no active worker tells."""
    lags = [each.state.get("click_lag_seconds") for each in window.processes]
    known = [lag for lag in lags if lag is not None]
    return round(max(known), 1) if known else None


def _mib(size: int) -> float:
    return round(size / 2**20, 1)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1_000, 2)


def _time(moment: float | None) -> str | None:
    return None if moment is None else f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}"
