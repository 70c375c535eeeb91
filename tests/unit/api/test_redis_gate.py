"""Redis is asked no more often than it deserves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.api.redis_gate import PAUSE_SECONDS, RedisGate, RedisUnavailable
from shared import metrics


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Case:
    """A gate to a Redis, its clock and its count of failures."""

    def __init__(self, url: str) -> None:
        self.registry = CollectorRegistry()
        self.clock = Clock()
        failures = metrics.STORE_FAILURES.counter(self.registry).labels("redis")
        self.gate = RedisGate(url, failures, self.clock)

    def ask(self) -> Any:
        return self.gate.call("PING")

    @property
    def failures(self) -> float | None:
        return self.registry.get_sample_value("hoplink_store_failures_total", {"store": "redis"})


@pytest.fixture
def case(free_port: Callable[[], int]) -> Case:
    """A gate to a port where nobody listens."""
    return Case(f"redis://127.0.0.1:{free_port()}/0")


def test_after_a_failure_nobody_asks_for_a_second(case: Case) -> None:
    for _ in range(5):
        with pytest.raises(RedisUnavailable):
            case.ask()
    assert case.failures == 1
    case.clock.now += PAUSE_SECONDS - 0.001
    with pytest.raises(RedisUnavailable):
        case.ask()
    assert case.failures == 1


def test_then_one_asks_and_the_others_wait_for_what_it_finds_out(case: Case) -> None:
    with pytest.raises(RedisUnavailable):
        case.ask()
    case.clock.now += PAUSE_SECONDS
    for _ in range(5):
        with pytest.raises(RedisUnavailable):
            case.ask()
    assert case.failures == 2


def test_an_answer_opens_the_gate_for_all(redis_url: str) -> None:
    case = Case(redis_url)
    case.gate._closed_until = case.clock.now
    assert case.ask() == b"PONG"
    assert case.ask() == b"PONG"
    assert case.failures == 0


def test_what_redis_refuses_counts_as_a_failure(redis_url: str) -> None:
    case = Case(redis_url)
    with pytest.raises(RedisUnavailable):
        case.gate.call("NONSENSE")
    assert case.failures == 1
