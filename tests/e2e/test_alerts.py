"""From an outage to an email and back, by what `make run` starts."""

from __future__ import annotations

import itertools
import math
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests.support.grafana import queries
from tests.support.mail import MailServer, mail_server, text_of
from tests.support.ports import PortBlock
from tests.support.processes import Log
from tests.support.services import get
from tests.support.stack import STACK_PORTS, StackProcess
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.xdist_group("monitoring"), pytest.mark.timeout(120)]

INTERVAL = 1


@pytest.fixture(scope="module")
def mail(ports: PortBlock) -> Iterator[MailServer]:
    with mail_server(ports.free_port()) as server:
        yield server


@pytest.fixture(scope="module")
def stack(
    mail: MailServer, server_folder: Any, ports: PortBlock, watch_log: Callable[[Log], None]
) -> Iterator[StackProcess]:
    """A stack with monitoring that looks once a second."""
    port = ports.free_port(followed_by=STACK_PORTS)
    process = StackProcess(
        port,
        server_folder / "monitored stack",
        log=server_folder / "monitored.log",
        REDIRECTORS="2",
        MONITORING="on",
        PROMETHEUS_PORT=str(port + 1),
        ALERTMANAGER_PORT=str(port + 2),
        ALERT_INTERVAL_SECONDS=str(INTERVAL),
        **mail.settings,
    )
    watch_log(process.log)
    try:
        process.start()
        wait_for(lambda: _both_answer(process), "Prometheus and Alertmanager to answer", seconds=20)
        yield process
        everything = process.everything()
        assert process.end() == 0
        assert everything.left() == [], "Prometheus and Alertmanager end with the rest"
    finally:
        process.close()


def test_prometheus_scrapes_every_process_and_knows_alertmanager(stack: StackProcess) -> None:
    up = {
        ("alertmanager", stack.run_json["alertmanager"]["url"]),
        ("prometheus", stack.run_json["prometheus"]["url"]),
        *((name.partition("-")[0], url) for name, url in stack.addresses.items()),
    }

    def scraped() -> set[tuple[str, str]]:
        return {
            (sample["metric"]["job"], f"http://{sample['metric']['instance']}")
            for sample in _ask(stack, "up == 1")
        }

    wait_for(lambda: scraped() == up, "every target to be scraped", seconds=20)
    known = _get(stack, "/api/v1/alertmanagers")["activeAlertmanagers"]
    assert [one["url"] for one in known] == [
        f"{stack.run_json['alertmanager']['url']}/api/v2/alerts"
    ]


def test_it_says_where_both_are_and_where_alerts_go(stack: StackProcess) -> None:
    assert f"Prometheus  {stack.run_json['prometheus']['url']}" in stack.log.text
    assert f"Alerts      {stack.run_json['alertmanager']['url']}" in stack.log.text
    assert "alerts go to sre@example.com, boss@example.com" in stack.log.text


def test_both_listen_on_loopback_only(stack: StackProcess) -> None:
    for name in ("prometheus", "alertmanager"):
        process = psutil.Process(stack.processes[name])
        listening = wait_for(
            lambda: [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN],  # noqa: B023
            f"{name} to listen",
        )
        assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}


def test_an_outage_of_postgresql_is_told_by_email_and_so_is_its_end(
    stack: StackProcess, mail: MailServer
) -> None:
    """A frozen PostgreSQL: redirectors answer 503 for links that no cache holds."""
    code = stack.shorten("https://example.com/known")
    _wait_until_quiet(stack)
    absent = (f"absent{number}" for number in itertools.count())

    def high_after_more_bad_answers() -> bool:
        # Other tests' good answers may be among those of the last two minutes.
        _send(stack, itertools.islice(absent, 10))
        return _error_rate(stack) > 0.2

    def low_after_more_good_answers() -> bool:
        _send(stack, [code] * 200)
        return _error_rate(stack) < 0.08

    with _frozen(stack.processes["database"]):
        statuses = [stack.http.get(f"/{next(absent)}").status_code for _ in range(10)]
        assert set(statuses) == {503}
        wait_for(high_after_more_bad_answers, "many bad answers", seconds=40)
        down = mail.wait_for("[FIRING page] Hoplink: ServiceDown: ", seconds=40)
        errors = mail.wait_for("[FIRING page] Hoplink: HighErrorRate: ", seconds=40)

    wait_for(low_after_more_good_answers, "few bad answers", seconds=40)
    down_ended = mail.wait_for("[RESOLVED page] Hoplink: ServiceDown: ")
    errors_ended = mail.wait_for("[RESOLVED page] Hoplink: HighErrorRate: ")

    assert down["To"] == "sre@example.com, boss@example.com"
    assert down["From"] == "Hoplink <alerts@example.com>"
    assert "can't query PostgreSQL" in text_of(down)
    assert "docs/RUNBOOK.md#servicedown" in text_of(down)
    assert "docs/RUNBOOK.md#servicedown" in text_of(down, "html")
    assert "% of the last two minutes'" in text_of(errors)
    for email in (down_ended, errors_ended):
        assert "Until: " in text_of(email)
    assert not _firing(stack) & {"ServiceDown", "HighErrorRate"}


