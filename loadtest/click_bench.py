"""What clicks cost: to record them, to count them while redirecting, to show them.

`make bench-clicks` runs all three parts. Results and how to read them: docs/CAPACITY.md.
"""

from __future__ import annotations

import argparse
import gc
import http.client
import io
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import psycopg2
import redis
from prometheus_client import CollectorRegistry

from infra.local.errors import StackError
from infra.local.ports import HOST, free_ports, is_listening
from loadtest import click_history, workload
from loadtest import clicks as made_up
from loadtest.clicks import LINKS, USER_AGENTS
from loadtest.redirect_bench import machine
from loadtest.stack import Server, Stack, StackFailed
from loadtest.wrk import LoadFailed, Wrk, WrkMissing
from services.worker.__main__ import GARBAGE_THRESHOLD
from services.worker.click_recorder import ClickRecorder
from services.worker.click_store import ClickStore
from services.worker.click_totals import Resolved
from shared import click_stream
from shared.click_stream import STREAM
from shared.migrations import migrate

PRODUCERS = 8
MANY = 1_000
PARTS = ["record", "redirect", "show"]
COPY_ROWS = 64_000
"""In one COPY, as in one transaction of the worker."""


@dataclass(frozen=True)
class Rate:
    """How fast something went."""

    what: str
    clicks: int
    seconds: float
    cpu_seconds: float
    database_cpu_seconds: float

    def __str__(self) -> str:
        return (
            f"  {self.what:28} {self.clicks / self.seconds:9,.0f} clicks/s"
            f"   CPU us a click: {1e6 * self.cpu_seconds / self.clicks:5.1f} here,"
            f" {1e6 * self.database_cpu_seconds / self.clicks:5.1f} in PostgreSQL"
        )


class Meter:
    """Measures time, and CPU time here and in PostgreSQL."""

    def __init__(self, postgres_pid: int) -> None:
        self._postgres = psutil.Process(postgres_pid)

    def measure(self, what: str, clicks: int, work: Any) -> Rate:
        before = time.perf_counter(), time.process_time(), self._database()
        work()
        after = time.perf_counter(), time.process_time(), self._database()
        spent = [end - start for start, end in zip(before, after, strict=True)]
        return Rate(what, clicks, *spent)

    def _database(self) -> float:
        total = 0.0
        for process in self._postgres.children(recursive=True):
            times = process.cpu_times()
            total += times.user + times.system
        return total


def record(stack: Stack, count: int) -> list[Rate]:
    """Records `count` clicks that wait in the stream; then the same rows by COPY alone."""
    gc.set_threshold(GARBAGE_THRESHOLD)
    url = _new_database(stack, "clicks")
    encoded, rows = _batches(count)
    meter = Meter(_pid_listening_on(stack.database.port))
    with redis.Redis.from_url(stack.redis.url.removesuffix("/0") + "/1") as client:
        _append(client, encoded)
        recorder = ClickRecorder(
            client, lambda: ClickStore.open(url, retention_days=90), CollectorRegistry()
        )
        with closing(ClickStore.open(url, retention_days=90)) as store, _alone(stack):
            store.keep_up()

            def drain() -> None:
                while client.xlen(STREAM):
                    recorder.step(store)

            recorded = meter.measure("worker, from stream to totals", count, drain)
    with closing(psycopg2.connect(url)) as connection, _alone(stack):
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("SELECT sum(clicks + bots) FROM click_counts")
        assert cursor.fetchone() == (count,), "the worker must have recorded every click"
        cursor.execute("CREATE TABLE copied (LIKE clicks INCLUDING ALL)")

        def copy() -> None:
            for first in range(0, count, COPY_ROWS):
                lines = "".join(rows[first : first + COPY_ROWS]).encode()
                cursor.copy_expert("COPY copied FROM STDIN", io.BytesIO(lines))

        copied = meter.measure("bare COPY, same table", count, copy)
    return [recorded, copied]


