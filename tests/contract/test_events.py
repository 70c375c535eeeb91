"""/events"""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support.api import create, error_of

Link = dict[str, Any]


@pytest.mark.parametrize(
    "details",
    [
        None,
        "",
        "a string",
        {},
        {"z": 1, "a": [True, None, {"ü": "💡"}], "1": 1.5},
        {"big": 12345678901234567890123456789, "tiny": 1e-300, "minus": -0.5},
    ],
)
def test_an_event_gives_its_details_back_as_they_came(
    api: httpx.Client, link: Link, details: object
) -> None:
    response = api.post(
        "/events",
        json={
            "url_id": link["id"],
            "user_id": link["user_id"],
            "event_type": "visited!",
            "details": details,
        },
    )
    assert response.status_code == 201
    event = response.json()
    assert list(event) == ["id", "url_id", "user_id", "event_type", "timestamp", "details"]
    assert event["url_id"] == link["id"]
    assert event["user_id"] == link["user_id"]
    assert event["event_type"] == "visited!"
    assert event["details"] == details
    assert response.headers["location"] == f"/events/{event['id']}"
    assert api.get(f"/events/{event['id']}").json() == event
    assert api.get("/events", params={"event_type": "visited!"}).json() == [event]


def test_the_order_of_names_in_details_is_kept(api: httpx.Client, link: Link) -> None:
    event = create(
        api, "/events", url_id=link["id"], event_type="x", details={"z": 1, "a": 2, "m": 3}
    )
    assert list(api.get(f"/events/{event['id']}").json()["details"]) == ["z", "a", "m"]


def test_an_event_with_a_wrong_value_is_refused_by_the_name_of_its_field(
    api: httpx.Client, link: Link
) -> None:
    wrong: list[tuple[str, object]] = [
        ("url_id", None),
        ("url_id", "1"),
        ("url_id", True),
        ("url_id", 1.5),
        ("url_id", 999_999),
        ("url_id", 2**64),
        ("user_id", 999_999),
        ("user_id", "1"),
        ("event_type", None),
        ("event_type", 1),
        ("event_type", ""),
        ("event_type", "a" * 65),
        ("event_type", "a\nb"),
        ("details", 1),
        ("details", True),
        ("details", [1]),
    ]
    for field, value in wrong:
        body = {"url_id": link["id"], "event_type": "x", field: value}
        response = api.post("/events", json=body)
        assert response.status_code == 400, body
        assert error_of(response).startswith(f"{field}: "), body
    assert len(api.get("/events").json()) == 1


def test_missing_fields_are_named(any_api: httpx.Client) -> None:
    message = error_of(any_api.post("/events", json={}))
    assert message == "url_id: is required; event_type: is required"


def test_events_can_be_filtered(api: httpx.Client, link: Link) -> None:
    other = create(api, "/urls", original_url="https://example.com/b")
    mine = create(api, "/events", url_id=other["id"], user_id=link["user_id"], event_type="noted")

    def ids(**filters: str | int) -> list[int]:
        return [event["id"] for event in api.get("/events", params=filters).json()]

    assert ids(url_id=link["id"]) == [1]
    assert ids(url_id=other["id"]) == [2, 3]
    assert ids(user_id=link["user_id"]) == [1, mine["id"]]
    assert ids(event_type="created") == [1, 2]
    assert ids(event_type="noted", url_id=other["id"], user_id=link["user_id"]) == [mine["id"]]
    assert ids(event_type="Noted") == []
    assert ids(url_id=999) == []


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_an_audit_log_is_not_edited(api: httpx.Client, link: Link, method: str) -> None:
    response = api.request(method, "/events/1", json={"event_type": "x"})
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD, OPTIONS"


def test_an_event_that_is_not_there_is_404(api: httpx.Client) -> None:
    response = api.get("/events/1")
    assert response.status_code == 404
    assert error_of(response) == "no such event"
