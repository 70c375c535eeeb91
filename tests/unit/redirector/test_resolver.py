"""Three tiers, one flight per code, one budget, and no old answer in the local cache."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest

from services.redirector.breaker import FAILURES_TO_OPEN
from services.redirector.link_store import LinkStore
from services.redirector.postgres import Pool
from services.redirector.resolver import Tier, Unavailable
from shared.change_log import Changes
from shared.link_cache import POSITION, Link
from tests.support.coherence import Clock, Redirector, Relay, Writer, redirector
from tests.support.stores import PostgresProcess, ValkeyProcess

OLD, NEW = "https://example.com/old", "https://example.com/new"
BUDGET_SECONDS = 0.25
PATIENT = {"budget": 5.0, "redis_timeout": 2.0}
IMPATIENT = {"budget": BUDGET_SECONDS, "redis_timeout": 0.1}
UNAVAILABLE = ("unavailable", Tier.NONE)

Scenario = Callable[[Redirector], Awaitable[None]]


class HeldStore(LinkStore):
    """Reads PostgreSQL at once, and hands over what it read when it is let go."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.fetched: list[list[str]] = []
        self.read = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self, codes: Sequence[str]) -> dict[str, Link | None]:
        self.fetched.append(list(codes))
        links = await super().fetch(codes)
        self.read.set()
        await self.gate.wait()
        return links


@pytest.fixture
def worker(worker: Relay) -> Relay:
    """One that has said how far it is."""
    worker.step()
    return worker


@pytest.fixture
def run(database_url: str, redis_url: str) -> Callable[..., None]:
    """Runs a scenario with a redirector that knows the change log from now on."""

    def run_one(scenario: Scenario, **options: object) -> None:
        async def main() -> None:
            # Nothing runs in the background that would keep it fresh: its time stands still.
            usual = {"store": HeldStore, "clock": Clock(), **PATIENT}
            async with redirector(database_url, redis_url, **(usual | options)) as made:
                await scenario(made)

        asyncio.run(main())

    return run_one


def held(here: Redirector) -> HeldStore:
    assert isinstance(here.store, HeldStore)
    return here.store


def test_each_tier_answers_what_the_one_before_did_not_know(
    run: Callable[..., None], links: Writer, worker: Relay
) -> None:
    links.write("code", NEW)
    worker.step()

    async def scenario(here: Redirector) -> None:
        worker.step()
        assert await here.answer("code") == (NEW.encode(), Tier.DATABASE)
        assert await here.answer("code") == (NEW.encode(), Tier.LOCAL)
        assert await here.answer("none") == (None, Tier.DATABASE)
        assert await here.answer("none") == (None, Tier.LOCAL)
        here.local.clear()
        assert await here.answer("code") == (NEW.encode(), Tier.REDIS)
        assert await here.answer("none") == (None, Tier.REDIS)
        assert await here.answer("none") == (None, Tier.LOCAL)

    run(scenario)