def _new_database(stack: Stack, name: str) -> str:
    """Of its own, so that the worker of the stack has nothing to do with it."""
    with closing(psycopg2.connect(stack.database.url)) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {name}")
    url = stack.database.url_of(name)
    migrate(url)
    return url


def _batches(count: int) -> tuple[list[tuple[bytes, int, int, bytes]], list[str]]:
    """Batches as several redirectors would send them, and their rows for COPY."""
    since = time.time_ns() // 1_000_000 - 60_000
    producers = [bytes((number,)) * 16 for number in range(1, PRODUCERS + 1)]
    numbered = dict.fromkeys(producers, 0)
    batches: list[tuple[bytes, int, int, bytes]] = []
    rows: list[str] = []
    for clicks in made_up.batches(count):
        producer = producers[len(batches) % PRODUCERS]
        first = numbered[producer]
        numbered[producer] += len(clicks.links)
        content = click_stream.encode(producer, first, clicks, since=since)
        batches.append((producer, first, numbered[producer], content))
        decoded = click_stream.decode(content)
        rows += Resolved(decoded, decoded.times[-1]).lines()
    return batches, rows


def _append(client: redis.Redis, batches: Sequence[tuple[bytes, int, int, bytes]]) -> None:
    append: Any = client.register_script(click_stream.APPEND)
    for producer, first, end, content in batches:
        arguments = click_stream.append_arguments(
            producer, expected=first, first=first, end=end, content=content, max_bytes=1 << 40
        )
        assert append(args=arguments) == end


@contextmanager
def _alone(stack: Stack) -> Iterator[None]:
    """This process on the core of what is tested."""
    with stack.cores.use(stack.cores.tested):
        yield


def _pid_listening_on(port: int) -> int:
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,):
            return int(connection.pid or 0)
    raise LookupError(f"nobody listens on port {port}")


@dataclass
class Counting:
    """Rounds of a redirector that counts, or doesn't."""

    per_second: list[float] = field(default_factory=list)
    microseconds: list[float] = field(default_factory=list)
    """CPU time of a redirect."""


def redirect(stack: Stack, *, rounds: int, seconds: int, links: int) -> tuple[Counting, Counting]:
    """Redirects with clicks and without, in turn, of requests as browsers send them."""
    wrk = Wrk()
    around = workload.write_browser(stack.folder / "browser")
    codes = workload.write_codes(stack.folder / "codes", workload.in_turn(0, links))
    on, off = Counting(), Counting()
    with (
        # Recording them would take the core that the load has, and slow one of the two down.
        stack.worker.paused(),
        stack.redirector(record_clicks=1) as counting,
        stack.redirector(record_clicks=0) as other,
    ):
        for server in (counting, other):
            wrk.run(server.port, 2, codes=codes, start=0, around=around)
        for number in range(rounds):
            turns = [(counting, on), (other, off)]
            for server, result in turns if number % 2 else turns[::-1]:
                before = server.cpu_seconds()
                load = wrk.run(server.port, seconds, codes=codes, start=0, around=around)
                spent = server.cpu_seconds() - before
                result.per_second.append(load.per_second)
                result.microseconds.append(1e6 * spent / load.requests)
    return on, off


def print_redirects(on: Counting, off: Counting) -> None:
    for name, result in (("with clicks", on), ("without", off)):
        print(
            f"  {name:28} {statistics.median(result.per_second):9,.0f} redirects/s"
            f" ({min(result.per_second):,.0f} to {max(result.per_second):,.0f})"
            f"   CPU us a redirect: {statistics.median(result.microseconds):5.2f}"
            f" ({min(result.microseconds):.2f} to {max(result.microseconds):.2f})"
        )
    rate = statistics.median(on.per_second) / statistics.median(off.per_second)
    cpu = statistics.median(off.microseconds) / statistics.median(on.microseconds)
    print(
        f"  with clicks, of that without: redirects {rate:.3f}, by CPU time {cpu:.3f}", flush=True
    )


