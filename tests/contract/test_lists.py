"""What all lists have in common: pages, cursors, filters."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import chain
from typing import Any

import httpx
import pytest
from peewee import PostgresqlDatabase

from services.api import events, read_cache, urls, users
from services.api.models import Url
from services.api.pagination import Listing, Page, select
from tests.support.api import error_of
from tests.support.services import BASE_URL

Sql = Callable[..., list[tuple[Any, ...]]]
LISTS = ("/users", "/urls", "/events", "/users/1/urls", "/urls/1/events")

USERS = """
INSERT INTO users (username, email, created_at) SELECT n, n, now() FROM generate_series(1, %s) n
"""
LINKS = """
INSERT INTO urls (user_id, short_code, original_url, is_active, created_at, updated_at)
SELECT nullif(n %% 3, 2) + 1, 'code' || n, 'https://example.com/' || n, n %% 10 > 0, now(), now()
FROM generate_series(1, %s) n
"""


def ids(response: httpx.Response) -> list[int]:
    assert response.status_code == 200, response.text
    return [entry["id"] for entry in response.json()]


def walk(api: httpx.Client, path: str) -> list[list[int]]:
    """The ids on each page, from link to link."""
    pages = []
    while path:
        response = api.get(path)
        pages.append(ids(response))
        link = response.headers.get("link")
        match = re.fullmatch(rf'<{BASE_URL}(/[^>]+)>; rel="next"', link) if link else None
        assert (match is None) == (link is None)
        path = match[1] if match else ""
    return pages


def test_a_list_has_20_entries_if_not_said_otherwise(api: httpx.Client, sql: Sql) -> None:
    sql(USERS, 21)
    assert ids(api.get("/users")) == list(range(1, 21))
    assert ids(api.get("/users", params={"page": 2})) == [21]
    assert ids(api.get("/users", params={"page": 3})) == []
    assert ids(api.get("/users", params={"page": 3, "per_page": 5})) == list(range(11, 16))
    assert ids(api.get("/users", params={"per_page": 1000})) == list(range(1, 22))


def test_following_the_next_links_shows_each_entry_once(api: httpx.Client, sql: Sql) -> None:
    sql(USERS, 10)
    assert walk(api, "/users?per_page=4") == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
    assert walk(api, "/users?page=2&per_page=4") == [[5, 6, 7, 8], [9, 10]]


def test_a_last_page_that_is_full_links_to_no_further_one(api: httpx.Client, sql: Sql) -> None:
    sql(USERS, 4)
    assert walk(api, "/users?per_page=2") == [[1, 2], [3, 4]]


def test_the_next_links_keep_the_filters(api: httpx.Client, sql: Sql) -> None:
    sql(USERS, 2)
    sql(LINKS, 40)
    inactive = walk(api, "/urls?is_active=false&per_page=3")
    assert inactive == [[10, 20, 30], [40]]
    of_user = walk(api, "/urls?user_id=1&is_active=true&per_page=5")
    assert list(chain(*of_user)) == [n for n in range(1, 41) if n % 3 == 0 and n % 10]
    assert walk(api, "/users/1/urls?is_active=true&per_page=5") == of_user


def test_an_entry_that_comes_in_meanwhile_shifts_no_cursor(api: httpx.Client, sql: Sql) -> None:
    sql(USERS, 4)
    first = api.get("/users", params={"per_page": 2})
    sql("DELETE FROM users WHERE id = 1")
    sql(USERS.replace("SELECT n, n", "SELECT 'x' || n, 'x' || n"), 1)
    following = first.headers["link"].partition(">")[0][1:].removeprefix(BASE_URL)
    assert walk(api, following) == [[3, 4], [5]]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=x", "page"),
        ("page=", "page"),
        ("page=1.0", "page"),
        ("page=%2B1", "page"),
        ("page=1_0", "page"),
        ("page=%D9%A1", "page"),
        ("page=99999999999999999999999", "page"),
        ("page=1&page=2", "page"),
        ("page=1%00", "page"),
        ("per_page=0", "per_page"),
        ("per_page=-5", "per_page"),
        ("per_page=1001", "per_page"),
        ("per_page=ten", "per_page"),
        ("per_page=", "per_page"),
        ("per_page=20&per_page=20", "per_page"),
        ("after=-1", "after"),
        ("after=x", "after"),
        ("after=5&page=2", "after"),
    ],
)
def test_a_page_that_makes_no_sense_is_refused(
    any_api: httpx.Client, query: str, field: str
) -> None:
    for path in LISTS:
        response = any_api.get(f"{path}?{query}")
        assert response.status_code == 400
        assert error_of(response).startswith(f"{field}: ")


@pytest.mark.parametrize("query", ["page=100002&per_page=1", "page=102&per_page=1000"])
def test_a_page_that_would_skip_over_100000_rows_is_refused_and_names_the_cursor(
    any_api: httpx.Client, query: str
) -> None:
    response = any_api.get(f"/users?{query}")
    assert response.status_code == 400
    assert "after" in error_of(response)


@pytest.mark.parametrize("query", ["page=100001&per_page=1", "page=101&per_page=1000"])
def test_a_page_that_skips_100000_rows_is_fine(api: httpx.Client, query: str) -> None:
    assert ids(api.get(f"/users?{query}")) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("/urls?user_id=x", "user_id"),
        ("/urls?user_id=", "user_id"),
        ("/urls?user_id=-1", "user_id"),
        ("/urls?user_id=1.5", "user_id"),
        ("/urls?user_id=99999999999999999999", "user_id"),
        ("/urls?user_id=1;DROP%20TABLE%20urls", "user_id"),
        ("/urls?user_id=1%20OR%201=1", "user_id"),
        ("/urls?is_active=maybe", "is_active"),
        ("/urls?is_active=", "is_active"),
        ("/urls?is_active=2", "is_active"),
        ("/urls?is_active=true'--", "is_active"),
        ("/users/1/urls?is_active=maybe", "is_active"),
        ("/events?url_id=x", "url_id"),
        ("/events?user_id=null", "user_id"),
        ("/events?event_type=", "event_type"),
        ("/events?event_type=a%00b", "event_type"),
        ("/events?event_type=" + "a" * 65, "event_type"),
        ("/events?event_type=a&event_type=b", "event_type"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(
    any_api: httpx.Client, query: str, field: str
) -> None:
    response = any_api.get(query)
    assert response.status_code == 400
    assert error_of(response).startswith(f"{field}: ")


@pytest.mark.parametrize(
    "event_type", ["' OR '1'='1", "x'; DELETE FROM events; --", "%", "_", "\\", "{}", "%(id)s"]
)
def test_sql_in_a_filter_is_but_a_text(api: httpx.Client, event_type: str) -> None:
    assert ids(api.get("/events", params={"event_type": event_type})) == []


def test_a_filter_may_be_written_in_some_ways(api: httpx.Client, sql: Sql) -> None:
    sql(USERS, 2)
    sql(LINKS, 10)
    for text in ("false", "False", "0"):
        assert ids(api.get("/urls", params={"is_active": text})) == [10]
    for text in ("true", "TRUE", "1"):
        assert len(ids(api.get("/urls", params={"is_active": text}))) == 9


def test_parameters_that_mean_nothing_are_ignored(api: httpx.Client, sql: Sql) -> None:
    sql(USERS, 1)
    assert ids(api.get("/users?colour=red&_=1234")) == [1]


@pytest.mark.parametrize("rare", [True, False])
def test_a_list_reads_no_more_than_its_page(sql: Sql, *, rare: bool) -> None:
    """Each filter has an index that yields its rows by id, from any id on.

    Where nearly all rows match, PostgreSQL rather walks them all: so the filter is for rare ones.
    """
    sql(USERS, 3_000)
    sql(LINKS, 20_000)
    sql("UPDATE urls SET user_id = 1 + id %% 20, is_active = (id %% 20 = 0) = %s", rare)
    sql(
        "INSERT INTO events (url_id, user_id, event_type, timestamp)"
        " SELECT id, user_id, 'type' || id %% 2, now() FROM urls"
    )
    sql("ANALYZE")
    # As for a table that is too large to be in memory and on a disk that does not turn.
    sql("SET random_page_cost = 1.1")
    links = Listing(Url, urls.COLUMNS, read_cache.LINKS, dict)
    for listing, filters, index in (
        (users.LISTING, {}, "users_pkey"),
        (links, {}, "urls_pkey"),
        (links, {"user_id": 1}, "urls_user"),
        (links, {"is_active": rare}, "urls_active"),
        (events.LISTING, {}, "events_pkey"),
        (events.LISTING, {"url_id": 7}, "events_url"),
        (events.LISTING, {"user_id": 1}, "events_user"),
        (events.LISTING, {"event_type": "type1"}, "events_type"),
    ):
        selected = select(listing, filters, Page(size=20, after=1_000))
        context: Any = PostgresqlDatabase(None).get_sql_context()
        query, parameters = context.sql(selected).query()
        plan = "\n".join(line for (line,) in sql(f"EXPLAIN {query}", *parameters))
        assert f"using {index} on" in plan, plan
        assert "Sort" not in plan, plan
        assert "Filter" not in plan, plan
