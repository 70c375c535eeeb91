"""Answers a locally cached link straight from the bytes of its request, before ASGI.

A request takes the fast lane when it is all that was received, on a connection that is between
two requests, and a spare parser finds it to be one complete, bodiless request after which the
connection stays open. Then the connection's own parser never sees it, and is left where it would
have been: between two requests. Everything else goes to uvicorn, untouched.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from services.redirector.changes import ChangeFeed
from services.redirector.clicks import ClickLog
from services.redirector.http_counts import Turns
from services.redirector.local_cache import LocalCache
from shared.short_codes import MAX_LENGTH

Headers = list[tuple[bytes, bytes]]

_VERSION = b" HTTP/1.1\r\n"
_END = b"\r\n\r\n"
_LONGEST = MAX_LENGTH + len(_VERSION)
_TAIL = b"\r\ncontent-length: 0\r\n\r\n"


class Inspector:
    """A spare httptools parser, for a second opinion on bytes that the first one may not see.

    It serves all connections: after a request that it accepts it is as good as new, after any
    other it is replaced.
    """

    _parser: httptools.HttpRequestParser

    def __init__(self) -> None:
        self._renew()

    def accepts(self, data: bytes) -> bool:
        """Whether `data` is exactly one whole request without a body, to be kept alive after."""
        # Every request ends with this at least once, so there is no room for a second one.
        if data.find(_END) != len(data) - len(_END):
            return False
        self._keep_alive = False
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._keep_alive = False
        if not self._keep_alive:
            self._renew()
        return self._keep_alive

    def on_message_complete(self) -> None:
        # Afterwards the parser no longer knows.
        self._keep_alive = self._parser.should_keep_alive()

    def _renew(self) -> None:
        self._keep_alive = False
        self._parser = httptools.HttpRequestParser(self)


class FastLane:
    """Answers from the local cache, and the count of them; `turns` tells how long they took."""

    def __init__(
        self,
        local: LocalCache,
        feed: ChangeFeed,
        clicks: ClickLog | None = None,
        turns: Turns | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` is that of the feed, the clicks and the turns: it is read once a hit."""
        self._clock = clock
        self._turns = turns or Turns(None)
        self._clicks = clicks
        self._links = local.links
        self._feed = feed
        self._inspector = Inspector()
        self._default_headers: Headers = []
        self._head = b""

    @property
    def hits(self) -> int:
        """Requests answered here."""
        return self._turns.hits

    def answer(self, data: bytes, default_headers: Headers) -> bytes | None:
        """The whole response to the bytes of a request, or None: then uvicorn is to have them.

        The caller vouches that the connection is between two requests.
        """
        if data.startswith(b"GET /"):
            start = 5
        elif data.startswith(b"HEAD /"):
            start = 6
        else:
            return None
        end = data.find(_VERSION, start, start + _LONGEST)
        if end < 0:
            return None
        entry = self._links.get(data[start:end].decode("latin-1"))
        if entry is None:
            return None
        now = self._clock()
        if now >= self._feed.fresh_until or not self._inspector.accepts(data):
            return None
        entry.visited = True
        turns = self._turns
        turns.hits += 1
        if start == 6:
            turns.heads += 1
        if not turns.is_open:
            turns.open(now)
        if self._clicks is not None:
            self._clicks.take_down(entry.link_id, data, now)
        if default_headers is not self._default_headers:
            # uvicorn makes a new list every second, with a new Date.
            self._default_headers = default_headers
            self._head = head(302, default_headers)[:-2] + b"location: "
        return self._head + entry.location + _TAIL


def head(status: int, headers: Headers) -> bytes:
    """A response up to its body, as uvicorn writes it."""
    lines = [b"%s: %s\r\n" % header for header in headers]
    return b"".join((STATUS_LINE[status], *lines, b"\r\n"))
