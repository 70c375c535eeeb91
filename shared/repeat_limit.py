"""Keeps a message that comes again and again from flooding the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

BURST = 10
"""Entries with the same message within a period; further ones are only counted."""
PERIOD_SECONDS = 10.0
MAX_MESSAGES = 500
"""Messages that are told apart within a period; the rest of a logger counts as one."""

_Key = tuple[str, int, str]


class RepeatLimit:
    """Messages are the same when logger, level and text before formatting are.

    Threads may use it at once: an entry more or less then doesn't matter.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.held_back = 0
        """Records that were not admitted."""
        self._clock = clock
        self._ends = clock() + PERIOD_SECONDS
        self._counts: dict[_Key, int] = {}

    def admits(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be written; it counts either way."""
        key = (record.name, record.levelno, str(record.msg))
        count = self._counts.get(key)
        if count is None and len(self._counts) >= MAX_MESSAGES:
            key = (record.name, record.levelno, "various messages")
            count = self._counts.get(key)
        self._counts[key] = count = (count or 0) + 1
        if count <= BURST:
            return True
        self.held_back += 1
        return False

    def summaries(self) -> Iterator[logging.LogRecord]:
        """Once a period is over, an entry for each message that was held back in it."""
        if self._clock() < self._ends:
            return
        counts, self._counts = self._counts, {}
        self._ends = self._clock() + PERIOD_SECONDS
        for (name, level, message), count in list(counts.items()):
            if count > BURST:
                text = "held back, as it came too often: %s"
                summary = logging.LogRecord(name, level, "", 0, text, (message,), None)
                summary.held_back = count - BURST
                yield summary