def test_every_panel_of_grafana_has_data(stack: StackProcess) -> None:
    """Under load, but for those that need an exporter: these are only understood."""
    asked = list(queries(interval="10s"))
    empty = [query for query in asked if query.everywhere]

    def all_have_data() -> bool:
        empty[:] = [query for query in empty if not _ask(stack, query.expr)]
        return not empty

    with _load(stack):
        deadline = time.monotonic() + 40
        while not all_have_data() and time.monotonic() < deadline:
            time.sleep(0.5)
    assert empty == []
    for query in asked:
        if not query.everywhere:
            _ask(stack, query.expr)


def _both_answer(stack: StackProcess) -> bool:
    urls = [stack.run_json[name]["url"] for name in ("prometheus", "alertmanager")]
    try:
        return all(get(f"{url}/-/ready").is_success for url in urls)
    except httpx.TransportError:
        return False


def _get(stack: StackProcess, path: str, **parameters: str) -> Any:
    url = stack.run_json["prometheus"]["url"]
    answer = get(f"{url}{path}", **parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def _ask(stack: StackProcess, query: str) -> list[Mapping[str, Any]]:
    """What Prometheus answers to a query."""
    result: list[Mapping[str, Any]] = _get(stack, "/api/v1/query", query=query)["result"]
    return result


def _firing(stack: StackProcess) -> set[str]:
    return {sample["metric"]["alertname"] for sample in _ask(stack, 'ALERTS{alertstate="firing"}')}


def _error_rate(stack: StackProcess) -> float:
    """What HighErrorRate compares with a tenth; not a number without requests."""
    query = "sum(service:http_errors:increase2m) / sum(service:http_requests:increase2m)"
    samples = _ask(stack, query)
    if not samples:
        return math.nan
    (sample,) = samples
    return float(sample["value"][1])


def _wait_until_quiet(stack: StackProcess) -> None:
    """Until Prometheus has looked twice and nothing fires."""

    def quiet() -> bool:
        return not _firing(stack) and len(_ask(stack, "database_up == 1")) >= 4

    wait_for(quiet, "nothing to fire", seconds=20)


def _send(stack: StackProcess, codes: Iterable[str]) -> None:
    """Many requests in little time: all are sent before the first answer is read."""
    url = urlsplit(stack.url)
    requests = [f"GET /{code} HTTP/1.1\r\nHost: {url.netloc}\r\n\r\n" for code in codes]
    with socket.create_connection((url.hostname, url.port), timeout=10) as client:
        client.sendall("".join(requests).encode())
        answers = b""
        while answers.count(b"HTTP/1.1 ") < len(requests):
            received = client.recv(65_536)
            assert received, answers
            answers += received


@contextmanager
def _frozen(pid: int) -> Iterator[None]:
    """Stops a process and its children where they are."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            if process.is_running():
                process.resume()


@contextmanager
def _load(stack: StackProcess) -> Iterator[None]:
    """Requests of every kind, a few dozen each second."""
    ended = False

    def work() -> None:
        code = stack.shorten("https://example.com/load")
        for number in itertools.count():
            if ended:
                return
            stack.http.get(f"/{code}")
            stack.http.get(f"/absent-{os.getpid()}-{number}")
            stack.http.get("/urls", params={"per_page": "1"})
            stack.http.get("/users/999")
            time.sleep(0.05)

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            yield
        finally:
            ended = True
        working.result()
