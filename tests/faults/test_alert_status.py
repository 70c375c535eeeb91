"""/alert-status and /metrics while stores are away or frozen."""

from __future__ import annotations

import re
import time
from functools import partial
from typing import Any

import pytest

from tests.support.services import ServiceProcess, StartService
from tests.support.stores import PostgresProcess, ValkeyProcess
from tests.support.waiting import wait_for

SHOWN_SECONDS = 10
ANSWER_SECONDS = 1.0
"""Nothing waits on a store; the rest is what a busy machine takes."""


@pytest.fixture
def apis(start_service: StartService) -> list[ServiceProcess]:
    """Two API servers, one of two processes."""
    return [start_service("api", API_WORKERS=workers) for workers in ("2", "1")]


def told(api: ServiceProcess, path: str = "/alert-status") -> dict[str, Any]:
    began = time.monotonic()
    response = api.http.get(path)
    assert response.status_code == 200
    assert time.monotonic() - began < ANSWER_SECONDS
    answer: dict[str, Any] = response.json()
    return answer


def is_firing(api: ServiceProcess, alert: str) -> bool:
    return bool(told(api)["alerts"][alert]["firing"])


def wait_until_firing(apis: list[ServiceProcess], alert: str, *, firing: bool) -> None:
    began = time.monotonic()
    for api in apis:
        # Any of its processes may answer.
        for _ in range(4):
            wait_for(
                lambda api=api: is_firing(api, alert) == firing,  # type: ignore[misc]
                f"{alert} to {'fire' if firing else 'clear'}",
                seconds=began + SHOWN_SECONDS - time.monotonic(),
            )


def moments(apis: list[ServiceProcess], alert: str) -> set[str]:
    """Since when it fires, as asked of each API several times."""
    return {told(api)["alerts"][alert]["since"] for api in apis for _ in range(4)}


def lines(service: ServiceProcess, name: str) -> list[str]:
    text = service.http.get("/prometheus").text
    return re.findall(rf"^{name}{{.*}} (\S+)$", text, re.MULTILINE)


def has(service: ServiceProcess, name: str, value: str) -> bool:
    return lines(service, name) == [value]


@pytest.mark.parametrize("way", ["freeze", "kill"])
def test_a_database_that_is_gone_fires_and_clears(
    apis: list[ServiceProcess], postgres: PostgresProcess, way: str
) -> None:
    wait_until_firing(apis, "service_down", firing=False)
    if way == "freeze":
        postgres.freeze()
    else:
        postgres.kill()
    wait_until_firing(apis, "service_down", firing=True)
    for api in apis:
        wait_for(partial(has, api, "database_up", "0.0"), "database_up to be 0")
    wait_for(lambda: len(moments(apis, "service_down")) == 1, "one moment that all tell")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", moments(apis, "service_down").pop())
    postgres.heal()
    wait_until_firing(apis, "service_down", firing=False)
    assert told(apis[1])["alerts"]["service_down"] == {"firing": False, "since": None}


def test_too_many_errors_fire_behind_every_api(
    apis: list[ServiceProcess], postgres: PostgresProcess
) -> None:
    postgres.stop()
    for _ in range(3):
        for api in apis:
            assert api.http.get("/users").status_code == 503
            assert api.http.get("/ready").status_code == 503
    wait_until_firing(apis, "high_error_rate", firing=True)
    # What is asked about is nobody's request. The last one may still be on its way to the other.
    wait_for(
        lambda: {told(api)["current_metrics"]["total"] for api in apis for _ in range(4)} == {6},
        "every process to tell of six requests",
    )
    wait_for(lambda: len(moments(apis, "high_error_rate")) == 1, "one moment that all tell")
    assert told(apis[0])["current_metrics"]["error_rate"] == 1.0
    postgres.heal()
    wait_until_firing(apis, "service_down", firing=False)
    assert is_firing(apis[0], "high_error_rate")


def test_everything_answers_while_both_stores_hang(
    start_service: StartService, postgres: PostgresProcess, valkey: ValkeyProcess
) -> None:
    api, redirector, worker = (start_service(name) for name in ("api", "redirector", "worker"))
    wait_for(lambda: len(told(api, "/metrics")["services"]) == 4, "all processes to be there")
    postgres.freeze()
    valkey.freeze()
    for service in (api, redirector, worker):
        wait_for(partial(has, service, "database_up", "0.0"), "PostgreSQL to count as down")
        wait_for(partial(has, service, "redis_up", "0.0"), "Redis to count as down")
    wait_for(lambda: not told(api, "/metrics")["complete"], "the API to know of itself only")
    metrics = told(api, "/metrics")
    assert [each["service"] for each in metrics["services"]] == ["api"]
    assert metrics["services"][0]["redis_up"] is False
    assert is_firing(api, "service_down")
    for service in (api, redirector, worker):
        began = time.monotonic()
        assert service.http.get("/prometheus").status_code == 200
        assert time.monotonic() - began < ANSWER_SECONDS
    valkey.heal()
    postgres.heal()
    wait_for(lambda: len(told(api, "/metrics")["services"]) == 4, "all processes to be back")
    wait_until_firing([api], "service_down", firing=False)


def test_without_redis_a_process_goes_on_counting(
    start_service: StartService, valkey: ValkeyProcess
) -> None:
    api = start_service("api", API_WORKERS="1")
    other = start_service("api", API_WORKERS="1")
    for _ in range(3):
        api.http.get("/users")
    wait_for(lambda: told(other, "/metrics")["requests"]["total"] == 3, "the requests to be seen")
    valkey.stop()
    for _ in range(4):
        api.http.get("/users")
    wait_for(lambda: told(api, "/metrics")["requests"]["total"] == 7, "its own requests")
    assert told(api, "/metrics")["complete"] is False
    valkey.lose_data()
    valkey.start()
    wait_for(lambda: told(other, "/metrics")["requests"]["total"] == 7, "one sum again")
    assert told(other, "/metrics")["complete"] is True
    assert told(other)["current_metrics"]["window_seconds"] == 120
