"""What links and look-ups cost the two stores: `python -m loadtest.store_bench`.

A million links, their size in PostgreSQL and in Redis, and the CPU time that each store takes for a
look-up by the redirectors' own script and statement.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import psycopg2
import redis

from infra.local.errors import StackError
from loadtest import workload
from loadtest.stack import Server, Stack, StackFailed
from services.redirector.link_store import SELECT
from shared import link_cache

LINKS = 1_000_000
LOOK_UPS = 200_000
TOGETHER = (1, 10, 50)
"""Codes that are looked up by one call; the busier a redirector, the more there are."""

_SIZES = """
SELECT pg_table_size('urls'), pg_indexes_size('urls')
"""


def main() -> int:
    try:
        with Stack() as stack:
            measure(stack)
    except (StackFailed, StackError) as error:
        print(f"store_bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def measure(stack: Stack) -> None:
    """Prints all figures."""
    stack.add_links(LINKS)
    chance = random.Random(1)  # noqa: S311  # a load, not a secret
    codes = [workload.code(chance.randrange(LINKS)) for _ in range(LOOK_UPS)]
    with closing(psycopg2.connect(stack.database.url)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(_SIZES)
        (table, indexes) = cursor.fetchone() or (0, 0)
        print(f"PostgreSQL, bytes a link: {table / LINKS:.0f} and {indexes / LINKS:.0f} of indexes")

        def select(some: Sequence[str]) -> None:
            cursor.execute(SELECT, {"codes": list(some)})
            cursor.fetchall()

        for size in TOGETHER:
            spent = cpu_microseconds(stack.database_server, codes, size, select)
            print(f"PostgreSQL, CPU us a link, {size} at a time: {spent:.1f}", flush=True)
    with redis.Redis.from_url(stack.redis.url) as client:
        before = used_memory(client)
        stack.fill_redis(LINKS)
        print(f"Redis, bytes a link: {(used_memory(client) - before) / LINKS:.0f}")
        script = client.register_script(link_cache.GET_OR_LEASE)

        def look_up(some: Sequence[str]) -> None:
            script(args=link_cache.get_or_lease_arguments(b"bench", some))

        for size in TOGETHER:
            spent = cpu_microseconds(stack.redis_server, codes, size, look_up)
            print(f"Redis, CPU us a link, {size} at a time: {spent:.1f}", flush=True)


def cpu_microseconds(
    server: Server, codes: Sequence[str], size: int, look_up: Callable[[Sequence[str]], None]
) -> float:
    """What one of `codes` costs the server when `size` are looked up at a time."""
    before = server.cpu_seconds()
    for first in range(0, len(codes), size):
        look_up(codes[first : first + size])
    return 1e6 * (server.cpu_seconds() - before) / len(codes)


def used_memory(client: redis.Redis) -> int:
    """Bytes that Redis needs for its data."""
    memory: Any = client.info("memory")
    return int(memory["used_memory"])


if __name__ == "__main__":
    sys.exit(main())
