"""Turns the plain numbers that the redirector keeps into Prometheus samples, at scrape time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence

import psycopg2
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from services.redirector.breaker import Breaker
from services.redirector.changes import ChangeFeed
from services.redirector.click_shipper import ClickShipper
from services.redirector.fast_lane import FastLane
from services.redirector.http_counts import SERVICE, HttpCounts
from services.redirector.local_cache import LocalCache
from services.redirector.postgres import Pool, Unreachable
from services.redirector.protocol import Connections
from services.redirector.resolver import Resolver, Tier
from shared import metrics
from shared.live_stats import LiveStats

PROBE_SECONDS = 1.0
PROBE_TIMEOUT_SECONDS = 2.0

_log = logging.getLogger(__name__)


class DatabaseProbe:
    """Whether PostgreSQL answers, found out beside the requests."""

    def __init__(self, ping: Callable[[], Awaitable[object]]) -> None:
        """`ping` raises what a Pool does."""
        self.is_up = False
        self._ping = ping

    async def watch(self) -> None:
        """Asks PostgreSQL every second, for ever."""
        while True:
            try:
                async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                    await self._ping()
            except (Unreachable, psycopg2.Error, TimeoutError) as error:
                _log.debug("PostgreSQL does not answer", extra={"reason": repr(error)})
                self.is_up = False
            else:
                self.is_up = True
            await asyncio.sleep(PROBE_SECONDS)


class RedirectorCollector(Collector):
    def __init__(
        self,
        *,
        resolver: Resolver,
        lane: FastLane,
        counts: HttpCounts,
        probe: DatabaseProbe,
        live: LiveStats,
        connections: Connections,
        local: LocalCache,
        feed: ChangeFeed,
        breakers: Sequence[Breaker],
        pool: Pool,
        shipper: ClickShipper,
    ) -> None:
        self._resolver = resolver
        self._counts = counts
        self._lane = lane
        self._probe = probe
        self._live = live
        self._connections = connections
        self._local = local
        self._feed = feed
        self._breakers = breakers
        self._pool = pool
        self._shipper = shipper

    def collect(self) -> Iterable[Metric]:
        yield from self._counts.collect()
        answers = self._resolver.answers.copy()
        answers["found", Tier.LOCAL] += self._lane.hits
        yield metrics.REDIRECTS.samples(answers.items())
        yield metrics.CONNECTIONS.sample(len(self._connections.open))
        yield metrics.CONNECTIONS_REFUSED.sample(self._connections.refused)
        yield metrics.LOOKUPS_JOINED.sample(self._resolver.joined)
        yield metrics.LOOKUPS_PENDING.sample(self._resolver.pending)
        yield metrics.LOCAL_CACHE_LINKS.sample(len(self._local.links))
        yield metrics.LOCAL_CACHE_BYTES.sample(self._local.bytes)
        yield metrics.LOCAL_CACHE_ABSENT.sample(self._local.absent_count)
        yield metrics.LOCAL_CACHE_EVICTIONS.sample(self._local.evictions)
        yield metrics.CHANGES_APPLIED.samples(
            ((way,), count) for way, count in self._feed.applied.items()
        )
        yield metrics.CHANGES_POLLS_FAILED.sample(self._feed.polls_failed)
        yield metrics.CHANGES_HEARING.sample(self._feed.is_hearing())
        yield metrics.CHANGES_PROOF_AGE.sample(self._feed.seconds_since_proof())
        yield metrics.CHANGES_CUT_OFF.sample(self._feed.cut_off)
        yield metrics.BREAKER_OPEN.samples(
            ((breaker.store,), breaker.is_open) for breaker in self._breakers
        )
        yield metrics.STORE_FAILURES.samples(
            ((breaker.store,), breaker.failures) for breaker in self._breakers
        )
        yield metrics.DATABASE_POOL_CONNECTIONS.samples(
            [((SERVICE, "in_use"), self._pool.in_use), ((SERVICE, "idle"), self._pool.idle)]
        )
        yield metrics.DATABASE_POOL_SIZE.samples([((SERVICE,), self._pool.size)])
        yield metrics.DATABASE_UP.samples([((SERVICE,), self._probe.is_up)])
        yield metrics.REDIS_UP.samples([((SERVICE,), self._live.redis_up)])
        yield metrics.BUILD_INFO.samples([((SERVICE, metrics.VERSION), 1)])
        yield metrics.CLICKS_ACCEPTED.sample(self._shipper.accepted)
        yield metrics.CLICKS_FLUSHED.sample(self._shipper.flushed)
        yield metrics.CLICKS_DROPPED.sample(self._shipper.dropped)
        yield metrics.CLICKS_WAITING.sample(self._shipper.waiting)
        yield metrics.CLICKS_BUFFER_BYTES.sample(self._shipper.bytes)
        yield metrics.CLICK_FLUSHES_FAILED.sample(self._shipper.failures)
