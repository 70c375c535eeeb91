"""How many requests were answered, with what, and how long they took: plain numbers."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from prometheus_client.core import Metric

from shared import metrics
from shared.live_stats import LATENCY_BOUNDS, MONITORING, Totals

SERVICE = "redirector"
REDIRECT_ROUTE = "/{short_code}"


class Durations:
    """How long requests of one kind took."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BOUNDS) + 1)
        """Up to each of LATENCY_BOUNDS, and longer."""
        self.seconds = 0.0

    def add(self, seconds: float, count: int = 1) -> None:
        """Counts `count` requests that took `seconds` each."""
        self.counts[bisect_left(LATENCY_BOUNDS, seconds)] += count
        self.seconds += seconds * count


class HttpCounts:
    """Counted on the event loop, read in any thread: a reader may miss the request under way."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._statuses: Counter[tuple[str, str, int]] = Counter()
        self._durations: dict[tuple[str, str], Durations] = {}
        self._local = {"GET": Durations(), "HEAD": Durations()}

    def add(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts a request that was answered."""
        method = metrics.known_method(method)
        self._statuses[method, route, status] += 1
        durations = self._durations.get((method, route))
        if durations is None:
            durations = self._durations[method, route] = Durations()
        durations.add(seconds)

    def redirects(self, method: str) -> Durations:
        """To count redirects by `method` (GET, HEAD) without looking up what is added to."""
        return self._local[method]

    def totals(self, tiers: dict[str, int]) -> Totals:
        """What live statistics are made of; `tiers` are those of redirects that were found."""
        latencies = [0] * (len(LATENCY_BOUNDS) + 1)
        for (_, route), counts, _ in self._all_durations():
            if route == REDIRECT_ROUTE:
                latencies = [one + other for one, other in zip(latencies, counts, strict=True)]
        served = [
            (status, count)
            for (_, route, status), count in self._all_statuses().items()
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
            for (method, route, status), count in self._all_statuses().items()
        )
        yield metrics.HTTP_DURATION.histogram_samples(
            ((SERVICE, *key), _up_to_buckets(counts), seconds)
            for key, counts, seconds in self._all_durations()
        )

    def _all_statuses(self) -> Counter[tuple[str, str, int]]:
        statuses = self._statuses.copy()
        for method, local in self._local.items():
            if hits := sum(local.counts):
                statuses[method, REDIRECT_ROUTE, 302] += hits
        return statuses

    def _all_durations(self) -> Iterator[tuple[tuple[str, str], list[int], float]]:
        ordinary = self._durations.copy()
        for method, local in self._local.items():
            other = ordinary.pop((method, REDIRECT_ROUTE), Durations())
            counts = [one + two for one, two in zip(local.counts, other.counts, strict=True)]
            if any(counts):
                yield (method, REDIRECT_ROUTE), counts, local.seconds + other.seconds
        for key, durations in ordinary.items():
            yield key, durations.counts.copy(), durations.seconds


class Turns:
    """Counts what the fast lane answers, by turns of the event loop.

    All hits of a turn count as having taken as long as the whole turn, from the first of them to
    the last callback: none took longer, and the clock is read twice a turn, not twice a hit.
    """

    def __init__(self, counts: HttpCounts | None) -> None:
        """Without `counts` nobody learns how long hits took, which costs a little less."""
        self.hits = 0
        """All so far; the fast lane counts them itself."""
        self.heads = 0
        """How many of them were HEAD."""
        self.is_open = counts is None
        self._call_soon: Callable[[Callable[[], None]], object] | None = None
        self._began = 0.0
        self._hits_before = 0
        self._heads_before = 0
        if counts is not None:
            self._clock = counts.clock
            self._get = counts.redirects("GET")
            self._head = counts.redirects("HEAD")

    def open(self, moment: float) -> None:
        """A turn has its first hit, at `moment` by the clock, which is counted already."""
        self.is_open = True
        self._began = moment
        if self._call_soon is None:
            # Asking for the loop takes a system call, as long as all else here.
            self._call_soon = asyncio.get_running_loop().call_soon
        # It runs after all that this turn of the loop has received.
        self._call_soon(self._close)

    def _close(self) -> None:
        self.is_open = False
        seconds = self._clock() - self._began
        hits = self.hits
        count = hits - self._hits_before
        self._hits_before = hits
        if self.heads != self._heads_before:
            heads = self.heads - self._heads_before
            self._heads_before = self.heads
            self._head.add(seconds, heads)
            count -= heads
        if count:
            self._get.add(seconds, count)


_BUCKETS_AT = [LATENCY_BOUNDS.index(bound) for bound in metrics.HTTP_DURATION.buckets]


def _up_to_buckets(counts: list[int]) -> list[int]:
    """Observations up to each bucket of the metric, and all of them."""
    up_to = list(accumulate(counts))
    return [*(up_to[index] for index in _BUCKETS_AT), up_to[-1]]
