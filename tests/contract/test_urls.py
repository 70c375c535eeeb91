"""/urls and /shorten"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest

from shared import short_codes
from tests.support.api import create, error_of
from tests.support.services import BASE_URL

Link = dict[str, Any]
URL = "https://example.com/a"


def test_a_created_link_is_answered_with_201_and_can_be_read_under_its_id(
    api: httpx.Client, user: dict[str, Any]
) -> None:
    response = api.post(
        "/urls", json={"original_url": URL, "title": "A title", "user_id": user["id"]}
    )
    assert response.status_code == 201
    link = response.json()
    assert list(link) == [
        "id",
        "user_id",
        "short_code",
        "short_url",
        "original_url",
        "title",
        "is_active",
        "created_at",
        "updated_at",
    ]
    code = link["short_code"]
    assert len(code) == 7
    assert set(code) <= set(short_codes.BASE62)
    assert link == {
        "id": link["id"],
        "user_id": user["id"],
        "short_code": code,
        "short_url": f"{BASE_URL}/{code}",
        "original_url": URL,
        "title": "A title",
        "is_active": True,
        "created_at": link["created_at"],
        "updated_at": link["created_at"],
    }
    assert response.headers["location"] == f"/urls/{link['id']}"
    assert api.get(f"/urls/{link['id']}").json() == link
    assert api.get("/urls").json() == [link]


def test_the_same_url_twice_gives_two_links(api: httpx.Client) -> None:
    first, second = (create(api, "/urls", original_url=URL) for _ in range(2))
    assert first["id"] != second["id"]
    assert first["short_code"] != second["short_code"]


def test_shorten_is_another_name_for_creating_a_link(api: httpx.Client) -> None:
    link = create(api, "/shorten", url=URL, title="T", short_code="my-code")
    assert link["original_url"] == URL
    assert link["title"] == "T"
    assert link["short_code"] == "my-code"
    assert api.get("/urls").json() == [link]
    response = api.post("/shorten", json={"original_url": URL})
    assert response.status_code == 400
    assert error_of(response) == "url: is required"


@pytest.mark.parametrize("path", ["/urls", "/shorten"])
@pytest.mark.parametrize(
    "url",
    [
        None,
        7,
        True,
        [],
        {},
        "",
        " ",
        "example.com",
        "//example.com/a",
        "/a",
        "ftp://example.com/a",
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "http://",
        "https://",
        "http:///path",
        "https://?q",
        "https://user@example.com/",
        "https://user:password@example.com/",
        " https://example.com/",
        "https://example.com/ ",
        "https://example.com/\n",
        "https://example.com/a\tb",
        "https://example.com/\x7f",
        "https://example.com/\x85",
        "https://exa mple.com/",
        "https://<example>.com/",
        "https://example.com:0x50/",
        "https://example.com:65536/",
        "https://[::1/",
        "https://1.2.3.999/",
        "https://example.com/" + "a" * 2_029,
    ],
)
def test_a_link_to_what_is_no_absolute_http_url_is_refused(
    any_api: httpx.Client, path: str, url: object
) -> None:
    field = {"/urls": "original_url", "/shorten": "url"}[path]
    response = any_api.post(path, json={field: url})
    assert response.status_code == 400
    assert error_of(response).startswith(f"{field}: ")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "HTTPS://EXAMPLE.COM/A",
        "https://example.com:8443/a?b=c&d=%20#e",
        "https://bücher.example/ä?ö=ü",
        "https://日本語.jp/",
        "http://[2001:db8::1]:8080/x",
        "http://192.0.2.7/",
        "https://example.com/a b",
        "https://example.com/" + "a" * 2_028,
    ],
)
def test_a_link_keeps_the_url_it_was_given(api: httpx.Client, url: str) -> None:
    assert create(api, "/urls", original_url=url)["original_url"] == url


@pytest.mark.parametrize(
    "url",
    [
        f"{BASE_URL}/abc",
        f"{BASE_URL}/",
        "http://LOCALHOST:5001/abc",
        "http://localhost.:5001/",
        "http://[::1]:5001/x",
        "http://127.1:5001/x",
        "http://0x7f000001:5001/x",
        "http://[::ffff:127.0.0.1]:5001/x",
        "https://127.0.0.1:5001/x",
        "http://localhos%74:5001/x",
        "http://127.0.0.1:5001\\@example.com/",
        "http://0.0.0.0:5001/x",
    ],
)
def test_a_link_back_to_the_shortener_is_refused(any_api: httpx.Client, url: str) -> None:
    response = any_api.post("/urls", json={"original_url": url})
    assert response.status_code == 400
    assert error_of(response).startswith("original_url: ")


def test_another_port_of_the_same_host_is_another_place(api: httpx.Client) -> None:
    create(api, "/urls", original_url="http://127.0.0.1:5002/abc")


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"title": 7}, "title"),
        ({"title": "a" * 256}, "title"),
        ({"user_id": "1"}, "user_id"),
        ({"user_id": 1.0}, "user_id"),
        ({"user_id": True}, "user_id"),
        ({"user_id": 0}, "user_id"),
        ({"user_id": -1}, "user_id"),
        ({"user_id": 999_999}, "user_id"),
        ({"user_id": 2**63}, "user_id"),
        ({"user_id": 10**40}, "user_id"),
        ({"short_code": 1}, "short_code"),
        ({"short_code": ""}, "short_code"),
        ({"short_code": "ab"}, "short_code"),
        ({"short_code": "a" * 33}, "short_code"),
        ({"short_code": "a.b"}, "short_code"),
        ({"short_code": "a/b"}, "short_code"),
        ({"short_code": "a b"}, "short_code"),
        ({"short_code": "abc\n"}, "short_code"),
        ({"short_code": "äöü"}, "short_code"),
        *[({"short_code": word}, "short_code") for word in sorted(short_codes.RESERVED)],
        ({"short_code": "Users"}, "short_code"),
    ],
)
def test_a_link_with_a_wrong_value_is_refused_by_the_name_of_its_field(
    any_api: httpx.Client, value: dict[str, Any], field: str
) -> None:
    response = any_api.post("/urls", json={"original_url": URL, **value})
    assert response.status_code == 400
    assert error_of(response).startswith(f"{field}: ")


@pytest.mark.parametrize("code", ["abc", "a" * 32, "A_b-9", "---"])
def test_a_link_may_have_a_short_code_of_its_own(api: httpx.Client, code: str) -> None:
    assert create(api, "/urls", original_url=URL, short_code=code)["short_code"] == code
    response = api.post("/urls", json={"original_url": URL, "short_code": code})
    assert response.status_code == 409
    assert error_of(response) == "short_code: is taken"


def test_short_codes_are_case_sensitive(api: httpx.Client) -> None:
    create(api, "/urls", original_url=URL, short_code="code")
    create(api, "/urls", original_url=URL, short_code="CODE")


def test_what_is_null_counts_as_not_given(api: httpx.Client) -> None:
    link = create(api, "/urls", original_url=URL, title=None, user_id=None, short_code=None)
    assert link["title"] is None
    assert link["user_id"] is None
    assert len(link["short_code"]) == 7


def test_of_concurrent_creates_of_one_short_code_exactly_one_succeeds(
    api: httpx.Client, at_once: Callable[..., list[httpx.Response]]
) -> None:
    body = {"original_url": URL, "short_code": "wanted"}
    responses = at_once([partial(api.post, "/urls", json=body)] * 12)
    assert sorted(response.status_code for response in responses) == [201] + [409] * 11


def test_links_that_are_created_at_once_each_get_what_was_asked_for(
    api: httpx.Client, user: dict[str, Any], at_once: Callable[..., list[httpx.Response]]
) -> None:
    bodies = [
        {"original_url": f"https://example.com/{n}", "title": str(n), "user_id": user["id"]}
        for n in range(40)
    ]
    bodies[7]["user_id"] = 999_999
    responses = at_once([partial(api.post, "/urls", json=body) for body in bodies])
    assert error_of(responses.pop(7)) == "user_id: no such user"
    del bodies[7]
    for body, response in zip(bodies, responses, strict=True):
        assert response.status_code == 201
        assert {name: response.json()[name] for name in body} == body
    assert len({response.json()["short_code"] for response in responses}) == len(bodies)
    assert len(api.get("/events?event_type=created&per_page=100").json()) == len(bodies)


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_link_is_changed_in_what_is_given_and_nothing_else(
    api: httpx.Client, link: Link, method: str
) -> None:
    path = f"/urls/{link['id']}"
    changes = {"original_url": "https://example.org/b", "title": None}
    response = api.request(method, path, json=changes)
    assert response.status_code == 200
    changed = response.json()
    assert changed == {**link, **changes, "updated_at": changed["updated_at"]}
    assert changed["updated_at"] >= link["updated_at"]
    assert api.get(path).json() == changed
    other = create(api, "/users", username="bob", email="bob@example.com")
    given = api.request(method, path, json={"user_id": other["id"]}).json()
    assert given["user_id"] == other["id"]
    assert api.request(method, path, json={"user_id": None}).json()["user_id"] is None


def test_a_wrong_change_is_refused_and_changes_nothing(api: httpx.Client, link: Link) -> None:
    path = f"/urls/{link['id']}"
    changes: list[tuple[dict[str, Any], str]] = [
        ({"original_url": None}, "original_url"),
        ({"original_url": "nonsense"}, "original_url"),
        ({"original_url": f"{BASE_URL}/x"}, "original_url"),
        ({"title": 1}, "title"),
        ({"is_active": None}, "is_active"),
        ({"is_active": 1}, "is_active"),
        ({"is_active": "false"}, "is_active"),
        ({"user_id": 999_999}, "user_id"),
        ({"user_id": "1"}, "user_id"),
        ({"short_code": "another"}, "short_code"),
        ({"title": "B", "short_code": "another"}, "short_code"),
        ({}, "body"),
        ({"colour": "red"}, "body"),
    ]
    for change, field in changes:
        response = api.put(path, json=change)
        assert response.status_code == 400, change
        assert error_of(response).startswith(f"{field}: "), change
    assert api.get(path).json() == link
    assert len(api.get(f"{path}/events").json()) == 1


def test_an_object_may_be_put_back_whole_and_that_is_no_change(
    api: httpx.Client, link: Link
) -> None:
    path = f"/urls/{link['id']}"
    assert api.put(path, json=link).json() == link
    assert len(api.get(f"{path}/events").json()) == 1


def test_a_deleted_link_is_inactive_and_is_active_brings_it_back(
    api: httpx.Client, link: Link
) -> None:
    path = f"/urls/{link['id']}"
    response = api.delete(path)
    assert response.status_code == 200
    assert response.json()["is_active"] is False
    assert api.get(path).json() == response.json()
    again = api.delete(path)
    assert again.status_code == 200
    assert again.json() == response.json()
    back = api.put(path, json={"is_active": True}).json()
    assert back["is_active"] is True
    assert api.get(path).json() == back
    types = [event["event_type"] for event in api.get(f"{path}/events").json()]
    assert types == ["created", "deleted", "updated"]


def test_the_audit_log_tells_what_happened_oldest_first(api: httpx.Client, link: Link) -> None:
    path = f"/urls/{link['id']}"
    api.put(path, json={"title": "B", "original_url": "https://example.org/"})
    api.delete(path)
    created, updated, deleted = api.get(f"{path}/events").json()
    for event in created, updated, deleted:
        assert event["url_id"] == link["id"]
        assert event["user_id"] == link["user_id"]
    assert created["timestamp"] == link["created_at"]
    assert created["details"] == {
        "short_code": link["short_code"],
        "original_url": link["original_url"],
        "title": "A",
    }
    assert updated["details"] == {
        "changes": {
            "original_url": {"from": link["original_url"], "to": "https://example.org/"},
            "title": {"from": "A", "to": "B"},
        }
    }
    assert deleted["details"] == {"changes": {"is_active": {"from": True, "to": False}}}


def test_each_change_is_in_the_change_log_and_no_other_write_is(
    api: httpx.Client, link: Link, sql: Callable[..., list[tuple[Any, ...]]]
) -> None:
    path = f"/urls/{link['id']}"
    api.put(path, json={"title": "B"})
    api.put(path, json={"title": "B"})
    api.delete(path)
    api.post("/events", json={"url_id": link["id"], "event_type": "noted"})
    rows = sql("SELECT short_code FROM change_log ORDER BY id")
    assert rows == [(link["short_code"],)] * 3


def test_concurrent_changes_of_one_link_leave_an_audit_log_that_agrees_with_it(
    api: httpx.Client, link: Link, at_once: Callable[..., list[httpx.Response]]
) -> None:
    path = f"/urls/{link['id']}"
    requests: list[Callable[[], httpx.Response]] = []
    for n in range(8):
        requests += [
            partial(api.put, path, json={"title": str(n)}),
            partial(api.delete, path),
            partial(api.put, path, json={"is_active": True}),
        ]
    assert {response.status_code for response in at_once(requests)} == {200}
    replayed = {"title": "A", "is_active": True}
    for event in api.get(f"{path}/events?per_page=100").json()[1:]:
        for name, change in event["details"]["changes"].items():
            assert replayed[name] == change["from"]
            replayed[name] = change["to"]
    now = api.get(path).json()
    assert {name: now[name] for name in replayed} == replayed


def test_changing_links_while_their_owner_is_deleted_ends_well(
    api: httpx.Client, at_once: Callable[..., list[httpx.Response]]
) -> None:
    def change_and_delete() -> None:
        owner = create(api, "/users", username="o", email="o@example.com")
        links = [create(api, "/urls", original_url=URL, user_id=owner["id"]) for _ in range(4)]
        requests: list[Callable[[], httpx.Response]] = [
            partial(api.put, f"/urls/{link['id']}", json={"title": "B"}) for link in links
        ]
        requests += [
            partial(api.delete, f"/users/{owner['id']}"),
            partial(api.post, "/urls", json={"original_url": URL, "user_id": owner["id"]}),
        ]
        *changes, deletion, creation = at_once(requests)
        assert {response.status_code for response in changes} == {200}
        assert deletion.status_code == 200
        assert creation.status_code in (201, 400)
        assert api.get(f"/urls/{links[0]['id']}").json()["user_id"] is None

    for _ in range(5):
        change_and_delete()


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/urls/1", "/urls/9223372036854775807"])
def test_a_link_that_is_not_there_is_404(api: httpx.Client, method: str, path: str) -> None:
    response = api.request(method, path, json={"title": "x"})
    assert response.status_code == 404
    assert error_of(response) == "no such URL"


def test_the_events_of_a_link_that_is_not_there_are_404(api: httpx.Client) -> None:
    assert api.get("/urls/1/events").status_code == 404
