"""How a request gets hold of PostgreSQL: for as long as it works with it, and never for ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from shared.database import Database, Watchdog

GRACE_SECONDS = 2.0
"""What a frozen server gets beyond statement_timeout, which a live one keeps by itself."""


class Connections:
    """Lends connections of one pool; each goes back to it, whatever happens."""

    def __init__(
        self, database: Database, watchdog: Watchdog, *, statement_timeout_seconds: float
    ) -> None:
        self._database = database
        self._watchdog = watchdog
        self._limit = statement_timeout_seconds + GRACE_SECONDS

    @contextmanager
    def lend(self, limit_seconds: float | None = None) -> Iterator[Database]:
        """The database, connected in this thread; for some short statements, if not said otherwise.

        Raises peewee.OperationalError or playhouse.pool.MaxConnectionsExceeded when there is no
        connection to be had, and makes any statement raise the former once the limit is over.
        """
        self._database.connect()
        try:
            with self._watchdog.limit(self._database.connection(), limit_seconds or self._limit):
                yield self._database
        finally:
            self._database.close()
