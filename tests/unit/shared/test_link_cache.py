"""The scripts and encodings of links in Redis."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from shared import link_cache
from shared.change_log import Changes, Snapshot
from shared.link_cache import Heartbeat, Link, Looked, Position

LINK = Link(7, b"https://example.com/")
OTHER = Link(7, b"https://example.org/")
START, END = Snapshot(10, 10, ()), Snapshot(10, 14, (10, 12))


class Cache:
    """The scripts, as readers, the API and the worker call them."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._tokens = itertools.count()
        self.heard: Any = client.pubsub()  # type: ignore[no-untyped-call]
        self.heard.subscribe(link_cache.CHANNEL)
        assert self.heard.get_message(timeout=5)["type"] == "subscribe"

    def look_up(self, *codes: str, token: bytes | None = None) -> tuple[bytes, Looked]:
        token = token or b"token %d" % next(self._tokens)
        arguments = link_cache.get_or_lease_arguments(token, codes)
        reply: Any = self.client.eval(link_cache.GET_OR_LEASE, 0, *arguments)
        return token, link_cache.read_get_or_lease(codes, reply)

    def find(self, code: str) -> Link | str | None:
        _, looked = self.look_up(code)
        return looked.found.get(code, "unknown")

    def fill(self, token: bytes, looked: Looked, links: Mapping[str, Link | None]) -> int:
        arguments = link_cache.fill_arguments(
            token, looked.generation, links, link_ttl=60, absent_ttl=10
        )
        return int(self.client.eval(link_cache.FILL, 0, *arguments))

    def put(self, code: str, link: Link | None) -> None:
        token, looked = self.look_up(code)
        assert self.fill(token, looked, {code: link}) == 1

    def invalidate(self, *codes: str, absent_generation: str = "") -> None:
        arguments = link_cache.invalidate_arguments(codes, absent_generation=absent_generation)
        self.client.eval(link_cache.INVALIDATE, 0, *arguments)

    def advance(self, found: Position | None, to: Position, changes: Changes) -> int:
        arguments = link_cache.advance_arguments(
            found, START, to, changes, absent_generation="next"
        )
        return int(self.client.eval(link_cache.ADVANCE, 0, *arguments))

    def messages(self) -> list[Changes | Heartbeat]:
        found = []
        while (message := self.heard.get_message(timeout=0.1)) is not None:
            found.append(link_cache.read_message(message["data"]))
        return found


@pytest.fixture
def cache(redis_url: str) -> Iterator[Cache]:
    with redis.Redis.from_url(redis_url) as client:
        cache = Cache(client)
        yield cache
        cache.heard.close()


def test_what_was_filled_is_found(cache: Cache) -> None:
    cache.put("link", LINK)
    cache.put("none", None)
    assert cache.find("link") == LINK
    assert cache.find("none") is None


def test_one_asker_at_a_time_may_fill(cache: Cache) -> None:
    first, looked = cache.look_up("code")
    second, refused = cache.look_up("code")
    assert looked.leased == {"code"}
    assert refused.leased == frozenset()
    assert cache.fill(second, refused, {"code": OTHER}) == 0
    assert cache.fill(first, looked, {"code": LINK}) == 1
    assert cache.find("code") == LINK


def test_a_lease_serves_for_one_fill(cache: Cache) -> None:
    token, looked = cache.look_up("code")
    assert cache.fill(token, looked, {"code": LINK}) == 1
    assert cache.fill(token, looked, {"code": OTHER}) == 0
    assert cache.find("code") == LINK


def test_a_lease_ends_by_itself(cache: Cache) -> None:
    cache.look_up("code")
    left = cache.client.pttl("lease:1:code")
    assert 0 < int(left) <= link_cache.LEASE_MS


@pytest.mark.parametrize("link", [LINK, None])
def test_a_change_ends_the_lease_of_a_slow_reader(cache: Cache, link: Link | None) -> None:
    token, looked = cache.look_up("code")
    cache.invalidate("code")
    assert cache.fill(token, looked, {"code": link}) == 0
    assert cache.find("code") == "unknown"


def test_a_slow_reader_has_no_part_in_the_lease_of_the_next_one(cache: Cache) -> None:
    slow, looked = cache.look_up("code")
    cache.invalidate("code")
    fast, again = cache.look_up("code")
    assert cache.fill(slow, looked, {"code": OTHER}) == 0
    assert cache.fill(fast, again, {"code": LINK}) == 1
    assert cache.find("code") == LINK


