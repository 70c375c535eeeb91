"""Which of several workers is active, and what keeps it so."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest
from prometheus_client import CollectorRegistry
from redis import Redis

from services.worker import worker as module
from services.worker.change_relay import ChangeRelay
from services.worker.leadership import SESSION_TIMEOUT_SECONDS
from services.worker.worker import Worker
from shared import change_log
from shared.link_cache import POSITION
from tests.support.services import ServiceProcess, StartService
from tests.support.stores import PostgresProcess, ValkeyProcess
from tests.support.waiting import wait_for

TAKEOVER_SECONDS = 5


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client


def role(service: ServiceProcess) -> str:
    return str(service.http.get("/ready").json()["role"])


def is_active(service: ServiceProcess) -> bool:
    return role(service) == "active"


def wait_for_heartbeat(redis: Redis, *, seconds: float) -> None:
    before = redis.get(POSITION)
    wait_for(lambda: redis.get(POSITION) != before, "the position to move", seconds=seconds)


@pytest.fixture
def pair(start_service: StartService) -> tuple[ServiceProcess, ServiceProcess]:
    """An active worker and one that waits."""
    first = start_service("worker")
    wait_for(lambda: is_active(first), "the first worker to become active")
    return first, start_service("worker")


def test_one_of_two_is_active_and_hands_over_when_it_is_asked_to_end(
    pair: tuple[ServiceProcess, ServiceProcess], redis: Redis
) -> None:
    active, standby = pair
    wait_for_heartbeat(redis, seconds=2)
    assert (role(active), role(standby)) == ("active", "standby")
    metrics = [service.http.get("/prometheus").text for service in pair]
    assert "hoplink_worker_active 1.0" in metrics[0]
    assert "hoplink_worker_active 0.0" in metrics[1]
    active.stop()
    assert active.exit_code == 0
    wait_for(lambda: is_active(standby), "the other to take over at once", seconds=1.5)
    wait_for_heartbeat(redis, seconds=1)


def test_another_one_takes_over_from_one_that_is_frozen_or_killed(
    pair: tuple[ServiceProcess, ServiceProcess], redis: Redis
) -> None:
    first, second = pair
    first.freeze()
    wait_for(
        lambda: is_active(second), "one to take over from a frozen one", seconds=TAKEOVER_SECONDS
    )
    first.thaw()
    wait_for(lambda: not is_active(first), "the frozen one to notice", seconds=2)
    wait_for_heartbeat(redis, seconds=1)
    assert is_active(second)
    second.kill()
    wait_for(
        lambda: is_active(first), "one to take over from a killed one", seconds=TAKEOVER_SECONDS
    )
    wait_for_heartbeat(redis, seconds=1)


def test_one_that_is_to_stop_is_not_ready(database_url: str, redis: Redis) -> None:
    registry = CollectorRegistry()
    worker = Worker(database_url, ChangeRelay(redis, registry), registry, change_log_retention=60)
    worker.database.answered()
    assert worker.state()["status"] == "ok"
    worker.stop()
    assert worker.state()["status"] == "unavailable"
    assert worker.state()["database"] == "up"


def test_goes_on_when_postgresql_is_back(
    start_service: StartService, redis: Redis, postgres: PostgresProcess
) -> None:
    worker = start_service("worker")
    wait_for_heartbeat(redis, seconds=5)
    postgres.kill()
    wait_for(lambda: worker.http.get("/ready").status_code == 503, "it to notice")
    postgres.start()
    wait_for_heartbeat(redis, seconds=3)
    postgres.freeze()
    threading.Event().wait(1.5)
    postgres.thaw()
    wait_for_heartbeat(redis, seconds=3)
    assert worker.is_running


def test_stays_active_while_redis_is_down_and_goes_on_when_it_is_back(
    start_service: StartService, redis: Redis, valkey: ValkeyProcess
) -> None:
    worker = start_service("worker")
    wait_for_heartbeat(redis, seconds=5)
    valkey.kill()
    wait_for(lambda: worker.http.get("/ready").json()["redis"] == "down", "it to notice")
    deadline = time.monotonic() + SESSION_TIMEOUT_SECONDS + 1
    while time.monotonic() < deadline:
        assert is_active(worker)
        time.sleep(0.2)
    valkey.start()
    wait_for_heartbeat(redis, seconds=1.5)
    assert worker.log.text.count('"active"') == 1  # its session lasted


def test_starts_without_any_store_and_finds_them_when_they_come(
    start_service: StartService, redis: Redis, postgres: PostgresProcess, valkey: ValkeyProcess
) -> None:
    postgres.kill()
    valkey.kill()
    worker = start_service("worker")
    assert worker.http.get("/ready").status_code == 503
    postgres.start()
    wait_for(lambda: is_active(worker), "it to become active", seconds=3)
    valkey.start()
    wait_for_heartbeat(redis, seconds=3)


def test_prunes_the_change_log_in_steps_and_keeps_what_is_young(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PRUNE_LIMIT", 2)
    connection: Any = psycopg2.connect(database_url)
    connection.autocommit = True
    with connection.cursor() as cursor, Redis.from_url(redis_url) as client:
        for age in (3_700, 3_700, 3_700, 10):
            cursor.execute(change_log.ADD, ("code",))
            cursor.execute(
                "UPDATE change_log SET created_at = now() - make_interval(secs => %s)"
                " WHERE id = (SELECT max(id) FROM change_log)",
                (age,),
            )
        registry = CollectorRegistry()
        worker = Worker(
            database_url, ChangeRelay(client, registry), registry, change_log_retention=3_600
        )
        running = threading.Thread(target=worker.run)
        running.start()

        def rows() -> int:
            cursor.execute("SELECT count(*) FROM change_log")
            return int(cursor.fetchone()[0])

        try:
            wait_for(lambda: rows() == 1, "three rows to be pruned", seconds=3)
        finally:
            worker.stop()
            running.join()
        assert rows() == 1
    connection.close()


def test_changes_that_wait_for_redis_are_counted_with_their_age(
    start_service: StartService, valkey: ValkeyProcess, redis: Redis, database_url: str
) -> None:
    worker = start_service("worker")
    wait_for_heartbeat(redis, seconds=5)
    valkey.stop()
    connection = psycopg2.connect(database_url)
    with connection, connection.cursor() as cursor:
        for code in ("one", "two", "three"):
            cursor.execute(change_log.ADD, (code,))
    connection.close()

    def waiting() -> tuple[float, float]:
        text = worker.http.get("/prometheus").text
        names = ("pending", "age_seconds")
        found = [
            re.search(rf"^hoplink_change_log_{name} (\S+)$", text, re.MULTILINE) for name in names
        ]
        assert found[0] is not None
        assert found[1] is not None
        return float(found[0][1]), float(found[1][1])

    wait_for(lambda: waiting()[0] == 3, "the changes to be counted")
    wait_for(lambda: waiting()[1] > 0.5, "them to grow old")
    valkey.start()
    wait_for(lambda: waiting() == (0, 0), "Redis to be told")
