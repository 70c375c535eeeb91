"""Clients of the resilience runs notice what goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from loadtest import traffic
from loadtest.traffic import GOOD, Client, Tally, Traffic
from tests.support.upstream import Upstream
from tests.support.waiting import wait_for


@pytest.fixture
def upstream(free_port: Callable[[], int]) -> Iterator[Upstream]:
    upstream = Upstream("front", free_port())
    upstream.start()
    yield upstream
    upstream.stop()


def test_a_gap_is_the_longest_time_between_good_answers() -> None:
    tally = Tally()
    for outcome, ended in ((GOOD, 1.0), ("502", 2.0), (GOOD, 4.5), (GOOD, 5.0)):
        tally.add(outcome, ended - 0.5, ended)

    assert (tally.gap, tally.slowest, tally.requests) == (3.5, 0.5, 4)
    assert tally.failures == {"502": 1}


@pytest.mark.parametrize(
    ("query", "seen"),
    [("?status=200", "200"), ("?status=404", "404"), ("?status=500", "500 without Retry-After")],
)
def test_an_answer_that_is_no_redirect_is_named(upstream: Upstream, query: str, seen: str) -> None:
    client = Client(f"http://127.0.0.1:{upstream.port}")

    assert traffic.follow({f"abc{query}": "https://example.com/"})(client) == seen
    client.close()


def test_a_steady_pace_is_kept_and_failures_are_counted(upstream: Upstream) -> None:
    load = Traffic(f"http://127.0.0.1:{upstream.port}")
    load.add("read", traffic.read(["/users"]), clients=2, per_second=100)
    load.add("dropped", traffic.read(["/users?drop"]), clients=1, per_second=100)
    with load:
        wait_for(
            lambda: all(tally.requests >= 10 for tally in load.tallies.values()), "some requests"
        )

    assert load.tallies["read"].failures == {}
    assert load.tallies["dropped"].outcomes[GOOD] == 0
    assert len(load.tallies["dropped"].failures) == 1
