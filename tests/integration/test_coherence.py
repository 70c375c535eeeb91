"""No order of reads, writes, failures and delays shows an old answer after its bound.

Hypothesis drives two redirectors' resolvers and change feeds and the worker's relay on a real
Redis and PostgreSQL. Time is a clock that a rule moves on; what happens by itself in a running
system (heartbeats, delivery, polls) happens at its ticks.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from services.redirector.changes import POLL_SECONDS
from services.redirector.link_store import LinkStore
from services.redirector.postgres import Pool
from services.worker.change_relay import INTERVAL_SECONDS
from shared.link_cache import CHANNEL, GENERATION, POSITION, Link, Looked
from tests.support import chaos
from tests.support.coherence import Clock, Redirector, Relay, Writer, change
from tests.support.stores import PostgresProcess, ValkeyProcess

HEARING_BOUND, SILENT_BOUND = 1.0, 3.0
CODES = ("old", "new")
"""The last one does not exist at first."""
SLOW = "slow"
"""The code that only slow transactions change."""

MISHAPS = (
    "flush_redis",
    "evict_a_key_that_everything_turns_on",
    "lose_the_subscription_or_make_it_again",
    "hold_messages_up_or_no_longer",
    "stop_or_continue_a_redirector",
    "stop_the_worker_or_start_another",
    "stall_a_step_or_finish_it",
    "prune_the_change_log",
)
codes = st.sampled_from([*CODES, SLOW])
redirectors = st.integers(0, 1)

_CALM_TURNS = 5
"""Of the event loop, in which nothing moves: then nothing will."""
_MARK = b"\0"
"""Begins a message that only says: all that was published before has come."""


class Turnstile:
    """Where look-ups stop, when they are told to, until somebody lets one of them go on."""

    def __init__(self) -> None:
        self.closed = False
        self.waiting: list[asyncio.Future[None]] = []

    async def pass_(self) -> None:
        if self.closed:
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiting.append(place)
            await place

    def let_go(self, number: int) -> None:
        self.waiting.pop(number % len(self.waiting)).set_result(None)


class SlowStore(LinkStore):
    """May stop before it reads, and with what it read."""

    turnstile: Turnstile

    async def fetch(self, codes: Sequence[str]) -> dict[str, Link | None]:
        await self.turnstile.pass_()
        links = await super().fetch(codes)
        await self.turnstile.pass_()
        return links


@dataclass
class Version:
    """What a code led to, and since when it did not any more."""

    location: bytes | None
    superseded_at: float = math.inf


class Node:
    """A redirector, its subscription, and what runs in its background."""

    def __init__(self, database_url: str, redis_url: str, clock: Clock) -> None:
        self.clock = clock
        self.turnstile = Turnstile()
        self.parts = Redirector(
            database_url,
            redis_url,
            clock=clock,
            store=self._store,
            budget=60,
            redis_timeout=30,
            max_links=3,
        )
        self.feed = self.parts.feed
        look_up = self.parts.remote.look_up
        fill = self.parts.remote.fill

        async def slow_look_up(codes: Sequence[str], token: bytes) -> Looked:
            looked = await look_up(codes, token)
            await self.turnstile.pass_()
            return looked

        async def slow_fill(
            token: bytes, generation: bytes, links: Mapping[str, Link | None]
        ) -> None:
            await self.turnstile.pass_()
            await fill(token, generation, links)

        self.parts.remote.look_up = slow_look_up  # type: ignore[method-assign]
        self.parts.remote.fill = slow_fill  # type: ignore[method-assign]
        self.reads: list[tuple[str, float, asyncio.Task[bytes | None]]] = []
        self.stopped = False
        self.held_up = False
        """Messages are under way, and none arrives."""
        self.silent_at = clock()
        """When it last did not hear."""
        self._loop = asyncio.get_running_loop()
        self._polled_at = -math.inf
        self._redis = Redis.from_url(redis_url)
        self._subscription: Any = None
        self._messages: deque[bytes] = deque()

    def _store(self, pool: Pool) -> SlowStore:
        store = SlowStore(pool)
        store.turnstile = self.turnstile
        return store

    def subscribe(self) -> None:
        self._subscription = self._redis.pubsub()  # type: ignore[no-untyped-call]
        self._subscription.subscribe(CHANNEL)
        assert self._subscription.get_message(timeout=5)["type"] == "subscribe"

    @property
    def is_subscribed(self) -> bool:
        return self._subscription is not None

    def unsubscribe(self, *, noticed: bool) -> None:
        """The connection ends, with all that was under way; or merely nothing comes any more."""
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None
        self._messages.clear()
        if noticed:
            self.feed._heard_at = -math.inf
            self.feed._poll_now.set()

    def receive(self) -> None:
        """Takes what Redis has published from the network."""
        if self._subscription is None:
            return
        end = _MARK + secrets.token_bytes(8)
        self._redis.publish(CHANNEL, end)
        while (message := self._subscription.get_message(timeout=5)["data"]) != end:
            if not message.startswith(_MARK):
                self._messages.append(message)

    def hear(self, most: int) -> None:
        for _ in range(min(most, len(self._messages))):
            self.feed.hear(self._messages.popleft())

    def hear_all(self) -> None:
        self.hear(len(self._messages))

    async def tick(self) -> None:
        """What the background does in a quarter of a second."""
        if self.stopped:
            self.silent_at = self.clock()
            return
        if not self.held_up:
            self.hear_all()
        if not self.feed.is_hearing():
            self.silent_at = self.clock()
            heard_or_polled = max(self._polled_at, self.feed._heard_at)
            if self.clock() - heard_or_polled >= POLL_SECONDS:
                self.feed._poll_now.set()
        await self.settle()

    async def settle(self) -> None:
        """Returns when every look-up has ended, stands at the turnstile or waits behind one."""
        calm = 0
        while calm < _CALM_TURNS:
            if self.feed._poll_now.is_set() and not self.stopped:
                self.feed._poll_now.clear()
                self._polled_at = self.clock()
                await self.feed.poll()
            calm = calm + 1 if self._is_calm() else 0
            await asyncio.sleep(0)

    def _is_calm(self) -> bool:
        batches = (self.parts.resolver._redis_batches, self.parts.resolver._database_batches)
        under_way = sum(len(batch._tasks) for batch in batches)
        may_begin = any(batch._waiting and batch._free for batch in batches)
        return under_way == len(self.turnstile.waiting) and not may_begin

    def read(self, name: str, code: str) -> None:
        read = self._loop.create_task(self.parts.location(code))
        self.reads.append((name, self.clock(), read))

    async def close(self) -> None:
        while self.turnstile.waiting:
            self.turnstile.let_go(0)
        await self.settle()
        self.unsubscribe(noticed=False)
        self._redis.close()
        await self.parts.close()


class StalledStep(threading.Thread):
    """A step of the relay that stops between reading the log and telling Redis."""

    def __init__(self, relay: Relay) -> None:
        super().__init__()
        self._relay = relay
        self._read = threading.Event()
        self._go_on = threading.Event()
        self.start()
        assert self._read.wait(10)

    def run(self) -> None:
        try:
            self._relay.relay.step(self._fetch)
        finally:
            self._read.set()

    def _fetch(self, query: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        rows = self._relay.fetch(query, parameters)
        self._read.set()
        assert self._go_on.wait(60)
        return rows

    def finish(self) -> None:
        self._go_on.set()
        self.join()


class Coherence(RuleBasedStateMachine):
    def __init__(self, postgres: PostgresProcess, valkey: ValkeyProcess) -> None:
        super().__init__()
        self.urls = (postgres.url, valkey.url)
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.redis = Redis.from_url(valkey.url)
        self.redis.flushall()
        self.writer = Writer(*self.urls)
        self.slow_writer = Writer(*self.urls)
        self.slow_url: str | None = None
        self.relays = [Relay(*self.urls), Relay(*self.urls)]
        self.stalled: StalledStep | None = None
        self.is_worker_up = True
        self.saved: dict[bytes, tuple[bytes, int]] = {}
        self.unpublished: list[tuple[str, ...]] = []
        self.numbers = itertools.count()
        self.prefix = secrets.token_hex(4)
        self.history: dict[str, list[Version]] = {}
        self.nodes: list[Node] = []

    @initialize()
    def start(self) -> None:
        for code in (*CODES, SLOW):
            self.history[code] = [Version(None)]
        for code in (*CODES[:-1], SLOW):
            url = self._url()
            self.writer.write(self._code(code), url)
            self._changed(code, url)
        self.nodes = [self._run(self._new_node()) for _ in range(2)]
        self.pass_time(4)

    async def _new_node(self) -> Node:
        node = Node(*self.urls, self.clock)
        node.subscribe()
        node.feed._poll_now.set()
        await node.settle()
        return node

    # Readers.

    @rule(code=codes)
    def read(self, code: str) -> None:
        for node in self.nodes:
            if not node.stopped:
                node.read(code, self._code(code))
                self._settle(node)

    @rule(number=redirectors, code=codes, stops=st.integers(0, 3), overtaken=st.booleans())
    def begin_a_slow_read(self, number: int, code: str, stops: int, overtaken: bool) -> None:
        """It stops with Redis' reply, before PostgreSQL, with the row, or before the fill."""
        node = self.nodes[number]
        if node.stopped:
            return
        self.evict(code)
        node.turnstile.closed = True
        node.read(code, self._code(code))
        self._settle(node)
        for _ in range(stops):
            if node.turnstile.waiting:
                node.turnstile.let_go(-1)
                self._settle(node)
        node.turnstile.closed = False
        if overtaken and code != SLOW:
            self.write(code, live=True, publish="now")

    @precondition(lambda self: any(node.turnstile.waiting for node in self.nodes))
    @rule(which=st.integers(0, 5))
    def finish_a_slow_read(self, which: int) -> None:
        for node in self.nodes:
            if node.turnstile.waiting:
                node.turnstile.let_go(which)
                self._settle(node)

    def evict_locally(self, code: str) -> None:
        for node in self.nodes:
            node.parts.local.discard(self._code(code))

    @rule(code=codes)
    def evict(self, code: str) -> None:
        self.evict_locally(code)
        keys: Any = self.redis.keys(f"*:{self._code(code)}")
        if keys:
            self.redis.delete(*keys)

    # Writers.

    @rule(
        code=st.sampled_from(CODES),
        live=st.booleans(),
        publish=st.sampled_from(["now", "later", "never"]),
    )
    def write(self, code: str, live: bool, publish: str) -> None:
        url = self._url() if live else None
        self._save_redis()
        self.writer.write(self._code(code), url, publish=publish == "now")
        if publish == "later":
            self.unpublished.append((self._code(code),))
        self._changed(code, url)

    @rule(publish=st.sampled_from(["now", "later", "never"]))
    def import_(self, publish: str) -> None:
        code = CODES[-1]
        if self.history[code][-1].location is not None:
            return
        url = self._url()
        self.writer.add([(self._code(code), url)], publish=publish == "now")
        if publish == "later":
            self.unpublished.append(())
        self._changed(code, url)

    @precondition(lambda self: self.unpublished)
    @rule(which=st.integers(0, 5))
    def publish_late(self, which: int) -> None:
        codes = self.unpublished.pop(which % len(self.unpublished))
        if codes:
            self.writer.publish(*codes)
        else:
            self.writer.publish_import()

    @precondition(lambda self: self.slow_url is None)
    @rule()
    def begin_a_slow_transaction(self) -> None:
        self.slow_url = self._url()
        with self.slow_writer.connection.cursor() as cursor:
            change(cursor, self._code(SLOW), self.slow_url)

    @precondition(lambda self: self.slow_url is not None)
    @rule(publish=st.booleans())
    def commit_the_slow_transaction(self, publish: bool) -> None:
        self.slow_writer.connection.commit()
        if publish:
            self.slow_writer.publish(self._code(SLOW))
        self._changed(SLOW, self.slow_url)
        self.slow_url = None

    # What goes wrong.

    @rule(what=st.sampled_from(MISHAPS), number=redirectors, flag=st.booleans())
    def mishap(self, what: str, number: int, flag: bool) -> None:
        getattr(self, f"_{what}")(number, flag)

    def _flush_redis(self, _number: int, _flag: bool) -> None:
        self.redis.flushall()

    def _evict_a_key_that_everything_turns_on(self, _number: int, flag: bool) -> None:
        self.redis.delete(POSITION if flag else GENERATION)

    def _save_redis(self) -> None:
        keys: Any = self.redis.keys()
        self.saved = {}
        for key in keys:
            if self.redis.type(key) != b"string":
                # Of services that run beside this test: what they log, and that they are there.
                continue
            value: Any = self.redis.get(key)
            self.saved[key] = (value, int(self.redis.pttl(key)))

    @rule(noticed=st.booleans())
    def undo_redis(self, noticed: bool) -> None:
        """It fails, and one goes on that has seen nothing since before the last write."""
        for node in self.nodes:
            node.unsubscribe(noticed=noticed)
        self.redis.flushall()
        for key, (value, left) in self.saved.items():
            self.redis.set(key, value, px=left if left > 0 else None)

    def _lose_the_subscription_or_make_it_again(self, number: int, noticed: bool) -> None:
        node = self.nodes[number]
        if node.is_subscribed:
            node.unsubscribe(noticed=noticed)
        else:
            node.subscribe()

    def _hold_messages_up_or_no_longer(self, number: int, _flag: bool) -> None:
        self.nodes[number].held_up = not self.nodes[number].held_up

    def _stop_or_continue_a_redirector(self, number: int, _flag: bool) -> None:
        node = self.nodes[number]
        node.stopped = not node.stopped
        node.silent_at = self.clock()

    def _stop_the_worker_or_start_another(self, _number: int, _flag: bool) -> None:
        self.is_worker_up = not self.is_worker_up
        self.relays.reverse()

    def _stall_a_step_or_finish_it(self, _number: int, _flag: bool) -> None:
        """Another worker goes on meanwhile."""
        if self.stalled is None:
            self.stalled = StalledStep(self.relays[1])
        else:
            self.stalled.finish()
            self.stalled = None

    def _prune_the_change_log(self, _number: int, _flag: bool) -> None:
        self.writer.prune()

    # What happens by itself.

    @rule(number=redirectors, most=st.integers(1, 5))
    def hear_some(self, number: int, most: int) -> None:
        node = self.nodes[number]
        if not node.stopped and not node.held_up:
            node.receive()
            node.hear(most)
            self._settle(node)

    @rule(ticks=st.integers(1, 8))
    def pass_time(self, ticks: int) -> None:
        for _ in range(ticks):
            self.clock.pass_(INTERVAL_SECONDS)
            if self.is_worker_up:
                self.relays[0].step()
            for node in self.nodes:
                node.receive()
                self._run(node.tick())

    # What must hold.

    @invariant()
    def no_answer_is_too_old(self) -> None:
        for node in self.nodes:
            for code, asked_at, read in tuple(node.reads):
                if read.done():
                    node.reads.remove((code, asked_at, read))
                    self._check(node, code, asked_at, read.result())

    def end(self) -> None:
        """After whatever happened, every tier of both redirectors gives the current answer."""
        if self.nodes:
            self._heal()
            self._all_is_current()
            for node in self.nodes:
                node.parts.local.clear()
            self._all_is_current()

    def teardown(self) -> None:
        try:
            self.end()
        finally:
            self._close()

    def _all_is_current(self) -> None:
        for code, versions in self.history.items():
            self.read(code)
            for node in self.nodes:
                answer = node.reads.pop()[-1].result()
                assert answer == versions[-1].location, f"{code} stays at {answer!r}"

    def _heal(self) -> None:
        if self.slow_url is not None:
            self.commit_the_slow_transaction(publish=False)
        if self.stalled is not None:
            self.stalled.finish()
            self.stalled = None
        self.is_worker_up = True
        for node in self.nodes:
            node.stopped = node.held_up = False
            if not node.is_subscribed:
                node.subscribe()
            while node.turnstile.waiting:
                node.turnstile.let_go(0)
            self._settle(node)
        self.no_answer_is_too_old()
        self.pass_time(round(SILENT_BOUND / INTERVAL_SECONDS))

    def _close(self) -> None:
        if self.stalled is not None:
            self.stalled.finish()
        for node in self.nodes:
            self._run(node.close())
        self.loop.close()
        for relay in self.relays:
            relay.close()
        self.writer.close()
        self.slow_writer.close()
        self.redis.close()

    def _check(self, node: Node, code: str, at: float, answer: bytes | None) -> None:
        superseded_at = max(
            version.superseded_at for version in self.history[code] if version.location == answer
        )
        if superseded_at == math.inf:
            return
        bound = SILENT_BOUND if node.silent_at >= superseded_at else HEARING_BOUND
        assert at - superseded_at <= bound, f"{code} is {at - superseded_at} s too old: {answer!r}"

    def _changed(self, code: str, url: str | None) -> None:
        self.history[code][-1].superseded_at = self.clock()
        self.history[code].append(Version(None if url is None else url.encode()))

    def _code(self, code: str) -> str:
        return f"{self.prefix}-{code}"

    def _url(self) -> str:
        return f"https://example.com/{next(self.numbers)}"

    def _run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def _settle(self, node: Node) -> None:
        self._run(node.settle())


