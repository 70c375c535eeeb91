"""What a redirect leaves behind: a click. Taking it down is all that a request has to do with it.

`ClickLog` holds the clicks since the last flush. A few times a second `ClickShipper` numbers
them, encodes them and appends them to the stream in Redis, however long that takes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from functools import lru_cache

from shared.click_stream import MAX_REFERRER, MAX_USER_AGENT, Click

_NEVER = b"\0"
"""Found in no request."""
_HOST = re.compile(rb"\[[0-9a-f:.]{2,45}\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
_PLAIN_REFERRER = re.compile(rb"https?://([a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){0,3})/")
_COUNTRY = re.compile(rb"[A-Z][A-Z0-9]")
_REFERRERS_REMEMBERED = 4_096
_REFERRER_READ = 512
"""Of a referrer, in bytes: a client may send many kilobytes, and they would be remembered."""

Hit = tuple[int, float, bytes, bytes, bytes, bool]
"""As Click, but as the request had it: time by `clock`, a whole referrer, any country."""


class ClickLog:
    """The clicks that are not numbered yet, as they come: a few hundred milliseconds' worth.

    `country_header` names a header that can be believed to hold a country code, or is empty.
    """

    def __init__(
        self,
        *,
        country_header: str = "",
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._hits: list[Hit] = []
        self._keep = self._hits.append
        self._clock = clock
        self._wall_clock = wall_clock
        self._country_name = country_header.lower().encode()
        # Clients write names the first way; what came through HTTP/2 is in lower case.
        self._country_first = b"\r\n%s: " % country_header.encode() if country_header else _NEVER
        self._country_lower = self._country_first.lower()
        self._country_skip = len(self._country_first)

    def __len__(self) -> int:
        return len(self._hits)

    def take_down(self, link_id: int, request: bytes) -> None:
        """A click, by the bytes of its request up to the blank line; they must be well-formed."""
        start = request.find(b"\r\nUser-Agent: ")
        if start < 0:
            start = request.find(b"\r\nuser-agent: ")
        agent = b"" if start < 0 else request[start + 14 : request.find(b"\r\n", start + 14)]
        start = request.find(b"\r\nReferer: ")
        if start < 0:
            start = request.find(b"\r\nreferer: ")
        referrer = b"" if start < 0 else request[start + 11 : request.find(b"\r\n", start + 11)]
        country = b""
        if self._country_name:
            start = request.find(self._country_first)
            if start < 0:
                start = request.find(self._country_lower)
            if start >= 0:
                start += self._country_skip
                country = request[start : start + 3].strip()
        is_head = request[0] == ord("H")
        self._keep((link_id, self._clock(), agent, referrer, country, is_head))

    def take_down_headers(
        self, link_id: int, headers: Iterable[tuple[bytes, bytes]], *, is_head: bool
    ) -> None:
        """As `take_down`, by headers whose names are in lower case."""
        found = dict(headers)
        self._keep(
            (
                link_id,
                self._clock(),
                found.get(b"user-agent", b""),
                found.get(b"referer", b""),
                found.get(self._country_name, b""),
                is_head,
            )
        )

    def cut(self) -> list[Click]:
        """All clicks so far, which are no longer here afterwards."""
        hits = self._hits[:]
        self._hits.clear()
        to_wall = self._wall_clock() - self._clock()
        return [
            Click(
                link_id,
                int((moment + to_wall) * 1_000),
                agent[:MAX_USER_AGENT],
                referrer_host(referrer) if referrer else b"",
                country if _COUNTRY.fullmatch(country) else b"",
                is_head,
            )
            for link_id, moment, agent, referrer, country, is_head in hits
        ]


def referrer_host(referrer: bytes) -> bytes:
    """The host of a Referer header in lower case, without port and user; empty if it has none."""
    # What nearly all browsers send, in half the time.
    plain = _PLAIN_REFERRER.match(referrer)
    return plain[1] if plain else _parsed_host(referrer[:_REFERRER_READ])


@lru_cache(_REFERRERS_REMEMBERED)
def _parsed_host(referrer: bytes) -> bytes:
    _, slashes, rest = referrer.partition(b"//")
    authority = re.split(rb"[/?#\\]", rest, maxsplit=1)[0]
    host = authority.rpartition(b"@")[2].lower()
    if not host.startswith(b"["):
        host = host.partition(b":")[0].removesuffix(b".")
    else:
        host = host.partition(b"]")[0] + b"]"
    if not slashes or len(host) > MAX_REFERRER or not _HOST.fullmatch(host):
        return b""
    return host
