"""How a request gets hold of PostgreSQL: for as long as it works with it, and never for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from peewee import OperationalError

from shared.database import Database, Watchdog

GRACE_SECONDS = 2.0
"""What a frozen server gets beyond statement_timeout, which a live one keeps by itself."""
PATIENCE_SECONDS = 0.25
"""How long a request waits, after PostgreSQL was lost, for another one to find it again."""


class Connections:
    """Lends connections of one pool; each goes back to it, whatever happens.

    Once PostgreSQL was lost, one request at a time tries to find it again and the others fail
    soon. So a server that is frozen never gets hold of all threads, and /health stays alive.
    """

    def __init__(
        self, database: Database, watchdog: Watchdog, *, statement_timeout_seconds: float
    ) -> None:
        self.database = database
        self._watchdog = watchdog
        self._limit = statement_timeout_seconds + GRACE_SECONDS
        self._is_lost = False
        self._search = threading.Lock()

    @contextmanager
    def lend(self, limit_seconds: float | None = None) -> Iterator[Database]:
        """The database, connected in this thread; for some short statements, if not said otherwise.

        Raises peewee.OperationalError or playhouse.pool.MaxConnectionsExceeded when there is no
        connection to be had, and makes any statement raise the former once the limit is over.
        """
        if self._is_lost:
            self._find()
        with self._connected(limit_seconds or self._limit) as database:
            yield database

    def _find(self) -> None:
        if not self._search.acquire(timeout=PATIENCE_SECONDS):
            raise OperationalError("PostgreSQL does not answer, and another request is waiting")
        try:
            if self._is_lost:
                with self._connected(GRACE_SECONDS) as database:
                    database.execute_sql("SELECT 1")
        finally:
            self._search.release()

    @contextmanager
    def _connected(self, limit_seconds: float) -> Iterator[Database]:
        try:
            self.database.connect()
        except OperationalError:
            self._is_lost = True
            raise
        connection = self.database.connection()
        try:
            with self._watchdog.limit(connection, limit_seconds):
                yield self.database
        finally:
            # psycopg2 closes a connection that breaks; every other error is an answer, too.
            self._is_lost = bool(connection.closed)
            self.database.close()
