"""What a link may point to, and how it leaves."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import destination
from shared.destination import InvalidDestination


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "HTTP://EXAMPLE.com:8080/a?b=c#d",
        "https://example.com/%7Euser/a%20b?q=%C3%A9",
        "https://[2001:db8::1]:8080/path",
        "https://example.com/white space inside",
        "https://example.com/'\"<>\\^`{|}",
    ],
)
def test_leaves_byte_for_byte(url: str) -> None:
    assert destination.validate(url) == url
    assert destination.to_location(url) == url.encode()


@pytest.mark.parametrize(
    ("url", "location"),
    [
        (
            "https://EXAMPLE.com/caf\u00e9?q=\u20ac#\u00fc",
            b"https://EXAMPLE.com/caf%C3%A9?q=%E2%82%AC#%C3%BC",
        ),
        ("https://b\u00fccher.example:81/%41\u00e9", b"https://xn--bcher-kva.example:81/%41%C3%A9"),
        ("https://[2001:db8::1]:8080/\u00e9", b"https://[2001:db8::1]:8080/%C3%A9"),
        ("https://example.com?\u00e9", b"https://example.com?%C3%A9"),
    ],
)
def test_what_is_not_ascii_leaves_encoded_and_nothing_else_changes(
    url: str, location: bytes
) -> None:
    assert destination.validate(url) == url
    assert destination.to_location(url) == location


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com",
        "javascript:alert(1)",
        "ftp://example.com",
        "https://",
        "https:///path",
        "https://user:password@example.com",
        "https://user@example.com",
        "https://example.com:99999",
        "https://example.com:port",
        "https://[::1",
        "https://[::1%25\u00e9]/",
        " https://example.com",
        "https://example.com\u00a0",
        "https://example.com/a\r\nSet-Cookie: b",
        "https://example.com/\x00",
        "https://example.com/\x85",
        "https://example.com/\ud800",
        "https://" + "\u00e9" * 100 + ".example",
        "https://example.com/" + "a" * destination.MAX_LENGTH,
    ],
)
def test_refuses_what_no_redirect_should_lead_to(url: str) -> None:
    with pytest.raises(InvalidDestination):
        destination.validate(url)


@pytest.mark.parametrize("character", ["\r", "\n", "\x00", "\x85"])
@pytest.mark.parametrize("url", ["https://example.com/{}", "https:{}//\u00e9.example/"])
def test_a_url_that_came_past_the_api_makes_no_header_of_its_own(url: str, character: str) -> None:
    with pytest.raises(InvalidDestination):
        destination.to_location(url.format(character))


@given(st.text(max_size=60))
def test_a_location_never_breaks_out_of_its_header(path: str) -> None:
    url = f"https://example.com/{path}"
    try:
        destination.validate(url)
    except InvalidDestination:
        return
    location = destination.to_location(url)
    assert location.startswith(b"https://example.com/")
    assert all(0x20 <= byte < 0x7F for byte in location)


@given(st.from_regex(destination.PLAIN, fullmatch=True))
def test_what_is_let_through_at_a_glance_is_a_url_with_a_host_and_nothing_before_it(
    url: str,
) -> None:
    parts = urlsplit(url)
    assert parts.scheme in ("http", "https")
    assert parts.hostname
    assert parts.port is None or 0 <= parts.port <= 9999
    assert (parts.username, parts.password) == (None, None)
    assert url.isascii()
    assert url.isprintable()
    assert url == url.strip()
