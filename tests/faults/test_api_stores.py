"""PostgreSQL or Redis away, or frozen: what is answered, how soon, and that it heals by itself."""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import psycopg2
import pytest

from infra.local.ports import is_listening
from services.api.redis_gate import PAUSE_SECONDS, TIMEOUT_SECONDS
from tests.support.api import create, error_of
from tests.support.processes import inherited_environ
from tests.support.services import ROOT, ServiceProcess, StartService
from tests.support.stores import PostgresProcess, ValkeyProcess
from tests.support.waiting import wait_for


@pytest.fixture
def service(start_service: StartService) -> ServiceProcess:
    return start_service("api", API_WORKERS="1", API_THREADS="4", STATEMENT_TIMEOUT_MS="500")


def requests_of_all_kinds(api: httpx.Client) -> list[Callable[[], httpx.Response]]:
    return [
        partial(api.get, "/users"),
        partial(api.get, "/users/1"),
        partial(api.get, "/users/1/urls"),
        partial(api.post, "/users", json={"username": "x", "email": "x@example.com"}),
        partial(api.put, "/users/1", json={"username": "y"}),
        partial(api.delete, "/users/1"),
        partial(api.get, "/urls/1"),
        partial(api.post, "/urls", json={"original_url": "https://example.com/"}),
        partial(
            api.post, "/urls", json={"original_url": "https://example.com/", "short_code": "mine"}
        ),
        partial(api.put, "/urls/1", json={"title": "x"}),
        partial(api.delete, "/urls/1"),
        partial(api.get, "/events"),
        partial(api.post, "/events", json={"url_id": 1, "event_type": "x"}),
        partial(api.post, "/users/bulk", json={"file": "users.csv"}),
    ]


def assert_unavailable(response: httpx.Response) -> None:
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1
    error_of(response)


def test_without_postgresql_every_path_is_503_until_it_is_back(
    service: ServiceProcess, postgres: PostgresProcess
) -> None:
    api = service.http
    assert api.get("/ready").status_code == 200
    postgres.stop()
    for request in requests_of_all_kinds(api):
        began = time.monotonic()
        assert_unavailable(request())
        assert time.monotonic() - began < 3
    ready = api.get("/ready")
    assert ready.status_code == 503
    assert ready.json() == {"status": "unavailable", "database": "down", "redis": "up"}
    assert api.get("/health").status_code == 200
    assert api.get("/nonsense").status_code == 404
    assert api.post("/users", json={}).status_code == 400
    postgres.start()
    wait_for(lambda: api.get("/ready").status_code == 200, "the API to be ready again", seconds=5)
    create(api, "/users", username="ada", email="ada@example.com")


def test_a_postgresql_that_was_restarted_is_not_noticed(
    service: ServiceProcess, postgres: PostgresProcess
) -> None:
    api = service.http
    create(api, "/urls", original_url="https://example.com/")
    postgres.restart()
    for _ in range(8):
        create(api, "/urls", original_url="https://example.com/")


def test_a_frozen_postgresql_makes_503_and_leaves_health_alive(
    service: ServiceProcess, postgres: PostgresProcess
) -> None:
    api = service.http
    create(api, "/users", username="ada", email="ada@example.com")
    postgres.freeze()
    stop = threading.Event()

    def ask(request: Callable[[], httpx.Response]) -> tuple[float, int]:
        began = time.monotonic()
        status = request().status_code
        return time.monotonic() - began, status

    def watch_health() -> float:
        slowest = 0.0
        while not stop.is_set():
            slowest = max(slowest, ask(partial(api.get, "/health"))[0])
            time.sleep(0.1)
        return slowest

    with ThreadPoolExecutor(16) as threads:
        for request in requests_of_all_kinds(api)[:4]:
            threads.submit(ask, request)
        time.sleep(0.2)
        health = threads.submit(watch_health)
        answers = [threads.submit(ask, request) for request in requests_of_all_kinds(api)[:12]]
        for seconds, status in [answer.result() for answer in answers]:
            assert status == 503
            assert seconds < 8
        seconds, status = ask(partial(api.get, "/ready"))
        assert status == 503
        assert seconds < 5
        stop.set()
        assert health.result() < 5
    postgres.thaw()
    wait_for(lambda: api.get("/ready").status_code == 200, "the API to be ready again", seconds=5)
    create(api, "/users", username="bob", email="bob@example.com")


def test_a_statement_that_waits_too_long_is_503_and_changes_nothing(
    service: ServiceProcess, database_url: str
) -> None:
    api = service.http
    link = create(api, "/urls", original_url="https://example.com/")
    holder = psycopg2.connect(database_url)
    holder.cursor().execute("SELECT FROM urls FOR UPDATE")
    began = time.monotonic()
    response = api.put("/urls/1", json={"title": "x"})
    assert_unavailable(response)
    assert error_of(response) == "the database took too long to answer"
    assert time.monotonic() - began < 2
    holder.close()
    assert api.get("/urls/1").json() == link
    assert api.put("/urls/1", json={"title": "x"}).status_code == 200


