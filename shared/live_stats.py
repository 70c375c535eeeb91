"""What all processes of all services did in the last two minutes, and which of them are there.

Each process keeps its own counts in buckets of 5 s and writes them to Redis once a second, from a
thread: a hash for each bucket, a field for each process, which always holds the whole count of
that process. So writing twice counts once, and what Redis missed is written when it is back.
Buckets are those of Unix time; machines must agree on it to a second or so.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from redis.exceptions import RedisError

from shared.alerts import WINDOW_SECONDS
from shared.metrics import HTTP_DURATION
from shared.redis_reporter import RedisReporter

BUCKET_SECONDS = 5
BUCKETS = WINDOW_SECONDS // BUCKET_SECONDS
KEPT_SECONDS = WINDOW_SECONDS + 6 * BUCKET_SECONDS
INTERVAL_SECONDS = 1.0
FIRST_SECONDS = 0.25
"""Time for a process to find out whether it reaches its stores, before it tells."""
PRESENT_SECONDS = 30.0
"""A process that said nothing for longer is no longer listed."""
TIERS = ("local", "redis", "database")
LATENCY_BOUNDS = (0.00005, 0.0001, 0.00025, 0.0005, *HTTP_DURATION.buckets)
"""Of latencies, in seconds: those of the metric, and finer ones for what takes microseconds."""
MONITORING = frozenset(
    f"/{word}"
    for word in ("alert-status", "dashboard", "health", "logs", "metrics", "prometheus", "ready")
)
"""Routes whose requests are nobody's: /ready is 503 while PostgreSQL is away, whoever asks."""

_KEY = "hoplink:live:1:"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Totals:
    """Counts since a process started, or within some time."""

    requests: int = 0
    errors: int = 0
    latencies: tuple[int, ...] = (0,) * (len(LATENCY_BOUNDS) + 1)
    """Of redirects: how many took up to each of LATENCY_BOUNDS, and longer."""
    tiers: Mapping[str, int] = field(default_factory=dict)
    """Redirects by where their link was found."""

    def __add__(self, other: Totals) -> Totals:
        return self._with(other, 1)

    def __sub__(self, other: Totals) -> Totals:
        return self._with(other, -1)

    def _with(self, other: Totals, sign: int) -> Totals:
        return Totals(
            self.requests + sign * other.requests,
            self.errors + sign * other.errors,
            tuple(
                one + sign * two for one, two in zip(self.latencies, other.latencies, strict=True)
            ),
            {tier: self.tiers.get(tier, 0) + sign * other.tiers.get(tier, 0) for tier in TIERS},
        )

    def percentile(self, part: float) -> float | None:
        """The latency that `part` of redirects kept to, in seconds, interpolated in its bucket."""
        rank = part * sum(self.latencies)
        if rank == 0:
            return None
        below = 0.0
        for count, upper in zip(self.latencies, LATENCY_BOUNDS, strict=False):
            if count >= rank:
                return below + (upper - below) * rank / count
            rank -= count
            below = upper
        return below


@dataclass(frozen=True)
class Presence:
    """What a process says of itself."""

    service: str
    instance: str
    seen_at: float
    """Unix time."""
    state: Mapping[str, Any]
    """What its service reports: `ready`, `database_up`, `redis_up` and more."""


@dataclass(frozen=True)
class Window:
    """The last two minutes."""

    totals: Totals = Totals()
    recent: Totals = Totals()
    """Of the `recent_seconds` before the newest bucket began."""
    processes: tuple[Presence, ...] = ()
    complete: bool = False
    """Whether all processes are in it: else this one only, since Redis doesn't answer."""

    recent_seconds = 2 * BUCKET_SECONDS

    @property
    def requests_per_second(self) -> float:
        """Lately."""
        return self.recent.requests / self.recent_seconds

    @property
    def redirects_per_second(self) -> float:
        """Lately."""
        return sum(self.recent.tiers.values()) / self.recent_seconds


