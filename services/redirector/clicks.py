"""What a redirect leaves behind: a click. Taking it down is all that a request has to do with it.

`ClickLog` holds the clicks since the last flush. A few times a second `ClickShipper` numbers
them, encodes them and appends them to the stream in Redis, however long that takes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

from shared.click_stream import MAX_BATCH, MAX_REFERRER, MAX_USER_AGENT, Clicks, Names

_H = ord("H")
_HOST = re.compile(rb"\[[0-9a-f:.]{2,45}\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
_COUNTRY = re.compile(rb"[A-Z][A-Z0-9]")
_REFERRERS_REMEMBERED = 4_096
_REFERRER_READ = 512
"""Of a referrer, in bytes: a client may send many kilobytes, and they would be remembered."""

Hit = tuple[int, float, bytes, bytes, bytes, bool]
"""Link, time by `clock`, user agent, authority of the referrer, country, whether it was HEAD."""


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
        self._country_header = country_header.encode()

    def __len__(self) -> int:
        return len(self._hits)

    def take_down(self, link_id: int, request: bytes, moment: float) -> None:
        """A click at `moment` by `clock`, by the bytes of its request up to the blank line.

        They must be well-formed.
        """
        # A microsecond here is a tenth of a redirect. `partition` takes half as long as `find`;
        # names are written in one of two ways, and browsers send the user agent first.
        _, found, rest = request.partition(b"\r\nUser-Agent: ")
        mark = b"\nReferer: http"
        if not found:
            _, found, rest = request.partition(b"\r\nuser-agent: ")
            mark = b"\nreferer: http"
        agent, _, rest = rest.partition(b"\r")
        _, found, rest = rest.partition(mark)
        parts = rest.split(b"/", 3)
        if len(parts) > 2:
            referrer = parts[2]
        else:
            referrer = _authority(_header(request, b"Referer")) if b"eferer: " in request else b""
        country = _header(request, self._country_header) if self._country_header else b""
        self._keep((link_id, moment, agent, referrer, country, request[0] == _H))

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
                _authority(found.get(b"referer", b"")),
                found.get(self._country_header.lower(), b""),
                is_head,
            )
        )

    def cut(self) -> Iterator[Clicks]:
        """All clicks so far, at most MAX_BATCH at a time; they are no longer here afterwards."""
        hits = self._hits[:]
        self._hits.clear()
        for first in range(0, len(hits), MAX_BATCH):
            yield _clicks(hits[first : first + MAX_BATCH])

    def since(self) -> int:
        """The Unix time at which the clock was 0, in milliseconds."""
        return round((self._wall_clock() - self._clock()) * 1_000)


def _header(request: bytes, name: bytes) -> bytes:
    """The value of a header: clients write its name this way, HTTP/2 in lower case."""
    for spelling in (name, name.lower()):
        start = request.find(b"\r\n%s: " % spelling)
        if start >= 0:
            start += len(spelling) + 4
            return request[start : request.find(b"\r", start)]
    return b""


def _clicks(hits: Sequence[Hit]) -> Clicks:
    links, moments, agents, referrers, countries, heads = zip(*hits, strict=True)
    return Clicks(
        links,
        moments,
        _named(agents, lambda agent: agent[:MAX_USER_AGENT]),
        _named(referrers, lambda authority: host_of(authority[:_REFERRER_READ])),
        _named(countries, country_code),
        heads,
    )


def _named(column: Sequence[bytes], clean: Callable[[bytes], bytes]) -> Names:
    """The column after `clean`, which is called once for values that are alike."""
    values, places = Names.of(column)
    return Names(list(map(clean, values)), places)


def _authority(url: bytes) -> bytes:
    """What stands between `//` and the path; empty if there is no such thing."""
    return re.split(rb"[/?#\\]", url.partition(b"//")[2], maxsplit=1)[0]


@lru_cache(_REFERRERS_REMEMBERED)
def host_of(authority: bytes) -> bytes:
    """Its host in lower case, without user and port; empty if it isn't a plain one.

    A line break, a query and what follows them don't belong to it.
    """
    authority = re.split(rb"[\r?#\\]", authority, maxsplit=1)[0]
    host = authority.rpartition(b"@")[2].lower()
    if not host.startswith(b"["):
        host = host.partition(b":")[0].removesuffix(b".")
    else:
        host = host.partition(b"]")[0] + b"]"
    return host if len(host) <= MAX_REFERRER and _HOST.fullmatch(host) else b""


def country_code(value: bytes) -> bytes:
    """`value` if it is one, else nothing."""
    return value if _COUNTRY.fullmatch(value) else b""
