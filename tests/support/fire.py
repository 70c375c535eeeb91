"""Clients that read and change links all the time, and remember what they were told and when.

They run on an event loop in a thread of their own, so that a test can meanwhile kill, freeze and
restart servers. All times are time.monotonic's.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import random
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg2

HOST = "127.0.0.1"
PATIENCE_SECONDS = 10.0
_DESTINATION = "https://example.com"


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Client:
    """One keep-alive connection, made again when it ends. It fails with OSError."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, method: str, path: str, body: Any = None) -> Response:
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(content)}\r\n\r\n"
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                if self._streams is None:
                    self._streams = await asyncio.open_connection(HOST, self._port)
                reader, writer = self._streams
                writer.write(head.encode() + content)
                return await self._response(reader)
        except asyncio.IncompleteReadError as error:
            self.close()
            raise ConnectionError("hung up") from error
        except BaseException:
            self.close()
            raise

    async def _response(self, reader: asyncio.StreamReader) -> Response:
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection", "") == "close":
            self.close()
        return Response(int(status.split(" ")[1]), headers, body)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@dataclass
class Link:
    """A link that one client changes, and when each of its versions was acknowledged."""

    code: str
    number: int = 0
    """Its id in the API."""
    acknowledged: list[float] = field(default_factory=lambda: [-math.inf])
    """Infinite for a version that got no answer: it may have been written, or not."""

    @property
    def newest_acknowledged(self) -> int:
        versions = range(len(self.acknowledged))
        return max(version for version in versions if self.acknowledged[version] < math.inf)

    def superseded_at(self, version: int) -> float:
        """When a newer one was acknowledged; infinite if none was."""
        return min(self.acknowledged[version + 1 :], default=math.inf)

    def url(self, version: int) -> str:
        return f"{_DESTINATION}/{self.code}/{version}"

    def version_of(self, location: str) -> int:
        base, _, version = location.rpartition("/")
        assert base == f"{_DESTINATION}/{self.code}", f"{self.code} leads to {location}"
        return int(version)


@dataclass(frozen=True)
class Answer:
    """What a redirector said to one request."""

    port: int
    code: str
    asked_at: float
    seconds: float
    status: int
    """0: none, the connection failed."""
    complete: bool
    """A redirect has a Location, a 503 a Retry-After."""
    superseded_at: float
    """When a newer version than the one it leads to was acknowledged; infinite if none was."""

    @property
    def age(self) -> float:
        """For how long the answer had been an old one when it was asked for."""
        return self.asked_at - self.superseded_at


class Fire:
    """All clients together."""

    def __init__(self, chance: random.Random) -> None:
        self.answers: list[Answer] = []
        self.changes = 0
        """Acknowledged."""
        self.refused = 0
        """Changes that got a 503, or no answer."""
        self._chance = chance
        self._jobs: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._stop = threading.Event()
        self._failure: BaseException | None = None

    def read(
        self,
        port: int,
        links: Iterable[Link],
        *,
        pause: float,
        choose: Callable[[], str] | None = None,
    ) -> None:
        """Adds a client of a redirector that follows links, any of them or what is chosen."""
        known = {link.code: link for link in links}
        codes = tuple(known)
        chosen = choose or (lambda: self._chance.choice(codes))
        self._jobs.append(lambda: self._read(port, known, chosen, pause))

    def change(self, port: int, links: Sequence[Link], *, pause: float) -> None:
        """Adds a client of the API that changes links, which nobody else may."""
        self._jobs.append(lambda: self._change(port, links, pause))

    def create(self, port: int, created: list[str], *, pause: float) -> None:
        """Adds a client of the API that creates links and notes what was acknowledged."""
        self._jobs.append(lambda: self._create(port, created, pause))

    @contextmanager
    def burning(self) -> Iterator[None]:
        """All clients work as long as the context lasts; raises what made one of them fail."""
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
        if self._failure is not None:
            raise self._failure

    def since(self, moment: float, until: float = math.inf) -> list[Answer]:
        """The answers to what was asked for between the two."""
        return [answer for answer in tuple(self.answers) if moment <= answer.asked_at < until]

    def _run(self) -> None:
        async def main() -> None:
            async with asyncio.TaskGroup() as tasks:
                for job in self._jobs:
                    tasks.create_task(job())

        try:
            asyncio.run(main())
        except BaseExceptionGroup as group:
            self._failure = group

    async def _read(
        self, port: int, known: Mapping[str, Link], choose: Callable[[], str], pause: float
    ) -> None:
        client = Client(port)
        while not self._stop.is_set():
            code = choose()
            asked_at = time.monotonic()
            response = Response(0, {}, b"")
            with contextlib.suppress(OSError):
                response = await client.request("GET", f"/{code}")
            seconds = time.monotonic() - asked_at
            superseded_at = math.inf
            complete = True
            if response.status == 302:
                link = known[code]
                superseded_at = link.superseded_at(link.version_of(response.headers["location"]))
            elif response.status == 503:
                complete = int(response.headers.get("retry-after", "0")) >= 1
            self.answers.append(
                Answer(port, code, asked_at, seconds, response.status, complete, superseded_at)
            )
            await asyncio.sleep(pause)
        client.close()

    async def _change(self, port: int, links: Sequence[Link], pause: float) -> None:
        client = Client(port)
        for link in itertools.cycle(links):
            if self._stop.is_set():
                break
            body = {"original_url": link.url(len(link.acknowledged))}
            link.acknowledged.append(math.inf)
            status = 503
            with contextlib.suppress(OSError):
                response = await client.request("PUT", f"/urls/{link.number}", body)
                status = response.status
            if status == 200:
                link.acknowledged[-1] = time.monotonic()
                self.changes += 1
            else:
                assert status == 503, status
                self.refused += 1
                await asyncio.sleep(0.05)
            await asyncio.sleep(pause)
        client.close()

    async def _create(self, port: int, created: list[str], pause: float) -> None:
        client = Client(port)
        while not self._stop.is_set():
            try:
                response = await client.request("POST", "/urls", {"original_url": _DESTINATION})
            except OSError:
                await asyncio.sleep(0.02)
                continue
            if response.status == 201:
                created.append(json.loads(response.body)["short_code"])
            else:
                assert response.status == 503, response
                await asyncio.sleep(0.02)
            await asyncio.sleep(pause)
        client.close()


def add_links(database_url: str, prefix: str, count: int) -> list[Link]:
    """Adds links at version 0."""
    links = [Link(f"{prefix}{number:04d}") for number in range(count)]
    connection = psycopg2.connect(database_url)
    try:
        with connection, connection.cursor() as cursor:
            for link in links:
                cursor.execute(
                    "INSERT INTO urls (short_code, original_url, created_at, updated_at)"
                    " VALUES (%s, %s, now(), now()) RETURNING id",
                    (link.code, link.url(0)),
                )
                row = cursor.fetchone()
                assert row is not None
                link.number = row[0]
    finally:
        connection.close()
    return links
