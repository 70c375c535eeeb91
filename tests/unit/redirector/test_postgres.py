"""PostgreSQL from the event loop, while the server is killed, frozen and restarted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import psycopg2
import pytest
import uvloop

from services.redirector import postgres as module
from services.redirector.postgres import Pool, Unreachable
from tests.support.stores import PostgresProcess

Scenario = Callable[[Pool], Awaitable[None]]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, database_url: str) -> Callable[[Scenario], None]:
    """Runs a scenario with a pool of two, on the loop of production and on that of the standard."""

    def run_one(scenario: Scenario, *, url: str = database_url) -> None:
        async def main() -> None:
            pool = Pool(url, size=2, name="hoplink-test", statement_timeout_ms=1_000)
            async with asyncio.timeout(20):
                await scenario(pool)
            pool.close()

        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())

    return run_one


async def backend(pool: Pool) -> int:
    rows = await pool.fetch("SELECT pg_backend_pid()", {})
    return int(rows[0][0])


def test_keeps_connections_for_the_next_query(run: Callable[[Scenario], None]) -> None:
    async def scenario(pool: Pool) -> None:
        assert await backend(pool) == await backend(pool)

    run(scenario)


def test_opens_no_more_connections_than_its_size(run: Callable[[Scenario], None]) -> None:
    async def scenario(pool: Pool) -> None:
        slow = "SELECT pg_backend_pid(), pg_sleep(0.05)"
        rows = await asyncio.gather(*(pool.fetch(slow, {}) for _ in range(6)))
        assert len({row[0][0] for row in rows}) == 2
        assert pool.in_use == 0

    run(scenario)


def test_a_large_answer_arrives_whole(run: Callable[[Scenario], None]) -> None:
    async def scenario(pool: Pool) -> None:
        rows = await pool.fetch(
            "SELECT n, repeat('x', 100) FROM generate_series(1, %(n)s) n", {"n": 20_000}
        )
        assert len(rows) == 20_000

    run(scenario)


def test_an_abandoned_query_takes_its_connection_along(run: Callable[[Scenario], None]) -> None:
    async def scenario(pool: Pool) -> None:
        first = await backend(pool)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await pool.fetch("SELECT pg_sleep(10)", {})
        assert await backend(pool) != first
        assert pool.in_use == 0

    run(scenario)


def test_a_query_that_is_wrong_says_so(run: Callable[[Scenario], None]) -> None:
    async def scenario(pool: Pool) -> None:
        with pytest.raises(psycopg2.errors.UndefinedTable):
            await pool.fetch("SELECT * FROM nowhere", {})
        await pool.ping()

    run(scenario)


def test_the_server_ends_a_statement_that_takes_too_long(run: Callable[[Scenario], None]) -> None:
    async def scenario(pool: Pool) -> None:
        with pytest.raises(Unreachable, match="statement timeout"):
            await pool.fetch("SELECT pg_sleep(10)", {})

    run(scenario)


def test_a_restarted_server_is_used_again_at_once(
    run: Callable[[Scenario], None], postgres: PostgresProcess
) -> None:
    async def scenario(pool: Pool) -> None:
        await asyncio.gather(*(pool.fetch("SELECT pg_sleep(0.02)", {}) for _ in range(2)))
        postgres.kill()
        with pytest.raises(Unreachable):
            await pool.ping()
        postgres.start()
        await pool.ping()
        postgres.restart()
        await pool.ping()

    run(scenario)


def test_a_frozen_server_holds_nobody_longer_than_they_want(
    run: Callable[[Scenario], None], postgres: PostgresProcess
) -> None:
    async def scenario(pool: Pool) -> None:
        await pool.ping()
        postgres.freeze()
        try:
            for _ in range(3):  # on a connection from before, then on new ones
                started = time.monotonic()
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await pool.ping()
                assert time.monotonic() - started < 0.3
            assert pool.in_use == 0
        finally:
            postgres.thaw()
        await pool.ping()

    run(scenario)


def test_a_name_with_several_addresses_is_tried_at_all_of_them(
    run: Callable[..., None], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(host: str) -> list[str]:
        assert host == "several"
        return ["127.0.0.2", "127.0.0.1"]

    async def scenario(pool: Pool) -> None:
        await pool.ping()

    monkeypatch.setattr(module, "_resolve", resolve)
    run(scenario, url=database_url.replace(urlsplit(database_url).hostname or "", "several"))


def test_a_host_that_nobody_knows_is_unreachable(run: Callable[..., None]) -> None:
    async def scenario(pool: Pool) -> None:
        with pytest.raises(Unreachable):
            await pool.ping()

    run(scenario, url="postgresql://hoplink@host.invalid:5432/hoplink")


def test_a_port_that_nobody_listens_on_is_unreachable(
    run: Callable[..., None], free_port: Callable[[], int]
) -> None:
    async def scenario(pool: Pool) -> None:
        with pytest.raises(Unreachable):
            await pool.ping()

    run(scenario, url=f"postgresql://hoplink@127.0.0.1:{free_port()}/hoplink")