@contextmanager
def healthy(postgres: PostgresProcess, valkey: ValkeyProcess) -> Iterator[None]:
    postgres.heal()
    postgres.empty()
    valkey.heal()
    yield
    valkey.empty()


@pytest.mark.timeout(180 + 4 * chaos.SECONDS)
def test_no_order_of_events_shows_an_old_answer_after_its_bound(
    postgres: PostgresProcess, valkey: ValkeyProcess
) -> None:
    class OnTheseStores(Coherence):
        def __init__(self) -> None:
            super().__init__(postgres, valkey)

    with healthy(postgres, valkey):
        run_state_machine_as_test(OnTheseStores, settings=chaos.hypothesis_profile())


def a_fill_that_comes_after_the_change(run: Coherence) -> None:
    run.begin_a_slow_read(0, "old", 3, False)
    run.write("old", True, "now")
    run.pass_time(1)
    run.finish_a_slow_read(0)


def a_row_that_was_read_before_the_change(run: Coherence) -> None:
    run.begin_a_slow_read(0, "old", 2, True)
    run.pass_time(1)
    run.finish_a_slow_read(0)


def an_absence_that_was_read_before_the_import(run: Coherence) -> None:
    run.begin_a_slow_read(0, "new", 3, False)
    run.import_("now")
    run.pass_time(1)
    run.finish_a_slow_read(0)


