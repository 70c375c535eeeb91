"""What clicks cost: to record them, to count them while redirecting, to show them.

`make bench-clicks` runs all three parts. Results and how to read them: docs/CAPACITY.md.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import psutil
import psycopg2
import redis
from prometheus_client import CollectorRegistry

from loadtest.clicks import LINKS, USER_AGENTS, clicks
from loadtest.stack import Stack
from services.worker.click_recorder import ClickRecorder
from services.worker.click_store import ClickStore
from services.worker.click_totals import Resolved
from shared import click_stream
from shared.click_stream import MAX_BATCH, STREAM
from shared.migrations import migrate

PRODUCERS = 8
DATABASE = "clicks"
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
    url = _new_database(stack)
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


def _new_database(stack: Stack) -> str:
    """Of its own, so that the worker of the stack has nothing to do with it."""
    with closing(psycopg2.connect(stack.database.url)) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {DATABASE}")
    url = stack.database.url_of(DATABASE)
    migrate(url)
    return url


def _batches(count: int) -> tuple[list[tuple[bytes, int, int, bytes]], list[str]]:
    """Batches as several redirectors would send them, and their rows for COPY."""
    made = clicks(count, now_ms=time.time_ns() // 1_000_000)
    producers = [bytes((number,)) * 16 for number in range(1, PRODUCERS + 1)]
    numbered = dict.fromkeys(producers, 0)
    batches: list[tuple[bytes, int, int, bytes]] = []
    rows: list[str] = []
    while batch := list(islice(made, MAX_BATCH)):
        producer = producers[len(batches) % PRODUCERS]
        first = numbered[producer]
        numbered[producer] += len(batch)
        content = click_stream.encode(producer, first, batch)
        batches.append((producer, first, first + len(batch), content))
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


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="click_bench", description=__doc__)
    parser.add_argument("--clicks", type=int, default=1_000_000, help="to record")
    arguments = parser.parse_args(argv)
    with Stack() as stack:
        print(stack.cores)
        print(f"{arguments.clicks:,} clicks on {LINKS:,} links by {USER_AGENTS:,} user agents:")
        for rate in record(stack, arguments.clicks):
            print(rate, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
