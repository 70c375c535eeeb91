"""The change log: which links changed, in an order that no reader can miss a part of.

The API adds a row in the transaction that changes a link. Ids are given out before a transaction
commits, so "every id above the last one seen" would pass over a slow one. Each row therefore
carries its transaction's id, and a reader keeps a *horizon*: the oldest transaction that was
still running when it read. What was not visible then has a transaction id at or above the
horizon, so "all rows from the horizon on" misses nothing, however long a transaction takes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

ADD = "INSERT INTO change_log (short_code) VALUES (%s)"
"""Runs in the transaction that makes the change. NULL: links were imported."""

READ = """
SELECT now.horizon, floor.xid::text::bigint, log.id, log.short_code
FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS horizon) AS now
CROSS JOIN change_log_floor AS floor
LEFT JOIN change_log AS log ON log.xid >= %(horizon)s::text::xid8
"""
"""Parameter: `horizon`, an integer. The rows, always at least one, are for `Reader.take`."""

HORIZON = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
"""The horizon of now, for a reader that holds nothing older."""

HORIZON_BEFORE = """
SELECT least(min(xid), pg_snapshot_xmin(pg_current_snapshot()))::text::bigint
FROM change_log WHERE created_at > clock_timestamp() - make_interval(secs => %(seconds)s)
"""
"""A horizon below the changes of the last `seconds`."""

PRUNE = """
WITH pruned AS (
    DELETE FROM change_log WHERE created_at < clock_timestamp() - make_interval(secs => %(seconds)s)
    RETURNING xid
)
UPDATE change_log_floor SET xid = greatest(xid, (SELECT max(xid) FROM pruned))
"""
"""Drops the rows older than `seconds`; the floor tells a reader from before that it missed some."""

Row = tuple[int, int, int | None, str | None]


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


class Reader:
    """Where one reader stands in the log."""

    def __init__(self, horizon: int) -> None:
        self.horizon = horizon
        self._seen: frozenset[int] = frozenset()

    def take(self, rows: Iterable[Row]) -> Changes:
        """The changes among the rows of `READ` that were not taken before; moves the horizon."""
        before, floor = self.horizon, 0
        changed: dict[int, str | None] = {}
        for self.horizon, floor, row_id, code in rows:  # noqa: B007  # the same in every row
            if row_id is not None:
                changed[row_id] = code
        new = [code for row_id, code in changed.items() if row_id not in self._seen]
        self._seen = frozenset(changed)
        return Changes(
            codes=tuple(dict.fromkeys(code for code in new if code is not None)),
            absent=None in new,
            everything=floor >= before or self.horizon < before,
        )

    def skip_to(self, horizon: int) -> None:
        """Moves on without reading: the caller knows of every change below `horizon`."""
        self.horizon = max(self.horizon, horizon)