def a_transaction_that_commits_after_later_ones(run: Coherence) -> None:
    run.read(SLOW)
    run.begin_a_slow_transaction()
    for _ in range(2):
        run.write("old", True, "never")
        run.pass_time(1)
    run.commit_the_slow_transaction(False)


def a_transaction_that_commits_late_in_silence(run: Coherence) -> None:
    run.read(SLOW)
    run.mishap("stop_the_worker_or_start_another", 0, False)
    run.begin_a_slow_transaction()
    for _ in range(2):
        run.write("old", True, "never")
        run.pass_time(4)
    run.commit_the_slow_transaction(False)
    run.pass_time(8)
    run.read(SLOW)


def a_redis_that_forgot_a_change_which_was_heard(run: Coherence) -> None:
    run.read("old")
    run.write("old", True, "now")
    run.pass_time(1)
    run.undo_redis(False)
    run.read("old")
    run.pass_time(1)


def a_redis_that_forgot_a_change_and_a_worker_that_did_not_notice(run: Coherence) -> None:
    run.read("old")
    run.write("old", True, "now")
    run.pass_time(1)
    run.mishap("stall_a_step_or_finish_it", 0, False)
    run.undo_redis(False)
    run.mishap("stall_a_step_or_finish_it", 0, False)
    run.read("old")


