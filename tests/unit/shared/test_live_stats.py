"""What live statistics add up, by a clock of the test's own."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from shared import live_stats
from shared.alerts import MIN_REQUESTS, WINDOW_SECONDS, is_high_error_rate
from shared.live_stats import (
    BUCKET_SECONDS,
    FIRST_SECONDS,
    LATENCY_BOUNDS,
    PRESENT_SECONDS,
    LiveStats,
    Totals,
    Window,
    decode,
    encode,
)
from tests.support.waiting import wait_for


class Process:
    """One that counts what it is told to."""

    def __init__(self, redis_url: str, name: str) -> None:
        self.now = 1_000_000.0
        self.totals = Totals()
        self.live = LiveStats(
            redis_url,
            name,
            lambda: self.totals,
            lambda: {"ready": True},
            listener=lambda _window: None,
            clock=lambda: self.now,
        )

    def serve(self, requests: int, errors: int = 0) -> Window:
        self.totals += Totals(requests, errors)
        return self.live.step()


@pytest.fixture
def pair(redis_url: str) -> tuple[Process, Process]:
    return Process(redis_url, "api"), Process(redis_url, "redirector")


def test_a_process_finds_out_how_its_stores_are_before_it_tells(redis_url: str) -> None:
    """Or it would be shown as one that reaches no PostgreSQL for its first second."""
    asked: list[float] = []

    def state() -> dict[str, Any]:
        asked.append(time.monotonic())
        return {}

    began = time.monotonic()
    with LiveStats(redis_url, "worker", Totals, state).running():
        wait_for(lambda: asked, "the first report")
    assert asked[0] - began >= FIRST_SECONDS


def test_all_processes_are_one_sum_however_often_they_write(pair: tuple[Process, Process]) -> None:
    one, other = pair
    one.serve(10, 1)
    for _ in range(3):
        other.serve(0)
    window = other.serve(5, 2)
    assert (window.totals.requests, window.totals.errors, window.complete) == (15, 3, True)
    assert [each.service for each in window.processes] == ["api", "redirector"]


def test_requests_leave_the_window_when_they_are_older_than_it(
    pair: tuple[Process, Process],
) -> None:
    one, other = pair
    one.serve(10)
    for process in pair:
        process.now += WINDOW_SECONDS - BUCKET_SECONDS
    assert other.serve(1).totals.requests == 11
    for process in pair:
        process.now += BUCKET_SECONDS
    assert other.serve(0).totals.requests == 1
    assert len(one.live._own) <= WINDOW_SECONDS // BUCKET_SECONDS


def test_a_process_that_says_nothing_is_soon_listed_no_longer(
    pair: tuple[Process, Process],
) -> None:
    one, other = pair
    one.serve(0)
    other.now += PRESENT_SECONDS - 1
    assert len(other.serve(0).processes) == 2
    other.now += 2
    assert [each.service for each in other.serve(0).processes] == ["redirector"]


def test_a_process_that_ends_is_gone_at_once_and_its_counts_stay(
    pair: tuple[Process, Process],
) -> None:
    one, other = pair
    one.serve(10)
    one.now += BUCKET_SECONDS
    other.now += BUCKET_SECONDS
    one.live.step(gone=True)
    window = other.serve(0)
    assert [each.service for each in window.processes] == ["redirector"]
    assert window.totals.requests == 10


def test_what_cannot_be_read_is_left_out(pair: tuple[Process, Process]) -> None:
    one, _ = pair
    key = f"hoplink:live:1:{int(one.now // BUCKET_SECONDS)}"
    redis: Any = one.live._redis
    for number, value in enumerate(("", "nonsense", "[1]", '["x",1,1,[1],{},null]', "{}")):
        redis.hset(key, f"other{number}", value)
    assert one.serve(3).totals.requests == 3


def test_percentiles_are_near_the_true_ones() -> None:
    chance = random.Random(1)
    seconds = sorted(chance.lognormvariate(-8, 1.5) for _ in range(10_000))
    counts = [0] * (len(LATENCY_BOUNDS) + 1)
    for each in seconds:
        counts[sum(bound < each for bound in LATENCY_BOUNDS)] += 1
    totals = Totals(latencies=tuple(counts))
    for part in (0.5, 0.9, 0.99):
        true = seconds[int(part * len(seconds))]
        assert totals.percentile(part) == pytest.approx(true, rel=0.35)
    assert Totals().percentile(0.5) is None


def test_what_is_written_is_what_is_read() -> None:
    totals = Totals(3, 1, tuple(range(len(LATENCY_BOUNDS) + 1)), {"local": 2})
    assert decode(encode("a process", totals, None)) == ("a process", totals + Totals(), None)


@pytest.mark.parametrize(
    ("requests", "errors", "high"),
    [(0, 0, False), (4, 4, False), (5, 1, True), (10, 1, False), (100, 10, False), (100, 11, True)],
)
def test_an_error_rate_is_high_above_a_tenth_of_five(
    requests: int, errors: int, high: bool
) -> None:
    assert MIN_REQUESTS == 5
    assert is_high_error_rate(requests, errors) is high


def test_a_failure_of_whoever_listens_is_not_the_end(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_stats, "INTERVAL_SECONDS", 0.01)
    heard: list[Window] = []

    def listen(window: Window) -> None:
        heard.append(window)
        if len(heard) == 1:
            raise ValueError("a bug")

    live = LiveStats(redis_url, "api", Totals, lambda: {"ready": True}, listener=listen)
    with live.running():
        wait_for(lambda: len(heard) > 2, "it to go on")
