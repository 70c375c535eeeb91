"""/prometheus, /metrics and /alert-status of running services."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from functools import partial
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared.metrics import DECLARATIONS
from tests.support.services import ServiceProcess, StartService, http_client
from tests.support.waiting import wait_for

LINES = 3_000
CONNECTIONS = 10


def families(service: ServiceProcess) -> dict[str, Any]:
    """The metrics of a service by their declared names."""
    response = service.http.get("/prometheus")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert response.text.count("\n") < LINES
    return {
        family.name + "_total" * (family.type == "counter"): family
        for family in text_string_to_metric_families(response.text)
        if not family.name.endswith("_created")
    }


def value(asked: ServiceProcess, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    family = families(asked).get(name)
    samples: list[float] = [
        sample.value
        for sample in (family.samples if family else ())
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return sum(samples)


def series(service: ServiceProcess) -> int:
    return sum(len(family.samples) for family in families(service).values())


def test_what_services_show_is_what_is_declared(start_service: StartService) -> None:
    for name in ("redirector", "api", "worker"):
        service = start_service(name)
        service.http.get("/nothing-here")
        declared = {metric.name for metric in DECLARATIONS if name in metric.of}
        assert set(families(service)) == declared


def test_requests_are_counted_by_route_method_and_status(
    start_service: StartService,
) -> None:
    api, redirector = start_service("api", API_WORKERS="1"), start_service("redirector")
    code = api.http.post("/shorten", json={"url": "https://example.com/"}).json()["short_code"]
    for _ in range(3):
        api.http.get("/users/7")
    api.http.request("BREW", "/users")
    api.http.get("/no/such/path")
    for _ in range(5):
        redirector.http.get(f"/{code}")
    redirector.http.head(f"/{code}")
    redirector.http.get("/unknown")
    redirector.http.request("PROPFIND", f"/{code}")
    redirector.http.get("/a/b/c")
    for service, method, route, status, count in (
        (api, "POST", "/shorten", "201", 1),
        (api, "GET", "/users/{user_id}", "404", 3),
        (api, "OTHER", "/users", "405", 1),
        (api, "GET", "none", "404", 1),
        (redirector, "GET", "/{short_code}", "302", 5),
        (redirector, "HEAD", "/{short_code}", "302", 1),
        (redirector, "GET", "/{short_code}", "404", 1),
        (redirector, "OTHER", "/{short_code}", "405", 1),
        (redirector, "GET", "none", "404", 1),
    ):
        labels = {"service": service.name, "method": method, "route": route}
        counted = value(service, "http_requests_total", status=status, **labels)
        assert counted == count, (labels, status)
    durations = families(redirector)["http_request_duration_seconds"].samples
    redirects = {
        sample.labels.get("le", sample.name): sample.value
        for sample in durations
        if (sample.labels["method"], sample.labels["route"]) == ("GET", "/{short_code}")
    }
    assert redirects["+Inf"] == redirects["http_request_duration_seconds_count"] == 6
    assert 0 < redirects["http_request_duration_seconds_sum"] < 6
    assert "0.025" in redirects


def test_series_do_not_grow_with_paths(start_service: StartService) -> None:
    api, redirector = start_service("api", API_WORKERS="1"), start_service("redirector")
    asyncio.run(ask_for_random_paths(redirector.port, 100))
    asyncio.run(ask_for_random_paths(api.port, 100))
    for service in (redirector, api):
        # Being asked for metrics is a request as well.
        families(service)
    before = series(redirector), series(api)
    asyncio.run(ask_for_random_paths(redirector.port, 100_000))
    asyncio.run(ask_for_random_paths(api.port, 2_000))
    assert (series(redirector), series(api)) == before
    assert value(redirector, "http_requests_total", status="404") == 100_100
    assert value(api, "http_requests_total", status="404") == 2_100


async def ask_for_random_paths(port: int, count: int) -> None:
    """Asks for paths that nobody knows, on a few connections, and waits for all the answers."""
    shares = [count // CONNECTIONS] * CONNECTIONS
    await asyncio.gather(*(ask_on_one_connection(port, share) for share in shares))


async def ask_on_one_connection(port: int, count: int) -> None:
    """Asks for as many, many ahead."""
    chance = random.Random()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    left = count
    while left:
        ahead = min(30, left)
        left -= ahead
        # No short code is that long, or has a slash: no store is asked.
        paths = (chance.randbytes(20).hex("/", chance.choice((7, 20))) for _ in range(ahead))
        writer.write(
            b"".join(b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode() for path in paths)
        )
        received = b""
        while received.count(b"HTTP/1.1 404 ") < ahead or not received.endswith(b"}"):
            received += await reader.read(100_000)
            assert received, "the connection was closed"
    writer.close()
    await writer.wait_closed()


def api_workers(api: ServiceProcess) -> list[psutil.Process]:
    return psutil.Process(api.pid).children()


def test_processes_of_an_api_are_one_and_outlive_their_ends(start_service: StartService) -> None:
    api = start_service("api", API_WORKERS="2")
    wait_for(lambda: value(api, "hoplink_database_pool_size") == 16, "both processes to be there")
    labels = {"route": "/users", "status": "200"}
    for _ in range(20):
        with http_client(api.url) as client:
            client.get("/users")
    assert value(api, "http_requests_total", **labels) == 20
    shown = series(api)
    for _ in range(3):
        victim = api_workers(api)[0]
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        wait_for(lambda: len(api_workers(api)) == 2, "the process to be replaced")
        assert value(api, "http_requests_total", **labels) == 20
        wait_for(lambda: value(api, "hoplink_database_pool_size") == 16, "the new one to be there")
    assert value(api, "hoplink_database_pool_size") == 16
    assert value(api, "hoplink_build_info") == 1
    assert series(api) <= shown + 32


@pytest.fixture
def pair(start_service: StartService) -> dict[str, list[ServiceProcess]]:
    """Two API servers and two redirectors on the same stores."""
    return {
        name: [start_service(name, **settings) for _ in range(2)]
        for name, settings in (("api", {"API_WORKERS": "1"}), ("redirector", {}))
    }


def requests_of(api: ServiceProcess) -> dict[str, Any]:
    metrics: dict[str, Any] = api.http.get("/metrics").json()
    return metrics


def has_served(api: ServiceProcess, requests: int) -> bool:
    return bool(requests_of(api)["requests"]["total"] == requests)


def test_every_api_tells_of_all_processes(pair: dict[str, list[ServiceProcess]]) -> None:
    first, second = pair["api"]
    code = first.http.post("/shorten", json={"url": "https://example.com/"}).json()["short_code"]
    for redirector in pair["redirector"]:
        for _ in range(10):
            assert redirector.http.get(f"/{code}").status_code == 302
    second.http.get("/users")
    for api in pair["api"]:
        wait_for(partial(has_served, api, 22), "one sum of all")
        told = requests_of(api)
        assert told["complete"] is True
        requests = told["requests"]
        assert requests.pop("per_second") <= 2.2
        assert requests == {
            "total": 22,
            "errors": 0,
            "error_rate": 0.0,
            "window_seconds": 120,
        }
        assert sorted(each["service"] for each in told["services"]) == [
            *("api", "api", "redirector", "redirector")
        ]
        assert all(each["redis_up"] for each in told["services"])
    wait_for(
        lambda: sum(requests_of(first)["redirects"]["by_tier"].values()) == 20,
        "redirects by tier",
    )
    redirects = requests_of(first)["redirects"]
    assert redirects["per_second"] == 2.0
    assert requests_of(first)["requests"]["per_second"] >= 2.0
    assert 0 < redirects["p50_ms"] <= redirects["p99_ms"]
    began = time.monotonic()
    pair["redirector"][0].stop()
    wait_for(lambda: len(requests_of(first)["services"]) == 3, "the one that ended to be gone")
    assert time.monotonic() - began < 10
