"""Clicks are recorded once, whoever records them, and kept as long as they should be."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import psycopg2
import pytest

from services.worker.click_store import _LOCK, ClickStore
from shared.click_stats import HOURS_KEPT_DAYS, KEPT_NAMES
from shared.click_stream import Batch
from tests.support.click_load import totals
from tests.support.clicks import Click, batch_of
from tests.support.proxy import LossyProxy
from tests.support.stores import PostgresProcess
from tests.support.waiting import wait_for

NOW = datetime(2026, 3, 31, 23, 30, tzinfo=UTC)
BROWSER = b"Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0"
FIRST, SECOND = b"1" * 16, b"2" * 16


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def batch(
    producer: bytes, first: int, count: int, *, link: int = 1, time: datetime = NOW, **fields: Any
) -> Batch:
    milliseconds = round(time.timestamp() * 1_000)
    given = {"user_agent": BROWSER, **fields}
    return batch_of(producer, first, [Click(link, milliseconds, **given)] * count)


class Database:
    """Looks into PostgreSQL, and opens stores on it."""

    def __init__(self, url: str, connection: Any) -> None:
        self.url = url
        self.connection = connection
        self.clock = Clock()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall()) if cursor.description else []

    @contextmanager
    def store(self, *, retention_days: int = 90, url: str | None = None) -> Iterator[ClickStore]:
        with closing(
            ClickStore.open(url or self.url, retention_days=retention_days, wall_clock=self.clock)
        ) as store:
            yield store

    def partitions(self, table: str) -> list[str]:
        return sorted(
            name
            for (name,) in self.rows(
                "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
                f" WHERE inhparent = '{table}'::regclass"
            )
        )

    def drop_partitions(self) -> None:
        for table in ("clicks", "click_hours"):
            for name in self.partitions(table):
                self.rows(f"DROP TABLE {name}")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with closing(psycopg2.connect(database_url)) as connection:
        connection.autocommit = True
        database = Database(database_url, connection)
        database.drop_partitions()
        yield database
        database.drop_partitions()


def test_clicks_are_recorded_with_all_their_totals(database: Database) -> None:
    with database.store() as store:
        recorded = store.record([batch(FIRST, 0, 3), batch(SECOND, 0, 2, link=2, is_head=True)])
    assert (recorded.people, recorded.bots, recorded.seen, recorded.lost) == (3, 2, 0, 0)
    assert database.rows("SELECT link_id, clicks, bots FROM click_counts ORDER BY 1") == [
        (1, 3, 0),
        (2, 0, 2),
    ]
    hour = NOW.replace(minute=0)
    assert database.rows("SELECT * FROM click_hours ORDER BY 1") == [
        (1, hour, 3, 0),
        (2, hour, 0, 2),
    ]
    assert database.rows("SELECT * FROM click_days ORDER BY 1") == [
        (1, NOW.date(), 3, 0, {"direct": 3}, {"desktop": 3}, {"unknown": 3}, False),
        (2, NOW.date(), 0, 2, {}, {}, {}, False),
    ]
    assert database.rows("SELECT link_id, clicked_at, is_bot, device, referrer FROM clicks") == [
        *[(1, NOW, False, "desktop", None)] * 3,
        *[(2, NOW, True, "desktop", None)] * 2,
    ]


def test_a_batch_that_comes_again_is_not_counted_again(database: Database) -> None:
    with database.store() as store:
        store.record([batch(FIRST, 0, 3), batch(FIRST, 3, 2), batch(FIRST, 0, 3)])
        recorded = store.record([batch(FIRST, 0, 3), batch(FIRST, 3, 2), batch(FIRST, 5, 1)])
    assert (recorded.people, recorded.seen) == (1, 5)
    assert set(totals(database.url).values()) == {6}


def test_a_gap_in_the_numbers_counts_as_lost(database: Database) -> None:
    with database.store() as store:
        store.record([batch(FIRST, 0, 3)])
        recorded = store.record([batch(FIRST, 10, 2), batch(SECOND, 4, 1)])
        assert (recorded.people, recorded.lost) == (3, 7 + 4)
        assert store.record([batch(FIRST, 3, 7)]).seen == 7
    assert database.rows("SELECT recorded, lost FROM click_producers ORDER BY producer") == [
        (12, 7),
        (5, 4),
    ]


def test_a_failure_halfway_records_nothing(database: Database) -> None:
    database.rows("ALTER TABLE click_counts RENAME TO elsewhere")
    try:
        with database.store() as store, pytest.raises(psycopg2.Error):
            store.record([batch(FIRST, 0, 3)])
    finally:
        database.rows("ALTER TABLE elsewhere RENAME TO click_counts")
    assert set(totals(database.url).values()) == {0}
    with database.store() as store:
        assert store.record([batch(FIRST, 0, 3)]).people == 3


def test_a_commit_whose_reply_was_lost_is_not_repeated(
    database: Database, postgres: PostgresProcess
) -> None:
    proxy = LossyProxy(postgres.port)
    try:
        url = database.url.replace(f":{postgres.port}/", f":{proxy.port}/")
        for number in range(20):
            proxy.lose_replies = 0
            with database.store(url=url) as store:
                store.record([batch(FIRST, 2 * number, 1)])
                # Each of the statements of a transaction once, the commit among them.
                real = store._connection
                store._connection = Cutting(real, proxy, after=number)
                with pytest.raises(psycopg2.Error):
                    store.record([batch(FIRST, 2 * number + 1, 1)])
            with database.store() as store:
                recorded = store.record([batch(FIRST, 2 * number + 1, 1)])
                assert recorded.people + recorded.seen == 1
                if number == 0:
                    assert recorded.people == 1
        assert recorded.seen == 1, "the last one lost its reply to COMMIT"
        assert set(totals(database.url).values()) == {40}
    finally:
        proxy.close()


class Cutting:
    """A connection that loses the reply to one of its statements, or else to COMMIT."""

    def __init__(self, connection: Any, proxy: LossyProxy, *, after: int) -> None:
        self._connection = connection
        self._proxy = proxy
        self._left = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def __enter__(self) -> Any:
        return self._connection.__enter__()

    def __exit__(self, *failure: object) -> Any:
        self._proxy.lose_replies = 1
        return self._connection.__exit__(*failure)

    def cursor(self) -> Any:
        return CuttingCursor(self._connection.cursor(), self)

    def count(self) -> None:
        if self._left == 0:
            self._proxy.lose_replies = 1
        self._left -= 1


class CuttingCursor:
    def __init__(self, cursor: Any, connection: Cutting) -> None:
        self._cursor = cursor
        self._connection = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._cursor.close()

    def execute(self, *statement: Any) -> None:
        self._connection.count()
        self._cursor.execute(*statement)

    def copy_expert(self, *statement: Any) -> None:
        self._connection.count()
        self._cursor.copy_expert(*statement)

    def fetchall(self) -> Any:
        return self._cursor.fetchall()


def test_two_recorders_at_once_count_nothing_twice(database: Database) -> None:
    batches = [batch(FIRST, first, 1, link=first % 7) for first in range(200)]
    failures: list[Exception] = []

    def record() -> None:
        try:
            with database.store() as store:
                for start in range(0, 200, 20):
                    store.record(batches[start : start + 20])
        except psycopg2.Error as error:
            failures.append(error)

    threads = [threading.Thread(target=record) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(totals(database.url).values()) == {200}


def test_a_recorder_that_is_frozen_with_the_lock_is_disconnected(database: Database) -> None:
    with (
        closing(psycopg2.connect(database.url)) as frozen,
        frozen.cursor() as cursor,
        database.store() as store,
    ):
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        assert store.record([batch(FIRST, 0, 1)]).people == 1
        with pytest.raises(psycopg2.Error):
            cursor.execute("SELECT 1")


def test_a_click_from_an_odd_clock_is_recorded(database: Database) -> None:
    with database.store() as store:
        for number, year in enumerate((1970, 2025, 2026, 2027, 2200)):
            store.record([batch(FIRST, number, 1, time=datetime(year, 1, 1, tzinfo=UTC))])
    assert set(totals(database.url).values()) == {5}
    assert database.rows("SELECT DISTINCT clicked_at FROM clicks") == [(NOW,)]


def test_partitions_are_made_ahead_and_when_they_are_missing(database: Database) -> None:
    with database.store() as store:
        assert not store.keep_up()
        assert database.partitions("clicks") == [
            "clicks_20260331", "clicks_20260401", "clicks_20260402", "clicks_20260403"
        ]  # fmt: skip
        assert database.partitions("click_hours") == [
            "click_hours_20260301",
            "click_hours_20260401",
        ]
        store.record([batch(FIRST, 0, 1, time=NOW - timedelta(days=6))])
        assert "clicks_20260325" in database.partitions("clicks")


def test_a_reader_holds_up_neither_partitions_nor_recording(database: Database) -> None:
    """A dump may read all of the tables for hours."""
    with database.store() as store:
        store.record([batch(FIRST, 0, 1)])
        with closing(psycopg2.connect(database.url)) as dump, dump.cursor() as cursor:
            cursor.execute("SELECT * FROM clicks, click_hours, click_days, click_counts")
            database.clock.now += timedelta(days=30)
            store.keep_up()
            store.record([batch(FIRST, 1, 1, time=database.clock.now)])
    assert set(totals(database.url).values()) == {2}


def test_clicks_go_after_their_time_and_totals_stay(database: Database) -> None:
    with database.store(retention_days=2) as store:
        for number in range(4):
            database.clock.now = NOW + timedelta(days=number)
            store.record([batch(FIRST, number, 1, time=database.clock.now)])
        store.keep_up()
    assert database.partitions("clicks")[0] == "clicks_20260401"
    found = totals(database.url)
    assert (found["clicks"], found["days"], found["hours"], found["counts"]) == (3, 4, 4, 4)


def test_hours_go_after_their_time_and_days_stay(database: Database) -> None:
    with database.store() as store:
        store.record([batch(FIRST, 0, 1)])
        database.clock.now = NOW + timedelta(days=HOURS_KEPT_DAYS)
        store.keep_up()
        assert totals(database.url)["hours"] == 1
        database.clock.now += timedelta(days=1)
        store.keep_up()
    found = totals(database.url)
    assert (found["hours"], found["days"], found["counts"]) == (0, 1, 1)


def test_without_retention_no_single_click_is_stored(database: Database) -> None:
    with database.store(retention_days=0) as store:
        store.keep_up()
        store.record([batch(FIRST, 0, 3)])
    found = totals(database.url)
    assert (found["clicks"], found["days"], found["counts"]) == (0, 3, 3)
    assert database.partitions("clicks") == []


def test_a_day_that_is_over_keeps_its_most_frequent_names(database: Database) -> None:
    count = KEPT_NAMES + 20
    clicks = [
        batch(FIRST, number, 1, referrer=f"{number:03d}.example".encode())
        for number in range(count)
    ]
    with database.store() as store:
        store.record([*clicks, batch(FIRST, count, 1, referrer=b"069.example")])
        store.keep_up()
        assert database.rows("SELECT is_wide FROM click_days") == [(True,)]
        database.clock.now = NOW + timedelta(hours=1)
        store.keep_up()
    [(referrers, is_wide)] = database.rows("SELECT referrers, is_wide FROM click_days")
    assert not is_wide
    assert (len(referrers), referrers["069.example"], referrers["other"]) == (51, 2, 20)
    assert set(totals(database.url).values()) == {count + 1}


def test_producers_are_forgotten_after_a_week(database: Database) -> None:
    with database.store() as store:
        store.record([batch(FIRST, 0, 1), batch(SECOND, 0, 1)])
        database.rows(
            "UPDATE click_producers SET seen_at = now() - interval '8 days'"
            f" WHERE producer = '{FIRST.hex()}'"
        )
        store.keep_up()
    assert len(database.rows("SELECT recorded FROM click_producers")) == 1


def test_nobody_is_forgotten_while_nothing_is_recorded(database: Database) -> None:
    with database.store() as store:
        store.record([batch(FIRST, 0, 3)])
        database.rows("UPDATE click_producers SET seen_at = now() - interval '8 days'")
        store.keep_up()
        recorded = store.record([batch(FIRST, 0, 3), batch(FIRST, 3, 1)])
    assert (recorded.seen, recorded.people, recorded.lost) == (3, 1, 0)


def test_a_click_on_a_link_that_nobody_knows_is_recorded(database: Database) -> None:
    with database.store() as store:
        assert store.record([batch(FIRST, 0, 1, link=2**62)]).people == 1


def test_a_frozen_server_is_hung_up_on(
    database: Database, postgres: PostgresProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.worker.click_store.ANSWER_TIMEOUT_SECONDS", 0.3)
    with database.store() as store:
        store.record([batch(FIRST, 0, 1)])
        postgres.freeze()
        try:
            with pytest.raises(psycopg2.Error):
                store.record([batch(FIRST, 1, 1)])
        finally:
            postgres.thaw()
    wait_for(postgres.is_ready, "PostgreSQL")
