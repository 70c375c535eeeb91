"""Whether PostgreSQL answers, asked every second from a thread, with a limit to every wait."""

from __future__ import annotations

import logging
import select
import threading
import time
from typing import Any

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_READ

INTERVAL_SECONDS = 1.0
LIMIT_SECONDS = 2.0
"""A server that takes longer to connect to, or to answer, counts as down."""

_log = logging.getLogger(__name__)


class DatabaseProbe:
    """A connection of its own, so that neither a full pool nor a frozen server misleads it."""

    def __init__(self, url: str, *, name: str) -> None:
        self.is_up = False
        self._url = url
        self._name = name
        self._connection: Any = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="database-probe", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(LIMIT_SECONDS + INTERVAL_SECONDS)

    def ask(self) -> bool:
        """Asks once; never takes longer than twice LIMIT_SECONDS."""
        try:
            if self._connection is None:
                self._connection = psycopg2.connect(
                    self._url,
                    async_=True,
                    application_name=self._name,
                    gssencmode="disable",
                )
                self._wait()
            # Without a name it would be gone, and the query with it, before the answer came.
            cursor = self._connection.cursor()
            cursor.execute("SELECT 1")
            self._wait()
            cursor.fetchall()
        except (psycopg2.Error, TimeoutError) as error:
            _log.debug("PostgreSQL does not answer", extra={"reason": str(error).strip()})
            self._hang_up()
            return False
        return True

    def _run(self) -> None:
        while True:
            self.is_up = self.ask()
            if self._stop.wait(INTERVAL_SECONDS):
                break
        self._hang_up()

    def _wait(self) -> None:
        deadline = time.monotonic() + LIMIT_SECONDS
        while (state := self._connection.poll()) != POLL_OK:
            poll = select.poll()
            poll.register(
                self._connection.fileno(), select.POLLIN if state == POLL_READ else select.POLLOUT
            )
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1_000):
                raise TimeoutError("no answer in time")

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
