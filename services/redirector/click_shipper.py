"""Brings clicks to the stream in Redis: in order, again and again until they are there."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.redirector.clicks import ClickLog
from shared import click_stream
from shared.click_stream import BEAT_SECONDS

TIMEOUT_SECONDS = 1.0
"""For one answer of Redis."""
LOOKS = 10
"""How often in an interval there is a look at how many clicks came."""
PACKED_EARLY = 1_000
"""Clicks that aren't left to the end of the interval: while the processor's cache holds them each
costs less to encode, and no request waits long for it."""
SETTLE_SECONDS = 3.0
"""A Redis that is killed may lose what it took in its last second, two when its disk is busy. A
batch is kept until Redis is seen to hold it after so long."""
RENEW_SECONDS = 3_600.0
"""A producer with nothing to do for so long is given up for a new one: Redis and PostgreSQL would
forget its numbers some day, and then it would seem to have lost clicks."""

_log = logging.getLogger(__name__)

_FAILURES = (RedisError, OSError, TimeoutError, ValueError)


@dataclass
class Parcel:
    """An encoded batch, of the clicks from number `first` to before `end`."""

    first: int
    end: int
    content: bytes
    arrived: float = 0.0
    """When Redis was first known to hold it."""


class ClickShipper:
    """The producer of this process. Its numbers begin at 0, so its name is never used again.

    Parcels are kept until Redis has them for good. What doesn't fit in `max_bytes` is dropped and
    counted. A full stream is treated like a Redis that doesn't answer: the clicks wait here.
    """

    def __init__(
        self,
        log: ClickLog,
        redis: Redis,
        *,
        interval: float,
        max_bytes: int,
        max_stream_bytes: int,
        clock: Callable[[], float],
    ) -> None:
        self.dropped = 0
        """Clicks for which there was no room, or no time at the end."""
        self.failures = 0
        """Tries that failed, because Redis didn't answer or the stream was full."""
        self.bytes = 0
        """Of all parcels that are kept."""
        self._log = log
        self._redis = redis
        self._append: Any = redis.register_script(click_stream.APPEND)
        self._beat: Any = redis.register_script(click_stream.BEAT)
        self._name = secrets.token_hex(16)
        self._beat_at = clock()
        self._interval = interval
        self._max_bytes = max_bytes
        self._max_stream_bytes = max_stream_bytes
        self._clock = clock
        self._producer = b""
        self._earlier = 0
        self._numbered = 0
        self._flushed = 0
        self._position = 0
        self._proved = float("-inf")
        self._waiting: deque[Parcel] = deque()
        self._settling: deque[Parcel] = deque()
        self._in_trouble = False
        self._is_dropping = False

    @property
    def accepted(self) -> int:
        """Clicks since the start."""
        return self._earlier + self._numbered + self.dropped + len(self._log)

    @property
    def flushed(self) -> int:
        """Clicks that Redis took."""
        return self._earlier + self._flushed

    @property
    def waiting(self) -> int:
        """Clicks that Redis doesn't have yet."""
        return self._numbered - self._position + len(self._log)

    async def run(self) -> None:
        """Flushes for ever."""
        rest = self._interval
        while True:
            started = self._clock()
            try:
                for _ in range(LOOKS):
                    await asyncio.sleep(rest / LOOKS)
                    if len(self._log) >= PACKED_EARLY:
                        self._pack()
                started = self._clock()
                await self.flush()
            except Exception:  # noqa: BLE001  # the clicks that come next must be flushed all the same
                _log.exception("clicks could not be flushed")
            rest = max(0.0, started + self._interval - self._clock())

    async def close(self, seconds: float) -> None:
        """Flushes what there is for `seconds`, and two time-outs more; the rest is lost."""
        deadline = self._clock() + seconds
        await self.flush()
        while self.waiting and self._clock() < deadline:
            await asyncio.sleep(min(self._interval, 0.1) if self._in_trouble else 0.0)
            await self.flush()
        if self.waiting:
            _log.error("ending with clicks that Redis didn't take", extra={"clicks": self.waiting})
        else:
            await self._say_farewell()

    async def flush(self) -> None:
        """Numbers the clicks since the last time, and ships what waits, unless Redis fails.

        A long backlog is left after an interval: meanwhile nobody numbers what comes.
        """
        self._pack()
        try:
            await self._ship(self._clock() + self._interval)
            if self._clock() >= self._beat_at:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    await self._beat(args=[self._name])
                self._beat_at = self._clock() + BEAT_SECONDS
        except _FAILURES as error:
            self._failed(repr(error))

    def _pack(self) -> None:
        is_idle = not self._waiting and not self._settling
        if is_idle and self._clock() - self._proved >= RENEW_SECONDS:
            self._begin()
        since = self._log.since()
        for clicks in self._log.cut():
            content = click_stream.encode(self._producer, self._numbered, clicks, since=since)
            if not self._has_room(len(content)):
                self._drop(len(clicks.links))
                continue
            end = self._numbered + len(clicks.links)
            self._waiting.append(Parcel(self._numbered, end, content))
            self._numbered = end
            self.bytes += len(content)

    def _begin(self) -> None:
        self._producer = secrets.token_bytes(16)
        self._earlier += self._numbered
        self._numbered = self._flushed = self._position = 0
        self._proved = self._clock()

    def _has_room(self, size: int) -> bool:
        while self.bytes + size > self._max_bytes and self._settling:
            self._release()
        return self.bytes + size <= self._max_bytes

    def _drop(self, clicks: int) -> None:
        self.dropped += clicks
        if not self._is_dropping:
            self._is_dropping = True
            _log.error("no room for clicks: dropping new ones until Redis takes the others")

    async def _ship(self, deadline: float) -> None:
        while self._waiting:
            parcel = self._waiting[0]
            async with asyncio.timeout(TIMEOUT_SECONDS):
                position = await self._append(
                    args=click_stream.append_arguments(
                        self._producer,
                        expected=self._position,
                        first=parcel.first,
                        end=parcel.end,
                        content=parcel.content,
                        max_bytes=self._max_stream_bytes,
                    )
                )
            if position == self._position:
                self._failed("the stream is full")
                return
            self._moved(position)
            if self._clock() >= deadline:
                return
        if self._settling and self._clock() - self._proved >= SETTLE_SECONDS:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                position = await self._redis.get(click_stream.position_key(self._producer))
            self._moved(int(position or 0))

    async def _say_farewell(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await self._redis.hdel(click_stream.BEATS, self._name)
        except _FAILURES as error:
            _log.warning("Redis doesn't know of this end", extra={"reason": repr(error)})

    def _moved(self, position: int) -> None:
        """Redis holds what comes before `position`, no more: that much is proved now."""
        now = self._clock()
        if position < self._position:
            _log.warning(
                "Redis lost clicks, appending them again",
                extra={"clicks": self._position - position},
            )
        self._flushed = max(self._flushed, position)
        self._position = position
        self._proved = now
        while self._settling and self._settling[-1].end > position:
            self._waiting.appendleft(self._settling.pop())
        while self._waiting and self._waiting[0].end <= position:
            parcel = self._waiting.popleft()
            parcel.arrived = now
            self._settling.append(parcel)
        while self._settling and self._settling[0].arrived <= now - SETTLE_SECONDS:
            self._release()
        if self._in_trouble:
            _log.info("clicks are flushed again", extra={"waiting": self.waiting})
        self._in_trouble = self._is_dropping = False

    def _release(self) -> None:
        self.bytes -= len(self._settling.popleft().content)

    def _failed(self, reason: str) -> None:
        self.failures += 1
        if not self._in_trouble:
            _log.warning("clicks wait in memory", extra={"reason": reason})
        self._in_trouble = True
