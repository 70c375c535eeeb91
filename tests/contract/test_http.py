"""What any path does with paths, methods, headers and bodies that are odd or hostile."""

from __future__ import annotations

import json
import re
import socket
import time
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.support.api import create, error_of

PATHS_AND_METHODS = {
    "/health": "GET, HEAD, OPTIONS",
    "/ready": "GET, HEAD, OPTIONS",
    "/users": "GET, HEAD, OPTIONS, POST",
    "/users/1": "DELETE, GET, HEAD, OPTIONS, PUT",
    "/users/1/urls": "GET, HEAD, OPTIONS",
    "/users/bulk": "OPTIONS, POST",
    "/urls": "GET, HEAD, OPTIONS, POST",
    "/urls/1": "DELETE, GET, HEAD, OPTIONS, PATCH, PUT",
    "/urls/1/events": "GET, HEAD, OPTIONS",
    "/urls/bulk": "OPTIONS, POST",
    "/shorten": "OPTIONS, POST",
    "/events": "GET, HEAD, OPTIONS, POST",
    "/events/1": "GET, HEAD, OPTIONS",
    "/events/bulk": "OPTIONS, POST",
}
JSON_PATHS = [
    ("POST", "/users"),
    ("PUT", "/users/1"),
    ("POST", "/urls"),
    ("POST", "/shorten"),
    ("PUT", "/urls/1"),
    ("PATCH", "/urls/1"),
    ("POST", "/events"),
    ("POST", "/users/bulk"),
]


