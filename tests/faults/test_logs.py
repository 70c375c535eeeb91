"""Logs while stores are gone: requests don't wait for them, and no secret gets into them."""

from __future__ import annotations

import json
import signal
import socket
import time
from typing import Any

import httpx
import pytest

from shared.redis_reporter import TIMEOUT_SECONDS
from tests.support.services import ServiceProcess, StartService
from tests.support.stores import ValkeyProcess
from tests.support.waiting import wait_for

PASSWORDS = ("s3cret-of-postgres", "s3cret of redis")
BROKEN = {
    # Nobody listens there; the second one isn't even well-formed, which PostgreSQL would quote.
    "DATABASE_URL": f"postgresql://ada:{PASSWORDS[0]}%zz@127.0.0.1:1/hoplink",
    "REDIS_URL": "redis://:s3cret%20of%20redis@127.0.0.1:1/0",
}
REQUEST_ID = "0123456789abcdef0123456789abcdef"


def entries(service: ServiceProcess) -> list[dict[str, Any]]:
    """All lines of a service's output; each of them has to be an entry."""
    return [json.loads(line) for line in service.log.text.splitlines()]


def newest(api: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get("/logs?limit=1000").json()
    return found


@pytest.mark.parametrize("trouble", ["kill", "freeze"])
def test_requests_keep_their_speed_and_their_entries_come_back(
    start_service: StartService, valkey: ValkeyProcess, trouble: str
) -> None:
    service = start_service("api", API_WORKERS="1", API_THREADS="4")
    api = service.http
    api.get("/nowhere/before")
    wait_for(lambda: any(entry.get("route") == "none" for entry in newest(api)), "the first entry")
    getattr(valkey, trouble)()

    began = time.monotonic()
    for number in range(200):
        # Routes that ask no store, so that only their entries could wait.
        assert api.get(f"/nowhere/{number}").status_code == 404
    assert time.monotonic() - began < 200 * TIMEOUT_SECONDS / 10, "none waited for Redis"
    response = api.get("/logs")
    assert response.headers["x-log-source"] == "this-process"
    assert "/nowhere/199" in {entry.get("path") for entry in response.json()}

    valkey.heal()
    paths = {f"/nowhere/{number}" for number in range(200)}
    wait_for(
        lambda: (
            paths <= {entry.get("path") for entry in newest(api)}
            and api.get("/logs").headers["x-log-source"] == "all-services"
        ),
        "what was written meanwhile to come to Redis",
    )


def test_no_password_is_in_any_log(start_service: StartService) -> None:
    services = [start_service(name, **BROKEN) for name in ("redirector", "api", "worker")]
    redirector, api, _ = services
    for path in ("/users", "/urls/1", "/ready", "/logs"):
        api.http.get(path)
    assert redirector.http.get("/somecode").status_code == 503
    for service in services:
        wait_for(lambda: _complains(service), f"{service.name} to complain")  # noqa: B023
        assert "s3cret" not in service.log.text
    assert "s3cret" not in api.http.get("/logs").text


def _complains(service: ServiceProcess) -> bool:
    return any(entry["level"] in ("WARNING", "ERROR", "CRITICAL") for entry in entries(service))


def test_a_redirect_that_nobody_can_answer_is_logged_with_its_id(
    start_service: StartService,
) -> None:
    redirector = start_service("redirector", **BROKEN)

    response = redirector.http.get("/somecode", headers={"X-Request-ID": REQUEST_ID})

    assert response.status_code == 503
    assert response.headers["x-request-id"] == REQUEST_ID
    (entry,) = [line for line in entries(redirector) if line.get("request_id") == REQUEST_ID]
    assert (entry["level"], entry["route"], entry["status"]) == ("WARNING", "/{short_code}", 503)


def test_redirects_leave_no_entry_and_floods_leave_few(start_service: StartService) -> None:
    redirector = start_service("redirector")
    before = len(entries(redirector))
    for number in range(50):
        assert redirector.http.get(f"/code-{number}").status_code == 404
    assert len(entries(redirector)) == before

    for _ in range(50):
        assert _send_nonsense(redirector.port).startswith(b"HTTP/1.1 400 ")
    lines = [entry for entry in entries(redirector) if "Invalid HTTP" in entry["message"]]
    assert 1 <= len(lines) <= 21


def _send_nonsense(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"nonsense\r\n\r\n")
        return client.recv(65_536)


def test_the_entries_of_all_services_are_in_one_place(start_service: StartService) -> None:
    api = start_service("api", API_WORKERS="2").http
    redirector, worker = start_service("redirector"), start_service("worker")
    api.get("/users")

    wait_for(
        lambda: {entry["service"] for entry in newest(api)} == {"api", "redirector", "worker"},
        "entries of all services",
    )

    for service in (redirector, worker):
        service.send_signal(signal.SIGTERM)
        wait_for(lambda: not service.is_running, f"{service.name} to end")  # noqa: B023
    assert any("Finished server process" in entry["message"] for entry in newest(api)), (
        "what a redirector says last is there, too"
    )
