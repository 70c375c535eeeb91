"""From a redirect to its statistics, through real processes and stores."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.ports import PortBlock
from tests.support.processes import Log
from tests.support.services import ServiceProcess, Services
from tests.support.stores import PostgresProcess, ValkeyProcess
from tests.support.waiting import wait_for

pytestmark = pytest.mark.xdist_group("clicks")

BROWSER = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/120.0.0.0 Safari/537.36"
)
PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/17.1 Mobile/15E148 Safari/604.1"
)


class Stack:
    """A redirector, the API and a worker."""

    def __init__(self, services: Services, **stores: str) -> None:
        self._services, self._stores = services, stores
        self.redirector = services.start(
            "redirector", CLICK_COUNTRY_HEADER="CF-IPCountry", **stores
        )
        self.api = services.start("api", API_WORKERS="1", **stores)
        self.worker = services.start("worker", **stores)

    def another_redirector(self, **settings: str) -> ServiceProcess:
        return self._services.start("redirector", **self._stores, **settings)

    def link(self, **fields: object) -> dict[str, Any]:
        body = {"original_url": "https://example.com/", **fields}
        return dict(self.api.http.post("/urls", json=body).raise_for_status().json())

    def click(self, link: dict[str, Any], method: str = "GET", **headers: str) -> None:
        headers = {"User-Agent": BROWSER, **headers}
        answer = self.redirector.http.request(method, f"/{link['short_code']}", headers=headers)
        assert answer.status_code == 302

    def stats(self, link: dict[str, Any], **query: str) -> dict[str, Any]:
        answer = self.api.http.get(f"/urls/{link['id']}/stats", params=query)
        return dict(answer.raise_for_status().json())

    def wait_for_stats(self, link: dict[str, Any], total: int) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            stats = self.stats(link)
            return stats if stats["clicks"] + stats["bots"] >= total else None

        return wait_for(found, f"{total} clicks", seconds=10) or {}


@pytest.fixture(scope="module")
def stack(
    postgres: PostgresProcess,
    valkey: ValkeyProcess,
    ports: PortBlock,
    tmp_path_factory: pytest.TempPathFactory,
    watch_log: Callable[[Log], None],
) -> Iterator[Stack]:
    """One for all of these tests, on stores that were empty before the first."""
    for store in (postgres, valkey):
        store.heal()
        store.empty()
    services = Services(ports, tmp_path_factory.mktemp("logs"), watch_log)
    try:
        yield Stack(services, DATABASE_URL=postgres.url, REDIS_URL=valkey.url)
    finally:
        services.close()


@pytest.fixture
def user(stack: Stack, request: pytest.FixtureRequest) -> int:
    """The id of a user without links."""
    name = request.node.name[-30:]
    body = {"username": name, "email": f"{name}@example.com"}
    return int(stack.api.http.post("/users", json=body).raise_for_status().json()["id"])


def test_a_click_shows_in_the_statistics_within_three_seconds(stack: Stack) -> None:
    link = stack.link()
    stack.click(link)  # a first one, that has to look the link up
    stack.wait_for_stats(link, 1)
    for total in range(2, 7):
        clicked_at = time.monotonic()
        stack.click(link)
        stack.wait_for_stats(link, total)
        assert time.monotonic() - clicked_at < 3


def test_statistics_tell_people_from_bots_and_name_where_they_came_from(stack: Stack) -> None:
    link = stack.link()
    stack.click(link, Referer="https://user:secret@News.Example:8443/today?q=1")
    stack.click(link, Referer="https://news.example/", **{"CF-IPCountry": "DE"})
    stack.click(link, **{"User-Agent": PHONE, "CF-IPCountry": "FR"})
    stack.click(link, method="HEAD")
    stack.click(
        link, **{"User-Agent": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"}
    )
    stats = stack.wait_for_stats(link, 5)
    assert (stats["url_id"], stats["clicks"], stats["bots"]) == (link["id"], 3, 2)
    assert stats["referrers"] == [
        {"referrer": "news.example", "clicks": 2},
        {"referrer": "direct", "clicks": 1},
    ]
    assert stats["devices"] == [
        {"device": "desktop", "clicks": 2},
        {"device": "mobile", "clicks": 1},
    ]
    assert sorted(stats["countries"], key=lambda entry: str(entry["country"])) == [
        {"country": "DE", "clicks": 1},
        {"country": "FR", "clicks": 1},
        {"country": "unknown", "clicks": 1},
    ]
    assert len(stats["series"]) == 30
    assert sum(day["clicks"] for day in stats["series"]) == 3
    assert sum(day["bots"] for day in stats["series"]) == 2
    hours = stack.stats(link, interval="hour")["series"]
    assert (len(hours), sum(hour["clicks"] for hour in hours)) == (24, 3)
    assert set(stats) == {
        *("url_id", "clicks", "bots", "series", "referrers", "devices", "countries")
    }


def test_a_redirect_that_was_refused_is_no_click(stack: Stack) -> None:
    link, other = stack.link(), stack.link()
    stack.click(other)
    stack.api.http.delete(f"/urls/{link['id']}").raise_for_status()
    wait_for(lambda: stack.redirector.http.get(f"/{link['short_code']}").status_code == 404, "404")
    stack.click(other)
    stack.wait_for_stats(other, 2)
    assert stack.stats(link)["clicks"] == 0


def test_a_users_statistics_are_those_of_all_their_links(stack: Stack, user: int) -> None:
    first, second = stack.link(user_id=user), stack.link(user_id=user)
    stranger = stack.link()
    for link in (first, second, second, stranger):
        stack.click(link)
    stack.wait_for_stats(stranger, 1)
    stack.wait_for_stats(second, 2)
    stats = stack.api.http.get(f"/users/{user}/stats").json()
    assert (stats["user_id"], stats["clicks"], stats["bots"]) == (user, 3, 0)
    assert stats["devices"] == [{"device": "desktop", "clicks": 3}]
    assert sum(day["clicks"] for day in stats["series"]) == 3


def test_links_sort_by_clicks(stack: Stack, user: int) -> None:
    links = [stack.link(user_id=user) for _ in range(4)]
    for link, clicks in zip(links, (1, 3, 0, 2), strict=True):
        for _ in range(clicks):
            stack.click(link)
    stack.wait_for_stats(links[1], 3)
    stack.wait_for_stats(links[3], 2)

    def busiest(**query: object) -> list[int]:
        answer = stack.api.http.get("/urls", params={"sort": "clicks", "user_id": user, **query})  # type: ignore[dict-item]
        return [links.index(link) for link in answer.raise_for_status().json()]

    assert busiest() == [1, 3, 0, 2]
    assert busiest(per_page=2) == [1, 3]
    stack.api.http.delete(f"/urls/{links[1]['id']}").raise_for_status()
    links[1] = stack.api.http.get(f"/urls/{links[1]['id']}").json()
    assert busiest(is_active="true") == [3, 0, 2]
    assert busiest(user_id=user + 1_000) == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/urls/1000/stats", 404),
        ("/users/1000/stats", 404),
        ("/urls/x/stats", 404),
        ("/urls?sort=title", 400),
        ("/urls?sort=clicks&page=2", 400),
        ("/urls?sort=clicks&after=2", 400),
    ],
)
def test_a_wrong_question_gets_a_plain_answer(stack: Stack, path: str, status: int) -> None:
    answer = stack.api.http.get(path)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])


def test_nothing_is_counted_where_that_is_switched_off(stack: Stack) -> None:
    redirector = stack.another_redirector(RECORD_CLICKS="false")
    link = stack.link()
    answer = redirector.http.get(f"/{link['short_code']}")
    assert answer.status_code == 302
    assert "hoplink_clicks_accepted_total 0.0" in redirector.http.get("/prometheus").text
