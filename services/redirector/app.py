"""Assembles the redirector."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from services.redirector.breaker import Breaker
from services.redirector.changes import ChangeFeed
from services.redirector.click_shipper import ClickShipper
from services.redirector.clicks import ClickLog
from services.redirector.fast_lane import FastLane
from services.redirector.http_counts import SERVICE, HttpCounts, Turns
from services.redirector.link_store import LinkStore
from services.redirector.local_cache import LocalCache
from services.redirector.metrics import DatabaseProbe, RedirectorCollector
from services.redirector.postgres import Pool
from services.redirector.protocol import STATE_KEY, Connections
from services.redirector.remote_cache import RemoteCache
from services.redirector.resolver import Resolver, Tier
from services.redirector.routes import (
    Redirect,
    Shortcut,
    System,
    http_exception,
    routes,
    server_error,
)
from shared.live_stats import LiveStats, Totals
from shared.log_feed import LogFeed
from shared.settings import Settings

_NAME = "hoplink-redirector"
CLICKS_AT_EXIT_SECONDS = 3.0
"""Longest wait for Redis to take the last clicks."""


def create_app(
    settings: Settings, log_feed: LogFeed | None = None, *, metered: bool = True
) -> Starlette:
    """The redirector as an ASGI application. It connects to nothing before its lifespan starts.

    What `log_feed` loses is among its metrics. Unless it is `metered`, requests are not counted,
    to find out what counting costs.
    """
    # Look-ups have theirs, each batch of PostgreSQL may fill with one, and one probes.
    redis = _redis(
        settings,
        settings.redirector_redis_connections + settings.redirector_database_connections + 1,
    )
    subscriber = _redis(settings, 1)
    click_redis = _redis(settings, 1)
    lookups = _pool(settings, settings.redirector_database_connections)
    log_pool = _pool(settings, 1)
    redis_breaker, database_breaker = Breaker("redis"), Breaker("database")
    local = LocalCache(
        max_links=settings.local_cache_links,
        max_bytes=settings.local_cache_mib << 20,
        max_absent=settings.local_cache_absent,
        absent_seconds=settings.absent_ttl_seconds,
        clock=time.monotonic,
    )
    feed = ChangeFeed(subscriber, log_pool, time.monotonic)
    remote = RemoteCache(
        redis, link_ttl=settings.link_ttl_seconds, absent_ttl=settings.absent_ttl_seconds
    )
    resolver = Resolver(
        local,
        remote,
        LinkStore(lookups),
        feed,
        redis=redis_breaker,
        database=database_breaker,
        budget=settings.store_budget_ms / 1_000,
        redis_timeout=settings.redis_timeout_ms / 1_000,
        max_pending=settings.redirector_pending_lookups,
        redis_batches=settings.redirector_redis_connections,
        database_batches=settings.redirector_database_connections,
    )
    clicks = ClickLog(country_header=settings.click_country_header)
    shipper = ClickShipper(
        clicks,
        click_redis,
        interval=settings.click_flush_ms / 1_000,
        max_bytes=settings.click_buffer_mib << 20,
        max_stream_bytes=settings.click_stream_mib << 20,
        clock=time.monotonic,
    )
    click_log = clicks if settings.record_clicks else None
    counts = HttpCounts()
    lane = FastLane(local, feed, click_log, Turns(counts) if metered else None)
    connections = Connections(
        lane,
        limit=settings.redirector_max_connections,
        idle_seconds=settings.redirector_keep_alive_seconds,
        counts=counts,
    )
    probe = DatabaseProbe(lookups.ping)
    registry = CollectorRegistry()
    system = System(registry, database_breaker, redis_breaker, lambda: connections.draining)

    def totals() -> Totals:
        found = {str(tier): resolver.answers["found", tier] for tier in Tier}
        found[Tier.LOCAL] += lane.hits
        return counts.totals(found)

    live = LiveStats(
        settings.redis_url.get_secret_value(),
        SERVICE,
        totals,
        lambda: {"ready": system.is_ready, "database_up": probe.is_up},
    )
    registry.register(
        RedirectorCollector(
            resolver=resolver,
            lane=lane,
            counts=counts,
            probe=probe,
            live=live,
            connections=connections,
            local=local,
            feed=feed,
            breakers=(redis_breaker, database_breaker),
            pool=lookups,
            shipper=shipper,
        )
    )

    if log_feed is not None:
        log_feed.count_in(registry, SERVICE)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Connections]]:
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(feed.run(resolver.forget)),
                tasks.create_task(connections.sweep()),
                tasks.create_task(redis_breaker.watch(remote.probe)),
                tasks.create_task(database_breaker.watch(lookups.ping)),
                tasks.create_task(shipper.run()),
                tasks.create_task(probe.watch()),
            ]
            live.start()
            system.started = True
            yield {STATE_KEY: connections}
            system.started = False
            await resolver.drain()
            for task in background:
                task.cancel()
        await shipper.close(CLICKS_AT_EXIT_SECONDS)
        await asyncio.to_thread(live.close)
        lookups.close()
        log_pool.close()
        await redis.aclose()
        await subscriber.aclose()
        await click_redis.aclose()

    redirect = Redirect(resolver, click_log)
    app = Starlette(
        routes=routes(redirect, system),
        middleware=[Middleware(Shortcut, redirect, counts if metered else None)],
        lifespan=lifespan,
        exception_handlers={HTTPException: http_exception, Exception: server_error},
    )
    app.router.redirect_slashes = False
    return app


def _redis(settings: Settings, connections: int) -> Redis:
    timeout = settings.redis_timeout_ms / 1_000
    return Redis.from_url(
        settings.redis_url.get_secret_value(),
        max_connections=connections,
        socket_connect_timeout=timeout,
        # Whoever calls has a deadline; a call that it ends closes its connection.
        socket_timeout=None,
        client_name=_NAME,
        # With RESP3 the client doesn't notice that an idle connection was closed.
        protocol=2,
        # Whoever calls has another store to ask, or asks again.
        retry=Retry(NoBackoff(), 0),
    )


def _pool(settings: Settings, connections: int) -> Pool:
    return Pool(
        settings.database_url.get_secret_value(),
        size=connections,
        name=_NAME,
        statement_timeout_ms=settings.store_budget_ms,
    )
