"""The redirector's HTTP protocol: uvicorn's, with the fast lane before it and limits around it.

It differs from uvicorn's in what a connection may take (their number, the size of a request, the
requests sent ahead, the time without one), in closing idle connections by one sweep instead of a
timer a response, and in a shutdown that still answers what is on its way.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Any

import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from services.redirector.fast_lane import FastLane, Headers, head
from services.redirector.http_counts import HttpCounts
from shared.metrics import NO_ROUTE, OTHER

STATE_KEY = "connections"
"""Where the lifespan state holds the Connections."""

MAX_REQUEST_BYTES = 65_536
"""Head, body and trailers of one request together: a redirect needs no body."""
MAX_AHEAD = 32
"""Requests that a client may send before the first of them is answered."""
RETRY_AFTER_SECONDS = 1
"""Told to clients beyond the limit of connections."""
LINGER_SECONDS = 0.1
"""At shutdown, how long an idle connection stays open for a request that is on its way."""

_SLICE = 8_192
"""What the parser is given at a time, which is how exactly MAX_REQUEST_BYTES is kept."""


class Stage(Enum):
    """Where the parser of a connection stands."""

    BETWEEN = "between two requests"
    HEAD = "in a request's head"
    BODY = "in its body, with the answer begun"
    OVER = "after the last request of the connection"


_BETWEEN = Stage.BETWEEN


class Connections:
    """What the connections of a process share: the fast lane, their limit, the idle sweep."""

    def __init__(
        self,
        lane: FastLane,
        *,
        limit: int,
        idle_seconds: int,
        counts: HttpCounts | None = None,
    ) -> None:
        self.lane = lane
        self.counts = counts
        self.open: set[RedirectorProtocol] = set()
        self.draining = False
        """Whether this process stops, and only ends what was begun."""
        self.refused = 0
        """Connections beyond the limit, since the start."""
        self._limit = limit
        self._idle_seconds = idle_seconds

    def admit(self, connection: RedirectorProtocol) -> bool:
        """Whether there is room for `connection`, which is then taken in."""
        if len(self.open) >= self._limit:
            self.refused += 1
            return False
        self.open.add(connection)
        return True

    async def sweep(self) -> None:
        """Closes, for ever, connections on which no request began for the idle time."""
        while True:
            await asyncio.sleep(1)
            for connection in tuple(self.open):
                connection.grow_idle(self._idle_seconds)


class RedirectorProtocol(HttpToolsProtocol):
    """One connection."""

    # With these among uvicorn's attributes there would be more than CPython keeps in place: each of
    # them all would be looked up in a dictionary.
    __slots__ = (
        "_connections",
        "_draining",
        "_idle_seconds",
        "_lane",
        "_request_bytes",
        "_stage",
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._connections: Connections = app_state[STATE_KEY]
        self._lane = self._connections.lane
        self._stage = Stage.BETWEEN
        self._request_bytes = 0
        self._idle_seconds = 0
        self._draining = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self._connections.admit(self):
            retry = (b"retry-after", b"%d" % RETRY_AFTER_SECONDS)
            default_headers = self.server_state.default_headers
            transport.write(_error(503, "too many connections", [*default_headers, retry]))
            self._count_refusal(503)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.open.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        if (
            self._stage is _BETWEEN
            and (cycle is None or cycle.response_complete)
            and not self.flow.write_paused
            and not self._draining
        ):
            response = self._lane.answer(data, self.server_state.default_headers)
            if response is not None:
                self._idle_seconds = 0
                self.transport.write(response)
                return
        self._parse(data)

    def eof_received(self) -> bool:  # type: ignore[override]
        """A client that only stopped sending gets the answers that are under way."""
        if self._is_responding():
            self.cycle.keep_alive = False
            return True
        return False

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MAX_AHEAD:
            raise _TooFarAhead
        super().on_message_begin()
        self._stage = Stage.HEAD
        self._request_bytes = 0
        self._idle_seconds = 0

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._stage = Stage.BODY
        if self._draining or self.parser.should_upgrade():
            # What follows an upgrade that isn't made is in no protocol that both sides know.
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        goes_on = self.parser.should_keep_alive() and not self.parser.should_upgrade()
        self._stage = Stage.BETWEEN if goes_on else Stage.OVER
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """As uvicorn's, but for the timer that it arms on every response."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def send_400_response(self, _msg: str) -> None:
        self._refuse(400, "invalid HTTP request")

    def shutdown(self) -> None:
        """Lets a request that was begun or is on its way have its answer, then closes."""
        self._draining = self._connections.draining = True
        if self._is_responding():
            self.cycle.keep_alive = False
        else:
            self.loop.call_later(LINGER_SECONDS, self._close_if_idle)

    def grow_idle(self, limit: int) -> None:
        """A second passed. Ends the connection after `limit` of them without a request.

        Half a request is none, and one whose answer the client doesn't take has had its time.
        """
        self._idle_seconds += 1
        if self._idle_seconds > limit:
            # Closing would wait, perhaps for ever, until the client has read everything.
            self.transport.abort()

    def _parse(self, data: bytes) -> None:
        for start in range(0, len(data), _SLICE):
            if self._stage is Stage.OVER or self.transport.is_closing():
                return
            part = data[start : start + _SLICE]
            super().data_received(part)
            if self._stage in (Stage.HEAD, Stage.BODY):
                self._request_bytes += len(part)
                if self._request_bytes > MAX_REQUEST_BYTES:
                    self._refuse(431, "the request is too large")

    def _refuse(self, status: int, message: str) -> None:
        """Ends the connection; with an error, unless there is an answer in its place already.

        Nothing that the client sends from here on is looked at.
        """
        answered = self._stage is Stage.BODY
        self._stage = Stage.OVER
        if self._is_responding():
            # What was begun comes first, and says that it is the last.
            self.cycle.keep_alive = False
            return
        if not answered:
            self.transport.write(_error(status, message, self.server_state.default_headers))
            self._count_refusal(status)
        self.transport.close()

    def _count_refusal(self, status: int) -> None:
        """What never becomes a request takes no time worth counting."""
        if self._connections.counts is not None:
            self._connections.counts.add(OTHER, NO_ROUTE, status, 0.0)

    def _close_if_idle(self) -> None:
        if self._stage is Stage.BETWEEN and not self._is_responding():
            self.transport.close()

    def _is_responding(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete


class _TooFarAhead(Exception):
    """Leaves the parser; uvicorn takes it for a request that can't be parsed."""


def _error(status: int, message: str, default_headers: Headers) -> bytes:
    """A whole response, in the shape that every error has."""
    body = orjson.dumps({"error": message})
    headers = [
        *default_headers,
        (b"content-length", b"%d" % len(body)),
        (b"content-type", b"application/json"),
        (b"connection", b"close"),
    ]
    return head(status, headers) + body
