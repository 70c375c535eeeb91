"""What a short code leads to. Three tiers: this process, Redis, PostgreSQL. Knows no HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum

import psycopg2
from redis.exceptions import RedisError

from services.redirector.batches import Batches
from services.redirector.breaker import Breaker
from services.redirector.changes import ChangeFeed
from services.redirector.deadlines import Deadlines
from services.redirector.link_store import LinkStore
from services.redirector.local_cache import Entry, LocalCache
from services.redirector.postgres import Unreachable
from services.redirector.remote_cache import RemoteCache
from shared.change_log import Changes
from shared.link_cache import Link
from shared.short_codes import is_possible

# A reply that can't be read (ValueError) is as good as none.
REDIS_FAILURES = (RedisError, OSError, TimeoutError, ValueError)
DATABASE_FAILURES = (Unreachable, psycopg2.Error, TimeoutError)

_log = logging.getLogger(__name__)


class Unavailable(Exception):
    """No store could tell in time whether the link exists; the same may work in a second."""


class Tier(StrEnum):
    """Where an answer came from."""

    NONE = "none"
    LOCAL = "local"
    REDIS = "redis"
    DATABASE = "database"


Answer = tuple[Entry | None, Tier]


class Flight:
    """A look-up under way, for all requests that wait for its code."""

    __slots__ = ("code", "fallback", "is_over", "lease", "outdated", "waiting")

    def __init__(self, code: str) -> None:
        self.code = code
        self.waiting: list[asyncio.Future[Answer]] = []
        """One for each request, so that one that is cancelled takes nobody's answer along."""
        self.is_over = False
        self.outdated = False
        """A change came while it was under way: what it brings may already be old."""
        self.lease: tuple[bytes, bytes] | None = None
        """Token and generation, if Redis lets this look-up fill in what it finds."""
        self.fallback: Entry | None = None
        """A link that Redis had when it could not be believed: better than nothing."""