def test_creations_that_have_to_wait_hold_up_no_others(
    service: ServiceProcess, database_url: str
) -> None:
    api = service.http
    user = create(api, "/users", username="ada", email="ada@example.com")
    holder = psycopg2.connect(database_url)
    cursor = holder.cursor()
    cursor.execute("SELECT FROM users FOR UPDATE")
    cursor.execute(
        "INSERT INTO urls (short_code, original_url, created_at, updated_at)"
        " VALUES ('mine', 'https://example.com/', now(), now())"
    )
    url = "https://example.com/"
    with ThreadPoolExecutor(2) as threads:
        held = [
            threads.submit(api.post, "/urls", json={"original_url": url, **extra})
            for extra in ({"user_id": user["id"]}, {"short_code": "mine"})
        ]
        while not all(future.done() for future in held):
            began = time.monotonic()
            create(api, "/urls", original_url=url)
            assert time.monotonic() - began < 0.4
        for future in held:
            assert_unavailable(future.result())
    holder.close()


def test_without_redis_everything_works_and_is_fresh(
    service: ServiceProcess, valkey: ValkeyProcess
) -> None:
    api = service.http
    api.get("/users")
    valkey.stop()
    user = create(api, "/users", username="ada", email="ada@example.com")
    create(api, "/urls", original_url="https://example.com/", user_id=user["id"])
    for name in "abc":
        began = time.monotonic()
        assert api.put("/urls/1", json={"title": name}).json()["title"] == name
        assert api.get("/urls/1").json()["title"] == name
        assert api.get("/urls").json()[0]["title"] == name
        assert time.monotonic() - began < 1
    ready = api.get("/ready")
    assert ready.status_code == 200
    assert ready.json() == {"status": "ok", "database": "up", "redis": "down"}
    valkey.start()
    wait_for(lambda: api.get("/ready").json()["redis"] == "up", "Redis to be used again", seconds=5)


def test_a_redis_that_was_restarted_is_not_noticed(
    service: ServiceProcess, valkey: ValkeyProcess
) -> None:
    api = service.http
    assert api.get("/ready").json()["redis"] == "up"
    for _ in range(8):
        api.get("/users")
    valkey.restart()
    for _ in range(8):
        assert api.get("/ready").json()["redis"] == "up"


def test_a_frozen_redis_delays_one_request_a_second_and_no_other(
    service: ServiceProcess, valkey: ValkeyProcess
) -> None:
    api = service.http
    api.get("/users")
    valkey.freeze()
    durations = []
    started = time.monotonic()
    while time.monotonic() < started + 2.5:
        began = time.monotonic()
        create(api, "/urls", original_url="https://example.com/")
        durations.append(time.monotonic() - began)
    waited = service.log.text.count("Redis failed")
    assert 1 <= waited <= 1 + (time.monotonic() - started) / PAUSE_SECONDS
    assert statistics.median(durations) < TIMEOUT_SECONDS


def test_a_stopping_api_finishes_what_it_has_begun_and_takes_no_more(
    service: ServiceProcess, database_url: str
) -> None:
    """A connection that is refused is no harm: nginx takes the request to another server."""
    api = service.http
    create(api, "/urls", original_url="https://example.com/")
    holder = psycopg2.connect(database_url)
    holder.cursor().execute("SELECT FROM urls FOR UPDATE")
    with ThreadPoolExecutor(1) as threads:
        change = threads.submit(api.put, "/urls/1", json={"title": "x"})
        wait_for(lambda: _is_waiting(database_url), "the change to wait for the lock")
        service.send_signal(signal.SIGTERM)
        wait_for(lambda: not is_listening(service.port), "connections to be refused")
        assert not change.done()
        holder.close()
        assert change.result().status_code == 200
    wait_for(lambda: not service.is_running, "the API to end", seconds=10)
    assert service.exit_code == 0


def _is_waiting(database_url: str) -> bool:
    connection = psycopg2.connect(database_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            return cursor.fetchone() is not None
    finally:
        connection.close()


def test_a_setting_that_is_wrong_ends_the_start_with_a_line_that_names_it() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "services.api"],
        env={**inherited_environ(), "DATABASE_URL": "nonsense", "API_PORT": "x"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert process.returncode == 2
    (line,) = process.stderr.splitlines()
    assert line.startswith("hoplink: setting ")
    for name in ("DATABASE_URL", "REDIS_URL", "API_PORT"):
        assert name in line
