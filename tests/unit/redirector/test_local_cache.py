"""The redirector's own memory: what it keeps, and what it lets go of."""

from __future__ import annotations

import bisect
import itertools
import random
from collections import OrderedDict
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.redirector.local_cache import ENTRY_BYTES, Entry, LocalCache
from shared.link_cache import Link

ABSENT_SECONDS = 10.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def make_cache(
    *,
    max_links: int = 1_000,
    max_bytes: int = 1 << 30,
    max_absent: int = 1_000,
    clock: Callable[[], float] = lambda: 1_000.0,
) -> LocalCache:
    return LocalCache(
        max_links=max_links,
        max_bytes=max_bytes,
        max_absent=max_absent,
        absent_seconds=ABSENT_SECONDS,
        clock=clock,
    )


def entry(code: str, location: bytes = b"https://example.com/") -> Entry:
    return Entry(code, Link(1, location))


def zipf(keys: int, length: int) -> list[str]:
    """A load in which the n-th most popular key is asked for 1/n as often as the first."""
    chooser = random.Random(1)
    weights = list(itertools.accumulate(1 / rank for rank in range(1, keys + 1)))
    return [
        str(bisect.bisect(weights, chooser.random() * weights[-1])).zfill(6) for _ in range(length)
    ]


def lru_hit_ratio(load: list[str], size: int) -> float:
    kept: OrderedDict[str, None] = OrderedDict()
    hits = 0
    for code in load:
        if code in kept:
            hits += 1
            kept.move_to_end(code)
            continue
        if len(kept) >= size:
            kept.popitem(last=False)
        kept[code] = None
    return hits / len(load)


@pytest.mark.parametrize("share", [0.01, 0.1])
def test_hits_as_often_as_lru_on_a_zipf_load(share: float) -> None:
    keys = 20_000
    size = int(keys * share)
    load = zipf(keys, 200_000)
    cache = make_cache(max_links=size)
    hits = 0
    for code in load:
        if cache.get(code) is not None:
            hits += 1
        else:
            cache.put(entry(code))
    assert hits / len(load) > lru_hit_ratio(load, size) - 0.02


def test_never_holds_more_links_than_it_may() -> None:
    cache = make_cache(max_links=10)
    for number in range(100):
        cache.put(entry(f"code{number}"))
        assert len(cache.links) <= 10
    assert cache.evictions == 90


def test_never_holds_more_bytes_than_it_may() -> None:
    chooser = random.Random(1)
    cache = make_cache(max_bytes=20_000)
    for number in range(200):
        cache.put(entry(f"code{number}", b"x" * chooser.randrange(2_000)))
        assert cache.bytes <= 20_000
        assert cache.bytes == sum(held.size for held in cache.links.values())
    assert len(cache.links) > 5


def test_a_link_larger_than_the_cache_evicts_nothing() -> None:
    cache = make_cache(max_bytes=ENTRY_BYTES + 100)
    cache.put(entry("small"))
    cache.put(entry("large", b"x" * 200))
    assert set(cache.links) == {"small"}


def test_evicts_what_was_not_asked_for_since_it_came() -> None:
    cache = make_cache(max_links=3)
    for code in ("one", "two", "three"):
        cache.put(entry(code))
    cache.get("one")
    cache.put(entry("four"))
    assert set(cache.links) == {"one", "three", "four"}


def test_a_scan_of_absent_codes_evicts_no_link_and_stays_bounded() -> None:
    cache = make_cache(max_links=10, max_absent=20)
    for number in range(10):
        cache.put(entry(f"code{number}"))
    for number in range(1_000):
        cache.put_absent(f"scan{number}")
        assert cache.absent_count <= 20
    assert len(cache.links) == 10
    assert cache.is_absent("scan999")


def test_forgets_that_a_code_was_absent_in_time() -> None:
    for wait in (0.0, 2.5, 4.9):
        clock = Clock()
        cache = make_cache(clock=clock)
        clock.now += wait
        cache.put_absent("code")
        for _ in range(100):
            clock.now += ABSENT_SECONDS / 100
            kept = cache.is_absent("code")
        assert not kept


def test_remembers_that_a_code_was_absent_for_half_of_the_time() -> None:
    for wait in (0.0, 2.5, 4.9, 7.0):
        clock = Clock()
        cache = make_cache(clock=clock)
        clock.now += wait
        cache.put_absent("code")
        clock.now += ABSENT_SECONDS / 2 - 0.01
        assert cache.is_absent("code")


def test_a_new_link_takes_the_place_of_its_absence_and_of_itself() -> None:
    cache = make_cache()
    cache.put_absent("code")
    cache.put(entry("code", b"https://example.com/1"))
    cache.put(entry("code", b"https://example.com/2"))
    assert not cache.is_absent("code")
    found = cache.get("code")
    assert found is not None
    assert found.location == b"https://example.com/2"
    assert cache.bytes == found.size


CODES = st.sampled_from([f"code{number}" for number in range(12)])


class AgainstDict(RuleBasedStateMachine):
    """Whatever is done to it in whatever order, it holds only what was put and not forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = make_cache(max_links=5, max_bytes=5 * ENTRY_BYTES, max_absent=4)
        self.links: dict[str, bytes] = {}
        self.absent: set[str] = set()

    @rule(code=CODES, length=st.integers(0, 2 * ENTRY_BYTES))
    def put(self, code: str, length: int) -> None:
        self.cache.put(entry(code, b"x" * length))
        self.links[code] = b"x" * length
        self.absent.discard(code)

    @rule(code=CODES)
    def put_absent(self, code: str) -> None:
        self.cache.discard(code)
        self.cache.put_absent(code)
        self.links.pop(code, None)
        self.absent.add(code)

    @rule(code=CODES)
    def get(self, code: str) -> None:
        found = self.cache.get(code)
        if found is not None:
            assert found.location == self.links[code]
        if self.cache.is_absent(code):
            assert code in self.absent

    @rule(code=CODES)
    def discard(self, code: str) -> None:
        self.cache.discard(code)
        assert self.cache.get(code) is None
        assert not self.cache.is_absent(code)
        self.links.pop(code, None)
        self.absent.discard(code)

    @rule()
    def clear_absent(self) -> None:
        self.cache.clear_absent()
        self.absent.clear()
        assert self.cache.absent_count == 0

    @rule()
    def clear(self) -> None:
        self.cache.clear()
        self.links.clear()
        self.absent.clear()
        assert not self.cache.links

    @invariant()
    def bounds_hold(self) -> None:
        held = self.cache.links
        assert len(held) <= 5
        assert self.cache.bytes == sum(one.size for one in held.values()) <= 5 * ENTRY_BYTES
        assert self.cache.absent_count <= 4

    @invariant()
    def its_list_holds_exactly_its_links(self) -> None:
        walked, walker = [], self.cache._oldest
        while walker is not None:
            walked.append(walker.code)
            assert walker.newer is None or walker.newer.older is walker
            walker = walker.newer
        assert sorted(walked) == sorted(self.cache.links)
        assert self.cache._hand is None or self.cache._hand.code in self.cache.links


TestAgainstDict = AgainstDict.TestCase
TestAgainstDict.settings = settings(max_examples=60, stateful_step_count=40)