class Resolver:
    """Resolves codes within `budget` seconds, one look-up a code, whoever asks for it.

    Redis is believed only where it has seen every change that the change feed knows of, and that
    a link does not exist is believed only while somebody tells of changes: a 404 is never a guess.
    """

    def __init__(
        self,
        local: LocalCache,
        remote: RemoteCache,
        store: LinkStore,
        feed: ChangeFeed,
        *,
        redis: Breaker,
        database: Breaker,
        budget: float,
        redis_timeout: float,
        max_pending: int,
        redis_batches: int,
        database_batches: int,
    ) -> None:
        self.answers: Counter[tuple[str, Tier]] = Counter()
        self.joined = 0
        self.flights: dict[str, Flight] = {}
        self._local = local
        self._remote = remote
        self._store = store
        self._feed = feed
        self._redis = redis
        self._database = database
        self._budget = budget
        self._redis_timeout = redis_timeout
        self._max_pending = max_pending
        self._pending = 0
        self._deadlines = Deadlines(self._give_up)
        self._redis_batches = Batches(self._ask_redis, at_once=redis_batches)
        self._database_batches = Batches(self._ask_database, at_once=database_batches)

    async def resolve(self, code: str) -> Entry | None:
        """The active link, or None if there is none; raises Unavailable."""
        if not is_possible(code):
            self.answers["absent", Tier.NONE] += 1
            return None
        budget = self._budget
        if not self._feed.is_fresh():
            budget -= await self._confirm()
        entry = self._local.get(code)
        if entry is not None:
            self.answers["found", Tier.LOCAL] += 1
            return entry
        if self._local.is_absent(code) and not self._feed.cut_off:
            self.answers["absent", Tier.LOCAL] += 1
            return None
        flight = self.flights.get(code)
        if flight is None:
            flight = self._start(code, budget)
        else:
            self.joined += 1
        try:
            answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            flight.waiting.append(answer)
            entry, tier = await answer
        except Unavailable:
            self.answers["unavailable", Tier.NONE] += 1
            raise
        self.answers["absent" if entry is None else "found", tier] += 1
        return entry

    def forget(self, changes: Changes) -> None:
        """Applies changes to the local cache and to the look-ups under way."""
        if changes.everything:
            self._local.clear()
        if changes.absent:
            self._local.clear_absent()
        if changes.everything or changes.absent:
            for flight in self.flights.values():
                flight.outdated = True
            self.flights.clear()
        for code in changes.codes:
            self._local.discard(code)
            if code in self.flights:
                # Who asks from now on gets a look-up of their own.
                self.flights.pop(code).outdated = True

    async def drain(self) -> None:
        """Returns when no look-up is under way."""
        await self._redis_batches.drain()
        await self._database_batches.drain()

    @property
    def pending(self) -> int:
        """Look-ups under way."""
        return self._pending

    async def _confirm(self) -> float:
        """Has the feed look for changes, as long as the budget lasts; returns the seconds used."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            await self._feed.confirm(self._budget)
        except TimeoutError:
            _log.warning("local answers could not be confirmed in time")
        return loop.time() - started

    def _start(self, code: str, budget: float) -> Flight:
        if self._pending >= self._max_pending:
            self.answers["unavailable", Tier.NONE] += 1
            raise Unavailable("too many look-ups are waiting")
        flight = Flight(code)
        self._deadlines.add(flight, budget)
        self.flights[code] = flight
        self._pending += 1
        if self._redis.is_open:
            self._database_batches.add(flight)
        else:
            self._redis_batches.add(flight)
        return flight

    async def _ask_redis(self, flights: list[Flight]) -> None:
        if self._redis.is_open:
            # It opened while these were waiting for their turn.
            self._pass_on(flights)
            return
        token = self._remote.new_token()
        known = self._feed.known
        try:
            async with asyncio.timeout(self._redis_timeout):
                looked = await self._remote.look_up([flight.code for flight in flights], token)
        except REDIS_FAILURES as error:
            self._redis.failed(error)
        else:
            self._redis.succeeded()
            trusted = looked.covers(known)
            for flight in flights:
                if flight.code in looked.leased:
                    flight.lease = (token, looked.generation)
                elif flight.code in looked.found:
                    self._take(flight, looked.found[flight.code], trusted=trusted)
        self._pass_on(flights)

    def _pass_on(self, flights: list[Flight]) -> None:
        for flight in flights:
            if not flight.is_over:
                self._database_batches.add(flight)

    def _take(self, flight: Flight, link: Link | None, *, trusted: bool) -> None:
        if trusted and not (link is None and self._feed.cut_off):
            self._land(flight, link, Tier.REDIS)
        elif link is not None:
            flight.fallback = Entry(flight.code, link)

    async def _ask_database(self, flights: list[Flight]) -> None:
        flights = [flight for flight in flights if not flight.is_over]
        if self._database.is_open:
            for flight in flights:
                self._give_up(flight, "PostgreSQL is down")
            return
        if not flights:
            return
        try:
            async with asyncio.timeout(self._budget):
                links = await self._store.fetch([flight.code for flight in flights])
        except DATABASE_FAILURES as error:
            self._database.failed(error)
            for flight in flights:
                self._give_up(flight, "PostgreSQL does not answer")
            return
        self._database.succeeded()
        for flight in flights:
            self._land(flight, links[flight.code], Tier.DATABASE)
        await self._fill(flights, links)

    async def _fill(self, flights: list[Flight], links: Mapping[str, Link | None]) -> None:
        leases: dict[tuple[bytes, bytes], dict[str, Link | None]] = {}
        for flight in flights:
            if flight.lease is not None and not flight.outdated:
                leases.setdefault(flight.lease, {})[flight.code] = links[flight.code]
        for (token, generation), filled in leases.items():
            try:
                async with asyncio.timeout(self._redis_timeout):
                    await self._remote.fill(token, generation, filled)
            except REDIS_FAILURES as error:
                self._redis.failed(error)
                return

    def _land(self, flight: Flight, link: Link | None, tier: Tier) -> None:
        if flight.is_over:
            return
        entry = None if link is None else Entry(flight.code, link)
        if not flight.outdated:
            if entry is not None:
                self._local.put(entry)
            else:
                self._local.put_absent(flight.code)
        for answer in self._close(flight):
            answer.set_result((entry, tier))

    def _give_up(self, flight: Flight, reason: str = "time is up") -> None:
        if flight.is_over:
            return
        for answer in self._close(flight):
            if flight.fallback is not None:
                answer.set_result((flight.fallback, Tier.REDIS))
            else:
                answer.set_exception(Unavailable(reason))

    def _close(self, flight: Flight) -> list[asyncio.Future[Answer]]:
        """The requests that still wait."""
        flight.is_over = True
        self._pending -= 1
        if self.flights.get(flight.code) is flight:
            del self.flights[flight.code]
        waiting, flight.waiting = flight.waiting, []
        return [answer for answer in waiting if not answer.done()]
