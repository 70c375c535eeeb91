"""Assembles the API."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import falcon

from services.api import errors, import_kinds
from services.api.bulk import IMPORTS_AT_A_TIME, Bulk
from services.api.busiest import BusiestLinks
from services.api.change_publisher import ChangePublisher
from services.api.connections import Connections
from services.api.dashboard import Dashboard
from services.api.events import EventItem, EventList, Events, LinkEvents
from services.api.importer import Importer
from services.api.link_writes import LinkWrites
from services.api.logs import Logs
from services.api.middleware import Methods, Request, Requests
from services.api.own_address import OwnAddress
from services.api.pagination import Lists
from services.api.parameters import IdConverter
from services.api.read_cache import ReadCache
from services.api.redis_gate import RedisGate
from services.api.stats import LinkStats, Statistics, UserStats
from services.api.system import AlertStatus, Health, Metrics, Prometheus, Ready
from services.api.telemetry import Telemetry
from services.api.urls import LinkItem, LinkList, Links, Shorten
from services.api.users import UserItem, UserLinks, UserList, Users
from shared import metrics
from shared.database import Database, Watchdog
from shared.log_feed import LogFeed
from shared.logging import JsonLines
from shared.settings import Settings

SEED_FOLDER = Path(__file__).resolve().parents[2] / "seed"
READY_TIMEOUT_SECONDS = 1.0

App = falcon.App[Any, Any]


def create_app(settings: Settings, log: JsonLines, feed: LogFeed, telemetry: Telemetry) -> App:
    """The API as a WSGI application, with clients of its own; it connects when it is asked."""
    registry = telemetry.registry
    redis = RedisGate(
        settings.redis_url.get_secret_value(),
        metrics.STORE_FAILURES.counter(registry).labels("redis"),
    )
    watchdog = Watchdog()
    connections = _connections(
        settings, watchdog, settings.api_threads, settings.statement_timeout_ms / 1_000
    )
    telemetry.gauges.watch(connections.database, settings.api_threads)
    publisher = ChangePublisher(redis)
    cache = ReadCache(redis, registry)
    lists = Lists(connections, cache, settings.base_url)
    users = Users(connections, publisher)
    links = Links(connections, LinkWrites(connections, publisher), settings.base_url)
    events = Events(connections, publisher)

    around: list[Any] = [
        Requests(telemetry.http, log, log_addresses=settings.log_client_addresses),
        Methods(),
    ]
    app: App = falcon.App(middleware=around, request_type=Request)
    app.req_options.strip_url_path_trailing_slash = True
    app.router_options.converters["id"] = IdConverter
    errors.install(app)

    limit = settings.api_max_body_bytes
    app.add_route("/health", Health())
    app.add_route(
        "/ready", Ready(_connections(settings, watchdog, 1, READY_TIMEOUT_SECONDS), redis)
    )
    app.add_route("/dashboard", Dashboard())
    app.add_route("/metrics", Metrics(telemetry.monitor))
    app.add_route(
        "/alert-status",
        AlertStatus(telemetry.monitor, email_configured=settings.email_configured),
    )
    app.add_route("/prometheus", Prometheus(telemetry.exposed))
    app.add_route("/logs", Logs(feed, redis))
    app.add_route("/users", UserList(users, lists, limit))
    app.add_route("/users/{user_id:id}", UserItem(users, cache, limit))
    app.add_route("/users/{user_id:id}/urls", UserLinks(users, lists, links.listing()))
    app.add_route("/shorten", Shorten(links, limit))
    app.add_route("/urls", LinkList(links, lists, BusiestLinks(connections), limit))
    app.add_route("/urls/{url_id:id}", LinkItem(links, cache, limit))
    statistics = Statistics(connections)
    app.add_route("/urls/{url_id:id}/stats", LinkStats(statistics))
    app.add_route("/users/{user_id:id}/stats", UserStats(statistics))
    app.add_route("/urls/{url_id:id}/events", LinkEvents(links, lists))
    app.add_route("/events", EventList(events, lists, limit))
    app.add_route("/events/{event_id:id}", EventItem(events))
    _add_imports(app, settings, connections, publisher)
    return app


def _add_imports(
    app: App, settings: Settings, connections: Connections, publisher: ChangePublisher
) -> None:
    slots = threading.BoundedSemaphore(IMPORTS_AT_A_TIME)
    for path, kind in (
        ("/users/bulk", import_kinds.users()),
        ("/urls/bulk", import_kinds.links(OwnAddress(settings.base_url))),
        ("/events/bulk", import_kinds.events()),
    ):
        bulk = Bulk(
            Importer(kind, connections, publisher),
            slots,
            SEED_FOLDER,
            max_body_bytes=settings.api_max_body_bytes,
            max_file_bytes=settings.api_max_bulk_bytes,
        )
        app.add_route(path, bulk)


def _connections(
    settings: Settings, watchdog: Watchdog, size: int, statement_timeout_seconds: float
) -> Connections:
    database = Database(
        settings.database_url.get_secret_value(),
        size=size,
        statement_timeout_ms=int(statement_timeout_seconds * 1_000),
        name="hoplink-api",
    )
    return Connections(database, watchdog, statement_timeout_seconds=statement_timeout_seconds)
