"""Records clicks in PostgreSQL: a batch of batches in one transaction, each click once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Self

import psycopg2
from psycopg2 import errors

from services.worker import click_tables
from services.worker.click_partitions import CLICKS, HOURS, Partitioned
from services.worker.click_tables import date_of
from services.worker.click_totals import Resolved, Tally
from shared.click_stats import HOURS_KEPT_DAYS
from shared.click_stream import Batch
from shared.database import Watchdog

NAME = "hoplink-clicks"
CONNECT_TIMEOUT_SECONDS = 2
STATEMENT_TIMEOUT_SECONDS = 10
LOCK_TIMEOUT_SECONDS = 2
IDLE_TIMEOUT_SECONDS = 4
"""A worker that is frozen between two statements loses its transaction after so long."""
ANSWER_TIMEOUT_SECONDS = 30
"""A server that takes longer for a whole transaction, or never answers, is hung up on."""

DAYS_AHEAD = 3
"""For so long, partitions may fail to be made without anyone noticing."""
PRODUCERS_KEPT_DAYS = 7

_LOCK = 0x686F_7063  # any number, the same for all workers: "hopc"

_OPTIONS = (
    f"-c statement_timeout={STATEMENT_TIMEOUT_SECONDS}s -c lock_timeout={LOCK_TIMEOUT_SECONDS}s"
    f" -c idle_in_transaction_session_timeout={IDLE_TIMEOUT_SECONDS}s -c timezone=UTC"
    # Every look-up here is by primary key, whatever the statistics say of a new table.
    " -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off"
)

_HOLDERS = """
SELECT pg_terminate_backend(pid) FROM pg_locks
WHERE locktype = 'advisory' AND classid = 0 AND objid = %s AND granted AND pid <> pg_backend_pid()
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

_SET_PROGRESS = """
INSERT INTO click_producers AS known (producer, recorded, lost, seen_at)
VALUES (%s, %s, %s, now())
ON CONFLICT (producer) DO UPDATE
SET recorded = excluded.recorded, lost = known.lost + excluded.lost, seen_at = excluded.seen_at
"""

# By the newest of them: after a long stop the stream still holds what was recorded before it.
_FORGET_PRODUCERS = """
DELETE FROM click_producers
WHERE seen_at < (SELECT max(seen_at) FROM click_producers) - make_interval(days => %s)
"""

_log = logging.getLogger(__name__)


@dataclass
class Recorded:
    """What became of some batches."""

    people: int = 0
    bots: int = 0
    seen: int = 0
    """Clicks that were recorded before."""
    lost: int = 0
    """Clicks that should have come before these, and didn't."""


class Progress:
    """The number up to which each producer is recorded."""

    def __init__(self, recorded: dict[bytes, int]) -> None:
        self.recorded = recorded
        self.lost: Counter[bytes] = Counter()
        self.seen = 0

    def sift(self, batches: Iterable[Batch]) -> list[Batch]:
        """The batches that are not recorded yet, in the given order, which must be theirs."""
        new = []
        for batch in batches:
            recorded = self.recorded.get(batch.producer, 0)
            if batch.first < recorded:
                self.seen += len(batch)
                continue
            self.lost[batch.producer] += batch.first - recorded
            self.recorded[batch.producer] = batch.end
            new.append(batch)
        return new


