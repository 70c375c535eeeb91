"""What hardly ever happens, made to happen: the API runs in this process, on real stores."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import falcon
import falcon.testing
import psycopg2
import pytest
from peewee import InternalError

from services.api.app import create_app
from services.api.importer import Importer
from services.api.telemetry import Telemetry
from services.api.users import Users
from shared import short_codes
from shared.log_feed import LogFeed
from shared.logging import EntryFormatter, JsonLines
from shared.repeat_limit import RepeatLimit
from shared.settings import Settings

Sql = Callable[..., list[tuple[Any, ...]]]
URL = "https://example.com/"
CSV = {"content-type": "text/csv"}


@pytest.fixture
def client(database_url: str, redis_url: str) -> falcon.testing.TestClient:
    settings = Settings.from_env({"DATABASE_URL": database_url, "REDIS_URL": redis_url})
    log = JsonLines(sys.stdout, RepeatLimit(), EntryFormatter("api"))
    feed = LogFeed(redis_url, log)
    return falcon.testing.TestClient(create_app(settings, log, feed, Telemetry(settings)))


@pytest.fixture
def codes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The codes that are generated next, the last one for ever."""
    coming: list[str] = []

    def generate() -> str:
        return coming.pop(0) if len(coming) > 1 else coming[0]

    monkeypatch.setattr(short_codes, "generate", generate)
    return coming


def created(client: falcon.testing.TestClient, **values: object) -> falcon.testing.Result:
    return client.simulate_post("/urls", json={"original_url": URL, **values})


def test_a_generated_code_that_is_taken_is_replaced(
    client: falcon.testing.TestClient, codes: list[str]
) -> None:
    codes[:] = ["same001", "same001", "same001", "same001", "other01"]
    assert created(client).json["short_code"] == "same001"
    assert created(client).json["short_code"] == "other01"


def test_only_so_many_codes_are_tried(client: falcon.testing.TestClient, codes: list[str]) -> None:
    codes[:] = ["same001"]
    assert created(client).status_code == 201
    response = created(client)
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"


def test_an_import_replaces_generated_codes_that_are_taken(
    client: falcon.testing.TestClient, codes: list[str]
) -> None:
    created(client, short_code="taken01")
    codes[:] = ["taken01", "twice01", "twice01", "taken01", "other01", "other02", "other03"]
    body = f"original_url,short_code\n{URL}a,\n{URL}b,\n{URL}c,\n{URL}d,mine\n"
    summary = client.simulate_post("/urls/bulk", body=body, headers=CSV).json
    assert (summary["imported"], summary["error_count"]) == (4, 0)
    links = client.simulate_get("/urls").json
    assert len({link["short_code"] for link in links}) == 5


def test_an_import_gives_up_a_row_for_which_no_code_is_free(
    client: falcon.testing.TestClient, codes: list[str]
) -> None:
    codes[:] = ["same001"]
    body = f"original_url\n{URL}a\n{URL}b\n"
    summary = client.simulate_post("/urls/bulk", body=body, headers=CSV).json
    assert (summary["imported"], summary["error_count"]) == (1, 1)


@pytest.fixture
def deletion_between(monkeypatch: pytest.MonkeyPatch, database_url: str) -> list[int]:
    """Users who are deleted after an import has looked for them, one at each try."""
    victims: list[int] = []
    look = Importer._drop_orphans

    def look_and_lose(importer: Importer, *arguments: Any) -> int:
        dropped = look(importer, *arguments)
        if victims:
            connection = psycopg2.connect(database_url)
            with connection, connection.cursor() as cursor:
                cursor.execute("DELETE FROM users WHERE id = %s", (victims.pop(),))
            connection.close()
        return dropped

    monkeypatch.setattr(Importer, "_drop_orphans", look_and_lose)
    return victims


def test_an_import_survives_that_a_user_is_deleted_meanwhile(
    client: falcon.testing.TestClient, sql: Sql, deletion_between: list[int]
) -> None:
    sql("INSERT INTO users SELECT n, n, n, now() FROM generate_series(1, 3) n")
    deletion_between += [2, 3]
    body = "original_url,user_id\n" + "".join(f"{URL},{n}\n" for n in (1, 2, 3))
    summary = client.simulate_post("/urls/bulk", body=body, headers=CSV).json
    assert summary["imported"] == 1
    assert [error["row"] for error in summary["errors"]] == [2, 3]
    assert all(error["error"] == "user_id: no such user" for error in summary["errors"])


def test_a_failure_in_the_middle_of_an_import_leaves_nothing(
    client: falcon.testing.TestClient, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise RuntimeError("in the middle")

    monkeypatch.setattr(Importer, "_insert_with_other_codes", fail)
    response = client.simulate_post("/urls/bulk", body=f"original_url\n{URL}\n", headers=CSV)
    assert response.status_code == 500
    assert response.json == {"error": "internal error"}
    assert sql("SELECT FROM urls") == []
    assert sql("SELECT FROM change_log") == []
    monkeypatch.undo()
    again = client.simulate_post("/urls/bulk", body=f"original_url\n{URL}\n", headers=CSV)
    assert again.json["imported"] == 1


def test_what_a_failed_request_says_tells_nothing_of_the_inside(
    client: falcon.testing.TestClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(Users, "get", fail)
    response = client.simulate_get("/users/1")
    assert response.status_code == 500
    assert response.json == {"error": "internal error"}
    assert "KeyError: 'secret'" in caplog.text


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes reading a user fail as PostgreSQL does with an SQLSTATE."""

    def refuse(state: str) -> None:
        class Refusal(psycopg2.InternalError):
            pgcode = state

        def fail(*_: object) -> None:
            raise InternalError(Refusal("no"))

        monkeypatch.setattr(Users, "get", fail)

    return refuse


@pytest.mark.parametrize(("state", "status"), [("25006", 503), ("25P03", 503), ("XX000", 500)])
def test_a_server_that_takes_no_writes_now_is_no_bug(
    client: falcon.testing.TestClient,
    refusal: Callable[[str], None],
    state: str,
    status: int,
) -> None:
    refusal(state)
    assert client.simulate_get("/users/1").status_code == status
