"""Clicks reach the stream once and in order, whatever Redis does, and within their memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from services.redirector.click_shipper import RENEW_SECONDS, SETTLE_SECONDS, ClickShipper
from services.redirector.clicks import ClickLog
from shared import click_stream
from shared.click_stream import BEATS, MAX_BATCH, STREAM, Batch, decode
from tests.support.coherence import Clock
from tests.support.proxy import LossyProxy
from tests.support.stores import ValkeyProcess

REQUEST = b"GET /abc HTTP/1.1\r\nHost: sho.rt\r\n\r\n"


class SlowClock(Clock):
    """More than an interval passes until it is looked at again."""

    def __call__(self) -> float:
        self.pass_(0.02)
        return self.now


class Producer:
    """A shipper on a log of its own; time passes when it is told to."""

    def __init__(self, redis_url: str, **limits: int) -> None:
        self.clock = Clock()
        self.log = ClickLog()
        self._count = 0
        self.redis = Redis.from_url(
            redis_url,
            max_connections=1,
            socket_connect_timeout=0.2,
            retry=Retry(NoBackoff(), 0),
        )
        self.shipper = ClickShipper(
            self.log,
            self.redis,
            interval=0.01,
            max_bytes=limits.get("max_bytes", 1 << 20),
            max_stream_bytes=limits.get("max_stream_bytes", 1 << 20),
            clock=self.clock,
        )

    def click(self, count: int = 1) -> None:
        """Clicks on links 1, 2, 3 and so on."""
        for _ in range(count):
            self._count += 1
            self.log.take_down(self._count, REQUEST, time.monotonic())

    async def flush(self, count: int = 0) -> None:
        self.click(count)
        await self.shipper.flush()


@asynccontextmanager
async def producer(redis_url: str, **limits: int) -> AsyncIterator[Producer]:
    made = Producer(redis_url, **limits)
    try:
        yield made
    finally:
        await made.redis.aclose()


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 30))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # nothing there to wait on; `run` sets the limit
        await asyncio.sleep(0.01)


class Stream:
    """What is in Redis."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client

    def batches(self) -> list[Batch]:
        found: Any = self.client.xrange(STREAM)
        return [decode(next(iter(fields.values()))) for _, fields in found]

    def links(self) -> list[int]:
        return [link for batch in self.batches() for link in batch.links]

    def lose_tail(self, entries: int) -> None:
        """As a Redis that comes back from an append-only file that was cut."""
        found: Any = self.client.xrevrange(STREAM, count=entries)
        for entry, fields in found:
            batch = decode(next(iter(fields.values())))
            self.client.xdel(STREAM, entry)
            self.client.set(click_stream.position_key(batch.producer), batch.first)


@pytest.fixture
def stream(redis_url: str) -> Iterator[Stream]:
    with redis.Redis.from_url(redis_url) as client:
        yield Stream(client)


@pytest.fixture
def proxy(valkey: ValkeyProcess) -> Iterator[LossyProxy]:
    lossy = LossyProxy(valkey.port)
    yield lossy
    lossy.close()


def test_clicks_are_numbered_from_zero_and_shipped_in_order(redis_url: str, stream: Stream) -> None:
    async def test() -> None:
        async with producer(redis_url) as ours:
            await ours.flush(2)
            await ours.flush()
            await ours.flush(MAX_BATCH + 1)
            assert (ours.shipper.accepted, ours.shipper.flushed) == (MAX_BATCH + 3, MAX_BATCH + 3)

    run(test())
    assert [(batch.first, batch.end) for batch in stream.batches()] == [
        (0, 2),
        (2, MAX_BATCH + 2),
        (MAX_BATCH + 2, MAX_BATCH + 3),
    ]
    assert stream.links() == list(range(1, MAX_BATCH + 4))


def test_two_producers_have_two_names(redis_url: str, stream: Stream) -> None:
    async def test() -> None:
        async with producer(redis_url) as first, producer(redis_url) as second:
            await first.flush(1)
            await second.flush(1)

    run(test())
    assert len({batch.producer for batch in stream.batches()}) == 2


