"""/logs, and what the API writes to its own log."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.contract.test_http import send
from tests.support.api import create, error_of
from tests.support.services import ServiceProcess
from tests.support.stores import ValkeyProcess
from tests.support.waiting import wait_for


@pytest.fixture
def request_id() -> str:
    """Of this test's requests alone: entries of the test before may still come in."""
    return secrets.token_hex(16)


@pytest.fixture
def written(api_process: ServiceProcess) -> Callable[[], list[dict[str, Any]]]:
    """The entries on the API's standard output since the test began."""
    return lambda: [json.loads(line) for line in api_process.log.recent.splitlines()]


Written = Callable[[], list[dict[str, Any]]]


def _newest(api: httpx.Client, limit: int = 1_000) -> list[dict[str, Any]]:
    response = api.get("/logs", params={"limit": limit})
    assert response.status_code == 200
    entries: list[dict[str, Any]] = response.json()
    return entries


def test_a_request_is_one_entry_with_its_id(
    api: httpx.Client, written: Written, request_id: str
) -> None:
    response = api.get("/users/17?secret=1", headers={"X-Request-ID": request_id})
    assert response.headers["x-request-id"] == request_id

    def found() -> list[dict[str, Any]]:
        return [entry for entry in _newest(api) if entry.get("request_id") == request_id]

    (entry,) = wait_for(found, "the entry in /logs")
    assert [line for line in written() if line.get("request_id") == request_id] == [entry]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.pop("time"))
    assert 0 <= entry.pop("duration_ms") < 10_000
    assert entry == {
        "level": "INFO",
        "service": "api",
        "logger": "hoplink.requests",
        "message": "request",
        "request_id": request_id,
        "method": "GET",
        "route": "/users/{user_id}",
        "path": "/users/17",
        "status": 404,
    }


def test_the_newest_come_first_and_as_many_as_asked_for(api: httpx.Client) -> None:
    for number in range(5):
        api.get(f"/users/{number}")
    wait_for(lambda: any(entry.get("path") == "/users/4" for entry in _newest(api)), "the entries")

    paths = [entry.get("path") for entry in _newest(api, 3)]
    assert paths == ["/users/4", "/users/3", "/users/2"]
    times = [entry["time"] for entry in _newest(api)]
    assert times == sorted(times, reverse=True)


def test_a_hundred_is_the_default(api: httpx.Client) -> None:
    for number in range(120):
        api.get(f"/users/{number}")
    wait_for(lambda: len(_newest(api)) >= 120, "the entries")

    assert len(api.get("/logs").json()) == 100


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "", "1.5", "99999999999999999999"])
def test_a_limit_out_of_range_is_400(any_api: httpx.Client, limit: str) -> None:
    response = any_api.get("/logs", params={"limit": limit})

    assert response.status_code == 400
    assert error_of(response).startswith("limit: ")


def test_what_is_asked_all_the_time_does_not_push_out_the_rest(
    api: httpx.Client, written: Written, request_id: str
) -> None:
    create(api, "/users", username="ada", email="ada@example.com")
    mark = {"X-Request-ID": request_id}
    for _ in range(3):
        api.get("/health", headers=mark)
        api.get("/logs", headers=mark)
        api.get("/urls", headers={**mark, "Referer": "http://127.0.0.1:5001/dashboard"})
    api.get("/users/99", headers=mark)

    def fed() -> list[object]:
        return [entry["path"] for entry in _newest(api) if entry.get("request_id") == request_id]

    wait_for(fed, "an entry in /logs")
    assert fed() == ["/users/99"]
    assert len([entry for entry in written() if entry.get("request_id") == request_id]) == 10


def test_without_redis_it_shows_what_this_process_has(
    api: httpx.Client, valkey: ValkeyProcess
) -> None:
    assert api.get("/logs").headers["x-log-source"] == "all-services"
    valkey.stop()
    api.get("/users/99")

    response = api.get("/logs?limit=1000")

    assert response.status_code == 200
    assert response.headers["x-log-source"] == "this-process"
    assert any(entry.get("path") == "/users/99" for entry in response.json())
    times = [entry["time"] for entry in response.json()]
    assert times == sorted(times, reverse=True)
    valkey.start()
    wait_for(
        lambda: api.get("/logs").headers["x-log-source"] == "all-services", "Redis to be used again"
    )


def test_no_address_of_a_client_is_logged(api: httpx.Client, api_process: ServiceProcess) -> None:
    api.get("/users", headers={"X-Forwarded-For": "203.0.113.9"})

    assert "203.0.113.9" not in api_process.log.recent
    assert "client" not in api_process.log.recent


def test_a_path_cannot_forge_an_entry(api: httpx.Client, written: Written, request_id: str) -> None:
    api.get('/a%0A{"level": "ERROR"}%22', headers={"X-Request-ID": request_id})

    (entry,) = [line for line in written() if line.get("request_id") == request_id]
    assert entry["path"] == '/a\n{"level": "ERROR"}"'
    assert entry["route"] == "none"
    assert entry["level"] == "INFO"


def test_a_flood_of_what_is_no_http_leaves_few_entries(
    port: int, written: Written, api_process: ServiceProcess
) -> None:
    for _ in range(50):
        assert send(port, b"nonsense\r\n\r\n").status_code == 400

    entries = [entry for entry in written() if "not HTTP" in entry["message"]]
    assert len(entries) <= 21
    assert all("request_id" not in entry for entry in entries)
    # Tests before this one may have used up what a period allows.
    assert "not HTTP" in api_process.log.text


def test_what_gunicorn_says_is_an_entry_like_any_other(api_process: ServiceProcess) -> None:
    lines = [json.loads(line) for line in api_process.log.text.splitlines()]

    assert any(line["logger"].startswith("gunicorn") for line in lines)
    assert all(list(line)[:3] == ["time", "level", "service"] for line in lines)
