"""A circuit breaker: while a store is down, no request waits to find that out again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

FAILURES_TO_OPEN = 3
PROBE_SECONDS = 0.5
PROBE_TIMEOUT_SECONDS = 0.5

_log = logging.getLogger(__name__)


class Breaker:
    """Opens after three failures on end; then `watch` probes the store until it answers."""

    def __init__(self, store: str) -> None:
        self.store = store
        self.is_open = False
        self.failures = 0
        """Since the start."""
        self._failures_on_end = 0
        self._opened = asyncio.Event()

    def succeeded(self) -> None:
        self._failures_on_end = 0

    def failed(self, reason: BaseException) -> None:
        self.failures += 1
        self._failures_on_end += 1
        if self.is_open:
            return
        _log.warning("store failed", extra={"store": self.store, "reason": repr(reason)})
        if self._failures_on_end >= FAILURES_TO_OPEN:
            self.is_open = True
            self._opened.set()
            _log.error("store is down, requests do without it", extra={"store": self.store})

    async def watch(self, probe: Callable[[], Awaitable[object]]) -> None:
        """Runs for ever: whenever the breaker is open, closes it once `probe` succeeds."""
        while True:
            await self._opened.wait()
            await asyncio.sleep(PROBE_SECONDS)
            try:
                async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                    await probe()
            except Exception as error:  # noqa: BLE001  # whatever a client raises, it isn't back
                _log.debug("probe failed", extra={"store": self.store, "reason": repr(error)})
                continue
            self._failures_on_end = 0
            self.is_open = False
            self._opened.clear()
            _log.info("store is back", extra={"store": self.store})
