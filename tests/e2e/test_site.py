"""What users see of a whole Hoplink, wherever it runs: `make e2e BASE_URL=https://sho.rt`.

Without an address they use the stack that the other tests of this folder use. They leave a few
links and users behind, with names that nobody else has.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from typing import Any

import httpx
import pytest

from tests.support.api import create, error_of
from tests.support.services import http_client
from tests.support.waiting import wait_for

pytestmark = pytest.mark.xdist_group("stack")

TARGET = "https://example.com/a%20b?c=d&e=%C3%A4#f"


@pytest.fixture(scope="module")
def site_url(request: pytest.FixtureRequest) -> str:
    given = os.environ.get("E2E_URL")
    return given or str(request.getfixturevalue("shared_stack").url)


@pytest.fixture
def site(site_url: str) -> Iterator[httpx.Client]:
    with http_client(site_url) as client:
        wait_for(lambda: _answers(client), f"{site_url} to answer", seconds=20)
        yield client


@pytest.fixture
def link(site: httpx.Client) -> dict[str, Any]:
    """A link of a test's own."""
    return create(site, "/urls", original_url=TARGET, title="for a test")


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/ready").status_code == 200
    except httpx.TransportError:
        return False


def _name() -> str:
    return f"e2e-{secrets.token_hex(8)}"


def _leads_to(site: httpx.Client, code: str) -> str | None:
    """Where a code redirects, None when it doesn't."""
    location: str | None = site.get(f"/{code}").headers.get("Location")
    return location


def test_a_new_link_redirects_byte_for_byte(site: httpx.Client, link: dict[str, Any]) -> None:
    answer = site.get(f"/{link['short_code']}?query=ignored")

    assert answer.status_code == 302
    assert answer.headers["Location"] == TARGET
    assert link["short_url"].endswith(f"/{link['short_code']}")


def test_head_answers_like_get(site: httpx.Client, link: dict[str, Any]) -> None:
    answer = site.head(f"/{link['short_code']}")

    assert (answer.status_code, answer.headers["Location"]) == (302, TARGET)
    assert answer.content == b""


def test_a_change_reaches_every_redirector(site: httpx.Client, link: dict[str, Any]) -> None:
    code = link["short_code"]
    for _ in range(20):
        assert _leads_to(site, code) == TARGET

    site.put(f"/urls/{link['id']}", json={"original_url": "https://example.org/"})

    # Many requests in a row, so that each redirector is asked.
    wait_for(
        lambda: {_leads_to(site, code) for _ in range(20)} == {"https://example.org/"},
        "the new target everywhere",
        seconds=5,
    )


def test_a_deleted_link_is_gone_until_it_is_brought_back(
    site: httpx.Client, link: dict[str, Any]
) -> None:
    code = link["short_code"]
    assert _leads_to(site, code) == TARGET

    assert site.delete(f"/urls/{link['id']}").status_code == 200
    wait_for(lambda: site.get(f"/{code}").status_code == 404, "the link to be gone", seconds=5)

    assert site.patch(f"/urls/{link['id']}", json={"is_active": True}).status_code == 200
    wait_for(lambda: _leads_to(site, code) == TARGET, "the link to be back", seconds=5)


def test_what_happened_to_a_link_is_on_record(site: httpx.Client, link: dict[str, Any]) -> None:
    site.put(f"/urls/{link['id']}", json={"title": "another"})
    site.delete(f"/urls/{link['id']}")

    events = site.get(f"/urls/{link['id']}/events").json()

    assert [event["event_type"] for event in events] == ["created", "updated", "deleted"]


def test_clicks_are_counted(site: httpx.Client, link: dict[str, Any]) -> None:
    browser = {
        "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    }
    for _ in range(5):
        site.get(f"/{link['short_code']}", headers=browser)

    statistics = wait_for(
        lambda: _statistics(site, link, clicks=5), "five clicks to be counted", seconds=15
    )
    assert statistics
    assert sum(hour["clicks"] for hour in statistics["series"]) == 5


def _statistics(site: httpx.Client, link: dict[str, Any], *, clicks: int) -> dict[str, Any] | None:
    told: dict[str, Any] = site.get(f"/urls/{link['id']}/stats").json()
    return told if told["clicks"] == clicks else None


def test_a_user_owns_links_that_outlive_it(site: httpx.Client) -> None:
    name = _name()
    user = create(site, "/users", username=name, email=f"{name}@example.com")
    made = create(site, "/urls", original_url=TARGET, user_id=user["id"])

    assert [link["id"] for link in site.get(f"/users/{user['id']}/urls").json()] == [made["id"]]
    assert site.delete(f"/users/{user['id']}").status_code == 200
    assert site.get(f"/urls/{made['id']}").json()["user_id"] is None
    assert _leads_to(site, made["short_code"]) == TARGET


def test_of_many_who_want_one_code_one_gets_it(site: httpx.Client) -> None:
    wanted = {"original_url": TARGET, "short_code": _name()}
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: site.post("/urls", json=wanted), range(8)))

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7


def test_an_imported_link_redirects_though_its_absence_was_known(site: httpx.Client) -> None:
    code = _name()
    assert site.get(f"/{code}").status_code == 404
    rows = f"short_code,original_url\n{code},https://example.com/imported\n"

    answer = site.post("/urls/bulk", content=rows, headers={"Content-Type": "text/csv"})

    assert (answer.status_code, answer.json()["imported"]) == (201, 1), answer.text
    wait_for(
        lambda: {_leads_to(site, code) for _ in range(20)} == {"https://example.com/imported"},
        "the imported link everywhere",
        seconds=5,
    )


def test_lists_go_on_by_a_link_header(site: httpx.Client, link: dict[str, Any]) -> None:
    create(site, "/urls", original_url=TARGET)

    first = site.get("/urls", params={"per_page": 1})
    assert len(first.json()) == 1
    second = site.get(first.links["next"]["url"])
    assert second.json()[0]["id"] > first.json()[0]["id"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/no-such-code", 404),
        ("GET", "/urls/999999999999", 404),
        ("GET", "/no/such/path", 404),
        ("POST", "/urls", 400),
        ("DELETE", "/users", 405),
        ("GET", "/urls?page=0", 400),
    ],
)
def test_every_failure_is_json(site: httpx.Client, method: str, path: str, status: int) -> None:
    answer = site.request(method, path)

    assert answer.status_code == status
    assert error_of(answer)


@pytest.mark.parametrize(
    ("status", "request_bytes"),
    [
        (400, b"GET /abc HTTP/1.1\r\n\r\n"),
        (400, b"nonsense\r\n\r\n"),
        (413, b"POST /urls HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n"),
        (414, b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
        (431, b"GET /abc HTTP/1.1\r\nHost: a\r\nA: " + b"a" * 20_000 + b"\r\n\r\n"),
    ],
)
def test_what_is_not_a_request_gets_json_too(
    site: httpx.Client, status: int, request_bytes: bytes
) -> None:
    with socket.create_connection((site.base_url.host, site.base_url.port or 80), 10) as client:
        client.sendall(request_bytes)
        response = HTTPResponse(client)
        response.begin()
        body = response.read()

    answer = httpx.Response(response.status, headers=response.getheaders(), content=body)
    assert answer.status_code == status
    assert error_of(answer)


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_it_says_that_it_is_well(site: httpx.Client, path: str) -> None:
    answer = site.get(path)

    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"


def test_answers_carry_the_id_of_their_request(site: httpx.Client, link: dict[str, Any]) -> None:
    ids = [site.get(path).headers["X-Request-ID"] for path in ("/health", f"/{link['short_code']}")]

    assert len(set(ids)) == 2
