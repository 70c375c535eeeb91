"""The change log: nothing is missed, nothing is told twice."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import change_log
from shared.change_log import Changes, Row, Snapshot

LIMIT = 100


@pytest.fixture
def connect(database_url: str) -> Iterator[Any]:
    """Makes connections; they are closed at the end."""
    connections: list[Any] = []

    def make() -> Any:
        connections.append(psycopg2.connect(database_url))
        return connections[-1]

    yield make
    for connection in connections:
        connection.close()


class Reader:
    """Reads the log as a redirector and the worker do."""

    def __init__(self, connection: Any, *, limit: int = LIMIT) -> None:
        connection.autocommit = True
        self._cursor = connection.cursor()
        self._limit = limit
        self._cursor.execute(change_log.NOW)
        self.at = Snapshot.read(self._cursor.fetchone()[0])

    def read(self) -> Changes:
        parameters = change_log.read_parameters(self.at, limit=self._limit)
        self._cursor.execute(change_log.READ, parameters)
        changes, self.at = change_log.read_changes(
            self._cursor.fetchall(), self.at, limit=self._limit
        )
        return changes


def add(connection: Any, *codes: str | None) -> None:
    with connection.cursor() as cursor:
        for code in codes:
            cursor.execute(change_log.ADD, (code,))


def prune(connection: Any, *, seconds: float = 0, limit: int = LIMIT) -> int:
    with connection, connection.cursor() as cursor:
        cursor.execute(change_log.PRUNE, {"seconds": seconds, "limit": limit})
        return int(cursor.fetchone()[0])


def test_tells_each_change_once(connect: Any) -> None:
    reader, writer = Reader(connect()), connect()
    add(writer, "first", "second", "first")
    writer.commit()
    assert set(reader.read().codes) == {"first", "second"}
    assert not reader.read()


def test_tells_of_a_transaction_that_commits_after_later_ones(connect: Any) -> None:
    reader, slow, fast = Reader(connect()), connect(), connect()
    add(slow, "slow")
    add(fast, "fast")
    fast.commit()
    assert reader.read().codes == ("fast",)
    assert not reader.read()
    slow.commit()
    assert reader.read().codes == ("slow",)
    assert not reader.read()


def test_an_import_voids_negative_answers(connect: Any) -> None:
    reader, writer = Reader(connect()), connect()
    add(writer, None, "code")
    writer.commit()
    assert reader.read() == Changes(codes=("code",), absent=True)


def test_more_changes_than_the_limit_count_as_everything(connect: Any) -> None:
    reader, writer = Reader(connect(), limit=3), connect()
    add(writer, "a", "b", "c", "d")
    writer.commit()
    assert reader.read() == Changes(everything=True)
    add(writer, "e", "f", "g")
    writer.commit()
    assert not reader.read().everything


def test_a_long_transaction_does_not_repeat_what_others_changed(connect: Any) -> None:
    reader, long, writer = Reader(connect(), limit=1), connect(), connect()
    add(long, "long")
    for code in ("a", "b", "c"):
        add(writer, code)
        writer.commit()
        assert reader.read() == Changes(codes=(code,))


def test_a_reader_from_before_pruned_changes_forgets_everything(connect: Any) -> None:
    early, writer = Reader(connect()), connect()
    add(writer, "code")
    writer.commit()
    late = Reader(connect())
    assert prune(connect()) == 1
    assert early.read() == Changes(everything=True)
    assert not early.read()
    assert not late.read()


def test_prunes_only_what_is_old_enough(connect: Any) -> None:
    reader, writer = Reader(connect()), connect()
    add(writer, "code")
    writer.commit()
    assert prune(connect(), seconds=60) == 0
    assert reader.read() == Changes(codes=("code",))


def test_keeps_what_a_transaction_that_is_still_running_might_follow(connect: Any) -> None:
    running, writer = connect(), connect()
    add(running, "running")
    reader = Reader(connect())
    add(writer, "code")
    writer.commit()
    assert reader.read().codes == ("code",)
    assert prune(connect()) == 0
    running.commit()
    assert reader.read().codes == ("running",)
    assert prune(connect()) == 2
    assert not reader.read()


def test_prunes_in_steps(connect: Any) -> None:
    writer = connect()
    add(writer, "a", "b", "c")
    writer.commit()
    assert [prune(writer, limit=2) for _ in range(3)] == [2, 1, 0]


def test_a_restored_database_is_another_one(connect: Any) -> None:
    writer = connect()
    reader = Reader(connect())
    reader.at = Snapshot(reader.at.next + 1_000, reader.at.next + 1_000, ())
    add(writer, "code")
    writer.commit()
    assert reader.read() == Changes(everything=True)


def test_a_lost_floor_counts_as_everything() -> None:
    rows: list[Row] = [("5:5:", None, None, None)]
    changes, now = change_log.read_changes(rows, Snapshot(5, 5, ()), limit=LIMIT)
    assert changes.everything
    assert now == Snapshot(5, 5, ())


@pytest.mark.parametrize("text", ["812:812:", "812:830:812,820"])
def test_a_snapshot_survives_the_way_through_text(text: str) -> None:
    assert str(Snapshot.read(text)) == text


@pytest.mark.parametrize("text", ["", "1:2", "1:2:x", "a:b:"])
def test_refuses_what_is_no_snapshot(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Snapshot.read(text)


@given(st.lists(st.booleans(), max_size=40), st.randoms())
def test_the_later_of_two_snapshots_covers_the_earlier_one(starts: list[bool], random: Any) -> None:
    """Transactions begin and end in any order; each end makes a snapshot of its own."""
    next_id = 10
    running: list[int] = []
    ended: set[int] = set()
    snapshots = [Snapshot(10, 10, ())]
    for starts_one in starts:
        if starts_one or not running:
            running.append(next_id)
            next_id += 1
            continue
        ended.add(running.pop(random.randrange(len(running))))
        # PostgreSQL's: one above the newest that ended, and those below it that did not.
        following = max(ended) + 1
        below = tuple(sorted(one for one in running if one < following))
        snapshots.append(Snapshot(min(below, default=following), following, below))
    for earlier, later in itertools.pairwise(snapshots):
        assert later.covers(earlier)
        assert not earlier.covers(later)
