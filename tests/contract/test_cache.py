"""What the API keeps in Redis: never in the way of a client that reads after its own write."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from redis import Redis

from services.api import read_cache
from services.api.change_publisher import ChangePublisher
from services.api.read_cache import ReadCache
from services.api.redis_gate import RedisGate
from shared import metrics
from tests.support.api import create
from tests.support.services import StartService
from tests.support.stores import ValkeyProcess
from tests.support.waiting import wait_for

Sql = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def gate(redis_url: str) -> RedisGate:
    failures = metrics.STORE_FAILURES.counter(CollectorRegistry()).labels("redis")
    return RedisGate(redis_url, failures)


def test_an_answer_is_kept_for_two_seconds(
    api: httpx.Client, link: dict[str, Any], sql: Sql
) -> None:
    paths = ("/users", "/urls", "/events", "/users/1", "/urls/1")

    def shows_new(path: str) -> bool:
        return '"new"' in api.get(path).text

    began = time.monotonic()
    before = [api.get(path).text for path in paths]
    sql("UPDATE users SET username = 'new'")
    sql("UPDATE urls SET title = 'new'")
    sql("UPDATE events SET event_type = 'new'")
    assert [api.get(path).text for path in paths] == before
    for path in paths:
        wait_for(partial(shows_new, path), "the answer to grow old")
    assert time.monotonic() - began < 3


def test_a_client_that_reads_after_its_own_write_sees_it(api: httpx.Client) -> None:
    user = create(api, "/users", username="ada", email="ada@example.com")
    link = create(api, "/urls", original_url="https://example.com/", user_id=user["id"])
    for round_number in range(30):
        name = f"n{round_number}"
        api.get("/users"), api.get("/users/1"), api.get("/urls"), api.get("/urls/1")
        api.get("/users/1/urls"), api.get("/urls/1/events"), api.get("/events")
        user = api.put("/users/1", json={"username": name}).json()
        link = api.put("/urls/1", json={"title": name}).json()
        assert api.get("/users/1").json() == user
        assert api.get("/users").json() == [user]
        assert api.get("/urls/1").json() == link
        assert api.get("/urls").json() == [link]
        assert api.get("/users/1/urls").json() == [link]
        for path in ("/urls/1/events", "/events"):
            assert len(api.get(path, params={"per_page": 100}).json()) == round_number + 2


def test_an_answer_that_was_read_before_a_write_is_not_found_after_it(gate: RedisGate) -> None:
    cache, publisher = ReadCache(gate), ChangePublisher(gate)

    def slow_read() -> bytes:
        publisher.publish(["subject"])  # somebody's write, while this reader still holds old rows
        return b"old"

    assert cache.answer("question", ["subject"], slow_read) == b"old"
    assert cache.answer("question", ["subject"], lambda: b"new") == b"new"
    assert cache.answer("question", ["subject"], lambda: b"newer") == b"new"


def test_an_answer_that_comes_too_late_is_not_kept(
    gate: RedisGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ReadCache(gate)
    name, dies, kept = gate.call("EVAL", read_cache.LOOK, 0, "question", "subject")
    assert kept is None
    cache._keep(name, dies - read_cache.LIFE_MS - 1, b"old")
    assert cache.answer("question", ["subject"], lambda: b"new") == b"new"


def test_a_write_to_one_subject_leaves_the_answers_about_others(gate: RedisGate) -> None:
    cache, publisher = ReadCache(gate), ChangePublisher(gate)
    for subject in ("a", "b"):
        cache.answer(f"about {subject}", [subject], lambda: b"old")
    publisher.publish(["a"])
    assert cache.answer("about a", ["a"], lambda: b"new") == b"new"
    assert cache.answer("about b", ["b"], lambda: b"new") == b"old"


def test_an_answer_may_be_about_several_subjects(gate: RedisGate) -> None:
    cache, publisher = ReadCache(gate), ChangePublisher(gate)
    for subject in ("a", "b"):
        cache.answer("question", ["a", "b"], lambda: b"old")
        publisher.publish([subject])
        assert cache.answer("question", ["a", "b"], lambda: b"new") == b"new"
        publisher.publish(["a", "b"])


def test_an_answer_that_is_very_long_is_not_kept(gate: RedisGate) -> None:
    cache = ReadCache(gate)
    long = b"x" * (read_cache.MAX_ANSWER_BYTES + 1)
    assert cache.answer("question", ["subject"], lambda: long) == long
    assert cache.answer("question", ["subject"], lambda: b"new") == b"new"


def test_everything_that_is_kept_dies(gate: RedisGate, redis_url: str) -> None:
    ReadCache(gate).answer("question", ["subject"], lambda: b"answer")
    ChangePublisher(gate).publish(["subject"], codes=["code"])
    with Redis.from_url(redis_url) as client:
        lives = {key: client.pttl(key) for key in client.scan_iter("api:*")}
    assert len(lives) == 2
    assert all(0 < life <= read_cache.GENERATION_LIFE_MS for life in lives.values())


def test_a_write_that_redis_never_heard_of_is_seen_within_three_seconds(
    start_service: StartService, valkey: ValkeyProcess
) -> None:
    """The answer was kept, and Redis froze just for the write: the worst that can happen."""
    api = start_service("api", API_WORKERS="1").http
    create(api, "/users", username="old", email="ada@example.com")
    assert api.get("/users/1").json()["username"] == "old"
    valkey.freeze()
    began = time.monotonic()
    assert api.put("/users/1", json={"username": "new"}).status_code == 200
    assert time.monotonic() - began < 1
    valkey.thaw()
    # Until then it may be seen, and what was kept again, once Redis is asked again.
    time.sleep(began + 3 - time.monotonic())
    for _ in range(10):
        assert api.get("/users/1").json()["username"] == "new"
        time.sleep(0.02)
