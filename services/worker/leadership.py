"""Who of several workers is active: the one whose connection holds an advisory lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2

from shared.database import Watchdog

LOCK = 0x686F_7077  # any number, the same for all workers: "hopw"
SESSION_TIMEOUT_SECONDS = 4
"""A leader that is frozen for so long loses its connection, and with it the lock."""
STATEMENT_TIMEOUT_SECONDS = 5
ANSWER_TIMEOUT_SECONDS = 6
"""A server that answers later than this, or never, is hung up on."""
CONNECT_TIMEOUT_SECONDS = 2


class Candidate:
    """A direct connection to PostgreSQL, which either holds the lock or waits for it."""

    def __init__(self, connection: Any, watchdog: Watchdog) -> None:
        self._connection = connection
        self._watchdog = watchdog

    def wins(self) -> bool:
        """Whether this one is active from now on, until its connection ends."""
        rows = self.fetch("SELECT pg_try_advisory_lock(%(lock)s)", {"lock": LOCK})
        return bool(rows[0][0])

    def fetch(self, query: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Runs a query in a transaction of its own. Raises psycopg2.Error."""
        with (
            self._watchdog.limit(self._connection, ANSWER_TIMEOUT_SECONDS),
            self._connection.cursor() as cursor,
        ):
            cursor.execute(query, parameters)
            rows: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
            return rows


@contextmanager
def candidate(url: str, watchdog: Watchdog) -> Iterator[Candidate]:
    """Stands for election as long as the context lasts. Raises psycopg2.Error."""
    connection = psycopg2.connect(
        url,
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        application_name="hoplink-worker",
        options=(
            f"-c statement_timeout={STATEMENT_TIMEOUT_SECONDS}s"
            f" -c idle_session_timeout={SESSION_TIMEOUT_SECONDS}s"
        ),
    )
    try:
        connection.autocommit = True
        yield Candidate(connection, watchdog)
    finally:
        connection.close()
