"""The newest log entries of all processes, in a Redis stream: who writes them and how.

Logging only appends to a queue; a thread brings what is in it to Redis. When Redis is away the
queue fills up and loses its oldest entries, which are counted. Nothing waits.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Final

from prometheus_client import CollectorRegistry, Counter
from redis.exceptions import RedisError

from shared.logging import JsonLines
from shared.metrics import LOG_ENTRIES_DROPPED
from shared.redis_reporter import RedisReporter

STREAM = "hoplink:logs"
KEPT = 2_000
"""Entries that the stream holds, and a few more, since Redis trims it in nodes."""
RECENT = 1_000
"""Entries that each process keeps of its own."""
MAX_WAITING = 1_000
"""Entries of a process that wait for Redis."""
BATCH = 250
INTERVAL_SECONDS = 0.25
RETRY_SECONDS = 1.0

_APPEND: Final = """
for entry in string.gmatch(ARGV[2], '[^\\n]+') do
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'entry', entry)
end
"""
"""The entries are lines of one argument: to pack an argument for each takes eight times as long."""

_log = logging.getLogger(__name__)


class LogFeed(RedisReporter):
    """The part of one process. Its last report is what waits, if Redis takes it."""

    first_pause = INTERVAL_SECONDS

    def __init__(self, redis_url: str, handler: JsonLines) -> None:
        super().__init__(redis_url, "logs")
        self.dropped = 0
        """Entries that the stream never got."""
        self._recent: deque[str] = deque(maxlen=RECENT)
        self._waiting: deque[str] = deque(maxlen=MAX_WAITING)
        self._batch: list[str] = []
        self._in_trouble = False
        self._handler = handler
        self._counters: dict[str, Counter] = {}
        self._counted = self._totals()

    def count_in(self, registry: CollectorRegistry, service: str) -> None:
        """Has a metric tell what gets lost from here on. To be called once, before the start."""
        counter = LOG_ENTRIES_DROPPED.counter(registry)
        self._counters = {reason: counter.labels(service, reason) for reason in self._totals()}

    def start(self) -> None:
        self._handler.listener = self.take
        super().start()

    def take(self, line: str) -> None:
        """An entry that was written."""
        self._recent.append(line)
        if len(self._waiting) == MAX_WAITING:
            self.dropped += 1
        self._waiting.append(line)

    def recent(self, limit: int) -> list[bytes]:
        """The newest entries of this process."""
        return [line.encode() for line in list(self._recent)[-limit:]]

    def report(self) -> float:
        self._handler.summarise()
        self._count()
        return INTERVAL_SECONDS if self._flush() else RETRY_SECONDS

    def report_last(self) -> None:
        self._flush()

    def _totals(self) -> dict[str, int]:
        return {"repeated": self._handler.held_back, "overflow": self.dropped}

    def _count(self) -> None:
        totals = self._totals()
        for reason, counter in self._counters.items():
            counter.inc(totals[reason] - self._counted[reason])
        self._counted = totals

    def _flush(self) -> bool:
        """Whether Redis took what there was."""
        try:
            while self._batch or self._waiting:
                self._batch = self._batch or self._next_batch()
                self._redis.eval(_APPEND, 1, STREAM, KEPT, "\n".join(self._batch))
                self._batch = []
        except RedisError as error:
            if not self._in_trouble:
                self._in_trouble = True
                _log.warning("log entries don't reach Redis", extra={"reason": str(error)})
            return False
        if self._in_trouble:
            self._in_trouble = False
            _log.info("log entries reach Redis again", extra={"dropped": self.dropped})
        return True

    def _next_batch(self) -> list[str]:
        return [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
