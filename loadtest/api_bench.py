"""What the API's writes and lists cost: `make bench-api`.

Prints how many links a second one gunicorn process creates next to what an empty handler does
in the same set-up, how long an import of a million links takes next to psql's COPY into the same
table, how much memory each process needed, what the first and the last pages of a walk by cursor
cost, and which index each filter uses. Exits with 1 if a figure misses its target.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

import psutil
import psycopg2
from peewee import PostgresqlDatabase

from infra.local import wheels
from infra.local.accounts import run_as
from infra.local.errors import StackError
from infra.local.ports import HOST, free_ports
from loadtest import workload
from loadtest.empty_handler import PATH as EMPTY_PATH
from loadtest.stack import Server, Stack, StackFailed
from services.api import events, read_cache, urls, users
from services.api.models import Url
from services.api.pagination import Listing, Page, select

LINKS = 1_000_000
USERS = 1_000
CLIENTS = 16
PAGE = 1_000
BODY = '{"original_url":"https://www.example.com/stories/2026/a-title-of-usual-length","title":"A"}'

MOST_TIMES_COPY = 3.0
MOST_MIB = 200
MOST_TIMES_FIRST_PAGE = 1.5
LEAST_OF_EMPTY = 0.4

_COLUMNS = "id,user_id,short_code,original_url,title,is_active,created_at,updated_at"


class Report:
    """Lines with figures, and whether one of them misses its target."""

    def __init__(self) -> None:
        self.missed = False

    def say(self, what: str, figure: str, *, met: bool | None = None) -> None:
        verdict = {None: "", True: "  ok", False: "  MISSED"}[met]
        self.missed |= met is False
        print(f"{what:<55}{figure:>24}{verdict}", flush=True)


class Memory:
    """The most memory that each process below this one had while it is entered."""

    def __init__(self) -> None:
        self.resident_mib: dict[str, float] = {}
        self.own_mib: dict[str, float] = {}
        """Without what it shares with others: program text, and PostgreSQL's buffers."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    self._look_at(process)

    def _look_at(self, process: psutil.Process) -> None:
        memory = process.memory_info()
        name = _role(process.cmdline())
        shared = getattr(memory, "shared", 0)
        for most, size in (
            (self.resident_mib, memory.rss),
            (self.own_mib, memory.rss - shared),
        ):
            most[name] = max(most.get(name, 0), size / 2**20)


def _role(argv: Sequence[str]) -> str:
    words = " ".join(argv)
    if "services.api" in words:
        return "API"
    if words.startswith("postgres:") or "postgres" in Path(argv[0]).name:
        return "PostgreSQL"
    return next((name for name in ("valkey", "psql", "services.worker") if name in words), "others")


class Load(NamedTuple):
    """What a server did for its clients for some seconds."""

    per_second: float
    microseconds: float
    """Of its CPU time, for each answer."""


