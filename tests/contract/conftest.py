"""One API process for all of these tests, on stores that are empty before each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg2
import pytest

from tests.support.api import create
from tests.support.services import ServiceProcess, Services, http_client
from tests.support.stores import PostgresProcess, ValkeyProcess


@pytest.fixture(scope="session")
def api_process(
    services: Services, postgres: PostgresProcess, valkey: ValkeyProcess
) -> Iterator[ServiceProcess]:
    stores = {"DATABASE_URL": postgres.url, "REDIS_URL": _database_of_its_own(valkey.url)}
    process = services.start("api", API_WORKERS="1", API_THREADS="16", **stores)
    yield process
    process.stop()


@pytest.fixture
def api(api_process: ServiceProcess, database_url: str, redis_url: str) -> Iterator[httpx.Client]:
    """A client of the API."""
    with http_client(api_process.url) as client:
        yield client


@pytest.fixture
def api_redis_url(redis_url: str) -> str:
    """The Redis that `api` uses."""
    return _database_of_its_own(redis_url)


def _database_of_its_own(redis_url: str) -> str:
    # The API says in Redis that it is there, and what it does, also while other tests count that.
    return redis_url.removesuffix("/0") + "/1"


@pytest.fixture
def any_api(
    api_process: ServiceProcess, postgres: PostgresProcess, valkey: ValkeyProcess
) -> Iterator[httpx.Client]:
    """A client for what doesn't care what is in the stores, as long as they are there."""
    postgres.heal()
    valkey.heal()
    with http_client(api_process.url) as client:
        yield client


@pytest.fixture
def port(api_process: ServiceProcess) -> int:
    """Where the API listens, for what no HTTP client would send."""
    return api_process.port


@pytest.fixture
def sql(database_url: str) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
    """Runs a statement and returns its rows, if it has any."""
    connection = psycopg2.connect(database_url)
    connection.autocommit = True

    def run(query: str, *parameters: object) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(query, parameters)
            return cursor.fetchall() if cursor.description else []

    yield run
    connection.close()


@pytest.fixture
def at_once() -> Callable[..., list[httpx.Response]]:
    """Sends requests at the same time and returns all the responses."""

    def send(requests: list[Callable[[], httpx.Response]]) -> list[httpx.Response]:
        with ThreadPoolExecutor(len(requests)) as threads:
            return [future.result() for future in [threads.submit(each) for each in requests]]

    return send


@pytest.fixture
def user(api: httpx.Client) -> dict[str, Any]:
    """A user that exists."""
    return create(api, "/users", username="ada", email="ada@example.com")


@pytest.fixture
def link(api: httpx.Client, user: dict[str, Any]) -> dict[str, Any]:
    """A link of that user."""
    return create(api, "/urls", original_url="https://example.com/a", title="A", user_id=user["id"])
