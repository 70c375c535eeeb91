"""Whatever is sent, the answer is one that the contract knows."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.api import error_of

STATUSES = {200, 201, 400, 404, 405, 409, 413, 414, 431}
TEXT = st.text(max_size=40)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(TEXT, children, max_size=4),
    max_leaves=8,
)
USUAL: dict[str, st.SearchStrategy[Any]] = {
    "username": TEXT,
    "email": st.emails() | TEXT,
    "original_url": st.builds("https://{}/{}".format, TEXT, TEXT) | TEXT,
    "url": st.builds("http://{}".format, TEXT),
    "title": TEXT,
    "user_id": st.integers(0, 3),
    "url_id": st.integers(0, 3),
    "short_code": st.text("abcXYZ09_-./ä", max_size=34),
    "is_active": st.booleans(),
    "event_type": TEXT,
    "details": VALUES,
    "file": TEXT,
}
BODIES = st.fixed_dictionaries({}, optional={name: usual | VALUES for name, usual in USUAL.items()})
PATHS = st.sampled_from(
    ["/users", "/users/1", "/urls", "/urls/1", "/shorten", "/events", "/users/bulk", "/urls/bulk"]
)
QUERIES = st.dictionaries(
    st.sampled_from(
        ["page", "per_page", "after", "user_id", "url_id", "is_active", "event_type", "sort", "x"]
    ),
    st.text(max_size=8) | st.integers().map(str) | st.sampled_from(["true", "false", "1"]),
    max_size=4,
)

fuzz = settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def check(response: httpx.Response) -> None:
    assert response.status_code in STATUSES
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    if response.status_code >= 400:
        error_of(response)
    else:
        response.json()


@fuzz
@given(method=st.sampled_from(["POST", "PUT", "PATCH"]), path=PATHS, body=BODIES)
def test_any_object_in_a_body(any_api: httpx.Client, method: str, path: str, body: Any) -> None:
    check(any_api.request(method, path, json=body))


@fuzz
@given(path=PATHS, body=st.binary(max_size=100))
def test_any_bytes_in_a_body(any_api: httpx.Client, path: str, body: bytes) -> None:
    check(any_api.post(path, content=body))


@fuzz
@given(
    path=st.sampled_from(["/users", "/urls", "/events", "/users/1/urls", "/urls/1/events"]),
    query=QUERIES,
)
def test_any_query(any_api: httpx.Client, path: str, query: dict[str, str]) -> None:
    encodable = {name: value.encode("utf-8", "replace").decode() for name, value in query.items()}
    check(any_api.get(path, params=encodable))


@fuzz
@given(
    path=st.sampled_from(["/users/bulk", "/urls/bulk", "/events/bulk"]),
    header=st.lists(
        st.sampled_from(
            [
                "id",
                "username",
                "email",
                "original_url",
                "short_code",
                "url_id",
                "event_type",
                "user_id",
                "title",
                "is_active",
                "created_at",
                "timestamp",
                "details",
            ]
        ),
        max_size=8,
    ),
    rows=st.lists(
        st.lists(
            st.text(max_size=10)
            | st.sampled_from(["1", "a@b.de", "https://a.de/", "2024-01-01 00:00:00"]),
            max_size=8,
        ),
        max_size=5,
    ),
    separator=st.sampled_from(["\n", "\r\n", "\n\n"]),
)
def test_any_csv(
    any_api: httpx.Client,
    path: str,
    header: list[str],
    rows: list[list[str]],
    separator: str,
) -> None:
    text = separator.join(",".join(fields) for fields in [header, *rows])
    content = text.encode("utf-8", "surrogatepass")
    check(any_api.post(path, content=content, headers={"content-type": "text/csv"}))


@pytest.mark.parametrize("text", ["😀" * 64, "a" * 64, "\u202e\u202dabc", "\ufeff", "İ", "ß", "ﬀ"])
def test_odd_but_valid_text_makes_no_bug(any_api: httpx.Client, text: str) -> None:
    check(any_api.post("/users", json={"username": text, "email": f"{text}@example.com"}))
    check(any_api.get("/events", params={"event_type": text}))