def test_a_redis_that_lost_its_data_takes_no_fill(cache: Cache) -> None:
    token, looked = cache.look_up("code")
    cache.client.flushall()
    assert cache.fill(token, looked, {"code": LINK}) == 0


def test_a_change_deletes_links_and_their_absence(cache: Cache) -> None:
    cache.put("link", LINK)
    cache.put("none", None)
    cache.put("other", OTHER)
    cache.invalidate("link", "none")
    assert cache.find("link") == "unknown"
    assert cache.find("none") == "unknown"
    assert cache.find("other") == OTHER
    assert cache.messages() == [Changes(codes=("link", "none"))]


def test_an_import_voids_absence_and_what_slow_readers_found_absent(cache: Cache) -> None:
    cache.put("none", None)
    cache.put("link", LINK)
    token, looked = cache.look_up("slow", "found")
    cache.invalidate(absent_generation="next")
    assert cache.fill(token, looked, {"slow": None, "found": OTHER}) == 1
    assert cache.find("none") == "unknown"
    assert cache.find("slow") == "unknown"
    assert cache.find("found") == OTHER
    assert cache.find("link") == LINK
    assert cache.messages() == [Changes(absent=True)]


def test_a_generation_that_was_lost_brings_no_voided_absence_back(cache: Cache) -> None:
    cache.put("none", None)
    cache.invalidate(absent_generation="next")
    cache.client.delete(link_cache.GENERATION)
    assert cache.find("none") == "unknown"


def test_values_end_by_themselves(cache: Cache) -> None:
    cache.put("link", LINK)
    cache.put("none", None)
    assert 0 < int(cache.client.ttl("link:1:link")) <= 60
    (absent,) = cache.client.keys("absent:1:*")
    assert 0 < int(cache.client.ttl(absent)) <= 10


def test_advance_applies_and_publishes_before_its_heartbeat(cache: Cache) -> None:
    cache.put("link", LINK)
    cache.put("none", None)
    to = Position(END, "word")
    assert cache.advance(None, to, Changes(codes=("link",), absent=True)) == 1
    assert cache.find("link") == "unknown"
    assert cache.find("none") == "unknown"
    assert cache.look_up("code")[1].position == to
    assert cache.messages() == [
        Changes(codes=("link",)),
        Changes(absent=True),
        Heartbeat(START, END),
    ]


def test_advance_does_nothing_where_the_position_is_another(cache: Cache) -> None:
    here = Position(END, "here")
    cache.advance(None, here, Changes())
    cache.put("link", LINK)
    cache.messages()
    for found in (None, Position(END, "elsewhere")):
        assert cache.advance(found, Position(END, "to"), Changes(codes=("link",))) == 0
    assert cache.find("link") == LINK
    assert cache.look_up("code")[1].position == here
    assert cache.messages() == []


def test_redis_covers_no_more_than_its_position() -> None:
    def at(position: Position | None) -> Looked:
        return Looked({}, frozenset(), b"0", position)

    assert at(Position(END, "word")).covers(END)
    assert at(Position(END, "word")).covers(START)
    assert not at(Position(START, "word")).covers(END)
    assert not at(None).covers(START)
    assert not at(Position(END, "word")).covers(None)


@given(st.integers(min_value=1, max_value=2**63 - 1), st.binary(max_size=60))
def test_a_link_survives_the_way_through_redis(link_id: int, location: bytes) -> None:
    link = Link(link_id, location)
    assert link_cache.decode(link_cache.encode(link)) == link


def test_absence_survives_the_way_through_redis() -> None:
    assert link_cache.decode(link_cache.encode(None)) is None


@pytest.mark.parametrize("value", [b"x", b"no number", b" https://example.com/"])
def test_refuses_a_value_of_another_encoding(value: bytes) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        link_cache.decode(value)


@pytest.mark.parametrize("message", [b"", b"hello", b"heartbeat 1", b"heartbeat a b", b"\xff"])
def test_refuses_a_message_of_another_kind(message: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        link_cache.read_message(message)


@pytest.mark.parametrize("value", [b"", b"1:1:", b"word", b"1:1: two words"])
def test_refuses_what_is_no_position(value: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Position.read(value)
