"""Answers a locally cached link before ASGI: uvicorn's HTTP protocol with a lane of its own.

A request takes the fast lane when it is all that was received, on a connection that is between
two requests, and a spare parser finds it to be one complete, bodiless request after which the
connection stays open. Then the connection's own parser never sees it, and is left where it would
have been: between two requests. Everything else goes to uvicorn, untouched.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from services.redirector.changes import ChangeFeed
from services.redirector.local_cache import LocalCache
from shared.short_codes import MAX_LENGTH

STATE_KEY = "fast_lane"
"""Where the lifespan state holds the FastLane."""

_VERSION = b" HTTP/1.1\r\n"
_END = b"\r\n\r\n"
_LONGEST = MAX_LENGTH + len(_VERSION)
_TAIL = b"\r\ncontent-length: 0\r\n\r\n"
_BAD_REQUEST = b'{"error":"invalid HTTP request"}'


class Inspector:
    """A spare httptools parser, for a second opinion on bytes that the first one may not see."""

    def __init__(self) -> None:
        self._renew()

    def accepts(self, data: bytes) -> bool:
        """Whether `data` is exactly one whole request without a body, to be kept alive after."""
        if not data.endswith(_END) or data.find(_END) != len(data) - len(_END):
            return False
        self._keep_alive = False
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._keep_alive = False
        if not self._keep_alive:
            self._renew()
            return False
        return True

    def on_message_complete(self) -> None:
        # Afterwards the parser no longer knows.
        self._keep_alive = self._parser.should_keep_alive()

    def _renew(self) -> None:
        self._keep_alive = False
        self._parser = httptools.HttpRequestParser(self)


class FastLane:
    """What the connections of a process share: the cache, the count of hits, the idle sweep."""

    def __init__(self, local: LocalCache, feed: ChangeFeed) -> None:
        self.hits = 0
        self.connections: set[FastLaneProtocol] = set()
        self._links = local.links
        self._feed = feed
        self._inspector = Inspector()
        self._default_headers: list[tuple[bytes, bytes]] = []
        self._head = b""

    def answer(self, data: bytes, default_headers: list[tuple[bytes, bytes]]) -> bytes | None:
        """The whole response to the bytes of a request, or None: then uvicorn is to have them."""
        if data.startswith(b"GET /"):
            start = 5
        elif data.startswith(b"HEAD /"):
            start = 6
        else:
            return None
        end = data.find(_VERSION, start, start + _LONGEST)
        entry = self._links.get(data[start:end].decode("latin-1"))
        if entry is None or end < 0 or not self._feed.is_fresh():
            return None
        if not self._inspector.accepts(data):
            return None
        entry.visited = True
        self.hits += 1
        if default_headers is not self._default_headers:
            self._default_headers = default_headers
            self._head = _response(302, default_headers)[:-2] + b"location: "
        return self._head + entry.location + _TAIL

    async def sweep(self, idle_seconds: int) -> None:
        """Closes, for ever, the connections on which nothing happened for `idle_seconds`."""
        while True:
            await asyncio.sleep(1)
            for connection in tuple(self.connections):
                connection.grow_idle(idle_seconds)


class FastLaneProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with the fast lane before it and one idle sweep in place of timers."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._lane: FastLane = app_state[STATE_KEY]
        self._between_requests = True
        self._idle_seconds = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._lane.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lane.connections.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._idle_seconds = 0
        if self._between_requests and not self._is_responding() and not self.flow.write_paused:
            response = self._lane.answer(data, self.server_state.default_headers)
            if response is not None:
                self.server_state.total_requests += 1
                self.transport.write(response)
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._between_requests = False
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._between_requests = (
            self.parser.should_keep_alive() and not self.parser.should_upgrade()
        )
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """As uvicorn's, but for the timer that it arms on every response."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def grow_idle(self, limit: int) -> None:
        """A second passed. Closes the connection after `limit` of them without a request."""
        self._idle_seconds += 1
        if self._idle_seconds > limit and not self._is_responding():
            self.transport.close()

    def _is_responding(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def send_400_response(self, _msg: str) -> None:
        """As uvicorn's, in the shape that every error has."""
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(_BAD_REQUEST)),
            (b"connection", b"close"),
        ]
        self.transport.write(_response(400, headers) + _BAD_REQUEST)
        self.transport.close()


def _response(status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
    lines = [b"%s: %s\r\n" % header for header in headers]
    return b"".join((STATUS_LINE[status], *lines, b"\r\n"))
