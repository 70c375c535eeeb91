"""/users"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest

from tests.support.api import create, error_of

User = dict[str, Any]


def test_a_created_user_is_answered_with_201_and_can_be_read_under_its_id(
    api: httpx.Client,
) -> None:
    response = api.post("/users", json={"username": "Grace H.", "email": "grace@example.com"})
    assert response.status_code == 201
    user = response.json()
    assert list(user) == ["id", "username", "email", "created_at"]
    assert user["username"] == "Grace H."
    assert user["email"] == "grace@example.com"
    assert response.headers["location"] == f"/users/{user['id']}"
    assert api.get(f"/users/{user['id']}").json() == user
    assert api.get("/users").json() == [user]


def test_times_are_rfc_3339_in_utc_and_whole_seconds(user: User) -> None:
    date, time = user["created_at"].split("T")
    assert len(date) == 10
    assert len(time) == len("12:00:00Z")
    assert time.endswith("Z")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "username"),
        ({"username": "ada"}, "email"),
        ({"email": "ada@example.com"}, "username"),
        ({"username": None, "email": "ada@example.com"}, "username"),
        ({"username": 7, "email": "ada@example.com"}, "username"),
        ({"username": True, "email": "ada@example.com"}, "username"),
        ({"username": ["ada"], "email": "ada@example.com"}, "username"),
        ({"username": "", "email": "ada@example.com"}, "username"),
        ({"username": "   ", "email": "ada@example.com"}, "username"),
        ({"username": " ada", "email": "ada@example.com"}, "username"),
        ({"username": "a\nb", "email": "ada@example.com"}, "username"),
        ({"username": "a\u200bb", "email": "ada@example.com"}, "username"),
        ({"username": "a" * 65, "email": "ada@example.com"}, "username"),
        ({"username": "ada", "email": None}, "email"),
        ({"username": "ada", "email": 7}, "email"),
        ({"username": "ada", "email": ""}, "email"),
        ({"username": "ada", "email": "ada"}, "email"),
        ({"username": "ada", "email": "ada@"}, "email"),
        ({"username": "ada", "email": "@example.com"}, "email"),
        ({"username": "ada", "email": "a b@example.com"}, "email"),
        ({"username": "ada", "email": "ada@example..com"}, "email"),
        ({"username": "ada", "email": "Ada <ada@example.com>"}, "email"),
        ({"username": "ada", "email": "ada@example.com\n"}, "email"),
        ({"username": "ada", "email": f"{'a' * 300}@example.com"}, "email"),
    ],
)
def test_a_user_with_a_wrong_value_is_refused_by_the_name_of_its_field(
    any_api: httpx.Client, body: dict[str, Any], field: str
) -> None:
    response = any_api.post("/users", json=body)
    assert response.status_code == 400
    assert error_of(response).startswith(f"{field}: ")


def test_every_wrong_field_is_named(any_api: httpx.Client) -> None:
    message = error_of(any_api.post("/users", json={"username": "", "email": "x"}))
    assert "username: " in message
    assert "email: " in message


@pytest.mark.parametrize(
    "username", ["a", "a" * 64, "Zoë", "日本", "a b", "Robert'); DROP TABLE--"]
)
def test_a_username_is_1_to_64_printable_characters(api: httpx.Client, username: str) -> None:
    assert create(api, "/users", username=username, email="a@example.com")["username"] == username


@pytest.mark.parametrize(
    ("username", "email", "field"),
    [
        ("ada", "other@example.com", "username"),
        ("ADA", "other@example.com", "username"),
        ("other", "ada@example.com", "email"),
        ("other", "Ada@EXAMPLE.com", "email"),
    ],
)
def test_username_and_email_are_taken_whatever_their_case(
    api: httpx.Client, user: User, username: str, email: str, field: str
) -> None:
    response = api.post("/users", json={"username": username, "email": email})
    assert response.status_code == 409
    assert error_of(response).startswith(f"{field}: ")


def test_of_concurrent_creates_of_one_username_exactly_one_succeeds(
    api: httpx.Client, at_once: Callable[..., list[httpx.Response]]
) -> None:
    responses = at_once(
        [
            partial(api.post, "/users", json={"username": "ada", "email": f"{n}@example.com"})
            for n in range(12)
        ]
    )
    assert sorted(response.status_code for response in responses) == [201] + [409] * 11


def test_of_concurrent_creates_of_one_email_exactly_one_succeeds(
    api: httpx.Client, at_once: Callable[..., list[httpx.Response]]
) -> None:
    responses = at_once(
        [
            partial(api.post, "/users", json={"username": f"u{n}", "email": "a@example.com"})
            for n in range(12)
        ]
    )
    assert sorted(response.status_code for response in responses) == [201] + [409] * 11


def test_put_changes_either_field_or_both(api: httpx.Client, user: User) -> None:
    path = f"/users/{user['id']}"
    assert api.put(path, json={"username": "Ada"}).json() == {**user, "username": "Ada"}
    assert api.put(path, json={"email": "b@example.com"}).json() == {
        **user,
        "username": "Ada",
        "email": "b@example.com",
    }
    changed = {**user, "username": "lovelace", "email": "l@example.com"}
    response = api.put(path, json={"username": "lovelace", "email": "l@example.com"})
    assert response.status_code == 200
    assert response.json() == changed
    assert api.get(path).json() == changed


def test_an_object_may_be_put_back_whole(api: httpx.Client, user: User) -> None:
    assert api.put(f"/users/{user['id']}", json=user).json() == user


@pytest.mark.parametrize("body", [{}, {"nickname": "ada"}])
def test_put_without_anything_to_update_is_refused(
    api: httpx.Client, user: User, body: dict[str, Any]
) -> None:
    response = api.put(f"/users/{user['id']}", json=body)
    assert response.status_code == 400
    error_of(response)


@pytest.mark.parametrize("body", [{"username": None}, {"email": None}, {"username": 1}])
def test_put_of_a_wrong_value_is_refused(
    api: httpx.Client, user: User, body: dict[str, Any]
) -> None:
    response = api.put(f"/users/{user['id']}", json=body)
    assert response.status_code == 400
    assert error_of(response).startswith(f"{next(iter(body))}: ")
    assert api.get(f"/users/{user['id']}").json() == user


def test_put_of_what_another_user_has_is_a_conflict(api: httpx.Client, user: User) -> None:
    other = create(api, "/users", username="bob", email="bob@example.com")
    path = f"/users/{other['id']}"
    assert api.put(path, json={"username": "ADA"}).status_code == 409
    assert api.put(path, json={"email": "ada@example.com"}).status_code == 409
    assert api.put(path, json={"username": "BOB"}).status_code == 200


def test_a_deleted_user_is_gone_and_its_links_stay_without_an_owner(
    api: httpx.Client, user: User, link: dict[str, Any]
) -> None:
    paths = [f"/urls/{link['id']}", "/urls", f"/urls/{link['id']}/events", "/events"]
    for path in paths:
        api.get(path)  # so that all of them have been cached
    response = api.delete(f"/users/{user['id']}")
    assert response.status_code == 200
    assert response.json() == {"message": "deleted"}
    assert api.get(f"/users/{user['id']}").status_code == 404
    assert api.get("/users").json() == []
    assert api.delete(f"/users/{user['id']}").status_code == 404
    shown = [api.get(path).json() for path in paths]
    assert shown[0] == {**link, "user_id": None}
    assert shown[1] == [{**link, "user_id": None}]
    assert [event["user_id"] for event in shown[2] + shown[3]] == [None, None]


def test_users_are_listed_by_id(api: httpx.Client) -> None:
    created = [create(api, "/users", username=name, email=f"{name}@example.com") for name in "cab"]
    assert api.get("/users").json() == created


def test_the_links_of_a_user_are_listed_like_links(api: httpx.Client, user: User) -> None:
    links = [
        create(api, "/urls", original_url=f"https://example.com/{n}", user_id=user["id"])
        for n in range(3)
    ]
    create(api, "/urls", original_url="https://example.com/of-nobody")
    path = f"/users/{user['id']}/urls"
    assert api.get(path).json() == links
    response = api.get(path, params={"per_page": 2})
    assert response.json() == links[:2]
    assert f"{path}?per_page=2&after={links[1]['id']}>" in response.headers["link"]
    inactive = api.delete(f"/urls/{links[0]['id']}").json()
    assert api.get(path, params={"is_active": "false"}).json() == [inactive]


def test_a_user_without_links_has_an_empty_list_and_nobody_has_none(
    api: httpx.Client, user: User
) -> None:
    assert api.get(f"/users/{user['id']}/urls").json() == []
    response = api.get(f"/users/{user['id'] + 1}/urls")
    assert response.status_code == 404
    assert error_of(response) == "no such user"
