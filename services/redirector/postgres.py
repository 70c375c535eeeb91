"""PostgreSQL from an event loop: psycopg2's asynchronous connections, and a pool of them.

Nothing here waits in a thread, so whoever calls can put a limit on any wait: a connection whose
query is abandoned, for whatever reason, is closed. That holds for a server that is frozen, too.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Any, Self

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_READ, parse_dsn


class Unreachable(Exception):
    """PostgreSQL could not be connected to, or hung up; the same may work later."""


class Connection:
    """One asynchronous connection, in autocommit mode, for one query at a time."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    @classmethod
    async def open(cls, url: str, *, name: str, statement_timeout_ms: int) -> Self:
        """Raises Unreachable."""
        parameters = parse_dsn(url)
        parameters |= {
            "application_name": name,
            "options": f"-c statement_timeout={statement_timeout_ms}",
            # A negotiation less; one that libpq would do without asking the event loop.
            "gssencmode": "disable",
        }
        try:
            # libpq would look the name up itself, blocking the event loop.
            addresses = await _resolve(parameters["host"])
            parameters["hostaddr"] = ",".join(addresses)
            parameters["host"] = ",".join([parameters["host"]] * len(addresses))
            connection = cls(psycopg2.connect(async_=True, **parameters))
        except (psycopg2.Error, OSError) as error:
            raise Unreachable(str(error).strip()) from error
        try:
            await connection._wait()
        except BaseException:
            connection.close()
            raise
        return connection

    async def fetch(self, query: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """All rows. After any exception, a cancellation too, the connection must be closed."""
        cursor = self._raw.cursor()
        try:
            cursor.execute(query, parameters)
        except psycopg2.OperationalError as error:
            raise Unreachable(str(error).strip()) from error
        await self._wait()
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows

    def close(self) -> None:
        self._raw.close()

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                state = self._raw.poll()
            except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
                raise Unreachable(str(error).strip()) from error
            if state == POLL_OK:
                return
            ready = loop.create_future()
            descriptor = self._raw.fileno()
            if state == POLL_READ:
                watch, unwatch = loop.add_reader, loop.remove_reader
            else:
                watch, unwatch = loop.add_writer, loop.remove_writer
            watch(descriptor, _set, ready)
            try:
                await ready
            finally:
                unwatch(descriptor)


class Pool:
    """At most `size` connections, opened when they are needed and kept for the next query."""

    def __init__(self, url: str, *, size: int, name: str, statement_timeout_ms: int) -> None:
        self._url = url
        self._name = name
        self._statement_timeout_ms = statement_timeout_ms
        self._idle: list[Connection] = []
        self._slots = asyncio.Semaphore(size)
        self.size = size
        self.in_use = 0

    async def fetch(self, query: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """All rows of a query that is safe to run twice.

        Raises Unreachable. It sets no limit to the wait: the caller does, by cancelling.
        """
        async with self._slots:
            self.in_use += 1
            try:
                if self._idle:
                    try:
                        return await self._fetch_on(self._idle.pop(), query, parameters)
                    except Unreachable:
                        # The server went away while the connections were idle: so they all did.
                        self.close()
                return await self._fetch_on(await self._open(), query, parameters)
            finally:
                self.in_use -= 1

    @property
    def idle(self) -> int:
        """Connections that wait for a query."""
        return len(self._idle)

    async def ping(self) -> None:
        """Raises Unreachable."""
        await self.fetch("SELECT 1", {})

    def close(self) -> None:
        """Closes the connections that are idle; one in use goes back to the pool."""
        while self._idle:
            self._idle.pop().close()

    async def _open(self) -> Connection:
        return await Connection.open(
            self._url, name=self._name, statement_timeout_ms=self._statement_timeout_ms
        )

    async def _fetch_on(
        self, connection: Connection, query: str, parameters: Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        try:
            rows = await connection.fetch(query, parameters)
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return rows


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _resolve(host: str) -> list[str]:
    """The addresses of `host`, to be tried in this order; an address is its own."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