def a_redis_that_lost_its_position(run: Coherence) -> None:
    run.read("old")
    run.write("old", True, "never")
    run.mishap("evict_a_key_that_everything_turns_on", 0, True)
    run.pass_time(1)


def a_heartbeat_that_was_held_up(run: Coherence) -> None:
    run.read("old")
    run.mishap("stop_the_worker_or_start_another", 0, False)
    run.mishap("stall_a_step_or_finish_it", 0, False)
    run.write("old", True, "never")
    run.pass_time(16)
    run.mishap("stall_a_step_or_finish_it", 0, False)
    run.hear_some(0, 5)
    run.evict_locally("old")
    run.read("old")


def a_subscription_that_missed_a_change_during_a_long_transaction(run: Coherence) -> None:
    run.begin_a_slow_transaction()
    run.read("old")
    run.pass_time(1)
    run.mishap("lose_the_subscription_or_make_it_again", 0, False)
    run.write("old", True, "now")
    run.pass_time(1)
    run.mishap("lose_the_subscription_or_make_it_again", 0, False)


def a_redirector_that_was_stopped(run: Coherence) -> None:
    run.read("old")
    run.mishap("stop_or_continue_a_redirector", 0, False)
    run.pass_time(8)
    run.write("old", True, "now")
    run.pass_time(16)
    run.mishap("stop_or_continue_a_redirector", 0, False)
    run.hear_some(0, 1)
    run.read("old")


