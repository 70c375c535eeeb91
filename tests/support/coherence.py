"""The parts that keep caches true, put together in this process on real stores."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg2
from prometheus_client import CollectorRegistry
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from services.redirector.breaker import Breaker
from services.redirector.changes import ChangeFeed
from services.redirector.link_store import LinkStore
from services.redirector.local_cache import Entry, LocalCache
from services.redirector.postgres import Pool
from services.redirector.remote_cache import RemoteCache
from services.redirector.resolver import Resolver, Tier, Unavailable
from services.worker.change_relay import ChangeRelay
from shared import change_log, link_cache

LINK_TTL, ABSENT_TTL = 3_600, 10


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


class Redirector:
    """What a redirector consists of, without HTTP and without anything in the background."""

    def __init__(
        self,
        database_url: str,
        redis_url: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        store: Callable[[Pool], LinkStore] = LinkStore,
        budget: float = 0.25,
        redis_timeout: float = 0.1,
        max_pending: int = 1_000,
        max_links: int = 1_000,
    ) -> None:
        self.clients = [client(redis_url, 13), client(redis_url, 1)]
        self.pools = [pool(database_url, 4), pool(database_url, 1)]
        self.local = LocalCache(
            max_links=max_links,
            max_bytes=1 << 20,
            max_absent=1_000,
            absent_seconds=ABSENT_TTL,
            clock=clock,
        )
        self.remote = RemoteCache(self.clients[0], link_ttl=LINK_TTL, absent_ttl=ABSENT_TTL)
        self.store = store(self.pools[0])
        self.feed = ChangeFeed(self.clients[1], self.pools[1], clock)
        self.breakers = {"redis": Breaker("redis"), "database": Breaker("database")}
        self.resolver = Resolver(
            self.local,
            self.remote,
            self.store,
            self.feed,
            redis=self.breakers["redis"],
            database=self.breakers["database"],
            budget=budget,
            redis_timeout=redis_timeout,
            max_pending=max_pending,
            redis_batches=8,
            database_batches=4,
        )
        self.feed._forget = self.resolver.forget

    async def location(self, code: str) -> bytes | None:
        """Where the code leads now; None for nowhere. Raises Unavailable."""
        entry: Entry | None = await self.resolver.resolve(code)
        return None if entry is None else entry.location

    async def answer(self, code: str) -> tuple[bytes | str | None, Tier]:
        """As `location`, or "unavailable", and the tier that it came from."""
        before = self.resolver.answers.copy()
        location: bytes | str | None
        try:
            location = await self.location(code)
        except Unavailable:
            location = "unavailable"
        ((_, tier),) = (self.resolver.answers - before).keys()
        return location, tier

    async def close(self) -> None:
        await self.resolver.drain()
        for pool in self.pools:
            pool.close()
        for client in self.clients:
            await client.aclose()


@asynccontextmanager
async def redirector(
    database_url: str, redis_url: str, **options: Any
) -> AsyncIterator[Redirector]:
    """A redirector that knows the change log from now on."""
    made = Redirector(database_url, redis_url, **options)
    try:
        await made.feed.poll()
        yield made
    finally:
        await made.close()


class Writer:
    """Changes links the way the API does: row and change log in a transaction, then Redis."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self.connection = psycopg2.connect(database_url)
        self.redis = Redis.from_url(redis_url)
        self._words = itertools.count()
        self._nonce = secrets.token_hex(4)

    def write(self, code: str, url: str | None, *, publish: bool = True) -> None:
        """Has the code lead to `url`, or nowhere."""
        with self.connection, self.connection.cursor() as cursor:
            change(cursor, code, url)
        if publish:
            self.publish(code)

    def add(self, links: Sequence[tuple[str, str]], *, publish: bool = True) -> None:
        """Imports links."""
        with self.connection, self.connection.cursor() as cursor:
            for code, url in links:
                write_row(cursor, code, url)
            cursor.execute(change_log.ADD, (None,))
        if publish:
            self.publish_import()

    def publish(self, *codes: str) -> None:
        self._invalidate(link_cache.invalidate_arguments(codes))

    def publish_import(self) -> None:
        word = f"{self._nonce}:{next(self._words)}"
        self._invalidate(link_cache.invalidate_arguments([], absent_generation=word))

    def prune(self) -> None:
        """Drops everything that the change log holds."""
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute(change_log.PRUNE, {"seconds": 0, "limit": 1_000_000})

    def close(self) -> None:
        self.connection.close()
        self.redis.close()

    def _invalidate(self, arguments: list[str]) -> None:
        self.redis.eval(link_cache.INVALIDATE, 0, *arguments)


def change(cursor: Any, code: str, url: str | None) -> None:
    """Changes a link and the change log, in the cursor's transaction."""
    write_row(cursor, code, url)
    cursor.execute(change_log.ADD, (code,))


def write_row(cursor: Any, code: str, url: str | None) -> None:
    cursor.execute(
        "INSERT INTO urls (short_code, original_url, is_active, created_at, updated_at)"
        " VALUES (%(code)s, coalesce(%(url)s, ''), %(url)s IS NOT NULL, now(), now())"
        " ON CONFLICT (short_code) DO UPDATE"
        " SET original_url = excluded.original_url, is_active = excluded.is_active",
        {"code": code, "url": url},
    )


@contextmanager
def writer(database_url: str, redis_url: str) -> Iterator[Writer]:
    made = Writer(database_url, redis_url)
    try:
        yield made
    finally:
        made.close()


class Relay:
    """A worker's relay, one step at a time."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self.redis = Redis.from_url(redis_url, socket_timeout=1)
        self.registry = CollectorRegistry()
        self._connection = psycopg2.connect(database_url)
        self._connection.autocommit = True
        self.relay = ChangeRelay(self.redis, self.registry)

    def fetch(self, query: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(query, parameters)
            return list(cursor.fetchall())

    def step(self) -> None:
        self.relay.step(self.fetch)

    def metric(self, name: str) -> float:
        return self.registry.get_sample_value(name) or 0.0

    def close(self) -> None:
        self._connection.close()
        self.redis.close()


@contextmanager
def relay(database_url: str, redis_url: str) -> Iterator[Relay]:
    made = Relay(database_url, redis_url)
    try:
        yield made
    finally:
        made.close()


def client(url: str, connections: int) -> AsyncRedis:
    return AsyncRedis.from_url(
        url,
        max_connections=connections,
        socket_connect_timeout=0.1,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
    )


def pool(url: str, size: int) -> Pool:
    return Pool(url, size=size, name="hoplink-test", statement_timeout_ms=1_000)