def send(port: int, request: bytes, *, seconds: float = 10) -> httpx.Response:
    """The response to bytes that no HTTP client would send; the server has to hang up or end it."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received or not _is_whole(received):
            chunk = connection.recv(65_536)
            if not chunk:
                break
            received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = [line.partition(": ")[::2] for line in lines]
    return httpx.Response(int(status.split(" ")[1]), headers=headers, content=body)


def _is_whole(received: bytes) -> bool:
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    return length is not None and len(body) >= int(length[1])


def test_health_is_answered(any_api: httpx.Client) -> None:
    response = any_api.get("/health")
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "hostname": socket.gethostname()}


def test_ready_tells_the_state_of_both_stores(api: httpx.Client) -> None:
    response = api.get("/ready")
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "database": "up", "redis": "up"}


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/nonsense",
        "/user",
        "/users/1/nonsense",
        "/users//",
        "//users",
        "/users/1//urls",
        "/urls/1/events/1",
        "/shorten/1",
        "/index.html",
        "/.env",
        "/favicon.ico",
        "/%2e%2e/etc/passwd",
        "/users/1%2furls",
        "/users%2F1",
        "/users%00",
        "/%ff%fe",
        "/\u00fc",
        "/" + "a" * 5_000,
    ],
)
def test_a_path_that_is_not_there_is_404_in_json(any_api: httpx.Client, path: str) -> None:
    response = any_api.get(path)
    assert response.status_code == 404
    error_of(response)


@pytest.mark.parametrize(
    "number",
    [
        "x",
        "1x",
        "-1",
        "+1",
        "1.0",
        "1e3",
        "0x1",
        "1_0",
        "%20",
        "1%20",
        "%00",
        "1%00",
        "%D9%A1",
        "9223372036854775808",
        "9" * 100,
        "null",
        "1'--",
        "1;DROP%20TABLE%20users",
        "*",
        "0",
    ],
)
def test_an_id_that_is_no_number_or_too_large_is_no_such_thing(
    any_api: httpx.Client, number: str
) -> None:
    for path in ("/users/{}", "/users/{}/urls", "/urls/{}", "/urls/{}/events", "/events/{}"):
        response = any_api.get(path.format(number))
        assert response.status_code == 404
        error_of(response)


def test_a_trailing_slash_is_accepted(api: httpx.Client, link: dict[str, Any]) -> None:
    for path in (*PATHS_AND_METHODS, "/urls?per_page=1"):
        if "GET" in PATHS_AND_METHODS.get(path, "GET"):
            slashed = path.replace("?", "/?") if "?" in path else f"{path}/"
            assert api.get(slashed).status_code == api.get(path).status_code == 200, path
    created = api.post("/urls/", json={"original_url": "https://example.com/"})
    assert created.status_code == 201


@pytest.mark.parametrize("path", PATHS_AND_METHODS)
def test_a_method_that_a_path_does_not_have_is_405_with_allow(
    any_api: httpx.Client, path: str
) -> None:
    allowed = PATHS_AND_METHODS[path]
    methods = {"DELETE", "GET", "PATCH", "POST", "PUT", "TRACE", "PROPFIND", "QUERY", "WEBSOCKET"}
    odd = {"FOO", "LONGERTHANANY", "M-SEARCH", "GETT", "PURGE"}
    for method in sorted((methods | odd) - set(allowed.split(", "))):
        response = any_api.request(method, path)
        assert response.status_code == 405, method
        assert set(response.headers["allow"].split(", ")) == set(allowed.split(", ")), method
        error_of(response)


@pytest.mark.parametrize("path", PATHS_AND_METHODS)
def test_options_tells_what_a_path_can(any_api: httpx.Client, path: str) -> None:
    response = any_api.options(path)
    assert response.status_code == 200
    allowed = set(PATHS_AND_METHODS[path].split(", "))
    assert set(response.headers["allow"].split(", ")) | {"OPTIONS"} == allowed
    assert response.content == b""


def test_head_answers_like_get_without_the_body(api: httpx.Client, link: dict[str, Any]) -> None:
    for path in ("/health", "/users", "/users/1", f"/urls/{link['id']}", "/events", "/nonsense"):
        head, get = api.head(path), api.get(path)
        assert head.content == b""
        assert head.status_code == get.status_code
        for name in ("content-length", "content-type", "link"):
            assert head.headers.get(name) == get.headers.get(name)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"a"',
        b'{"a":}',
        b'{"a":1,}',
        b"{'a':1}",
        b"{a:1}",
        b'{"a":1}{"b":2}',
        b'{"a":1} x',
        b"not json",
        b"a=1&b=2",
        b"null",
        b"true",
        b"7",
        b'"text"',
        b"[]",
        b"[{}]",
        b'[{"username":"ada","email":"ada@example.com"}]',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":01}',
        b'{"a":+1}',
        b'{"a":.5}',
        b'{"a":"\x01"}',
        b'{"a":"\n"}',
        b'{"a":"\\x41"}',
        b'{"a":"\xff"}',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-32"),
        '{"title":"ü"}'.encode("latin-1"),
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\udc00x"}',
        b'{"\\ud800":1}',
        b'{"a":"\\u0000"}',
        b'{"a\\u0000":1}',
        b'{"a":["\\u0000"]}',
        b'{"a":' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"[" * 500_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"a":' + b"9" * 10_000 + b"}",
        b"\x00" * 100,
        b"PK\x03\x04" + bytes(range(256)),
        b"<xml/>",
    ],
    ids=lambda body: repr(body[:24]),
)
def test_a_body_that_is_no_proper_json_object_is_400(any_api: httpx.Client, body: bytes) -> None:
    for method, path in JSON_PATHS:
        response = any_api.request(method, path, content=body)
        assert response.status_code == 400, (method, path)
        error_of(response)


@pytest.mark.parametrize(
    ("text", "field"),
    [("\\u0000", "title"), ("\\ud800", "title"), ("a\\udfffb", "title"), ("x\\u0000", "user_id")],
)
def test_nul_and_lone_surrogates_are_refused_by_the_name_of_the_field(
    any_api: httpx.Client, text: str, field: str
) -> None:
    body = f'{{"original_url":"https://example.com/","{field}":"{text}"}}'
    response = any_api.post("/urls", content=body.encode())
    assert response.status_code == 400
    assert error_of(response).startswith(f"{field}: must not hold")


def test_a_pair_of_surrogates_is_one_character(api: httpx.Client) -> None:
    body = b'{"original_url":"https://example.com/","title":"\\ud83d\\ude00 \\\\u0000"}'
    assert api.post("/urls", content=body).json()["title"] == "😀 \\u0000"


@pytest.mark.parametrize(
    "value", [10**400, -(10**30), 1e308, 2**63, 2**64, -(2**63) - 1, 0.1, -0.0]
)
def test_huge_and_odd_numbers_are_400(any_api: httpx.Client, value: float) -> None:
    for path, field in (("/urls", "user_id"), ("/events", "url_id")):
        body = {"original_url": "https://example.com/", "event_type": "x", field: value}
        response = any_api.post(path, content=json.dumps(body))
        assert response.status_code == 400
        assert error_of(response).startswith(f"{field}: ")


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "application/json; charset=utf-8",
        'APPLICATION/JSON; Charset="UTF-8"',
        "application/x-www-form-urlencoded",
        "text/plain",
        "application/vnd.api+json",
        "nonsense",
        ";;;",
    ],
)
def test_the_media_type_of_json_does_not_matter(
    api: httpx.Client, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    content = b'{"username":"ada","email":"ada@example.com"}'
    assert api.post("/users", content=content, headers=headers).status_code == 201


@pytest.mark.parametrize(
    "charset", ["latin-1", "utf-16", "ebcdic", "x-unknown", "'", "utf-8x", "\xfc"]
)
def test_a_charset_other_than_utf_8_is_400(any_api: httpx.Client, charset: str) -> None:
    headers = [(b"content-type", f"application/json; charset={charset}".encode("latin-1"))]
    for method, path in JSON_PATHS:
        response = any_api.request(method, path, content=b"{}", headers=headers)
        assert response.status_code == 400
        assert error_of(response).startswith("Content-Type: ")


def test_a_body_over_the_limit_is_413(any_api: httpx.Client) -> None:
    body = b'{"title":"' + b"a" * 1_048_576 + b'"}'
    for method, path in JSON_PATHS:
        response = any_api.request(method, path, content=body)
        assert response.status_code == 413
        assert error_of(response).startswith("body: ")


def test_a_body_over_the_limit_that_comes_in_chunks_is_413(any_api: httpx.Client) -> None:
    response = any_api.post("/urls", content=iter([b'{"title":"'] + [b"a" * 65_536] * 17))
    assert response.status_code == 413
    error_of(response)


def test_a_body_may_come_in_chunks(api: httpx.Client) -> None:
    response = api.post("/urls", content=iter([b'{"original_', b'url":"https://example.com/"}']))
    assert response.status_code == 201


def test_a_string_of_a_mebibyte_is_400(any_api: httpx.Client) -> None:
    for field in ("title", "original_url", "short_code"):
        body = {"original_url": "https://example.com/", field: "a" * 1_000_000}
        response = any_api.post("/urls", json=body)
        assert response.status_code == 400
        assert error_of(response).startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET /users\r\n\r\n", 400),
        (b"GET /users HTTP/9.9\r\n\r\n", 400),
        (b"GET /users HTP/1.1\r\n\r\n", 400),
        (b"get /users HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"G\x00T /users HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /users HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /users HTTP/1.1\r\nbad name: x\r\n\r\n", 400),
        (b"GET /users HTTP/1.1\r\nHost: x\r\nX: a\r\n folded\r\n\r\n", 400),
        (b"GET /users HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", 400),
        (b"POST /users HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /users HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /users HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (
            b"POST /users HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (b"POST /users HTTP/1.1\r\nTransfer-Encoding: nonsense\r\n\r\n", 501),
        (b"POST /users HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n\r\n", 400),
        (b"POST /users HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n", 400),
        (b"POST /users HTTP/1.1\r\nHost: x\r\nExpect: nonsense\r\n\r\n", 417),
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /users HTTP/1.1\r\nX: " + b"a" * 9_000 + b"\r\n\r\n", 431),
        (b"GET /users HTTP/1.1\r\n" + b"X: a\r\n" * 200 + b"\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
    ids=lambda value: repr(value[:40]) if isinstance(value, bytes) else str(value),
)
def test_what_is_no_http_is_refused_in_json(port: int, request_bytes: bytes, status: int) -> None:
    response = send(port, request_bytes)
    assert response.status_code == status
    error_of(response)


@pytest.mark.parametrize("encoding", ["length", "chunked"])
def test_a_body_that_breaks_off_is_no_bug(port: int, encoding: str) -> None:
    """The client is gone by then, mostly; one that only stopped sending is told."""
    body = {
        "length": b'Content-Length: 100\r\n\r\n{"username":"ada',
        "chunked": b'Transfer-Encoding: chunked\r\n\r\n10\r\n{"username":"ada',
    }
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"POST /users HTTP/1.1\r\nHost: x\r\n" + body[encoding])
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_many_clients_that_send_nothing_keep_nobody_out(port: int, any_api: httpx.Client) -> None:
    with ExitStack() as idle:
        for _ in range(64):
            idle.enter_context(socket.create_connection(("127.0.0.1", port)))
        began = time.monotonic()
        assert any_api.get("/health").status_code == 200
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("request_id", ["0123456789abcdef", "a" * 64, "f.e_d-cba9876543210"])
def test_the_id_that_a_request_brings_is_kept(any_api: httpx.Client, request_id: str) -> None:
    for path in ("/health", "/nonsense"):
        response = any_api.get(path, headers={"X-Request-ID": request_id})
        assert response.headers["x-request-id"] == request_id


@pytest.mark.parametrize("request_id", ["", "short", "a" * 65, "0123456789abcdef\t<script>"])
def test_a_request_without_a_sensible_id_gets_one(any_api: httpx.Client, request_id: str) -> None:
    ids = {
        any_api.get("/health", headers={"X-Request-ID": request_id}).headers["x-request-id"]
        for _ in range(2)
    }
    assert len(ids) == 2
    assert all(re.fullmatch(r"[0-9a-f]{32}", given) for given in ids)


def test_a_get_or_delete_may_come_with_a_body(api: httpx.Client) -> None:
    user = create(api, "/users", username="ada", email="ada@example.com")
    assert api.request("GET", "/users", content=b"nonsense").json() == [user]
    assert api.request("DELETE", f"/users/{user['id']}", content=b"x" * 10_000).status_code == 200
