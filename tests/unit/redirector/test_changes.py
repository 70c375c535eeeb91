"""How a redirector hears of changes, and how it knows that it missed none."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis import Redis

from services.redirector import changes as module
from services.redirector.changes import FRESH_SECONDS, POLL_LIMIT, SILENCE_SECONDS, ChangeFeed, Way
from shared import change_log
from shared.change_log import Changes, Snapshot
from shared.link_cache import CHANNEL
from tests.support.coherence import Clock, Relay, Writer, client, pool, relay, writer
from tests.support.stores import PostgresProcess, ValkeyProcess

URL = "https://example.com/"


class Feed:
    """A feed whose changes are kept here, with a clock of its own unless it runs."""

    def __init__(self, database_url: str, redis_url: str, clock: Callable[[], float]) -> None:
        self.client = client(redis_url, 1)
        self.pool = pool(database_url, 1)
        self.feed = ChangeFeed(self.client, self.pool, clock)
        self.feed._forget = self.forget
        self.told: list[Changes] = []
        self.news = asyncio.Event()

    def forget(self, changes: Changes) -> None:
        self.told.append(changes)
        self.news.set()

    def take(self) -> list[Changes]:
        told, self.told = self.told, []
        return told

    @property
    def known(self) -> Snapshot:
        assert self.feed.known is not None
        return self.feed.known

    def heartbeat(self, start: Snapshot, end: Snapshot) -> None:
        self.feed.hear(f"heartbeat {start} {end}".encode())

    async def close(self) -> None:
        self.pool.close()
        await self.client.aclose()


Scenario = Callable[[Feed, Clock], Awaitable[None]]


@pytest.fixture
def step_by_step(database_url: str, redis_url: str) -> Callable[[Scenario], None]:
    """Runs a scenario with a feed that does nothing by itself."""

    def run(scenario: Scenario) -> None:
        async def main() -> None:
            clock = Clock()
            made = Feed(database_url, redis_url, clock)
            await scenario(made, clock)
            await made.close()

        asyncio.run(main())

    return run


@pytest.fixture
def running(database_url: str, redis_url: str) -> Callable[..., None]:
    """Runs a scenario with a feed that listens and polls."""

    def run(scenario: Callable[[Feed], Awaitable[None]]) -> None:
        async def main() -> None:
            made = Feed(database_url, redis_url, asyncio.get_running_loop().time)
            feeding = asyncio.create_task(made.feed.run(made.forget))
            try:
                async with asyncio.timeout(20):
                    await scenario(made)
                assert not feeding.done()
            finally:
                feeding.cancel()
                await asyncio.wait([feeding])
                await made.close()

        asyncio.run(main())

    return run


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # it waits for another process
            await asyncio.sleep(0.01)


async def until_told(made: Feed, code: str, seconds: float) -> None:
    await until(lambda: any(code in changes.codes for changes in made.told), seconds)


def later(snapshot: Snapshot, by: int = 1) -> Snapshot:
    return Snapshot(snapshot.first + by, snapshot.next + by, snapshot.running)


def test_what_was_cached_before_the_first_look_is_forgotten(
    step_by_step: Callable[[Scenario], None],
) -> None:
    async def scenario(made: Feed, clock: Clock) -> None:
        assert not made.feed.is_fresh()
        await made.feed.poll()
        assert made.take() == [Changes(everything=True)]
        assert made.feed.is_fresh()
        assert not made.feed.is_hearing()

    step_by_step(scenario)


def test_messages_tell_of_changes(step_by_step: Callable[[Scenario], None]) -> None:
    async def scenario(made: Feed, clock: Clock) -> None:
        made.feed.hear(b"codes abc def")
        made.feed.hear(b"absent")
        assert made.take() == [Changes(codes=("abc", "def")), Changes(absent=True)]
        assert made.feed.applied == {Way.SUBSCRIPTION: 3}

    step_by_step(scenario)


def test_a_poll_tells_of_what_no_message_told(
    step_by_step: Callable[[Scenario], None], links: Writer
) -> None:
    async def scenario(made: Feed, clock: Clock) -> None:
        await made.feed.poll()
        made.take()
        links.write("code", URL, publish=False)
        links.add([("new", URL)], publish=False)
        await made.feed.poll()
        assert made.take() == [Changes(codes=("code",), absent=True)]
        await made.feed.poll()
        assert made.take() == []

    step_by_step(scenario)


def test_heartbeats_that_carry_on_keep_it_fresh(step_by_step: Callable[[Scenario], None]) -> None:
    async def scenario(made: Feed, clock: Clock) -> None:
        await made.feed.poll()
        for _ in range(20):
            clock.pass_(0.25)
            made.heartbeat(made.known, later(made.known))
            assert made.feed.is_hearing()
        clock.pass_(SILENCE_SECONDS)
        assert not made.feed.is_hearing()
        assert made.feed.is_fresh()
        clock.pass_(FRESH_SECONDS - SILENCE_SECONDS)
        assert not made.feed.is_fresh()

    step_by_step(scenario)


def test_a_heartbeat_after_a_gap_proves_nothing(step_by_step: Callable[[Scenario], None]) -> None:
    async def scenario(made: Feed, clock: Clock) -> None:
        await made.feed.poll()
        known = made.known
        made.heartbeat(later(known), later(known, 2))
        assert not made.feed.is_hearing()
        assert made.known == known
        assert made.feed._poll_now.is_set()

    step_by_step(scenario)


def test_a_change_published_before_the_subscription_is_a_gap_however_long_transactions_take(
    step_by_step: Callable[[Scenario], None],
    links: Writer,
    worker: Relay,
    database_url: str,
    redis_url: str,
) -> None:
    """A transaction that stays open held a mere horizon back, over a change that was missed."""

    async def scenario(made: Feed, clock: Clock) -> None:
        with writer(database_url, redis_url) as long:
            with long.connection.cursor() as cursor:
                cursor.execute(change_log.ADD, ("long",))
            worker.step()
            await made.feed.poll()
            links.write("missed", URL, publish=False)
            worker.step()  # publishes it, to nobody
            heard: Any = links.redis.pubsub()  # type: ignore[no-untyped-call]
            heard.subscribe(CHANNEL)
            heard.get_message(timeout=5)
            links.write("heard", URL, publish=False)
            worker.step()
            while (message := heard.get_message(timeout=0.2)) is not None:
                made.feed.hear(message["data"])
            heard.close()
            assert not made.feed.is_hearing()
            long.connection.rollback()
        made.take()
        await made.feed.poll()
        (changes,) = made.take()
        assert "missed" in changes.codes

    step_by_step(scenario)


def test_a_heartbeat_that_was_held_up_proves_nothing(
    step_by_step: Callable[[Scenario], None], links: Writer
) -> None:
    async def scenario(made: Feed, clock: Clock) -> None:
        await made.feed.poll()
        before = made.known
        links.write("code", URL, publish=False)
        await made.feed.poll()
        made.heartbeat(before, before)
        assert not made.feed.is_hearing()
        made.heartbeat(before, made.known)
        assert made.feed.is_hearing()

    step_by_step(scenario)


def test_after_a_stall_a_heartbeat_from_the_buffer_proves_nothing(
    step_by_step: Callable[[Scenario], None],
) -> None:
    async def scenario(made: Feed, clock: Clock) -> None:
        await made.feed.poll()
        made.heartbeat(made.known, made.known)
        clock.pass_(60)
        made.heartbeat(made.known, made.known)
        assert not made.feed.is_hearing()
        assert not made.feed.is_fresh()
        await made.feed.poll()
        made.heartbeat(made.known, made.known)
        assert made.feed.is_hearing()

    step_by_step(scenario)


def test_a_poll_that_heartbeats_overtook_empties_no_cache(
    step_by_step: Callable[[Scenario], None], links: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(made: Feed, clock: Clock) -> None:
        await made.feed.poll()
        made.take()
        fetch = made.pool.fetch
        ahead = later(made.known, 1_000)

        async def overtaken(query: str, parameters: dict[str, object]) -> list[tuple[object, ...]]:
            rows = await fetch(query, parameters)
            made.heartbeat(made.known, ahead)
            return rows

        monkeypatch.setattr(made.pool, "fetch", overtaken)
        await made.feed.poll()
        assert made.take() == []
        assert made.known == ahead

    step_by_step(scenario)


def test_a_log_that_no_longer_tells_empties_the_cache_once(
    step_by_step: Callable[[Scenario], None], links: Writer
) -> None:
    async def scenario(made: Feed, clock: Clock) -> None:
        await made.feed.poll()
        links.write("code", URL, publish=False)
        links.prune()
        made.take()
        await made.feed.poll()
        await made.feed.poll()
        assert made.take() == [Changes(everything=True)]

    step_by_step(scenario)


def test_more_changes_than_a_poll_applies_empty_the_cache_once(
    step_by_step: Callable[[Scenario], None], links: Writer
) -> None:
    async def scenario(made: Feed, clock: Clock) -> None:
        await made.feed.poll()
        made.take()
        with links.connection, links.connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO change_log (short_code) SELECT n FROM generate_series(0, %s) n",
                (POLL_LIMIT,),
            )
        await made.feed.poll()
        await made.feed.poll()
        assert made.take() == [Changes(everything=True)]

    step_by_step(scenario)


def test_is_cut_off_while_the_log_is_out_of_reach_and_no_longer(
    step_by_step: Callable[[Scenario], None], postgres: PostgresProcess
) -> None:
    async def scenario(made: Feed, clock: Clock) -> None:
        await made.feed.poll()
        postgres.kill()
        clock.pass_(60)
        await made.feed.poll()
        assert made.feed.cut_off
        assert made.feed.is_fresh()  # it serves what it has
        assert made.feed.polls_failed == 1
        made.heartbeat(made.known, made.known)
        assert not made.feed.cut_off
        await made.feed.poll()
        assert made.feed.cut_off
        postgres.start()
        await made.feed.poll()
        assert not made.feed.cut_off

    step_by_step(scenario)


def test_any_failure_of_a_poll_is_a_failed_poll(
    step_by_step: Callable[[Scenario], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(made: Feed, clock: Clock) -> None:
        async def odd(*_: object) -> list[tuple[object, ...]]:
            raise RuntimeError("odd")

        monkeypatch.setattr(made.pool, "fetch", odd)
        await made.feed.poll()
        assert made.feed.cut_off

    step_by_step(scenario)


def test_hears_of_a_change_at_once(
    running: Callable[..., None], links: Writer, worker: Relay
) -> None:
    async def scenario(made: Feed) -> None:
        await until(lambda: listeners(links.redis) == 1 and made.feed.known is not None)
        worker.step()
        await asyncio.sleep(0)
        worker.step()
        await until(made.feed.is_hearing)
        links.write("code", URL)
        await until_told(made, "code", 1)
        assert made.feed.applied[Way.SUBSCRIPTION] >= 1

    running(scenario)


def test_in_silence_it_hears_of_a_change_within_its_bound(
    running: Callable[..., None], links: Writer
) -> None:
    async def scenario(made: Feed) -> None:
        await until(lambda: made.feed.known is not None)
        for number in range(3):
            links.write(f"code{number}", URL, publish=False)
            await until_told(made, f"code{number}", 2)
        assert made.feed.applied[Way.POLL] >= 3
        assert made.feed.is_fresh()

    running(scenario)


@pytest.mark.parametrize("garbage", [b"hello", b"heartbeat x y", b"\xff\xfe"])
def test_a_message_that_nobody_understands_does_not_end_it(
    running: Callable[..., None], links: Writer, worker: Relay, garbage: bytes
) -> None:
    async def scenario(made: Feed) -> None:
        await until(lambda: listeners(links.redis) == 1)
        links.redis.publish(CHANNEL, garbage)
        await until(lambda: listeners(links.redis) == 0)
        await until(lambda: listeners(links.redis) == 1)
        await hears_again(made, worker)

    running(scenario)


def test_a_subscription_that_is_cut_is_made_again_and_what_it_missed_is_read(
    running: Callable[..., None], links: Writer, worker: Relay
) -> None:
    async def scenario(made: Feed) -> None:
        await until(lambda: listeners(links.redis) == 1)
        await hears_again(made, worker)
        links.redis.client_kill_filter(_type="pubsub")
        links.write("code", URL)
        await until_told(made, "code", 2)
        await until(lambda: listeners(links.redis) == 1)
        await hears_again(made, worker)

    running(scenario)


@pytest.mark.parametrize("publish", [True, False])
def test_a_failure_to_forget_loses_no_change(
    running: Callable[..., None], links: Writer, publish: bool
) -> None:
    async def scenario(made: Feed) -> None:
        failures = itertools.chain([RuntimeError("odd")], itertools.repeat(None))

        def fail_once(changes: Changes) -> None:
            failure = next(failures)
            if failure is not None:
                raise failure
            made.forget(changes)

        await until(lambda: listeners(links.redis) == 1 and made.feed.known is not None)
        made.feed._forget = fail_once
        links.write("code", URL, publish=publish)
        await until_told(made, "code", 3)

    running(scenario)


def test_starts_without_any_store_and_finds_them_when_they_come(
    running: Callable[..., None],
    postgres: PostgresProcess,
    valkey: ValkeyProcess,
    database_url: str,
    redis_url: str,
) -> None:
    postgres.kill()
    valkey.kill()

    async def scenario(made: Feed) -> None:
        await until(lambda: made.feed.polls_failed > 0)
        assert made.feed.is_fresh()
        await asyncio.to_thread(postgres.start)
        await until(lambda: made.feed.known is not None, 3)
        await asyncio.to_thread(valkey.start)
        with relay(database_url, redis_url) as again, Redis.from_url(redis_url) as client:
            await until(lambda: listeners(client) == 1, 3)
            await hears_again(made, again)

    running(scenario)


def test_a_frozen_redis_is_listened_to_again_when_it_goes_on(
    running: Callable[..., None],
    links: Writer,
    worker: Relay,
    valkey: ValkeyProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "HALF_OPEN_SECONDS", 0.5)

    async def scenario(made: Feed) -> None:
        await until(lambda: listeners(links.redis) == 1)
        await hears_again(made, worker)
        valkey.freeze()
        try:
            links.write("code", URL, publish=False)
            await until_told(made, "code", 3)
        finally:
            valkey.thaw()
        await until(lambda: listeners(links.redis) >= 1)
        await hears_again(made, worker)

    running(scenario)


def test_confirming_takes_no_longer_than_it_may(
    running: Callable[..., None], postgres: PostgresProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(made: Feed) -> None:
        await until(lambda: made.feed.known is not None)
        await made.feed.confirm(0.1)
        monkeypatch.setattr(made.feed, "fresh_until", float("-inf"))
        postgres.freeze()
        try:
            with pytest.raises(TimeoutError):
                await made.feed.confirm(0.1)
        finally:
            postgres.thaw()
        await made.feed.confirm(2)

    running(scenario)


def listeners(client: Redis) -> int:
    ((_, count),) = client.pubsub_numsub(CHANNEL)
    return int(count)


async def hears_again(made: Feed, worker: Relay) -> None:
    """The worker's heartbeats reach it, and it believes them."""

    def step() -> bool:
        worker.step()
        return made.feed.is_hearing()

    await until(step, 3)