def a_worker_that_was_stopped_between_reading_and_telling(run: Coherence) -> None:
    run.read("old")
    run.mishap("stall_a_step_or_finish_it", 0, False)
    run.write("old", True, "never")
    run.pass_time(2)
    run.read("old")
    run.mishap("stall_a_step_or_finish_it", 0, False)
    run.pass_time(2)


@pytest.mark.parametrize(
    "events",
    [
        a_fill_that_comes_after_the_change,
        a_row_that_was_read_before_the_change,
        an_absence_that_was_read_before_the_import,
        a_transaction_that_commits_after_later_ones,
        a_transaction_that_commits_late_in_silence,
        a_redis_that_forgot_a_change_which_was_heard,
        a_redis_that_forgot_a_change_and_a_worker_that_did_not_notice,
        a_redis_that_lost_its_position,
        a_heartbeat_that_was_held_up,
        a_subscription_that_missed_a_change_during_a_long_transaction,
        a_redirector_that_was_stopped,
        a_worker_that_was_stopped_between_reading_and_telling,
    ],
    ids=lambda events: events.__name__,
)
def test_a_race_that_is_known_to_matter_shows_no_old_answer(
    postgres: PostgresProcess, valkey: ValkeyProcess, events: Callable[[Coherence], None]
) -> None:
    """Chance need not find these each time."""
    with healthy(postgres, valkey):
        run = Coherence(postgres, valkey)
        try:
            run.start()
            events(run)
            run.no_answer_is_too_old()
        finally:
            run.teardown()