def test_a_url_that_no_header_can_hold_is_no_link_and_harms_no_other(
    run: Callable[..., None], links: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    """Such a URL comes from who writes to the database past the API."""
    links.write("code", NEW)
    links.write("split", "https://example.com/\r\nSet-Cookie: a=b\r\n\r\n")

    async def scenario(here: Redirector) -> None:
        answers = await asyncio.gather(*map(here.location, ("code", "split")))
        assert answers == [NEW.encode(), None]

    run(scenario)
    (record,) = [each for each in caplog.records if "can't be redirected to" in each.message]
    assert record.levelname == "ERROR"


@pytest.mark.parametrize("code", ["", "ab", "a.b", "users", "x" * 33])
def test_a_code_that_cannot_exist_needs_no_look_up(run: Callable[..., None], code: str) -> None:
    async def scenario(here: Redirector) -> None:
        assert await here.answer(code) == (None, Tier.NONE)
        assert held(here).fetched == []

    run(scenario)


def test_all_who_ask_for_a_code_share_one_look_up(run: Callable[..., None], links: Writer) -> None:
    links.write("code", NEW)

    async def scenario(here: Redirector) -> None:
        locations = await asyncio.gather(*(here.location("code") for _ in range(50)))
        assert set(locations) == {NEW.encode()}
        assert held(here).fetched == [["code"]]
        assert here.resolver.joined == 49
        assert here.resolver.pending == 0

    run(scenario)


def test_look_ups_of_one_turn_are_one_query(run: Callable[..., None]) -> None:
    async def scenario(here: Redirector) -> None:
        codes = [f"code{number}" for number in range(20)]
        await asyncio.gather(*(here.location(code) for code in codes))
        assert held(here).fetched == [codes]

    run(scenario)


def test_over_the_bound_the_answer_is_unavailable_at_once(run: Callable[..., None]) -> None:
    async def scenario(here: Redirector) -> None:
        held(here).gate.clear()
        waiting = [asyncio.create_task(here.location(f"code{number}")) for number in range(2)]
        await held(here).read.wait()
        started = time.monotonic()
        with pytest.raises(Unavailable):
            await here.location("third")
        assert time.monotonic() - started < PATIENT["budget"] / 2
        held(here).gate.set()
        assert await asyncio.gather(*waiting) == [None, None]
        assert await here.location("third") is None

    run(scenario, max_pending=2)


def test_nobody_waits_longer_than_the_budget_for_frozen_stores(
    run: Callable[..., None], links: Writer, postgres: PostgresProcess, valkey: ValkeyProcess
) -> None:
    links.write("code", NEW)

    async def scenario(here: Redirector) -> None:
        assert await here.location("code") == NEW.encode()
        postgres.freeze()
        valkey.freeze()
        try:
            waits = []
            for number in range(10):
                started = time.monotonic()
                assert await here.answer(f"code{number}") == UNAVAILABLE
                waits.append(time.monotonic() - started)
            # One budget for both stores; the machine may hold up one of these.
            assert statistics.median(waits[:FAILURES_TO_OPEN]) < BUDGET_SECONDS + 0.05
            assert here.breakers["redis"].is_open
            assert here.breakers["database"].is_open
            started = time.monotonic()
            assert await here.answer("another") == UNAVAILABLE
            assert time.monotonic() - started < BUDGET_SECONDS / 2
            assert await here.answer("code") == (NEW.encode(), Tier.LOCAL)
            assert here.resolver.pending == 0
        finally:
            postgres.thaw()
            valkey.thaw()

    run(scenario, **IMPATIENT)


def test_without_redis_postgresql_answers(
    run: Callable[..., None], links: Writer, valkey: ValkeyProcess
) -> None:
    links.write("code", NEW)

    async def scenario(here: Redirector) -> None:
        valkey.kill()
        for number in range(FAILURES_TO_OPEN + 1):
            assert await here.answer(f"none{number}") == (None, Tier.DATABASE)
        assert here.breakers["redis"].is_open
        assert await here.answer("code") == (NEW.encode(), Tier.DATABASE)

    run(scenario)


def test_a_restarted_redis_costs_no_look_up_a_failure(
    run: Callable[..., None], valkey: ValkeyProcess
) -> None:
    async def scenario(here: Redirector) -> None:
        # Eight look-ups that are under way together, so that as many connections are idle then.
        held(here).gate.clear()
        asked = []
        for number in range(8):
            asked.append(asyncio.create_task(here.location(f"code{number}")))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        held(here).gate.set()
        await asyncio.gather(*asked)
        await here.resolver.drain()
        await asyncio.to_thread(valkey.restart)
        for number in range(8):
            assert await here.location(f"none{number}") is None
        assert here.breakers["redis"].failures == 0

    run(scenario)


def test_a_request_that_goes_away_leaves_the_answer_to_the_others(
    run: Callable[..., None], links: Writer
) -> None:
    links.write("code", NEW)

    async def scenario(here: Redirector) -> None:
        held(here).gate.clear()
        gone = asyncio.create_task(here.location("code"))
        stays = asyncio.create_task(here.location("code"))
        await held(here).read.wait()
        gone.cancel()
        held(here).gate.set()
        assert await stays == NEW.encode()
        assert gone.cancelled()

    run(scenario)


@pytest.mark.parametrize(
    "changes", [Changes(codes=("code",)), Changes(absent=True), Changes(everything=True)]
)
def test_what_was_read_before_a_change_enters_no_cache(
    run: Callable[..., None], links: Writer, worker: Relay, changes: Changes
) -> None:
    links.write("code", OLD)

    async def scenario(here: Redirector) -> None:
        held(here).gate.clear()
        slow = asyncio.create_task(here.location("code"))
        await held(here).read.wait()
        links.write("code", NEW)
        here.resolver.forget(changes)
        held(here).gate.set()
        assert await slow == OLD.encode()  # asked before the change
        await here.resolver.drain()
        worker.step()
        assert await here.answer("code") == (NEW.encode(), Tier.DATABASE)

    run(scenario)


def test_who_asks_after_a_change_does_not_join_the_look_up_from_before(
    run: Callable[..., None], links: Writer
) -> None:
    links.write("code", OLD)

    async def scenario(here: Redirector) -> None:
        held(here).gate.clear()
        slow = asyncio.create_task(here.location("code"))
        await held(here).read.wait()
        links.write("code", NEW)
        here.resolver.forget(Changes(codes=("code",)))
        after = asyncio.create_task(here.location("code"))
        await asyncio.sleep(0)
        held(here).gate.set()
        assert await slow == OLD.encode()
        assert await after == NEW.encode()
        assert await here.answer("code") == (NEW.encode(), Tier.LOCAL)

    run(scenario)


def test_a_redis_that_missed_a_change_which_is_known_is_not_believed(
    run: Callable[..., None], links: Writer, worker: Relay
) -> None:
    async def scenario(here: Redirector) -> None:
        links.write("code", OLD)
        worker.step()
        assert await here.answer("code") == (OLD.encode(), Tier.DATABASE)
        links.write("code", NEW, publish=False)
        await here.feed.poll()
        assert await here.answer("code") == (NEW.encode(), Tier.DATABASE)
        worker.step()
        here.local.clear()
        assert await here.answer("code") == (NEW.encode(), Tier.DATABASE)
        here.local.clear()
        assert await here.answer("code") == (NEW.encode(), Tier.REDIS)

    run(scenario)


def test_a_redis_without_a_position_is_not_believed(
    run: Callable[..., None], links: Writer, worker: Relay
) -> None:
    async def scenario(here: Redirector) -> None:
        links.write("code", NEW)
        worker.step()
        await here.location("code")
        links.redis.delete(POSITION)
        here.local.clear()
        assert await here.answer("code") == (NEW.encode(), Tier.DATABASE)

    run(scenario)


def test_with_postgresql_gone_links_that_redis_has_still_lead_on(
    run: Callable[..., None], links: Writer, worker: Relay, postgres: PostgresProcess
) -> None:
    links.write("code", NEW)
    worker.step()

    async def scenario(here: Redirector) -> None:
        worker.step()
        assert await here.location("code") == NEW.encode()
        assert await here.location("none") is None
        postgres.kill()
        await here.feed.poll()
        assert here.feed.cut_off
        here.local.clear()
        links.redis.delete(POSITION)  # so that it isn't believed either
        assert await here.answer("code") == (NEW.encode(), Tier.REDIS)
        # That a link is missing is no answer of a store that may have missed its creation.
        assert await here.answer("none") == UNAVAILABLE
        assert await here.answer("other") == UNAVAILABLE

    run(scenario)


def test_a_missing_link_is_no_answer_while_nobody_tells_of_changes(
    run: Callable[..., None], links: Writer, worker: Relay
) -> None:
    async def scenario(here: Redirector) -> None:
        worker.step()
        await here.feed.poll()
        worker.step()
        assert await here.answer("none") == (None, Tier.DATABASE)
        here.feed.cut_off = True
        assert await here.answer("none") == (None, Tier.DATABASE)  # neither memory nor Redis
        here.feed.cut_off = False
        assert await here.answer("none") == (None, Tier.LOCAL)
        here.local.clear()
        assert await here.answer("none") == (None, Tier.REDIS)

    run(scenario)


def test_a_value_that_cannot_be_read_is_as_good_as_none(
    run: Callable[..., None], links: Writer, worker: Relay
) -> None:
    links.write("code", NEW)
    links.redis.set("link:1:code", "nonsense")

    async def scenario(here: Redirector) -> None:
        assert await here.answer("code") == (NEW.encode(), Tier.DATABASE)

    run(scenario)


def test_a_link_that_cannot_be_redirected_to_harms_no_other(
    run: Callable[..., None], links: Writer
) -> None:
    links.write("bad", "https://" + "\u00e9" * 100 + ".example")
    links.write("good", NEW)

    async def scenario(here: Redirector) -> None:
        bad, good = await asyncio.gather(here.location("bad"), here.location("good"))
        assert (bad, good) == (None, NEW.encode())

    run(scenario)


def test_after_a_stall_nothing_is_served_before_the_change_log_was_read(
    run: Callable[..., None], links: Writer
) -> None:
    links.write("code", OLD)
    offset = 0.0

    async def scenario(here: Redirector) -> None:
        nonlocal offset
        feeding = asyncio.create_task(here.feed.run(here.resolver.forget))
        assert await here.location("code") == OLD.encode()
        links.write("code", NEW, publish=False)
        offset = 60.0  # as if this process had been stopped for a minute
        assert await here.location("code") == NEW.encode()
        feeding.cancel()

    run(scenario, clock=lambda: time.monotonic() + offset)