def test_a_batch_whose_reply_was_lost_is_there_once(
    redis_url: str, valkey: ValkeyProcess, stream: Stream, proxy: LossyProxy
) -> None:
    through = redis_url.replace(f":{valkey.port}/", f":{proxy.port}/")

    async def test() -> None:
        async with producer(through) as ours:
            await ours.flush(1)
            for _ in range(10):
                proxy.lose_replies = 1
                await ours.flush(1)
                assert ours.shipper.waiting > 0
            await ours.flush()
            await ours.flush()
            assert ours.shipper.waiting == 0
            assert ours.shipper.failures == proxy.lost == 10

    run(test())
    assert stream.links() == list(range(1, 12))


def test_clicks_wait_for_a_redis_that_is_away(
    redis_url: str, valkey: ValkeyProcess, stream: Stream
) -> None:
    async def test() -> None:
        async with producer(redis_url) as ours:
            await ours.flush(1)
            valkey.kill()
            for _ in range(5):
                await ours.flush(1)
            assert (ours.shipper.waiting, ours.shipper.dropped) == (5, 0)
            valkey.start()
            await ours.flush()
            assert ours.shipper.waiting == 0

    run(test())
    assert stream.links() == [1, 2, 3, 4, 5, 6]


def test_a_redis_that_hangs_holds_up_nothing_but_the_flush(
    redis_url: str, valkey: ValkeyProcess, stream: Stream
) -> None:
    async def test() -> None:
        async with producer(redis_url) as ours:
            await ours.flush(1)
            valkey.freeze()
            started = time.monotonic()
            flush = asyncio.create_task(ours.flush(1))
            longest = 0.0
            while not flush.done():
                before = time.monotonic()
                await asyncio.sleep(0.001)
                longest = max(longest, time.monotonic() - before)
            assert time.monotonic() - started < 2
            assert longest < 0.5
            valkey.thaw()
            await ours.flush()
            assert ours.shipper.waiting == 0

    run(test())
    assert stream.links() == [1, 2]


def test_what_redis_lost_soon_after_it_took_it_is_appended_again(
    redis_url: str, stream: Stream
) -> None:
    async def test() -> None:
        async with producer(redis_url) as ours:
            for _ in range(4):
                await ours.flush(1)
                ours.clock.pass_(0.5)
            stream.lose_tail(2)
            assert stream.links() == [1, 2]
            await ours.flush(1)
            assert stream.links() == [1, 2, 3, 4, 5]

    run(test())


def test_a_loss_is_noticed_without_another_click(redis_url: str, stream: Stream) -> None:
    async def test() -> None:
        async with producer(redis_url) as ours:
            await ours.flush(1)
            stream.client.flushall()
            ours.clock.pass_(SETTLE_SECONDS)
            await ours.flush()
            await ours.flush()
            assert stream.links() == [1]

    run(test())


def test_what_has_settled_is_no_longer_kept(redis_url: str, stream: Stream) -> None:
    async def test() -> None:
        async with producer(redis_url) as ours:
            await ours.flush(10)
            assert ours.shipper.bytes > 0
            ours.clock.pass_(SETTLE_SECONDS)
            await ours.flush()
            assert ours.shipper.bytes == 0
            stream.client.flushall()
            await ours.flush(1)
            # A gap in the numbers: the worker counts ten clicks as lost.
            assert [batch.first for batch in stream.batches()] == [10]

    run(test())


def test_without_room_new_clicks_are_dropped_and_counted(
    redis_url: str, valkey: ValkeyProcess, stream: Stream
) -> None:
    async def test() -> None:
        async with producer(redis_url, max_bytes=1_000) as ours:
            await ours.flush(1)
            valkey.kill()
            for _ in range(10):
                await ours.flush(10)
                assert ours.shipper.bytes <= 1_000
            shipper = ours.shipper
            assert 0 < shipper.dropped < 100
            assert shipper.accepted == 101
            valkey.start()
            await ours.flush()
            await ours.flush(1)
            assert shipper.flushed == 102 - shipper.dropped
            assert len(stream.links()) == shipper.flushed
            firsts = [batch.first for batch in stream.batches()]
            assert firsts == [0, *(batch.end for batch in stream.batches()[:-1])]

    run(test())


