"""Reads clicks from the stream in Redis and has them recorded: the worker's second job."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2
from prometheus_client import CollectorRegistry
from redis import Redis

from services.worker.click_store import ClickStore
from shared import click_stream, metrics
from shared.click_stream import (
    SILENCE_SECONDS,
    STREAM,
    STREAM_BYTES,
    Batch,
    InvalidBatch,
)

READ_COUNT = 1_000
READ_BYTES = 4 << 20
"""What one transaction records, at the most: in bytes, some hundred thousand clicks."""
FIRST_READ_COUNT = 16
"""While it isn't known how large they are."""
BLOCK_MS = 500
"""Longest wait of Redis for the next entry, and so for `stop`."""
PACE_SECONDS = 0.5
"""Between the starts of two transactions, unless more waits: a busy link is one update in each."""
KEEP_UP_SECONDS = 600.0
KEEP_UP_RETRY_SECONDS = 60.0
WATCH_SECONDS = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """An entry of the stream, which holds one batch."""

    id: bytes
    label: bytes
    content: bytes
    batch: Batch


class ClickRecorder:
    """Records everything that is in the stream, oldest first, and then removes it.

    It remembers nothing: what is in the stream is either new, or known by its producer's numbers
    to be recorded. So it may end, or fail, anywhere, and another one may be at work.
    """

    name = "clicks"

    def __init__(
        self,
        redis: Redis,
        open_store: Callable[[], ClickStore],
        registry: CollectorRegistry,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._redis = redis
        self._open_store = open_store
        self._clock = clock
        self._wall_clock = wall_clock
        self._remove: Any = redis.register_script(click_stream.REMOVE)
        self._set_aside: Any = redis.register_script(click_stream.SET_ASIDE)
        self._find_silent: Any = redis.register_script(click_stream.FIND_SILENT)
        self._read_bytes = READ_BYTES
        self._oldest: float | None = None
        self._keep_up_at = self._watch_at = clock()
        self._recorded = metrics.CLICKS_RECORDED.counter(registry)
        self._seen_twice = metrics.CLICKS_SEEN_TWICE.counter(registry)
        self._lost = metrics.CLICKS_LOST.counter(registry)
        self._unreadable = metrics.CLICK_ENTRIES_UNREADABLE.counter(registry)
        self._silent = metrics.CLICK_PRODUCERS_SILENT.counter(registry)
        self._batch_clicks = metrics.CLICK_BATCH_SIZE.histogram(registry)
        self._batch_seconds = metrics.CLICK_BATCH_SECONDS.histogram(registry)
        self._stream_entries = metrics.CLICK_STREAM_ENTRIES.gauge(registry)
        self._stream_bytes = metrics.CLICK_STREAM_BYTES.gauge(registry)
        metrics.CLICK_LAG.gauge(registry).set_function(self.lag)

    def lag(self) -> float:
        """Age of the oldest click that was read and isn't recorded, in seconds."""
        oldest = self._oldest
        return 0.0 if oldest is None else max(0.0, self._wall_clock() - oldest)

    def run(self, stop: threading.Event) -> None:
        """Records until `stop`. Raises redis-py's and psycopg2's errors; then it may run again."""
        with closing(self._open_store()) as store:
            while not stop.is_set():
                if self._clock() >= self._keep_up_at:
                    self._keep_up(store)
                if self._clock() >= self._watch_at:
                    self._watch_at = self._clock() + WATCH_SECONDS
                    self.watch_producers()
                started = self._clock()
                if not self.step(store):
                    stop.wait(max(0.0, started + PACE_SECONDS - self._clock()))

    def stopped(self) -> None:
        """What was read and isn't recorded is another worker's from now on."""
        self._oldest = None

    def step(self, store: ClickStore) -> bool:
        """Reads and records once; whether more is waiting, most likely."""
        count = self._look()
        found: Any = self._redis.xread({STREAM: "0-0"}, count=count, block=BLOCK_MS)
        started = self._clock()
        waiting = found[0][1] if found else []
        if entries := self._decoded(waiting):
            self._oldest = min(min(entry.batch.times) for entry in entries) / 1_000
            self._record(store, entries)
            labels = ((entry.id, entry.label) for entry in entries)
            self._remove(args=click_stream.remove_arguments(labels))
            self._batch_seconds.observe(self._clock() - started)
        self._oldest = None
        return len(waiting) == count

    def watch_producers(self) -> None:
        """Counts redirectors that ended without handing over their last clicks."""
        info: Any = self._redis.info("server")
        # When Redis was away, so were the beats of all.
        if info["uptime_in_seconds"] > SILENCE_SECONDS and (silent := self._find_silent()):
            self._silent.inc(silent)
            _log.warning("redirectors fell silent", extra={"redirectors": silent})

    def _decoded(self, found: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> list[Entry]:
        entries = []
        for entry_id, fields in found:
            label, content = next(iter(fields.items()))
            try:
                entries.append(Entry(entry_id, label, content, click_stream.decode(content)))
            except InvalidBatch as error:
                self._put_aside(entry_id, label, content, error)
        return entries

    def _put_aside(self, entry_id: bytes, label: bytes, content: bytes, error: Exception) -> None:
        _log.error("setting clicks aside that can't be read", extra={"reason": str(error)})
        self._set_aside(args=[entry_id, label, content])
        self._unreadable.inc()

    def _record(self, store: ClickStore, entries: Sequence[Entry]) -> None:
        try:
            recorded = store.record([entry.batch for entry in entries])
        except psycopg2.Error as error:
            # Perhaps it was too much at once, or one of them can't be recorded.
            self._read_bytes = sum(len(entry.content) for entry in entries) // 2
            if isinstance(error, psycopg2.DataError) and len(entries) == 1:
                self._put_aside(entries[0].id, entries[0].label, entries[0].content, error)
            raise
        self._read_bytes = min(READ_BYTES, max(1, self._read_bytes) * 2)
        self._recorded.labels("person").inc(recorded.people)
        self._recorded.labels("bot").inc(recorded.bots)
        self._seen_twice.inc(recorded.seen)
        self._batch_clicks.observe(recorded.people + recorded.bots)
        if recorded.lost:
            self._lost.inc(recorded.lost)
            _log.error("Redis lost clicks", extra={"clicks": recorded.lost})

    def _look(self) -> int:
        """How many entries to read, by how large they are."""
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.xlen(STREAM)
            pipeline.get(STREAM_BYTES)
            length, size = pipeline.execute()
        length, size = int(length), int(size or 0) if length else 0
        self._stream_entries.set(length)
        self._stream_bytes.set(size)
        if not size:
            return FIRST_READ_COUNT
        return max(1, min(READ_COUNT, self._read_bytes * length // size))

    def _keep_up(self, store: ClickStore) -> None:
        # Set before it can fail: what comes in matters more than the next attempt.
        self._keep_up_at = self._clock() + KEEP_UP_RETRY_SECONDS
        has_more = store.keep_up()
        self._keep_up_at = self._clock() + (0.0 if has_more else KEEP_UP_SECONDS)
