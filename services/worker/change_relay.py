"""Makes Redis catch up with the change log, and says with every heartbeat that it has."""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry
from redis import Redis

from shared import change_log, link_cache, metrics
from shared.change_log import Reader
from shared.link_cache import Position

INTERVAL_SECONDS = 0.25
"""Between two heartbeats; redirectors poll after a second without one."""
FIRST_SECONDS = 60
"""How far back the log is applied to a Redis that doesn't say where it stands."""

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
        self._reader: Reader | None = None
        self._at: Position | None = None
        self._nonce = secrets.token_hex(8)
        self._count = itertools.count()
        self._relayed = metrics.CHANGES_RELAYED.counter(registry)
        self._restarts = metrics.CHANGES_REWOUND.counter(registry)

    def step(self, fetch: Fetch) -> None:
        """Brings Redis up to date and sends a heartbeat. Raises redis-py's and psycopg2's errors.

        Does nothing, and the next step starts anew, when another worker came in between or Redis
        is not the one it was a moment ago.
        """
        found = self._position()
        reader = self._reader
        if reader is None or found is None or found != self._at:
            _log.info("applying the change log from where Redis stands", extra={"at": found})
            self._restarts.inc()
            reader = Reader(found.horizon if found else self._first_horizon(fetch))
        # Until Redis has taken them, these changes count as not read.
        self._reader = None
        start = reader.horizon
        changes = reader.take(fetch(change_log.READ, {"horizon": start}))
        if changes.everything:
            self._forget_everything()
        to = Position(reader.horizon, f"{self._nonce}:{next(self._count)}")
        arguments = link_cache.advance_arguments(
            found, start, to, changes, absent_generation=secrets.token_hex(8)
        )
        if self._advance(args=arguments):
            self._reader, self._at = reader, to
            self._relayed.inc(len(changes.codes))

    def _position(self) -> Position | None:
        value: Any = self._redis.get(link_cache.POSITION)
        return None if value is None else Position.read(value)

    def _first_horizon(self, fetch: Fetch) -> int:
        rows = fetch(change_log.HORIZON_BEFORE, {"seconds": FIRST_SECONDS})
        return int(rows[0][0])

    def _forget_everything(self) -> None:
        _log.warning("the change log does not reach back: forgetting every cached link")
        for pattern in link_cache.ALL_KEYS:
            for key in self._redis.scan_iter(match=pattern, count=1_000):
                self._redis.unlink(key)


def prune(fetch: Fetch, *, seconds: int) -> None:
    """Drops what is older than `seconds` from the change log."""
    fetch(change_log.PRUNE, {"seconds": seconds})