def test_room_is_made_by_forgetting_what_redis_has(redis_url: str) -> None:
    async def test() -> None:
        async with producer(redis_url, max_bytes=1_000) as ours:
            for _ in range(20):
                await ours.flush(10)
            assert ours.shipper.dropped == 0

    run(test())


def test_a_full_stream_is_waited_for(redis_url: str, stream: Stream) -> None:
    async def test() -> None:
        async with producer(redis_url, max_stream_bytes=500) as ours:
            for _ in range(10):
                await ours.flush(10)
            assert 0 < ours.shipper.waiting < 100
            assert ours.shipper.failures > 0
            before = stream.links()
            stream.client.delete(STREAM)
            await ours.flush()
            assert (before + stream.links()) == list(range(1, len(before + stream.links()) + 1))

    run(test())


def test_closing_flushes_everything_and_says_farewell(redis_url: str, stream: Stream) -> None:
    async def test() -> None:
        async with producer(redis_url) as ours:
            await ours.flush()
            assert stream.client.hlen(BEATS) == 1
            ours.click(3)
            await ours.shipper.close(3)
            assert stream.client.hlen(BEATS) == 0

    run(test())
    assert stream.links() == [1, 2, 3]


def test_closing_waits_for_redis_but_not_for_ever(redis_url: str, valkey: ValkeyProcess) -> None:
    async def test() -> None:
        async with producer(redis_url) as ours:
            ours.shipper._clock = time.monotonic
            valkey.freeze()
            ours.click(3)
            started = time.monotonic()
            await ours.shipper.close(0.5)
            assert time.monotonic() - started < 2.5
            assert ours.shipper.waiting == 3

    run(test())


def test_a_producer_that_was_idle_begins_anew(redis_url: str, stream: Stream) -> None:
    async def test() -> None:
        async with producer(redis_url) as ours:
            await ours.flush(2)
            ours.clock.pass_(SETTLE_SECONDS)
            await ours.flush()
            ours.clock.pass_(RENEW_SECONDS)
            await ours.flush(1)
            shipper = ours.shipper
            assert (shipper.accepted, shipper.flushed, shipper.waiting) == (3, 3, 0)

    run(test())
    first, second = stream.batches()
    assert first.producer != second.producer
    assert (first.first, second.first) == (0, 0)


def test_a_backlog_is_shipped_an_interval_at_a_time(
    redis_url: str, valkey: ValkeyProcess, stream: Stream
) -> None:
    async def test() -> None:
        async with producer(redis_url) as ours:
            valkey.kill()
            for _ in range(5):
                await ours.flush(1)
            valkey.start()
            ours.shipper._clock = SlowClock()
            await ours.flush(1)
            assert (len(ours.log), ours.shipper.waiting) == (0, 5)
            await ours.shipper.close(1)
            assert ours.shipper.waiting == 0

    run(test())
    assert stream.links() == [1, 2, 3, 4, 5, 6]


def test_closing_gives_a_backlog_up_in_time(
    redis_url: str, valkey: ValkeyProcess, stream: Stream
) -> None:
    async def test() -> None:
        async with producer(redis_url) as ours:
            valkey.kill()
            for _ in range(5):
                await ours.flush(1)
            valkey.start()
            ours.shipper._clock = SlowClock()
            await ours.shipper.close(0.0)
            assert ours.shipper.waiting == 4

    run(test())
    assert stream.links() == [1]


def test_no_failure_ends_the_flushing(
    redis_url: str, valkey: ValkeyProcess, stream: Stream
) -> None:
    async def test() -> None:
        async with producer(redis_url) as ours:
            task = asyncio.create_task(ours.shipper.run())
            await asyncio.sleep(0)
            valkey.kill()
            ours.click()
            await until(lambda: ours.shipper.failures > 0)
            valkey.start()
            await until(lambda: ours.shipper.waiting == 0)
            task.cancel()

    run(test())
    assert stream.links() == [1]