class Api(Server):
    """Under gunicorn, with a thread for each client."""

    def __init__(
        self, stack: Stack, port: int, argv: Sequence[str], *, processes: int, threads: int
    ) -> None:
        super().__init__(
            "api",
            [sys.executable, *argv],
            port=port,
            log=stack.folder / f"api-{port}.log",
            environ={
                "PATH": os.environ.get("PATH", ""),
                "DATABASE_URL": stack.database.url,
                "REDIS_URL": stack.redis.url,
                "API_PORT": str(port),
                "API_WORKERS": str(processes),
                "API_THREADS": str(threads),
                # A statement that has to wait for this machine's disk is no failure here.
                "STATEMENT_TIMEOUT_MS": "60000",
            },
        )

    def answers(self) -> bool:
        try:
            self.request("GET", "/health")
        except (OSError, http.client.HTTPException):
            return False
        return True

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The body of the answer, parsed, and its headers."""
        client = http.client.HTTPConnection(HOST, self.port, timeout=600)
        try:
            client.request(method, path, body, headers)
            response = client.getresponse()
            return json.loads(response.read()), response.headers
        finally:
            client.close()

    def load(self, path: str, seconds: float) -> Load:
        """POSTs of one link by CLIENTS clients, in a process of their own."""
        argv = [sys.executable, "-m", "loadtest.keep_alive"]
        arguments = [HOST, str(self.port), path, BODY, str(CLIENTS), str(seconds)]
        cpu_before = self.cpu_seconds()
        output = subprocess.run([*argv, *arguments], check=True, capture_output=True).stdout
        cpu_seconds = self.cpu_seconds() - cpu_before
        answers: dict[str, int] = json.loads(output)
        if not answers or any(not status.startswith("2") for status in answers):
            raise StackFailed(f"{path} answered {answers}")
        count = sum(answers.values())
        return Load(count / seconds, cpu_seconds / count * 1e6)


class Bench:
    """The measurements, on one stack."""

    def __init__(self, stack: Stack, report: Report) -> None:
        self._stack = stack
        self._report = report
        self._ports = free_ports(17_000)

    @contextmanager
    def api(
        self, *argv: str, processes: int = 1, threads: int = CLIENTS, pinned: bool = False
    ) -> Iterator[Api]:
        cores = self._stack.cores
        with cores.use(cores.tested if pinned else None):
            port = next(self._ports)
            api = Api(self._stack, port, argv, processes=processes, threads=threads)
        try:
            api.wait_until(api.answers)
            yield api
        finally:
            api.stop()

    def creates(self, rounds: int, seconds: float) -> None:
        """All alternate, round by round, and the best round of each counts."""
        with (
            self.api("-m", "loadtest.empty_handler", pinned=True) as same,
            self.api("-m", "loadtest.empty_handler", "bare", pinned=True) as bare,
        ):
            measured: list[tuple[Load, Load, Load]] = [
                (
                    same.load("/urls", seconds),
                    same.load(EMPTY_PATH, seconds),
                    bare.load(EMPTY_PATH, seconds),
                )
                for _ in range(rounds)
            ]
        creates, empty, falcon = map(max, zip(*measured, strict=True))
        say = self._report.say
        for what, load in (
            (f"links created a second, {CLIENTS} clients, one process", creates),
            ("an empty handler in the same set-up", empty),
            ("an empty handler in a bare Falcon application", falcon),
        ):
            say(what, f"{load.per_second:,.0f}, {load.microseconds:,.0f} us each")
        ratio = creates.per_second / empty.per_second
        say("creates as a part of empty answers", f"{ratio:.2f}", met=ratio >= LEAST_OF_EMPTY)
        say("and of those of bare Falcon", f"{creates.per_second / falcon.per_second:.2f}")

    def imports(self) -> None:
        file = self._stack.folder / "links.csv"
        self._write_links(file)
        self._empty()
        self._sql(
            "INSERT INTO users (username, email, created_at)"
            " SELECT 'u' || n, 'u' || n, now() FROM generate_series(1, %s) n",
            parameters=[USERS],
        )
        copy_seconds = self._copy(file)
        self._empty()
        with self.api("-m", "services.api") as api, Memory() as memory:
            began = time.monotonic()
            with file.open("rb") as body:
                summary, _ = api.request("POST", "/urls/bulk", body, **{"Content-Type": "text/csv"})
            seconds = time.monotonic() - began
        if summary.get("imported") != LINKS:
            raise StackFailed(f"the import answered {summary}")
        say = self._report.say
        say(f"psql's COPY of {LINKS:,} links", f"{copy_seconds:.1f} s")
        say(f"POST /urls/bulk of {LINKS:,} links", f"{seconds:.1f} s")
        times = seconds / copy_seconds
        say("times COPY", f"{times:.2f}", met=times <= MOST_TIMES_COPY)
        for name, mib in memory.own_mib.items():
            shared = memory.resident_mib[name] - mib
            say(
                f"most memory of a process of {name}",
                f"{mib:.0f} + {shared:.0f} shared MiB",
                met=mib < MOST_MIB,
            )

    def walk(self) -> None:
        """All links by cursor. No page is asked for twice, so none comes out of a cache."""
        durations = []
        path: str | None = f"/urls?per_page={PAGE}"
        with self.api("-m", "services.api") as api:
            while path:
                began = time.monotonic()
                _, headers = api.request("GET", path)
                durations.append(time.monotonic() - began)
                link = headers["Link"]
                path = link.partition("/urls")[2].partition(">")[0] if link else None
                path = f"/urls{path}" if path else None
        first, last = (
            statistics.median(part) * 1_000 for part in (durations[1:51], durations[-50:])
        )
        say = self._report.say
        say(f"pages of {PAGE:,} walked", f"{len(durations):,}")
        say("a page of the first 50", f"{first:.1f} ms")
        times = last / first
        met = times <= MOST_TIMES_FIRST_PAGE
        say("a page of the last 50", f"{last:.1f} ms, {times:.2f} times", met=met)

    def filters(self) -> None:
        self._sql(
            "INSERT INTO events (url_id, user_id, event_type, timestamp)"
            " SELECT id, user_id, 'type' || id % 50, now() FROM urls LIMIT 200000",
            "VACUUM ANALYZE",
        )
        links = Listing(Url, urls.COLUMNS, read_cache.LINKS, dict)
        for listing, filters in (
            (users.LISTING, {}),
            (links, {}),
            (links, {"user_id": 7}),
            (links, {"is_active": True}),
            (links, {"is_active": False}),
            (events.LISTING, {}),
            (events.LISTING, {"url_id": 7}),
            (events.LISTING, {"user_id": 7}),
            (events.LISTING, {"event_type": "type7"}),
        ):
            context: Any = PostgresqlDatabase(None).get_sql_context()
            selected = select(listing, filters, Page(size=20, after=10))
            query, parameters = context.sql(selected).query()
            plan = [line for (line,) in self._sql(f"EXPLAIN {query}", parameters=parameters)]
            index = next((line for line in plan if "Index" in line and "using" in line), "none")
            index = index.partition("using ")[2].partition(" on")[0]
            name = "".join(f" by {name}={value}" for name, value in filters.items())
            self._report.say(
                f"index of the list of {listing.subject}{name}", index, met=bool(index)
            )

    def _empty(self) -> None:
        self._sql("TRUNCATE urls, events, change_log RESTART IDENTITY CASCADE", "CHECKPOINT")

    def _write_links(self, file: Path) -> None:
        with file.open("w", encoding="utf-8") as lines:
            lines.write(f"{_COLUMNS}\n")
            for number in range(1, LINKS + 1):
                active = number % 12 > 0
                lines.write(
                    f"{number},{number % USERS + 1},{workload.code(number)},"
                    f"{workload.destination(number)},Title of link {number},{active},"
                    "2025-01-01 12:00:00,2025-06-01 12:00:00\n"
                )

    def _copy(self, file: Path) -> float:
        psql = wheels.postgres_programs(self._stack.account) / "psql"
        command = f"\\copy urls ({_COLUMNS}) FROM '{file}' (FORMAT csv, HEADER)"
        began = time.monotonic()
        subprocess.run(
            [psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", command, self._stack.database.url],
            check=True,
            cwd="/",
            **run_as(self._stack.account),
        )
        return time.monotonic() - began

    def _sql(self, *statements: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        connection = psycopg2.connect(self._stack.database.url)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement, parameters or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-api", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="of creating links (%(default)s)")
    parser.add_argument("--seconds", type=float, default=3, help="of a round (%(default)s)")
    arguments = parser.parse_args()
    report = Report()
    try:
        with Stack() as stack:
            print(stack.cores)
            bench = Bench(stack, report)
            bench.creates(arguments.rounds, arguments.seconds)
            bench.imports()
            bench.filters()
            bench.walk()
    except (StackError, StackFailed) as error:
        print(f"bench-api: {error}", file=sys.stderr)
        return 1
    return int(report.missed)


if __name__ == "__main__":
    sys.exit(main())