class ClickStore:
    """A connection of its own. Every method may raise psycopg2.Error; then it must be closed.

    Recording is serialised by a lock that a transaction holds, so a second recorder, which there
    is for a moment when leadership changes, does no harm. Who holds the lock for too long is
    disconnected: a worker that was frozen while it sent clicks would hold it for ever.
    """

    def __init__(
        self,
        connection: Any,
        *,
        retention_days: int,
        wall_clock: Callable[[], datetime],
    ) -> None:
        self._connection = connection
        self._watchdog = Watchdog()
        self._retention_days = retention_days
        self._wall_clock = wall_clock
        self._known_partitions: set[str] = set()

    @classmethod
    def open(
        cls,
        url: str,
        *,
        retention_days: int,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> Self:
        connection = psycopg2.connect(
            url,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            application_name=NAME,
            options=_OPTIONS,
        )
        store = cls(connection, retention_days=retention_days, wall_clock=wall_clock)
        try:
            with store._transaction() as cursor:
                cursor.execute(click_tables.TEMPORARY)
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        self._connection.close()
        self._watchdog.close()

    def record(self, batches: Sequence[Batch]) -> Recorded:
        """Records what is new among `batches`. When it fails, all of it or nothing is recorded."""
        now = self._wall_clock()
        with self._exclusively() as cursor:
            progress = self._progress(cursor, {batch.producer for batch in batches})
            new = progress.sift(batches)
            tally = self._add(cursor, new, round(now.timestamp() * 1_000))
            for producer in sorted({batch.producer for batch in new}):
                cursor.execute(
                    _SET_PROGRESS,
                    (producer.hex(), progress.recorded[producer], progress.lost[producer]),
                )
        return Recorded(
            people=tally.people.total(),
            bots=tally.bots.total(),
            seen=progress.seen,
            lost=progress.lost.total(),
        )

    def keep_up(self) -> bool:
        """Makes partitions ahead, and drops or narrows what is kept no longer.

        A step at a time: whether there is more to do.
        """
        today = self._wall_clock().date()
        ahead = [today + timedelta(days=days) for days in range(DAYS_AHEAD + 1)]
        with self._exclusively() as cursor:
            self._make_partitions(cursor, HOURS, ahead)
            if self._retention_days:
                self._make_partitions(cursor, CLICKS, ahead)
            cursor.execute(_FORGET_PRODUCERS, (PRODUCERS_KEPT_DAYS,))
            narrowed = click_tables.narrow_days(cursor, today)
        for table, days in ((CLICKS, self._retention_days), (HOURS, HOURS_KEPT_DAYS)):
            self._drop_before(table, today - timedelta(days=days))
        return narrowed == click_tables.WIDE_DAYS_AT_ONCE

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        with (
            self._watchdog.limit(self._connection, ANSWER_TIMEOUT_SECONDS),
            self._connection,
            self._connection.cursor() as cursor,
        ):
            yield cursor

    @contextmanager
    def _exclusively(self) -> Iterator[Any]:
        """A transaction of which there is one at a time."""
        with self._transaction() as cursor:
            try:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            except errors.LockNotAvailable:
                self._connection.rollback()
                _log.warning("disconnecting a worker that holds up the recording of clicks")
                cursor.execute(_HOLDERS, (_LOCK,))
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            yield cursor

    def _progress(self, cursor: Any, producers: Iterable[bytes]) -> Progress:
        cursor.execute(
            "SELECT producer::text, recorded FROM click_producers WHERE producer = ANY(%s::uuid[])",
            ([producer.hex() for producer in producers],),
        )
        return Progress(
            {bytes.fromhex(name.replace("-", "")): recorded for name, recorded in cursor.fetchall()}
        )

    def _add(self, cursor: Any, batches: Sequence[Batch], now: int) -> Tally:
        resolved = [Resolved(batch, now) for batch in batches]
        tally = Tally(resolved)
        if not batches:
            return tally
        days = {day for _, day in tally.places()}
        self._make_partitions(cursor, HOURS, map(date_of, days))
        if self._retention_days:
            self._make_partitions(cursor, CLICKS, map(date_of, days))
            click_tables.add_clicks(cursor, resolved)
        click_tables.add_totals(cursor, tally)
        return tally

    def _make_partitions(self, cursor: Any, table: Partitioned, days: Iterable[date]) -> None:
        unknown = [day for day in days if table.name(day) not in self._known_partitions]
        if unknown:
            for day in table.missing(cursor, unknown):
                table.make(cursor, day)
            # If the transaction fails, so does this object.
            self._known_partitions.update(map(table.name, unknown))

    def _drop_before(self, table: Partitioned, first: date) -> None:
        with self._transaction() as cursor:
            names = table.outdated(cursor, first)
        for name in names:
            with self._transaction() as cursor:
                cursor.execute(f"DROP TABLE {name}")
            self._known_partitions.discard(name)
            _log.info("dropped old clicks", extra={"partition": name})
