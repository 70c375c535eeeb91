"""Clients that notice everything: what each request was answered, how it failed, how long it took.

Each client is a thread with a connection of its own, kept alive, and sends its requests at a steady
pace whatever becomes of them. Nothing is tried again: what fails, fails.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 10.0
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
"""Who says so isn't counted as a bot."""
GOOD = "good"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """By their names in small letters."""
    body: bytes


@dataclass
class Tally:
    """What became of the requests of one kind."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    """Seconds that the slowest request took."""
    gap: float = 0.0
    """Longest time, in seconds, from one good answer to the next."""
    _last_good: float | None = None

    def add(self, outcome: str, started: float, ended: float) -> None:
        """`outcome` is GOOD or says what was wrong; times are in seconds, by one clock."""
        self.outcomes[outcome] += 1
        self.slowest = max(self.slowest, ended - started)
        if outcome == GOOD:
            if self._last_good is not None:
                self.gap = max(self.gap, ended - self._last_good)
            self._last_good = ended

    @property
    def requests(self) -> int:
        return self.outcomes.total()

    @property
    def failures(self) -> dict[str, int]:
        """What was wrong, the most frequent first."""
        return {what: count for what, count in self.outcomes.most_common() if what != GOOD}


class Client:
    """One connection to the front; it is opened again after a failure."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        self._connection = http.client.HTTPConnection(
            parts.hostname, parts.port or 80, timeout=TIMEOUT_SECONDS
        )

    def ask(self, method: str, path: str, content: object = None) -> Answer:
        """Raises OSError or HTTPException, after which the next call connects anew."""
        body = None if content is None else json.dumps(content)
        headers = {"User-Agent": BROWSER}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            received = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, received, response.read())
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        self._connection.close()


Request = Callable[[Client], str]
"""Makes one request, or a few that belong together; returns GOOD or what was wrong."""


def follow(links: Mapping[str, str]) -> Request:
    """Follows one of the links, codes and where they lead, as likely as any other."""
    codes = list(links)
    randomness = random.Random(1)  # noqa: S311  # a load, not a secret

    def request(client: Client) -> str:
        code = randomness.choice(codes)
        answer = client.ask("GET", f"/{code}")
        if answer.status != 302:
            return _unexpected(answer)
        return GOOD if answer.headers["location"] == links[code] else "302 to somewhere else"

    return request


def read(paths: Sequence[str]) -> Request:
    """Reads one of the paths."""
    randomness = random.Random(2)  # noqa: S311  # a load, not a secret

    def request(client: Client) -> str:
        answer = client.ask("GET", randomness.choice(paths))
        return GOOD if answer.status == 200 else _unexpected(answer)

    return request


def create(made: dict[str, str]) -> Request:
    """Makes a link and follows it at once; what the API acknowledged is added to `made`."""

    def request(client: Client) -> str:
        url = f"https://example.com/new/{random.getrandbits(60)}"
        answer = client.ask("POST", "/shorten", {"url": url})
        if answer.status != 201:
            return _unexpected(answer)
        code = json.loads(answer.body)["short_code"]
        made[code] = url
        followed = client.ask("GET", f"/{code}")
        if followed.status == 404:
            return "404 for a link that was made"
        return GOOD if followed.status == 302 else f"made, then {_unexpected(followed)}"

    return request


def _unexpected(answer: Answer) -> str:
    retry = "" if "retry-after" in answer.headers or answer.status < 500 else " without Retry-After"
    return f"{answer.status}{retry}"


class Traffic:
    """Clients of several kinds, as long as the context lasts."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self.tallies: dict[str, Tally] = {}

    def add(self, kind: str, request: Request, *, clients: int, per_second: float) -> None:
        """So many requests a second from all `clients` of a kind together."""
        tally = self.tallies[kind] = Tally()
        pause = clients / per_second
        for number in range(clients):
            arguments = (tally, request, pause, pause * number / clients)
            self._threads.append(threading.Thread(target=self._send, args=arguments))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self, tally: Tally, request: Request, pause: float, delay: float) -> None:
        client = Client(self._url)
        due = time.monotonic() + delay
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            started = time.monotonic()
            try:
                outcome = request(client)
            except (OSError, http.client.HTTPException) as error:
                outcome = str(error) or type(error).__name__
            ended = time.monotonic()
            with self._lock:
                tally.add(outcome, started, ended)
            # Requests that a slow answer made late are left out.
            due = max(due + pause, ended)
        client.close()
