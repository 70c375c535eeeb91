"""A click is taken down as its request says, whichever way the request took."""

from __future__ import annotations

import tracemalloc
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.redirector.clicks import ClickLog, host_of
from shared.click_stream import MAX_REFERRER, MAX_USER_AGENT

Headers = list[tuple[str, str]]


def log(country_header: str = "CF-IPCountry") -> ClickLog:
    return ClickLog(
        country_header=country_header, clock=lambda: 5.0, wall_clock=lambda: 1_700_000_000.25
    )


class Click(NamedTuple):
    """What a batch will hold."""

    link_id: int
    moment: float
    user_agent: bytes
    referrer: bytes
    country: bytes
    is_head: bool


def one(clicks: ClickLog) -> Click:
    [batch] = clicks.cut()
    [user_agent], [referrer], [country] = (
        [names.values[place] for place in names.places]
        for names in (batch.agents, batch.referrers, batch.countries)
    )
    [link_id], [moment], [is_head] = batch.links, batch.moments, batch.heads
    return Click(link_id, moment, user_agent, referrer, country, is_head)


def by_bytes(headers: Headers, method: str = "GET", country_header: str = "CF-IPCountry") -> Click:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    clicks = log(country_header)
    request = f"{method} /abc HTTP/1.1\r\nHost: sho.rt\r\n{lines}\r\n"
    clicks.take_down(7, request.encode("latin-1"), 5.0)
    return one(clicks)


def by_headers(headers: Headers, method: str = "GET") -> Click:
    clicks = log()
    clicks.take_down_headers(
        7,
        [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        is_head=method == "HEAD",
    )
    return one(clicks)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("User-Agent", "Mozilla/5.0 (X11)")],
        [("user-agent", "Mozilla/5.0"), ("referer", "https://a.example/x")],
        [("Referer", "https://a.example/x"), ("CF-IPCountry", "DE"), ("User-Agent", "curl/8")],
        [("cf-ipcountry", "T1"), ("User-Agent", "caf\xe9")],
        [("CF-IPCountry", "somewhere")],
        [("CF-IPCountry", "d")],
        [("User-Agent", ""), ("Referer", "")],
    ],
)
def test_both_ways_take_down_the_same(headers: Headers, method: str) -> None:
    assert by_bytes(headers, method) == by_headers(headers, method)


def test_a_click_is_what_the_request_says() -> None:
    headers = [
        ("User-Agent", "Mozilla/5.0 (X11)"),
        ("Referer", "https://News.Example/today"),
        ("CF-IPCountry", "DE"),
    ]
    assert by_bytes(headers) == Click(7, 5.0, b"Mozilla/5.0 (X11)", b"news.example", b"DE", False)
    assert by_bytes([], "HEAD") == Click(7, 5.0, b"", b"", b"", True)


def test_a_country_counts_only_if_its_header_is_trusted() -> None:
    assert by_bytes([("CF-IPCountry", "DE")], country_header="").country == b""
    assert by_bytes([("CF-IPCountry", "DE")], country_header="X-Country").country == b""
    assert by_bytes([("x-country", "DE")], country_header="X-Country").country == b"DE"


def test_the_time_is_that_of_the_click_not_of_the_flush() -> None:
    moments = iter([6.5, 10.0])
    clicks = ClickLog(clock=lambda: next(moments), wall_clock=lambda: 1_700_000_010.25)
    clicks.take_down(1, b"GET /a HTTP/1.1\r\n\r\n", 5.0)
    clicks.take_down_headers(1, [], is_head=False)
    [columns] = clicks.cut()
    assert columns.moments == (5.0, 6.5)
    assert clicks.since() == 1_700_000_000_250


def test_a_user_agent_is_cut_at_its_longest() -> None:
    assert by_bytes([("User-Agent", "x" * 9_999)]).user_agent == b"x" * MAX_USER_AGENT


def test_what_was_cut_is_gone() -> None:
    clicks = log()
    clicks.take_down(1, b"GET /a HTTP/1.1\r\n\r\n", 5.0)
    assert len(clicks) == 1
    assert one(clicks).link_id == 1
    assert (len(clicks), list(clicks.cut())) == (0, [])


@pytest.mark.parametrize(
    ("referrer", "host"),
    [
        (b"https://news.example/", b"news.example"),
        (b"https://news.example", b"news.example"),
        (b"HTTP://NEWS.example:8080/a//b?c=//d", b"news.example"),
        (b"https://user:pass@word@news.example/", b"news.example"),
        (b"https://news.example?q=user@other.example", b"news.example"),
        (b"https://news.example#x", b"news.example"),
        (b"https://news.example./", b"news.example"),
        (b"android-app://com.google.android.gm/", b"com.google.android.gm"),
        (b"https://[2001:DB8::1]:8443/", b"[2001:db8::1]"),
        (b"https://192.0.2.1/", b"192.0.2.1"),
        (b"https://xn--bcher-kva.example/", b"xn--bcher-kva.example"),
        (b"https://b\xc3\xbccher.example/", b""),
        (b"https://a b/", b""),
        (b"https:///x", b""),
        (b"https://.example/", b""),
        (b"https://[::1/", b"[::1]"),
        (b"about:client", b""),
        (b"news.example", b""),
        (b"", b""),
        (b"https://" + b"a." * 127 + b"a/", b"a." * 127 + b"a"),
        (b"https://" + b"a" * 256 + b"/", b""),
    ],
)
def test_of_a_referrer_its_host_is_kept(referrer: bytes, host: bytes) -> None:
    header = ("Referer", referrer.decode("latin-1"))
    assert by_bytes([("User-Agent", "x"), header]).referrer == host
    assert by_bytes([header, ("User-Agent", "x")]).referrer == host
    assert by_headers([header]).referrer == host


@given(st.binary(max_size=300).map(lambda junk: b"https://" + junk) | st.binary(max_size=300))
def test_a_referrer_of_any_kind_gives_a_plain_host_or_none(referrer: bytes) -> None:
    host = host_of(referrer)
    assert len(host) <= MAX_REFERRER
    assert host.decode("ascii") == host.decode("ascii").lower()
    assert not set(host) & set(b"/?#@ \t\\\"'")


def test_a_long_referrer_is_not_remembered_whole() -> None:
    clicks = log()
    tracemalloc.start()
    try:
        for number in range(100):
            referrer = b"https://%d.example?%s" % (number, b"x" * 16_000)
            clicks.take_down_headers(7, [(b"referer", referrer)], is_head=False)
            clicks.take_down(
                7, b"GET /a HTTP/1.1\r\nUser-Agent: x\r\nReferer: %s\r\n\r\n" % referrer, 5.0
            )
        assert len(list(clicks.cut())) > 0
        del referrer
        assert tracemalloc.get_traced_memory()[0] < 400_000
    finally:
        tracemalloc.stop()
