"""Hears of changed links and has them forgotten: by subscription, and by polling the change log.

The worker's heartbeats travel the same way as the changes and say from where to where the log has
been published, so silence, a gap and messages that were held up are all noticed. While no
heartbeat comes that carries on from what is known, the log itself is polled.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from enum import StrEnum

from redis.asyncio import Redis

from services.redirector.postgres import Pool
from shared import change_log
from shared.change_log import Changes, Snapshot
from shared.link_cache import CHANNEL, Heartbeat, read_message

SILENCE_SECONDS = 1.0
"""Without a heartbeat for so long, the log is polled."""
POLL_SECONDS = 1.0
"""From the start of one poll to the start of the next."""
POLL_TIMEOUT_SECONDS = 0.5
POLL_LIMIT = 20_000
"""Changes that one poll applies. After more of them the cache is emptied: that is less work."""
FRESH_SECONDS = 2.0
"""How long what was learned of changes covers answers from the local cache."""
RESTART_SECONDS = 0.2
HALF_OPEN_SECONDS = 5.0
"""A subscription that is silent for so long is made anew."""

_log = logging.getLogger(__name__)


class Way(StrEnum):
    """How a change was heard of."""

    SUBSCRIPTION = "subscription"
    POLL = "poll"


class ChangeFeed:
    """Has changes forgotten, and knows how far its own knowledge reaches.

    An answer from the local cache is no older than the bounds of docs/ARCHITECTURE.md while
    `is_fresh()`. That ends by itself only when this process was stopped or stalled.

    `known` is the snapshot of the change log whose changes have all been applied here, or None.
    `fresh_until` is the moment, by `clock`, at which `is_fresh()` ends.
    """

    def __init__(
        self,
        redis: Redis,
        database: Pool,
        clock: Callable[[], float],
    ) -> None:
        self.applied: Counter[Way] = Counter()
        """Codes forgotten, by the way they were heard of."""
        self.polls_failed = 0
        self.cut_off = False
        """Neither Redis nor PostgreSQL tells of changes: what is served may be old."""
        self._redis = redis
        self._database = database
        self._clock = clock
        self._forget: Callable[[Changes], None] = _nobody
        self.known: Snapshot | None = None
        self._heard_at = float("-inf")
        self.fresh_until = float("-inf")
        self._poll_now = asyncio.Event()
        self._polled = asyncio.Event()

    def is_hearing(self) -> bool:
        """Whether the subscription has proved within the last second that nothing was missed."""
        return self._clock() - self._heard_at < SILENCE_SECONDS

    def is_fresh(self) -> bool:
        """Whether what the local cache holds may be served without another look."""
        return self._clock() < self.fresh_until

    def seconds_since_proof(self) -> float:
        """Age of the last proof that no change was missed; infinite before the first."""
        return self._clock() - (self.fresh_until - FRESH_SECONDS)

    async def confirm(self, seconds: float) -> None:
        """Returns when it `is_fresh()`; raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not self.is_fresh():
                self._polled.clear()
                self._poll_now.set()
                await self._polled.wait()

    async def run(self, forget: Callable[[Changes], None]) -> None:
        """Listens and polls for ever; tells `forget` of every change."""
        self._forget = forget
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._for_ever(self._listen))
            tasks.create_task(self._for_ever(self._poll))

    async def _for_ever(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Exception as error:  # noqa: BLE001  # the feed must outlive any failure
                _log.warning("change feed interrupted", extra={"reason": repr(error)})
            await asyncio.sleep(RESTART_SECONDS)

    async def _listen(self) -> None:
        try:
            async with self._redis.pubsub() as subscription:
                async with asyncio.timeout(SILENCE_SECONDS):
                    await subscription.subscribe(CHANNEL)
                while True:
                    async with asyncio.timeout(HALF_OPEN_SECONDS):
                        message = await subscription.get_message(timeout=None)
                    if message is not None and message["type"] == "message":
                        self.hear(message["data"])
        finally:
            self._heard_at = float("-inf")
            self._poll_now.set()

    def hear(self, data: bytes) -> None:
        """Takes one message of the subscription; raises ValueError for an unknown one."""
        message = read_message(data)
        if isinstance(message, Changes):
            self._apply(message, Way.SUBSCRIPTION)
        elif self._carries_on(message):
            self.known = message.end
            self._heard_at = self._clock()
            self.cut_off = False
            self._confirmed(self._heard_at)
        else:
            self._poll_now.set()

    def _carries_on(self, heartbeat: Heartbeat) -> bool:
        """Whether nothing was missed before it, and it tells of now.

        One that was held up, by a Redis that was frozen, tells of less than a poll did since. One
        that comes after a stall of this process may have waited in a buffer: it can carry a proof
        on, but only a poll begins a new one.
        """
        return (
            self.known is not None
            and self.known.covers(heartbeat.start)
            and heartbeat.end.covers(self.known)
            and self.is_fresh()
        )

    async def _poll(self) -> None:
        while True:
            started = self._clock()
            if not self.is_hearing() or self._poll_now.is_set():
                self._poll_now.clear()
                await self.poll()
            silent_at = max(self._heard_at, started) + POLL_SECONDS
            try:
                async with asyncio.timeout(max(0.0, silent_at - self._clock())):
                    await self._poll_now.wait()
            except TimeoutError:
                continue

    async def poll(self) -> None:
        """Reads the change log from where this redirector stands, and applies what is new."""
        started = self._clock()
        try:
            async with asyncio.timeout(POLL_TIMEOUT_SECONDS):
                changes, now = await self._read_log()
        except Exception as error:  # noqa: BLE001  # whatever it is, the log could not be read
            self.polls_failed += 1
            if not self.cut_off:
                _log.error("cut off from the change log", extra={"reason": repr(error)})
            self.cut_off = True
        else:
            if self.cut_off:
                _log.info("the change log is back")
            self.cut_off = False
            self._apply(changes, Way.POLL)
            # A heartbeat may have led further meanwhile.
            if self.known is None or changes.everything or now.covers(self.known):
                self.known = now
        # Cut off from both stores it serves what it has: the one stated exception.
        self._confirmed(started)

    async def _read_log(self) -> tuple[Changes, Snapshot]:
        since = self.known
        if since is None:
            rows = await self._database.fetch(change_log.NOW, {})
            # Whatever was cached before was cached without knowing of any change.
            return Changes(everything=True), Snapshot.read(rows[0][0])
        parameters = change_log.read_parameters(since, limit=POLL_LIMIT)
        rows = await self._database.fetch(change_log.READ, parameters)
        return change_log.read_changes(rows, since, limit=POLL_LIMIT)

    def _apply(self, changes: Changes, way: Way) -> None:
        if changes:
            self.applied[way] += max(1, len(changes.codes))
            self._forget(changes)

    def _confirmed(self, moment: float) -> None:
        self.fresh_until = max(self.fresh_until, moment + FRESH_SECONDS)
        self._polled.set()


def _nobody(changes: Changes) -> None:
    """Before `run` there is nobody to tell, and nothing cached that a change could outdate."""
