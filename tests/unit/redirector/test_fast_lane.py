"""The fast lane takes only what the ordinary path would take the same way."""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.redirector.fast_lane import FastLane
from tests.support.wire import ABSENT, DATE, LINKS, ClosedLane, Replica, Wire

MUTATIONS = int(os.environ.get("FAST_LANE_MUTATIONS", "1000"))
"""Tries of the fuzzer."""

GET = b"GET /abc HTTP/1.1\r\nHost: sho.rt\r\n\r\n"
FOUND = (
    b"HTTP/1.1 302 Found\r\ndate: " + DATE + b"\r\n"
    b"location: https://example.com/\r\ncontent-length: 0\r\n\r\n"
)


class Part(NamedTuple):
    """Bytes that arrive together."""

    data: bytes
    settle: bool = True
    """Whether everything is answered before the next part arrives."""


class Witness:
    """A fresh parser that sees a connection from its first byte on."""

    def __init__(self) -> None:
        self.begun = self.completed = 0
        self.bodies = self.url = b""
        self.goes_on = True
        self.parser = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        self.begun += 1
        self.url = b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_body(self, body: bytes) -> None:
        self.bodies += body

    def on_message_complete(self) -> None:
        self.completed += 1
        self.goes_on = self.parser.should_keep_alive() and not self.parser.should_upgrade()


def converse(
    parts: Sequence[Part], lane: type[FastLane] = FastLane, *, shortcut: bool = True
) -> Wire:
    """What became of `parts` on one connection."""

    async def scenario() -> Wire:
        wire = Replica(lane, shortcut=shortcut).connect()
        for part in parts:
            await wire.send(part.data, settle=part.settle)
        await wire.settle()
        return wire

    return asyncio.run(scenario())


def test_nothing_is_taken_while_changes_may_have_been_missed() -> None:
    lane = Replica().lane
    headers = [(b"date", DATE)]
    assert lane.answer(GET, headers) == FOUND

    lane._feed.fresh_until = time.monotonic()
    assert lane.answer(GET, headers) is None

    lane._feed.fresh_until = time.monotonic() + 60
    assert lane.answer(GET, headers) == FOUND
    assert lane.hits == 2


def assert_only_whole_requests_were_accepted(wire: Wire) -> None:
    """The rule: a fresh look at all bytes finds each accepted part to be one whole request."""
    witness = Witness()
    position = 0
    for start, end in wire.accepted:
        witness.parser.feed_data(wire.sent[position:start])
        assert witness.begun == witness.completed, "accepted in the middle of a request"
        assert witness.goes_on, "accepted after the connection's last request"
        begun, bodies, request = witness.begun, witness.bodies, wire.sent[start:end]
        witness.parser.feed_data(request)
        assert (witness.begun, witness.completed) == (begun + 1, begun + 1), "not one whole request"
        assert witness.bodies == bodies, "accepted a body"
        assert witness.goes_on, "accepted a request that ends the connection"
        assert witness.parser.get_http_version() == "1.1"
        assert request.split(b" ")[:2] == [witness.parser.get_method(), witness.url]
        position = end


def one(*choices: str) -> st.SearchStrategy[str]:
    return st.sampled_from(choices)


KNOWN = one(*LINKS)
HEADERS = st.lists(
    one(
        "Host: sho.rt",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
        "Referer: https://example.com/?a=b",
        "X-Request-ID: 0123456789abcdef",
        "X-Empty:",
        "X-Long: " + "z" * 5_000,
        "Connection: keep-alive",
        "Content-Length: 0",
        "Expect: 100-continue",
        "Upgrade: websocket",
    )
    | one(
        "Connection: close",
        "Connection: Upgrade\r\nUpgrade: websocket",
        "connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c",
        "Proxy-Connection: close",
        "Content-Length: 5",
        "content-length: 37",
        "Content-Length: -1",
        "Content-Length : 5",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: x",
        "X-Folded: a\r\n b",
        "Bad Name: x",
        "X-Bad: \x00",
        ": nameless",
    ),
    max_size=4,
)
TARGETS = (
    KNOWN.map("/{}".format)
    | one(*ABSENT).map("/{}".format)
    | KNOWN.flatmap(
        lambda code: one(
            f"/{code}?q=1",
            f"/{code}/",
            f"/{code}#x",
            f"//{code}",
            f"/%61{code}",
            f"http://sho.rt/{code}",
            f"/{code}/../{code}",
            f"/{code} ",
            f"/{code}\t",
            f"/{code}\x80",
        )
    )
    | one("/", "*", "/health", "/ab", "/users", "abc", "/" + "x" * 3_000)
)


