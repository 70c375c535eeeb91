"""Clients that follow links and remember every answer: what must be counted, and what may be.

Each request has a user agent of its own, which the raw clicks keep: so a test can say of every
single one whether it was recorded, and how often.
"""

from __future__ import annotations

import http.client
import itertools
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg2

HOST = "127.0.0.1"
PAUSE_SECONDS = 0.006


@dataclass(frozen=True)
class Request:
    """One that was sent."""

    agent: str
    redirector: int
    """Its port."""
    time: float
    """When it was answered, or given up, by time.monotonic."""
    seconds: float
    """How long it took."""
    answered: bool
    """With a redirect. Otherwise it may have been counted, or not."""


class Load:
    """Threads that send requests to redirectors until they are told to stop."""

    def __init__(self, codes: Sequence[str], ports: Sequence[int], *, threads: int = 2) -> None:
        self.requests: list[Request] = []
        self._codes = codes
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(port, number))
            for port in ports
            for number in range(threads)
        ]

    @property
    def answered(self) -> list[Request]:
        return [request for request in self.requests if request.answered]

    @contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    def _send(self, port: int, seed: int) -> None:
        chance = random.Random(f"{port} {seed}")
        client = http.client.HTTPConnection(HOST, port, timeout=5)
        while not self._stop.is_set():
            agent = (
                "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0"
                f" n{next(self._numbers)}"
            )
            # Half of them go to one link.
            code = self._codes[0] if chance.random() < 0.5 else chance.choice(self._codes)
            headers = {"User-Agent": agent, "Referer": f"https://{chance.randrange(99)}.example/"}
            answered = False
            began = time.monotonic()
            try:
                client.request("GET", f"/{code}", headers=headers)
                with client.getresponse() as response:
                    response.read()
                    answered = response.status == 302
            except (OSError, http.client.HTTPException):
                client.close()
                self._stop.wait(0.05)
            ended = time.monotonic()
            self.requests.append(Request(agent, port, ended, ended - began, answered))
            self._stop.wait(PAUSE_SECONDS)
        client.close()


def add_links(database_url: str, count: int) -> list[str]:
    """Adds links and returns their short codes."""
    codes = [f"click{number:02d}" for number in range(count)]
    connection = psycopg2.connect(database_url)
    try:
        with connection, connection.cursor() as cursor:
            for code in codes:
                cursor.execute(
                    "INSERT INTO urls (short_code, original_url, created_at, updated_at)"
                    " VALUES (%s, 'https://example.com/', now(), now())",
                    (code,),
                )
    finally:
        connection.close()
    return codes


def recorded_agents(database_url: str) -> list[str]:
    """The user agent of every click that is recorded; one of them twice if it is there twice."""
    connection = psycopg2.connect(database_url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT user_agent FROM clicks")
            return [agent for (agent,) in cursor.fetchall()]
    finally:
        connection.close()


def totals(database_url: str) -> dict[str, int]:
    """What each kind of total adds up to: they must all be the same."""
    queries = {
        "clicks": "SELECT count(*) FROM clicks",
        "hours": "SELECT sum(clicks + bots) FROM click_hours",
        "days": "SELECT sum(clicks + bots) FROM click_days",
        "counts": "SELECT sum(clicks + bots) FROM click_counts",
        "producers": "SELECT sum(recorded - lost) FROM click_producers",
        **{
            kind: f"SELECT sum(n::bigint) FROM click_days, json_each_text({kind}) AS x (name, n)"
            for kind in ("referrers", "devices", "countries")
        },
    }
    connection = psycopg2.connect(database_url)
    try:
        with connection, connection.cursor() as cursor:
            found = {}
            for name, query in queries.items():
                cursor.execute(query)
                found[name] = int((cursor.fetchone() or (0,))[0] or 0)
            return found
    finally:
        connection.close()


def metric(text: str, name: str) -> float:
    """The sum of a metric's samples in a Prometheus exposition."""
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith((f"{name} ", f"{name}{{"))
    )
