"""Connections of a redirector without sockets or stores: bytes in, bytes out, in known order."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from uvicorn.config import Config
from uvicorn.server import ServerState

from services.redirector.breaker import Breaker
from services.redirector.changes import ChangeFeed
from services.redirector.fast_lane import FastLane, Headers
from services.redirector.link_store import LinkStore
from services.redirector.local_cache import Entry, LocalCache
from services.redirector.postgres import Pool
from services.redirector.protocol import STATE_KEY, Connections, RedirectorProtocol
from services.redirector.remote_cache import RemoteCache
from services.redirector.resolver import Resolver
from services.redirector.routes import (
    Redirect,
    Shortcut,
    System,
    http_exception,
    routes,
    server_error,
)
from shared.link_cache import Link

LINKS = {
    "abc": "https://example.com/",
    "Zz9_-": "https://example.org/a?b=c#d",
    "x" * 32: "http://example.net:8080/" + "y" * 500,
}
ABSENT = ("nope", "n" * 32)
_MADE_ID = re.compile(rb"x-request-id: [0-9a-f]{32}")
DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"


class ClosedLane(FastLane):
    """Lets nobody in."""

    def answer(self, _data: bytes, _default_headers: Headers) -> bytes | None:
        return None


class Replica:
    """A redirector that knows LINKS and ABSENT and whose stores are down."""

    def __init__(
        self,
        lane: type[FastLane] = FastLane,
        *,
        limit: int = 10,
        idle_seconds: int = 75,
        shortcut: bool = True,
    ) -> None:
        local = LocalCache(
            max_links=100,
            max_bytes=1 << 20,
            max_absent=100,
            absent_seconds=float("inf"),
            clock=time.monotonic,
        )
        for number, (code, location) in enumerate(LINKS.items(), 1):
            local.put(Entry(code, Link(number, location.encode())))
        for code in ABSENT:
            local.put_absent(code)
        redis = Redis(port=1)
        pool = Pool("postgresql://127.0.0.1:1/none", size=1, name="test", statement_timeout_ms=1)
        feed = ChangeFeed(redis, pool, time.monotonic)
        feed.fresh_until = float("inf")
        redis_breaker, database_breaker = Breaker("redis"), Breaker("database")
        redis_breaker.is_open = database_breaker.is_open = True
        resolver = Resolver(
            local,
            RemoteCache(redis, link_ttl=1, absent_ttl=1),
            LinkStore(pool),
            feed,
            redis=redis_breaker,
            database=database_breaker,
            budget=1,
            redis_timeout=1,
            max_pending=1_000,
            redis_batches=1,
            database_batches=1,
        )
        system = System(
            CollectorRegistry(),
            database_breaker,
            redis_breaker,
            lambda: self.connections.draining,
            started=True,
        )
        redirect = Redirect(resolver)
        app = Starlette(
            routes=routes(redirect, system),
            middleware=[Middleware(Shortcut, redirect)] if shortcut else [],
            exception_handlers={HTTPException: http_exception, Exception: server_error},
        )
        app.router.redirect_slashes = False
        self.lane = lane(local, feed)
        self.connections = Connections(self.lane, limit=limit, idle_seconds=idle_seconds)
        self.state = ServerState()
        self.state.default_headers = [(b"date", DATE)]
        self._config = Config(
            app, lifespan="off", ws="none", log_config=None, access_log=False, proxy_headers=False
        )
        self._config.load()

    def connect(self) -> Wire:
        """A new connection; needs a running loop."""
        protocol = RedirectorProtocol(
            self._config,
            self.state,
            {STATE_KEY: self.connections},
            asyncio.get_running_loop(),
        )
        return Wire(protocol, self.lane)


class Wire(asyncio.Transport):
    """A connection, as its client sees it."""

    def __init__(self, protocol: RedirectorProtocol, lane: FastLane) -> None:
        super().__init__()
        self.protocol = protocol
        self._lane = lane
        self.received = b""
        """All that was answered so far."""
        self.sent = b""
        """All that the redirector took."""
        self.accepted: list[tuple[int, int]] = []
        """What of it the fast lane answered: from where to where."""
        self.is_open = True
        self._reads = True
        self._unread = b""
        protocol.connection_made(self)

    @property
    def answers(self) -> bytes:
        """What was received, but for the ids that requests without one got."""
        return _MADE_ID.sub(b"x-request-id: made", self.received)

    async def send(self, data: bytes, *, settle: bool = True) -> None:
        """Sends, and by default waits for all answers that can be given."""
        self._unread += data
        self._deliver()
        if settle:
            await self.settle()

    async def settle(self) -> None:
        """Returns when nothing is under way."""
        for _ in range(3):
            await asyncio.sleep(0)
        while self.protocol.tasks:
            await asyncio.wait(list(self.protocol.tasks))
            for _ in range(3):
                await asyncio.sleep(0)

    def finish(self) -> None:
        """The client stops sending, and goes on reading."""
        if self.is_open and not self.protocol.eof_received():
            self.close()

    def _deliver(self) -> None:
        if self._unread and self._reads and self.is_open:
            data, self._unread = self._unread, b""
            start = len(self.sent)
            self.sent += data
            hits = self._lane.hits
            self.protocol.data_received(data)
            if self._lane.hits > hits:
                self.accepted.append((start, len(self.sent)))

    # asyncio.Transport

    def get_extra_info(self, _name: str, default: Any = None) -> Any:
        return default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.is_open:
            self.received += data

    def is_closing(self) -> bool:
        return not self.is_open

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def pause_reading(self) -> None:
        self._reads = False

    def resume_reading(self) -> None:
        self._reads = True
        asyncio.get_running_loop().call_soon(self._deliver)