def _request(method: str, target: str, version: str, headers: list[str], tail: str) -> bytes:
    lines = [f"{method} {target} {version}", *headers, "", tail]
    return "\r\n".join(lines).encode("latin-1")


PLAIN = st.builds(
    _request, one("GET", "HEAD"), KNOWN.map("/{}".format), st.just("HTTP/1.1"),
    HEADERS.map(lambda headers: headers[:1]), st.just(""),
)  # fmt: skip
ODD = st.builds(
    _request,
    one("GET", "GET", "HEAD", "POST", "PUT", "OPTIONS", "CONNECT", "get", "GE T", "PRI"),
    TARGETS,
    one("HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "http/1.1", "HTTP/1.1 ", "X"),
    HEADERS,
    one("", "", "", "hello", "\r\n", "5\r\nhello\r\n0\r\n\r\n", GET.decode(), "\r\n\r\n"),
)


def _with_body(method: str, body: bytes, chunked: bool) -> bytes:
    head = f"{method} /abc HTTP/1.1\r\nHost: sho.rt\r\n".encode()
    if chunked:
        return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


SMUGGLED = st.builds(
    _with_body,
    one("POST", "GET", "DELETE"),
    st.lists(PLAIN, min_size=1, max_size=3).map(b"".join),
    st.booleans(),
)
STREAM = st.lists(PLAIN | PLAIN | ODD | SMUGGLED, min_size=1, max_size=6)


@st.composite
def cut_streams(draw: st.DrawFn, *, settle: st.SearchStrategy[bool]) -> list[Part]:
    """Requests on end, cut mostly between them, sometimes anywhere."""
    requests = draw(STREAM)
    data = b"".join(requests)
    cuts = draw(st.sets(st.integers(1, len(data)), max_size=5))
    end = 0
    for request in requests:
        end += len(request)
        if draw(st.integers(0, 3)):
            cuts.add(end)
    edges = [0, *sorted(cuts), len(data)]
    return [Part(data[start:stop], draw(settle)) for start, stop in pairwise(edges) if start < stop]


@given(cut_streams(settle=st.booleans()))
def test_what_the_fast_lane_accepts_is_one_whole_request(parts: list[Part]) -> None:
    assert_only_whole_requests_were_accepted(converse(parts))


@given(cut_streams(settle=st.just(True)))
@example([Part(GET), Part(b"HEAD" + GET[3:]), Part(GET[:-1]), Part(GET[-1:]), Part(GET)])
def test_both_paths_answer_with_the_same_bytes(parts: list[Part]) -> None:
    fast, ordinary = converse(parts), converse(parts, ClosedLane)
    assert (fast.answers, fast.is_open) == (ordinary.answers, ordinary.is_open)


def test_both_paths_agree_on_bytes_that_nobody_meant() -> None:
    accepted = 0
    for seed in range(MUTATIONS):
        randomness = random.Random(seed)
        data = _mutated(randomness, [GET, b"HEAD" + GET[3:], BROWSER, POST] * 2)
        parts = _cut(randomness, data)
        fast, ordinary = converse(parts), converse(parts, ClosedLane)
        assert (fast.answers, fast.is_open) == (ordinary.answers, ordinary.is_open), (seed, parts)
        assert_only_whole_requests_were_accepted(fast)
        accepted += len(fast.accepted)
    assert accepted > MUTATIONS / 3, "the fuzzer hardly reached the fast lane"


BROWSER = (
    b"GET /Zz9_- HTTP/1.1\r\nHost: sho.rt\r\nUser-Agent: Mozilla/5.0\r\n"
    b"Accept: */*\r\nReferer: https://example.com/\r\nConnection: keep-alive\r\n\r\n"
)
POST = b"POST /abc HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(GET), GET)
TOKENS = (
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\x00", b" ", b"\t", b":", b"0", b"\xff", b"HTTP/1.1"),
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Upgrade: h2c\r\nConnection: upgrade\r\n",
    b"GET /abc HTTP/1.1\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
)


def _mutated(randomness: random.Random, requests: list[bytes]) -> bytes:
    data = bytearray(b"".join(randomness.sample(requests, randomness.randint(1, 5))))
    for _ in range(randomness.choice((0, 1, 1, 2, 3, 8))):
        at = randomness.randrange(len(data) + 1)
        length = randomness.choice((0, 1, 1, 2, 10))
        match randomness.randrange(4):
            case 0:
                data[at : at + length] = randomness.choice(TOKENS)
            case 1:
                data[at : at + length] = randomness.randbytes(length)
            case 2:
                del data[at : at + length]
            case _:
                start = randomness.randrange(len(data) + 1)
                data[at:at] = data[start : start + randomness.choice((1, 5, 50))]
    return bytes(data) or b"\n"


def _cut(randomness: random.Random, data: bytes) -> list[Part]:
    edges = {0, len(data)}
    for at in range(4, len(data)):
        if data[at - 4 : at] == b"\r\n\r\n" and randomness.random() < 0.8:
            edges.add(at)
    edges |= {randomness.randrange(len(data)) for _ in range(randomness.choice((0, 0, 1, 4)))}
    ordered = sorted(edges)
    return [Part(data[a:b]) for a, b in pairwise(ordered)]


@pytest.mark.parametrize("code", LINKS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_plain_request_takes_the_fast_lane(method: str, code: str) -> None:
    wire = converse([Part(f"{method} /{code} HTTP/1.1\r\nHost: sho.rt\r\n\r\n".encode())])
    assert wire.accepted == [(0, len(wire.sent))]
    assert wire.received == (
        b"HTTP/1.1 302 Found\r\ndate: " + DATE + b"\r\n"
        b"location: " + LINKS[code].encode() + b"\r\ncontent-length: 0\r\n\r\n"
    )


def test_requests_follow_one_another_on_the_fast_lane() -> None:
    wire = converse([Part(GET)] * 5)
    assert len(wire.accepted) == 5
    assert wire.received == FOUND * 5


@pytest.mark.parametrize(
    "request_bytes",
    [
        GET + GET,
        GET[:-2],
        GET + b"\r\n",
        b"\r\n" + GET,
        GET.replace(b"/abc", b"/abc?q"),
        GET.replace(b"/abc", b"/abc/"),
        GET.replace(b"/abc", b"/%61bc"),
        GET.replace(b"/abc", b"/ABC"),
        GET.replace(b"1.1", b"1.0"),
        GET.replace(b"GET", b"POST"),
        GET.replace(b"Host", b"Connection: close\r\nHost"),
        GET.replace(b"Host", b"Connection: upgrade\r\nUpgrade: h2c\r\nHost"),
        GET.replace(b"Host", b"Content-Length: 1\r\nHost"),
        GET.replace(b"Host", b"Transfer-Encoding: chunked\r\nHost"),
        GET.replace(b"Host", b"Host : x\r\nHost"),
        GET.replace(b"Host: ", b"Host: \x00"),
    ],
)
def test_anything_else_is_left_to_uvicorn(request_bytes: bytes) -> None:
    assert converse([Part(request_bytes)]).accepted == []


def test_a_request_that_is_refused_leaves_the_lane_open() -> None:
    wire = converse([Part(GET[:-2] + b"Content-Length: 1\r\n\r\n"), Part(b"x"), Part(GET)])
    assert len(wire.accepted) == 1


@pytest.mark.parametrize(
    "framing", [b"Content-Length: %d" % len(GET), b"Transfer-Encoding: chunked"]
)
def test_a_body_is_never_answered_as_a_request(framing: bytes) -> None:
    """The answer to a POST, 405, comes before its body does."""
    head = b"POST /abc HTTP/1.1\r\n" + framing + b"\r\n\r\n"
    is_chunked = b"chunked" in framing
    before, after = (b"%x\r\n" % len(GET), b"\r\n0\r\n\r\n") if is_chunked else (b"", b"")
    parts = [head + before, GET, after + GET, GET]
    wire = converse([Part(part) for part in parts if part])
    assert wire.received.count(b"HTTP/1.1 405 ") == 1
    assert wire.received.endswith(FOUND * 2)
    assert wire.received.count(b"HTTP/1.1 ") == 3
    assert_only_whole_requests_were_accepted(wire)


def test_nothing_overtakes_an_answer_under_way() -> None:
    unknown = GET.replace(b"/abc", b"/unknown")
    wire = converse([Part(unknown, settle=False), Part(GET, settle=False), Part(GET)])
    assert wire.accepted == []
    assert re.findall(rb"HTTP/1.1 (\d+)", wire.received) == [b"503", b"302", b"302"]


@given(cut_streams(settle=st.just(True)))
@example([Part(GET.replace(b"abc", path)) for path in (b"abc/", b"ab", b"health", b"users", b"")])
def test_the_shortcut_past_the_routes_answers_as_they_do(parts: list[Part]) -> None:
    short, routed = converse(parts, ClosedLane), converse(parts, ClosedLane, shortcut=False)
    assert (short.answers, short.is_open) == (routed.answers, routed.is_open)
