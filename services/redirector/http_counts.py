"""How many requests were answered, with what, and how long they took: plain numbers."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import accumulate

from prometheus_client.core import Metric

from shared import metrics
from shared.live_stats import LATENCY_BOUNDS, MONITORING, Totals

SERVICE = "redirector"
REDIRECT_ROUTE = "/{short_code}"


class HttpCounts:
    """Counted on the event loop, read in any thread: a reader may miss the request under way."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self._statuses: Counter[tuple[str, str, int]] = Counter()
        self._durations: dict[tuple[str, str], list[int]] = {}
        self._seconds: Counter[tuple[str, str]] = Counter()

    def add(self, method: str, route: str, status: int, seconds: float, count: int = 1) -> None:
        """Counts `count` requests that were answered alike and took `seconds` each."""
        method = metrics.known_method(method)
        self._statuses[method, route, status] += count
        key = (method, route)
        if key not in self._durations:
            self._durations[key] = [0] * (len(LATENCY_BOUNDS) + 1)
        self._durations[key][bisect_left(LATENCY_BOUNDS, seconds)] += count
        self._seconds[key] += seconds * count  # type: ignore[assignment]  # it adds floats, too

    def totals(self, tiers: dict[str, int]) -> Totals:
        """What live statistics are made of; `tiers` are those of redirects that were found."""
        statuses = self._statuses.copy()
        latencies = [0] * (len(LATENCY_BOUNDS) + 1)
        for (_, route), counts in self._durations.copy().items():
            if route == REDIRECT_ROUTE:
                latencies = [one + other for one, other in zip(latencies, counts, strict=True)]
        served = [
            (status, count)
            for (_, route, status), count in statuses.items()
            if route not in MONITORING
        ]
        return Totals(
            requests=sum(count for _, count in served),
            errors=sum(count for status, count in served if status >= 500),
            latencies=tuple(latencies),
            tiers=tiers,
        )

    def collect(self) -> Iterable[Metric]:
        yield metrics.HTTP_REQUESTS.samples(
            ((SERVICE, method, route, str(status)), count)
            for (method, route, status), count in self._statuses.copy().items()
        )
        yield metrics.HTTP_DURATION.histogram_samples(
            ((SERVICE, *key), _up_to_buckets(counts), self._seconds[key])
            for key, counts in self._durations.copy().items()
        )


class Turns:
    """Counts what the fast lane answers, by turns of the event loop.

    All hits of a turn count as having taken as long as the whole turn, from the first of them to
    the last callback: none took longer, and the clock is read twice a turn, not twice a hit.
    """

    def __init__(self, counts: HttpCounts) -> None:
        self.hits = 0
        """Of the turn; the fast lane counts them itself."""
        self.heads = 0
        """How many of them were HEAD."""
        self.is_open = False
        self._counts = counts
        self._began = 0.0

    def open(self) -> None:
        """A turn has its first hit."""
        self.is_open = True
        self._began = self._counts.clock()
        # It runs after all that this turn of the loop has received.
        asyncio.get_running_loop().call_soon(self._close)

    def _close(self) -> None:
        seconds = self._counts.clock() - self._began
        hits, heads = self.hits, self.heads
        self.hits = self.heads = 0
        self.is_open = False
        if hits > heads:
            self._counts.add("GET", REDIRECT_ROUTE, 302, seconds, hits - heads)
        if heads:
            self._counts.add("HEAD", REDIRECT_ROUTE, 302, seconds, heads)


_BUCKETS_AT = [LATENCY_BOUNDS.index(bound) for bound in metrics.HTTP_DURATION.buckets]


def _up_to_buckets(counts: list[int]) -> list[int]:
    """Observations up to each bucket of the metric, and all of them."""
    up_to = list(accumulate(counts))
    return [*(up_to[index] for index in _BUCKETS_AT), up_to[-1]]
