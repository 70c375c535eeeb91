"""Batches of clicks travel unharmed, and the scripts keep the stream in order and in bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from shared import click_stream
from shared.click_stream import (
    MAX_BATCH,
    STREAM,
    STREAM_BYTES,
    UNREADABLE,
    InvalidBatch,
    decode,
)
from tests.support.clicks import Click, batch_of, clicks_of, encoded

PRODUCER = bytes(range(16))
NOW = 1_700_000_000_000

clicks = st.builds(
    Click,
    link_id=st.integers(1, 2**63 - 1),
    time=st.integers(NOW, NOW + 10_000),
    user_agent=st.binary(max_size=512),
    referrer=st.binary(max_size=255),
    country=st.sampled_from([b"", b"DE", b"FR"]),
    is_head=st.booleans(),
)


@given(st.lists(clicks, min_size=1, max_size=50), st.integers(0, 2**60))
def test_a_batch_arrives_as_it_was_sent(sent: list[Click], first: int) -> None:
    batch = batch_of(PRODUCER, first, sent)
    assert clicks_of(batch) == sent
    assert (batch.producer, batch.first, batch.end) == (PRODUCER, first, first + len(sent))


@given(st.lists(clicks, min_size=1, max_size=5), st.data())
def test_a_batch_that_was_cut_short_is_refused(sent: list[Click], data: st.DataObject) -> None:
    content = encoded(PRODUCER, 0, sent)
    with pytest.raises(InvalidBatch):
        decode(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(InvalidBatch):
        decode(content + b"x")


@given(st.binary(max_size=200))
def test_anything_else_is_refused(content: bytes) -> None:
    for text in (content, b"\1" + content):
        try:
            batch = decode(text)
        except InvalidBatch:
            continue
        clicks_of(batch)


def test_a_batch_of_a_later_version_is_refused() -> None:
    content = encoded(PRODUCER, 0, [Click(1, NOW)])
    with pytest.raises(InvalidBatch, match="version 02"):
        decode(b"\2" + content[1:])


def test_a_batch_takes_24_bytes_a_click_when_visitors_are_alike() -> None:
    sent = [Click(number, NOW + number, b"Mozilla" * 15) for number in range(MAX_BATCH)]
    assert len(encoded(PRODUCER, 0, sent)) < 24 * len(sent)


class Stream:
    """The scripts, on a real Redis."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._append: Any = client.register_script(click_stream.APPEND)
        self.remove: Any = client.register_script(click_stream.REMOVE)
        self.set_aside: Any = client.register_script(click_stream.SET_ASIDE)

    def append(
        self, expected: int, first: int, end: int, content: bytes = b"x" * 10, limit: int = 1_000
    ) -> int:
        arguments = click_stream.append_arguments(
            PRODUCER, expected=expected, first=first, end=end, content=content, max_bytes=limit
        )
        return int(self._append(args=arguments))

    def entries(self) -> list[tuple[bytes, dict[bytes, bytes]]]:
        found: Any = self.client.xrange(STREAM)
        return list(found)

    @property
    def bytes(self) -> int:
        value: Any = self.client.get(STREAM_BYTES)
        return int(value or 0)


@pytest.fixture
def stream(redis_url: str) -> Iterator[Stream]:
    with redis.Redis.from_url(redis_url) as client:
        yield Stream(client)


def test_batches_are_appended_in_order(stream: Stream) -> None:
    assert [stream.append(0, 0, 5), stream.append(5, 5, 7)] == [5, 7]
    labels = [next(iter(fields)) for _, fields in stream.entries()]
    assert labels == [click_stream.label(PRODUCER, 0), click_stream.label(PRODUCER, 5)]


def test_a_batch_that_is_appended_again_is_not_there_twice(stream: Stream) -> None:
    stream.append(0, 0, 5)
    assert stream.append(0, 0, 5) == 5
    assert len(stream.entries()) == 1


def test_a_producer_hears_where_redis_stands(stream: Stream) -> None:
    """Redis lost what came after number 5, or everything."""
    stream.append(0, 0, 5)
    assert stream.append(9, 9, 12) == 5
    stream.client.flushall()
    assert stream.append(9, 9, 12) == 0
    assert stream.entries() == []
    assert stream.append(0, 9, 12) == 12


def test_a_full_stream_takes_nothing_and_loses_nothing(stream: Stream) -> None:
    assert stream.append(0, 0, 5, limit=15) == 5
    assert stream.append(5, 5, 7, limit=15) == 5
    assert len(stream.entries()) == 1
    [(entry, fields)] = stream.entries()
    stream.remove(args=[entry, next(iter(fields))])
    assert stream.append(5, 5, 7, limit=15) == 7


def test_the_size_of_the_stream_is_known_to_the_byte(stream: Stream) -> None:
    for number in range(5):
        stream.append(number, number, number + 1, content=b"x" * number)
    assert stream.bytes == 10
    for entry, fields in stream.entries()[2:]:
        stream.remove(args=[entry, next(iter(fields))])
    assert stream.bytes == 1


def test_a_stream_that_was_deleted_counts_as_empty(stream: Stream) -> None:
    stream.append(0, 0, 5, content=b"x" * 900)
    stream.client.delete(STREAM)
    assert stream.append(5, 5, 6, content=b"x" * 900) == 6
    assert stream.bytes == 900


def test_an_entry_that_took_the_place_of_another_is_not_removed(stream: Stream) -> None:
    """After a failover an id may name a batch that nobody has read yet."""
    stream.append(0, 0, 5)
    [(entry, _)] = stream.entries()
    stream.remove(args=[entry, click_stream.label(PRODUCER, 7)])
    assert len(stream.entries()) == 1


def test_a_position_is_forgotten_some_day(stream: Stream) -> None:
    stream.append(0, 0, 5)
    life: Any = stream.client.ttl(click_stream.position_key(PRODUCER))
    assert 0 < life <= click_stream.POSITION_LIFE_SECONDS


def test_what_is_set_aside_is_kept_elsewhere(stream: Stream) -> None:
    stream.append(0, 0, 5, content=b"unreadable")
    stream.append(5, 5, 6, content=b"readable")
    [(entry, fields), other] = stream.entries()
    [label] = fields
    for _ in range(2):  # as two workers that read it both
        stream.set_aside(args=[entry, label, fields[label]])
    assert (stream.entries(), stream.bytes) == ([other], len(b"readable"))
    aside: Any = stream.client.xrange(UNREADABLE)
    assert [kept for _, kept in aside] == [{label: b"unreadable"}]
