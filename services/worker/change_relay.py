"""Makes Redis catch up with the change log, and says with every heartbeat that it has."""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from prometheus_client import CollectorRegistry
from redis import Redis

from shared import change_log, link_cache, metrics
from shared.change_log import Changes, Snapshot
from shared.link_cache import Position

INTERVAL_SECONDS = 0.25
"""Between two heartbeats; redirectors poll after a second without one."""
READ_LIMIT = 100_000
"""Changes that one step applies. After more of them Redis is emptied: that is less work."""
COUNT_LIMIT = 10_000
"""Changes that are counted while Redis is away."""
CHUNK = 1_000
"""Codes that one script deletes, and one message names: Redis serves nobody else meanwhile."""

_log = logging.getLogger(__name__)

Fetch = Callable[[str, dict[str, Any]], list[tuple[Any, ...]]]
"""Runs a query with its parameters on the leader's connection."""


class ChangeRelay:
    """Applies the change log to Redis, from where Redis itself says that it stands.

    What the API has published already is published once more: that is cheaper than keeping
    account of it, and deleting twice does no harm.
    """

    def __init__(self, redis: Redis, registry: CollectorRegistry) -> None:
        self._redis = redis
        self._advance: Any = redis.register_script(link_cache.ADVANCE)
        self._invalidate: Any = redis.register_script(link_cache.INVALIDATE)
        self._at: Position | None = None
        self._waits_since: Snapshot | None = None
        """For a worker that has never reached Redis."""
        self._nonce = secrets.token_hex(8)
        self._count = itertools.count()
        self._relayed = metrics.CHANGES_RELAYED.counter(registry)
        self._rewound = metrics.CHANGES_REWOUND.counter(registry)
        self._pending = metrics.CHANGE_LOG_PENDING.gauge(registry)
        self._age = metrics.CHANGE_LOG_AGE.gauge(registry)

    def step(self, fetch: Fetch) -> None:
        """Brings Redis up to date and sends a heartbeat. Raises redis-py's and psycopg2's errors.

        Sends none when another worker came in between or Redis is not the one it was a moment
        ago: the next step starts from what it finds then.
        """
        # One connection from beginning to end: a Redis that restarts on the way, and may have
        # lost deletes that the position doesn't tell of, ends the step.
        alone: Any = self._redis.client()  # type: ignore[no-untyped-call]
        with alone as redis:
            self._step(redis, fetch)

    def _step(self, redis: Redis, fetch: Fetch) -> None:
        found = self._position(redis)
        if found is None or found != self._at:
            _log.info("applying the change log from where Redis stands", extra={"at": found})
            self._rewound.inc()
        changes, start, end = self._read(fetch, found)
        if changes.everything:
            self._forget_everything(redis, fetch)
        last = self._publish_all_but_last_chunk(redis, changes)
        if last is not changes:
            # Who subscribed in the middle did not hear the first of them, and is to ask the log.
            start = end
        to = Position(end, f"{self._nonce}:{next(self._count)}")
        arguments = link_cache.advance_arguments(
            found, start, to, last, absent_generation=secrets.token_hex(8)
        )
        if self._advance(args=arguments, client=redis):
            self._at = to
            self._relayed.inc(len(changes.codes))
            self.rest()

    def look(self, fetch: Fetch) -> None:
        """Finds out what waits for Redis, which does not answer. Raises psycopg2's errors."""
        if self._waits_since is None:
            self._waits_since = Snapshot.read(fetch(change_log.NOW, {})[0][0])
        since = self._waits_since if self._at is None else self._at.snapshot
        rows = fetch(change_log.BEHIND, change_log.read_parameters(since, limit=COUNT_LIMIT))
        ((count, seconds),) = rows
        self._pending.set(min(count, COUNT_LIMIT))
        self._age.set(seconds)

    def rest(self) -> None:
        """Nothing waits, or another worker knows what does."""
        self._waits_since = None
        self._pending.set(0)
        self._age.set(0)

    def _position(self, redis: Redis) -> Position | None:
        value: Any = redis.get(link_cache.POSITION)
        try:
            return None if value is None else Position.read(value)
        except ValueError:
            _log.error("dropping a position that can't be read", extra={"value": repr(value)})
            redis.delete(link_cache.POSITION)
            return None

    def _read(self, fetch: Fetch, found: Position | None) -> tuple[Changes, Snapshot, Snapshot]:
        """What Redis has to forget, and the snapshots that this leads from and to."""
        if found is None:
            now = Snapshot.read(fetch(change_log.NOW, {})[0][0])
            return Changes(everything=True), now, now
        since = found.snapshot
        rows: Any = fetch(change_log.READ, change_log.read_parameters(since, limit=READ_LIMIT))
        changes, now = change_log.read_changes(rows, since, limit=READ_LIMIT)
        # What was not published in full begins anew: who knows of less than `now` asks the log.
        return changes, now if changes.everything else since, now

    def _publish_all_but_last_chunk(self, redis: Redis, changes: Changes) -> Changes:
        """What is left of `changes`: they themselves where they are few."""
        if len(changes.codes) <= CHUNK:
            return changes
        codes = changes.codes
        while len(codes) > CHUNK:
            self._invalidate(args=link_cache.invalidate_arguments(codes[:CHUNK]), client=redis)
            codes = codes[CHUNK:]
        return replace(changes, codes=codes)

    def _forget_everything(self, redis: Redis, fetch: Fetch) -> None:
        _log.warning("Redis can't be brought up to date: forgetting every link in it")
        for pattern in link_cache.ALL_KEYS:
            cursor = 0
            while True:
                cursor, keys = redis.scan(cursor, match=pattern, count=CHUNK)
                if keys:
                    redis.unlink(*keys)
                # With millions of keys, the leader's session would end for idleness meanwhile.
                fetch("SELECT 1", {})
                if cursor == 0:
                    break