QUESTIONS = {
    "30 days": "/urls/1/stats",
    "1,000 days": "/urls/1/stats?from={first}&to={today}",
    "24 hours": "/urls/1/stats?interval=hour",
    "1,000 hours": "/urls/1/stats?interval=hour&from={hours}",
    "user with 100 links, 30 days": "/users/1/stats",
    "busiest 20 links": "/urls?sort=clicks",
}


def show(stack: Stack, asked: int) -> Iterator[str]:
    """What statistics cost a client of the API."""
    url = _new_database(stack, "history")
    click_history.fill(url)
    port = next(free_ports(16_000))
    environ = {
        "PATH": os.environ.get("PATH", ""),
        "DATABASE_URL": url,
        "REDIS_URL": stack.redis.url.removesuffix("/0") + "/2",
        "API_PORT": str(port),
        "API_WORKERS": "1",
        "LOG_LEVEL": "WARNING",
    }
    today = datetime.now(UTC).date()
    dates = {
        "today": today,
        "first": today - timedelta(days=click_history.DAYS - 1),
        "hours": f"{datetime.now(UTC) - timedelta(hours=990):%Y-%m-%dT%H:00:00Z}",
    }
    argv = [sys.executable, "-m", "services.api"]
    api = Server("api", argv, port=port, log=stack.folder / "api.log", environ=environ)
    try:
        api.wait_until(lambda: is_listening(port))
        with closing(http.client.HTTPConnection(HOST, port, timeout=30)) as client:
            for name, question in QUESTIONS.items():
                taken = [_ask(client, question.format(**dates)) for _ in range(asked)]
                yield (
                    f"  {name:28} median {statistics.median(taken):6.1f} ms"
                    f"   99 of 100 within {sorted(taken)[int(asked * 0.99) - 1]:6.1f} ms"
                )
    finally:
        api.stop()


def _ask(client: http.client.HTTPConnection, path: str) -> float:
    began = time.perf_counter()
    client.request("GET", path)
    with client.getresponse() as response:
        body = response.read()
    assert response.status == 200, body
    return 1e3 * (time.perf_counter() - began)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    try:
        with Stack() as stack:
            print(f"{machine()}\n{stack.cores}", flush=True)
            if "record" in arguments.parts:
                print(
                    f"\nrecording {arguments.clicks:,} clicks"
                    f" on {LINKS:,} links by {USER_AGENTS:,} user agents"
                )
                for rate in record(stack, arguments.clicks):
                    print(rate, flush=True)
            if "redirect" in arguments.parts:
                stack.add_links(MANY)
                for links in (MANY, 1):
                    print(f"\nredirecting, {links:,} link{'s' * (links > 1)}, varied visitors")
                    rounds = {"rounds": arguments.rounds, "seconds": arguments.seconds}
                    print_redirects(*redirect(stack, links=links, **rounds))
            if "show" in arguments.parts:
                print(
                    f"\nstatistics of a link with {click_history.CLICKS_OF_ONE:,} clicks"
                    f" of {click_history.CLICKS:,}"
                )
                for line in show(stack, arguments.asked):
                    print(line, flush=True)
    except (WrkMissing, LoadFailed, StackFailed, StackError) as error:
        print(f"click_bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="click_bench", description=__doc__)
    parser.add_argument("--clicks", type=int, default=1_000_000, help="to record")
    parser.add_argument("--rounds", type=int, default=6, help="with clicks and without, in turn")
    parser.add_argument("--seconds", type=int, default=5, help="of load in a round")
    parser.add_argument("--asked", type=int, default=200, help="times for each statistic")
    parser.add_argument(
        "--parts",
        type=lambda text: text.split(","),
        default=PARTS,
        help=f"some of {','.join(PARTS)}",
    )
    arguments = parser.parse_args(argv)
    if unknown := sorted(set(arguments.parts) - set(PARTS)):
        parser.error(f"no such part: {', '.join(unknown)}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
