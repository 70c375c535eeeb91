"""What the API answered with 2xx is in PostgreSQL, whatever is killed at whatever moment."""

from __future__ import annotations

import time

import psycopg2
import pytest

from tests.support import chaos
from tests.support.fire import Fire, Link, add_links
from tests.support.services import StartService
from tests.support.stores import PostgresProcess, ValkeyProcess

ROUNDS_SECONDS = 6.0
LINKS, WRITERS, CREATORS = 40, 4, 4


def assert_written(database_url: str, links: list[Link], created: list[str]) -> None:
    created = list(created)
    newest = [link.newest_acknowledged for link in links]
    connection = psycopg2.connect(database_url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT short_code, original_url FROM urls")
            stored = dict(cursor.fetchall())
            cursor.execute("SELECT DISTINCT short_code FROM change_log")
            logged = {code for (code,) in cursor.fetchall()}
    finally:
        connection.close()
    assert set(created) <= set(stored)
    assert set(created) <= logged
    for link, version in zip(links, newest, strict=True):
        assert link.version_of(stored[link.code]) >= version


@pytest.mark.timeout(120 + 2 * chaos.SECONDS)
def test_what_was_acknowledged_outlives_any_kill(
    start_service: StartService, postgres: PostgresProcess, valkey: ValkeyProcess
) -> None:
    chance = chaos.seeded("durability")
    links = add_links(postgres.url, "kept", LINKS)
    created: list[str] = []
    api = start_service("api", API_WORKERS="1", API_THREADS="8")
    fire = Fire(chance)
    for number in range(WRITERS):
        fire.change(api.port, links[number::WRITERS], pause=0.002)
    for _ in range(CREATORS):
        fire.create(api.port, created, pause=0.002)
    kills = 0
    deadline = time.monotonic() + chaos.seconds(ROUNDS_SECONDS)
    with fire.burning():
        while time.monotonic() < deadline:
            time.sleep(chance.uniform(0.3, 1.2))
            victims = chance.sample([api, postgres, valkey], k=chance.randint(1, 3))
            for victim in victims:
                victim.kill()
            kills += 1
            for victim in chance.sample(victims, k=len(victims)):
                victim.start()
            assert_written(postgres.url, links, created)
        before = fire.changes + len(created)
        time.sleep(1.5)
        assert fire.changes + len(created) > before
    assert_written(postgres.url, links, created)
    print(f"{kills} kills, {fire.changes} changes, {len(created)} created, {fire.refused} refused")
