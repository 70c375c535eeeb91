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
from prometheus_client import CollectorRegistry

from shared.log_feed import KEPT, MAX_WAITING, RECENT, STREAM, LogFeed
from shared.logging import EntryFormatter, JsonLines
from shared.repeat_limit import BURST, RepeatLimit
from tests.support.stores import ValkeyProcess
from tests.support.waiting import wait_for


@pytest.fixture
def log() -> Iterator[JsonLines]:
    """Of entries of requests, of which none is held back; the feed's own go there, too."""
    handler = JsonLines(io.StringIO(), RepeatLimit(), EntryFormatter("worker"))
    ours = logging.getLogger("shared.log_feed")
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False
    yield handler
    ours.removeHandler(handler)
    ours.setLevel(logging.NOTSET)
    ours.propagate = True


@pytest.fixture
def feed(redis_url: str, log: JsonLines) -> Iterator[LogFeed]:
    feed = LogFeed(redis_url, log)
    with feed.running():
        yield feed


def say(log: JsonLines, path: object) -> None:
    log.request(logging.INFO, {"path": path}, fed=True)


def in_redis(url: str) -> list[dict[str, Any]]:
    with redis.Redis.from_url(url, socket_timeout=5) as client:
        found: Any = client.xrange(STREAM)
        return [json.loads(fields[b"entry"]) for _, fields in found]


def test_entries_come_to_redis_in_their_order(
    feed: LogFeed, log: JsonLines, redis_url: str
) -> None:
    for number in range(600):
        say(log, number)

    wait_for(lambda: len(in_redis(redis_url)) == 600, "them to be there")
    found = in_redis(redis_url)
    assert [entry["path"] for entry in found] == list(range(600))


def test_redis_holds_a_bounded_number(feed: LogFeed, log: JsonLines, redis_url: str) -> None:
    for number in range(2 * KEPT):
        say(log, number)
        if number % MAX_WAITING == MAX_WAITING - 1:
            wait_for(lambda: not feed._waiting, "the queue to be empty")
    feed.close()

    found = in_redis(redis_url)
    assert found[-1]["path"] == 2 * KEPT - 1
    assert KEPT <= len(found) <= KEPT + 100


def test_an_entry_that_is_not_for_redis_stays_out(
    feed: LogFeed, log: JsonLines, redis_url: str
) -> None:
    log.request(logging.INFO, {"path": "not this"}, fed=False)
    log.request(logging.INFO, {"path": "this"}, fed=True)
    feed.close()

    (entry,) = in_redis(redis_url)
    assert entry["path"] == "this"


def test_what_is_left_at_the_end_is_sent(feed: LogFeed, log: JsonLines, redis_url: str) -> None:
    say(log, "the last one")
    feed.close()

    assert in_redis(redis_url)[-1]["path"] == "the last one"


@pytest.mark.parametrize("trouble", ["stop", "freeze"])
def test_without_redis_nothing_waits_and_what_fits_arrives_later(
    feed: LogFeed, log: JsonLines, valkey: ValkeyProcess, trouble: str
) -> None:
    getattr(valkey, trouble)()
    began = time.monotonic()
    for number in range(3 * MAX_WAITING):
        say(log, number)
    assert time.monotonic() - began < 1
    assert feed.dropped >= MAX_WAITING
    assert len(feed.recent(5_000)) == RECENT
    assert json.loads(feed.recent(1)[0])["path"] == 3 * MAX_WAITING - 1

    wait_for(lambda: feed._in_trouble, "the feed to notice")
    valkey.heal()

    wait_for(lambda: not feed._waiting and not feed._in_trouble, "the feed to recover")
    feed.close()
    found = in_redis(valkey.url)
    assert 3 * MAX_WAITING - 1 in [entry.get("path") for entry in found]
    assert found[-1]["message"] == "log entries reach Redis again"


def test_what_gets_lost_is_counted(log: JsonLines) -> None:
    often = logging.LogRecord("a", logging.INFO, "", 0, "often", (), None)
    for _ in range(BURST + 1):
        log.handle(often)
    registry = CollectorRegistry()
    feed = LogFeed("redis://127.0.0.1:1/0", log)
    feed.count_in(registry, "worker")

    def counted(reason: str) -> float | None:
        labels = {"service": "worker", "reason": reason}
        return registry.get_sample_value("hoplink_log_entries_dropped_total", labels)

    assert (counted("repeated"), counted("overflow")) == (0, 0), "a process before the fork did it"
    with feed.running():
        for _ in range(7):
            log.handle(often)
        for number in range(MAX_WAITING + 500):
            say(log, number)
        wait_for(lambda: counted("repeated") == 7, "repeats to be counted")
        wait_for(lambda: (counted("overflow") or 0) >= 200, "lost entries to be counted")
        assert counted("overflow") == feed.dropped


def test_a_long_outage_is_said_once(feed: LogFeed, log: JsonLines, valkey: ValkeyProcess) -> None:
    valkey.stop()
    for _ in range(3):
        say(log, "x")
        assert not feed._flush()

    assert isinstance(log.stream, io.StringIO)
    assert log.stream.getvalue().count("log entries don't reach Redis") == 1
    assert BURST > 1, "it isn't the limit of repeats that did this"
