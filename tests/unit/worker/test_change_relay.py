"""The relay: Redis forgets every change, whatever became of Redis or of another worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis, RedisError

from services.worker import change_relay as module
from shared import link_cache, log_feed
from shared.change_log import Changes, Snapshot
from shared.link_cache import CHANNEL, POSITION, Heartbeat, Position
from tests.support.coherence import Relay, Writer, relay
from tests.support.stores import ValkeyProcess

URL = "https://example.com/"


@pytest.fixture
def heard(redis_url: str) -> Iterator[Callable[[], list[Changes | Heartbeat]]]:
    """What was published since the last call."""
    with Redis.from_url(redis_url) as client:
        subscription: Any = client.pubsub()
        subscription.subscribe(CHANNEL)
        assert subscription.get_message(timeout=5)["type"] == "subscribe"

        def take() -> list[Changes | Heartbeat]:
            found = []
            while (message := subscription.get_message(timeout=0.1)) is not None:
                found.append(link_cache.read_message(message["data"]))
            return found

        yield take
        subscription.close()


def put(client: Redis, *codes: str) -> None:
    for code in codes:
        client.set(f"link:1:{code}", b"1 https://example.com/")


def held(client: Redis) -> set[str]:
    keys: Any = client.keys("link:1:*")
    return {key.decode().removeprefix("link:1:") for key in keys}


def position(client: Redis) -> Position:
    value: Any = client.get(POSITION)
    return Position.read(value)


def test_applies_a_change_that_redis_was_not_told_of(
    worker: Relay, links: Writer, heard: Callable[[], list[Changes | Heartbeat]]
) -> None:
    worker.step()
    start = position(worker.redis).snapshot
    put(worker.redis, "code", "other")
    links.write("code", URL, publish=False)
    heard()
    worker.step()
    assert held(worker.redis) == {"other"}
    end = position(worker.redis).snapshot
    assert heard() == [Changes(codes=("code",)), Heartbeat(start, end)]
    assert worker.metric("hoplink_changes_relayed_total") == 1


def test_an_import_voids_negative_answers(
    worker: Relay, links: Writer, heard: Callable[[], list[Changes | Heartbeat]]
) -> None:
    worker.step()
    links.add([("code", URL)], publish=False)
    heard()
    worker.step()
    changes, heartbeat = heard()
    assert changes == Changes(absent=True)
    assert isinstance(heartbeat, Heartbeat)


def test_heartbeats_carry_on_from_one_another(
    worker: Relay, heard: Callable[[], list[Changes | Heartbeat]]
) -> None:
    for _ in range(3):
        worker.step()
    first, second, third = heard()
    assert isinstance(first, Heartbeat)
    assert isinstance(second, Heartbeat)
    assert isinstance(third, Heartbeat)
    assert first.end == second.start
    assert second.end == third.start
    assert worker.metric("hoplink_changes_rewound_total") == 1


def test_goes_back_to_where_a_redis_that_lost_its_tail_stands(worker: Relay, links: Writer) -> None:
    put(worker.redis, "code")
    worker.redis.delete(POSITION)
    worker.step()
    put(worker.redis, "code", "other")
    before: Any = worker.redis.get(POSITION)
    links.write("code", URL)
    worker.step()
    assert held(worker.redis) == {"other"}
    # The tail is undone: the deletion, and the position that was set with it.
    put(worker.redis, "code")
    worker.redis.set(POSITION, before)
    worker.step()
    assert held(worker.redis) == {"other"}
    assert worker.metric("hoplink_changes_rewound_total") == 2


def test_a_redis_that_really_lost_its_tail_is_brought_up_to_date(
    worker: Relay, links: Writer, valkey: ValkeyProcess
) -> None:
    worker.step()
    put(worker.redis, "code", "other")
    valkey.save_data()
    links.write("code", URL)
    worker.step()
    assert held(worker.redis) == {"other"}
    valkey.kill()
    valkey.restore_data()
    valkey.start()
    assert held(worker.redis) == {"code", "other"}
    worker.step()
    assert held(worker.redis) == {"other"}


@pytest.mark.parametrize("value", [None, "nonsense", "1:1: two words"])
def test_a_redis_that_cannot_say_where_it_stands_forgets_every_link(
    worker: Relay,
    links: Writer,
    heard: Callable[[], list[Changes | Heartbeat]],
    value: str | None,
) -> None:
    worker.step()
    put(worker.redis, *(f"code{number}" for number in range(2_500)))
    worker.redis.set("lease:1:leased", "token")
    worker.redis.set("absent:1:0:none", "")
    worker.redis.set("of another", "kind")
    worker.redis.delete(POSITION)
    if value is not None:
        worker.redis.set(POSITION, value)
    heard()
    worker.step()
    keys: Any = worker.redis.keys("*")
    # Services of other tests log, and say that they are there.
    beside = (log_feed.STREAM.encode(), b"hoplink:live:")
    found = {key for key in keys if not key.startswith(beside)}
    assert found == {b"of another", POSITION.encode()}
    # Redirectors keep what they have: they know from where to ask the log themselves.
    end = position(worker.redis).snapshot
    assert heard() == [Heartbeat(end, end)]


def test_a_log_that_no_longer_tells_has_redis_forget_every_link(
    worker: Relay, links: Writer, heard: Callable[[], list[Changes | Heartbeat]]
) -> None:
    worker.step()
    put(worker.redis, "code", "other")
    links.write("code", URL, publish=False)
    links.prune()
    heard()
    worker.step()
    assert held(worker.redis) == set()
    end = position(worker.redis).snapshot
    assert heard() == [Heartbeat(end, end)]


def test_a_large_backlog_is_applied_in_chunks(
    worker: Relay,
    links: Writer,
    heard: Callable[[], list[Changes | Heartbeat]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CHUNK", 10)
    worker.step()
    codes = {f"code{number}" for number in range(25)}
    put(worker.redis, *codes, "other")
    for code in codes:
        links.write(code, URL, publish=False)
    heard()
    worker.step()
    assert held(worker.redis) == {"other"}
    *chunks, heartbeat = heard()
    # Who missed a chunk, having subscribed in the middle, must not take it for a proof.
    end = position(worker.redis).snapshot
    assert heartbeat == Heartbeat(end, end)
    assert [len(chunk.codes) for chunk in chunks if isinstance(chunk, Changes)] == [10, 10, 5]


def test_a_redis_that_loses_its_tail_between_two_chunks_is_not_taken_for_current(
    worker: Relay, links: Writer, valkey: ValkeyProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 1)
    worker.step()
    put(worker.redis, "one", "two", "other")
    for code in ("one", "two"):
        links.write(code, URL, publish=False)
    invalidate = worker.relay._invalidate

    def invalidate_and_restart(**call: Any) -> None:
        valkey.save_data()
        invalidate(**call)
        valkey.kill()
        valkey.restore_data()
        valkey.start()

    with monkeypatch.context() as patch:
        patch.setattr(worker.relay, "_invalidate", invalidate_and_restart)
        with pytest.raises(RedisError):
            worker.step()
    worker.step()
    assert held(worker.redis) == {"other"}


def test_a_worker_that_another_one_overtook_does_nothing(
    worker: Relay, links: Writer, database_url: str, redis_url: str
) -> None:
    """It was frozen between reading the log and telling Redis; meanwhile another one worked."""
    worker.step()
    with relay(database_url, redis_url) as other:

        def frozen_after(query: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
            rows = worker.fetch(query, parameters)
            links.write("code", URL)
            other.step()
            return rows

        worker.relay.step(frozen_after)
        moved = position(worker.redis)
        assert moved == other.relay._at
        worker.step()
        assert position(worker.redis) == worker.relay._at
        assert position(worker.redis).snapshot.covers(moved.snapshot)


def test_two_workers_at_once_lose_no_change(
    worker: Relay, links: Writer, database_url: str, redis_url: str
) -> None:
    with relay(database_url, redis_url) as other:
        for number in range(10):
            put(worker.redis, f"code{number}")
            links.write(f"code{number}", URL, publish=False)
            (worker, other)[number % 2].step()
            assert held(worker.redis) == set()


def test_a_step_whose_end_is_unknown_is_taken_again(
    worker: Relay, links: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.step()
    advance = worker.relay._advance

    def answer_lost(**arguments: Any) -> int:
        advance(**arguments)
        raise RedisError("timed out")

    monkeypatch.setattr(worker.relay, "_advance", answer_lost)
    with pytest.raises(RedisError):
        worker.step()
    monkeypatch.undo()
    put(worker.redis, "code")
    links.write("code", URL, publish=False)
    worker.step()
    assert held(worker.redis) == set()


def test_a_restored_database_is_another_one(worker: Relay, links: Writer) -> None:
    worker.step()
    at = position(worker.redis)
    ahead = at.snapshot.next + 1_000
    worker.redis.set(POSITION, str(Position(Snapshot(ahead, ahead, ()), "ahead")))
    put(worker.redis, "code")
    worker.step()
    assert held(worker.redis) == set()
    assert not position(worker.redis).snapshot.covers(Snapshot(ahead, ahead, ()))
