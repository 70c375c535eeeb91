"""The change log: which links changed, in an order that no reader can miss a part of.

The API adds a row in the transaction that changes a link. Ids are given out before a transaction
commits, so "every id above the last one seen" would pass over a slow one. Each row therefore
carries its transaction's id, and a reader keeps a *snapshot*: which transactions had ended when
it last read. "Every row of a transaction that had not" is then exactly what is new to it, however
long transactions take and in whatever order they end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

ADD = "INSERT INTO change_log (short_code) VALUES (%s)"
"""Runs in the transaction that makes the change. NULL: links were imported."""

NOW = "SELECT pg_current_snapshot()::text"
"""The snapshot of now, as text, for a reader that holds nothing older."""

READ = """
SELECT pg_current_snapshot()::text, (SELECT xid::text::bigint FROM change_log_floor),
    log.id, log.short_code
FROM (VALUES (1)) AS always
LEFT JOIN (
    SELECT id, short_code FROM change_log
    WHERE xid >= %(next)s::text::xid8 OR xid = ANY(%(running)s::text[]::xid8[])
    LIMIT %(limit)s
) AS log ON true
"""
"""Parameters by `read_parameters`. The rows, always at least one, are for `read_changes`."""

BEHIND = """
SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8
FROM (
    SELECT created_at FROM change_log
    WHERE xid >= %(next)s::text::xid8 OR xid = ANY(%(running)s::text[]::xid8[])
    LIMIT %(limit)s
) AS log
"""
"""How many rows `READ` would give, and the seconds since the oldest of them was written."""

PRUNE = """
WITH old AS (
    SELECT id FROM change_log
    WHERE created_at < clock_timestamp() - make_interval(secs => %(seconds)s)
        AND xid < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY created_at
    LIMIT %(limit)s
), pruned AS (
    DELETE FROM change_log WHERE id IN (SELECT id FROM old) RETURNING xid
), newest AS (
    SELECT max(xid) AS xid, count(*) AS pruned FROM pruned
), moved AS (
    UPDATE change_log_floor AS floor SET xid = greatest(floor.xid, newest.xid)
    FROM newest WHERE newest.pruned > 0
)
SELECT pruned FROM newest
"""
"""Drops at most `limit` rows older than `seconds` and tells how many there were. The floor tells
a reader from before that it missed some; one that has read since all of them ended, it did not."""

Row = tuple[str, int | None, int | None, str | None]


class Snapshot(NamedTuple):
    """Which transactions had ended at a moment: those below `next`, save for the `running`."""

    first: int
    """The oldest that was running, or else `next`."""
    next: int
    running: tuple[int, ...]

    @classmethod
    def read(cls, text: str) -> Self:
        """Takes PostgreSQL's form of it, as `str` gives it; raises ValueError for anything else."""
        first, following, running = text.split(":")
        return cls(
            int(first), int(following), tuple(map(int, running.split(",") if running else ()))
        )

    def __str__(self) -> str:
        return f"{self.first}:{self.next}:{','.join(map(str, self.running))}"

    def covers(self, other: Snapshot) -> bool:
        """Whether all that had ended at `other` had ended here, both being of one database.

        Transactions only ever end, so of two snapshots the one in which more have ended is the
        later one, and holds everything of the other.
        """
        return self._ended >= other._ended

    @property
    def _ended(self) -> int:
        return self.next - len(self.running)


@dataclass(frozen=True)
class Changes:
    """What a cache has to forget."""

    codes: tuple[str, ...] = ()
    absent: bool = False
    """Every negative answer: codes that were unknown may now exist."""
    everything: bool = False
    """All that was ever learned: the log no longer tells, or the database is another one."""

    def __bool__(self) -> bool:
        return bool(self.codes) or self.absent or self.everything


def read_parameters(since: Snapshot, *, limit: int) -> dict[str, Any]:
    """For `READ`. More than `limit` new rows count as a log that no longer tells."""
    running = [str(transaction) for transaction in since.running]
    return {"next": since.next, "running": running, "limit": limit + 1}


def read_changes(rows: Sequence[Row], since: Snapshot, *, limit: int) -> tuple[Changes, Snapshot]:
    """What changed after `since`, by the rows of `READ`, and the snapshot that this leads to."""
    text, floor, _, _ = rows[0]
    now = Snapshot.read(text)
    if floor is None or floor >= since.first or not now.covers(since) or len(rows) > limit:
        return Changes(everything=True), now
    new = [code for _, _, row_id, code in rows if row_id is not None]
    codes = tuple(dict.fromkeys(code for code in new if code is not None))
    return Changes(codes=codes, absent=None in new), now
