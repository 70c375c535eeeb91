"""How log entries get to Redis, and what happens when it doesn't take them."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from shared.log_feed import KEPT, MAX_WAITING, RECENT, STREAM, LogFeed
from shared.logging import EntryFormatter, JsonLines
from shared.repeat_limit import BURST, RepeatLimit
from tests.support.stores import ValkeyProcess
from tests.support.waiting import wait_for


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    handler = JsonLines(io.StringIO(), RepeatLimit())
    handler.setFormatter(EntryFormatter("worker"))
    logger = logging.getLogger("hoplink.requests")
    ours = logging.getLogger("shared.log_feed")
    for each in (logger, ours):
        each.addHandler(handler)
        each.setLevel(logging.INFO)
        each.propagate = False
    yield logger
    for each in (logger, ours):
        each.removeHandler(handler)
        each.setLevel(logging.NOTSET)
        each.propagate = True


@pytest.fixture
def feed(redis_url: str, log: logging.Logger) -> Iterator[LogFeed]:
    (handler,) = log.handlers
    assert isinstance(handler, JsonLines)
    feed = LogFeed(redis_url, handler)
    with feed.running():
        yield feed


def in_redis(url: str) -> list[dict[str, Any]]:
    with redis.Redis.from_url(url, socket_timeout=5) as client:
        found: Any = client.xrange(STREAM)
        return [json.loads(fields[b"entry"]) for _, fields in found]


def test_entries_come_to_redis_in_their_order(
    feed: LogFeed, log: logging.Logger, redis_url: str
) -> None:
    for number in range(600):
        log.info("%d", number)

    wait_for(lambda: len(in_redis(redis_url)) == 600, "them to be there")
    found = in_redis(redis_url)
    assert [entry["message"] for entry in found] == [str(number) for number in range(600)]


def test_redis_holds_a_bounded_number(feed: LogFeed, log: logging.Logger, redis_url: str) -> None:
    for number in range(2 * KEPT):
        log.info("%d", number)
        if number % MAX_WAITING == MAX_WAITING - 1:
            wait_for(lambda: not feed._waiting, "the queue to be empty")
    feed.close()

    found = in_redis(redis_url)
    assert found[-1]["message"] == str(2 * KEPT - 1)
    assert KEPT <= len(found) <= KEPT + 100


def test_an_entry_that_is_not_for_redis_stays_out(
    feed: LogFeed, log: logging.Logger, redis_url: str
) -> None:
    log.info("not this", extra={"unfed": True})
    log.info("this", extra={"unfed": False})
    feed.close()

    (entry,) = in_redis(redis_url)
    assert entry["message"] == "this"
    assert "unfed" not in entry


def test_what_is_left_at_the_end_is_sent(
    feed: LogFeed, log: logging.Logger, redis_url: str
) -> None:
    log.info("the last one")
    feed.close()

    assert in_redis(redis_url)[-1]["message"] == "the last one"


@pytest.mark.parametrize("trouble", ["stop", "freeze"])
def test_without_redis_nothing_waits_and_what_fits_arrives_later(
    feed: LogFeed, log: logging.Logger, valkey: ValkeyProcess, trouble: str
) -> None:
    getattr(valkey, trouble)()
    began = time.monotonic()
    for number in range(3 * MAX_WAITING):
        log.info("%d", number)
    assert time.monotonic() - began < 1
    assert feed.dropped >= MAX_WAITING
    assert len(feed.recent(5_000)) == RECENT
    assert json.loads(feed.recent(1)[0])["message"] == str(3 * MAX_WAITING - 1)

    wait_for(lambda: feed._in_trouble, "the feed to notice")
    valkey.heal()

    wait_for(lambda: not feed._waiting and not feed._in_trouble, "the feed to recover")
    feed.close()
    messages = [entry["message"] for entry in in_redis(valkey.url)]
    assert str(3 * MAX_WAITING - 1) in messages
    assert messages[-1] == "log entries reach Redis again"


def test_a_long_outage_is_said_once(
    feed: LogFeed, log: logging.Logger, valkey: ValkeyProcess
) -> None:
    valkey.stop()
    for _ in range(3):
        log.info("x")
        assert not feed._flush()

    output = log.handlers[0].stream  # type: ignore[attr-defined]
    assert output.getvalue().count("log entries don't reach Redis") == 1
    assert BURST > 1, "it isn't the limit of repeats that did this"