class LiveStats(RedisReporter):
    """The part of one process. Its last report says that this process is gone."""

    first_pause = FIRST_SECONDS

    def __init__(
        self,
        redis_url: str,
        service: str,
        totals: Callable[[], Totals],
        state: Callable[[], dict[str, Any]],
        *,
        listener: Callable[[Window], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`listener` is given the window of all processes every second; else only writes happen."""
        super().__init__(redis_url, "live")
        self.redis_up = False
        self._service = service
        self._instance = f"{socket.gethostname()}:{os.getpid()}"
        self._id = f"{self._instance}:{secrets.token_hex(4)}"
        self._totals = totals
        self._state = state
        self._listener = listener
        self._clock = clock
        self._last = Totals()
        self._own: dict[int, Totals] = {}
        self._unwritten: set[int] = set()

    def step(self, *, gone: bool = False) -> Window:
        """Counts, writes and reads once; one round trip."""
        now = self._clock()
        self._count(now)
        # What Redis gets has reached Redis.
        state = {**self._state(), "redis_up": True}
        presence = Presence(self._service, self._instance, now, state)
        try:
            found = self._exchange(now, None if gone else presence)
        except RedisError as error:
            if self.redis_up:
                _log.warning("live statistics don't reach Redis", extra={"reason": str(error)})
            self.redis_up = False
            alone = replace(presence, state={**state, "redis_up": False})
            return self._window(now, self._own.items(), [alone], complete=False)
        self.redis_up = True
        self._unwritten.clear()
        if self._listener is None:
            return Window()
        return self._all(now, found)

    def report(self) -> float:
        try:
            window = self.step()
            if self._listener is not None:
                self._listener(window)
        except Exception:  # noqa: BLE001  # alerts that depend on this must not freeze as they are
            _log.exception("live statistics failed")
        return INTERVAL_SECONDS

    def report_last(self) -> None:
        self.step(gone=True)

    def _count(self, now: float) -> None:
        bucket = int(now // BUCKET_SECONDS)
        totals = self._totals()
        self._own[bucket] = self._own.get(bucket, Totals()) + (totals - self._last)
        self._last = totals
        self._unwritten.add(bucket)
        if not self.redis_up:
            # It may have lost the others.
            self._unwritten.update(self._own)
        oldest = bucket - BUCKETS
        self._own = {number: own for number, own in self._own.items() if number > oldest}
        self._unwritten.intersection_update(self._own)

    def _exchange(self, now: float, presence: Presence | None) -> list[Any]:
        newest = int(now // BUCKET_SECONDS)
        pipeline = self._redis.pipeline(transaction=False)
        for bucket in self._unwritten:
            present = presence if bucket == newest else None
            key = f"{_KEY}{bucket}"
            pipeline.hset(key, self._id, encode(self._id, self._own[bucket], present))
            pipeline.expire(key, KEPT_SECONDS)
        written = len(pipeline)
        if self._listener is not None:
            for bucket in range(newest - BUCKETS + 1, newest + 1):
                pipeline.hvals(f"{_KEY}{bucket}")
        replies: list[Any] = pipeline.execute()
        return replies[written:]

    def _all(self, now: float, found: list[Any]) -> Window:
        first = int(now // BUCKET_SECONDS) - BUCKETS + 1
        counts: list[tuple[int, Totals]] = []
        present: dict[str, Presence | None] = {}
        for bucket, values in enumerate(found, start=first):
            for process, totals, presence in filter(None, map(decode, values)):
                counts.append((bucket, totals))
                # In its newest bucket a process is there, or says that it is gone.
                present[process] = presence
        return self._window(now, counts, filter(None, present.values()), complete=True)

    def _window(
        self,
        now: float,
        counts: Iterable[tuple[int, Totals]],
        processes: Iterable[Presence],
        *,
        complete: bool,
    ) -> Window:
        newest = int(now // BUCKET_SECONDS)
        recent_from = newest - Window.recent_seconds // BUCKET_SECONDS
        total, recent = Totals(), Totals()
        for bucket, totals in counts:
            if totals.requests:
                total += totals
                if recent_from <= bucket < newest:
                    recent += totals
        listed = [each for each in processes if now - each.seen_at <= PRESENT_SECONDS]
        listed.sort(key=lambda each: (each.service, each.instance))
        return Window(total, recent, tuple(listed), complete)


Field = tuple[str, Totals, Presence | None]
"""The id of a process, what it counted in a bucket, and what it said of itself if that was last."""


def encode(process: str, totals: Totals, presence: Presence | None) -> bytes:
    """A process' field of a bucket."""
    counts = [totals.requests, totals.errors, totals.latencies, totals.tiers]
    return orjson.dumps([process, *counts, presence])


def decode(value: bytes) -> Field | None:
    """What `encode` was given; None for what another version may have written."""
    try:
        process, requests, errors, latencies, tiers, presence = orjson.loads(value)
        totals = Totals(requests, errors, tuple(latencies), tiers)
        return process, totals + Totals(), presence and Presence(**presence)
    except (ValueError, TypeError, AttributeError):
        return None
