"""The redirector's own memory of links, bounded, evicting by SIEVE."""

from __future__ import annotations

from collections.abc import Callable

from shared.link_cache import Link

ENTRY_BYTES = 400
"""What a cached link takes beside its code and location; measured by the memory benchmark."""


class Entry:
    """A link as an answer: it lives in the cache's list, or alone when it may not be cached."""

    __slots__ = ("code", "link_id", "location", "newer", "older", "visited")

    def __init__(self, code: str, link: Link) -> None:
        self.code = code
        self.link_id = link.id
        self.location = link.location
        self.visited = False
        self.newer: Entry | None = None
        self.older: Entry | None = None

    @property
    def size(self) -> int:
        return ENTRY_BYTES + len(self.code) + len(self.location)


class LocalCache:
    """Links by code, and codes known to be absent.

    Links are evicted by SIEVE: a hit only sets a flag; to evict, a hand walks from the oldest
    entry to the newest, clears the flags it finds and takes the first entry without one.

    Absent codes have a home of their own, so that a scan of random codes evicts no link. They
    live in two sets: the current one and the one before it, which is dropped every
    `absent_seconds` / 2, or earlier when the current one is full.
    """

    def __init__(
        self,
        *,
        max_links: int,
        max_bytes: int,
        max_absent: int,
        absent_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self.links: dict[str, Entry] = {}
        self.bytes = 0
        self.evictions = 0
        self._max_links = max_links
        self._max_bytes = max_bytes
        self._newest: Entry | None = None
        self._oldest: Entry | None = None
        self._hand: Entry | None = None

        self._absent: set[str] = set()
        self._absent_before: set[str] = set()
        self._max_absent = max_absent // 2
        self._absent_turn = absent_seconds / 2
        self._absent_since = clock()
        self._clock = clock

    def get(self, code: str) -> Entry | None:
        entry = self.links.get(code)
        if entry is not None:
            entry.visited = True
        return entry

    def put(self, entry: Entry) -> None:
        """Keeps `entry`, in place of another one of its code."""
        self.discard(entry.code)
        if entry.size > self._max_bytes:
            return
        while len(self.links) >= self._max_links or self.bytes + entry.size > self._max_bytes:
            self._evict()
        self.links[entry.code] = entry
        self.bytes += entry.size
        entry.older = self._newest
        if self._newest is not None:
            self._newest.newer = entry
        else:
            self._oldest = entry
        self._newest = entry

    def is_absent(self, code: str) -> bool:
        self._turn_absent()
        return code in self._absent or code in self._absent_before

    def put_absent(self, code: str) -> None:
        self._turn_absent()
        self._absent.add(code)

    @property
    def absent_count(self) -> int:
        return len(self._absent) + len(self._absent_before)

    def discard(self, code: str) -> None:
        """Forgets what is known of `code`, be it a link or its absence."""
        self._absent.discard(code)
        self._absent_before.discard(code)
        entry = self.links.pop(code, None)
        if entry is not None:
            self._unlink(entry)

    def clear_absent(self) -> None:
        self._absent = set()
        self._absent_before = set()

    def clear(self) -> None:
        self.clear_absent()
        self.links.clear()
        self.bytes = 0
        self._newest = self._oldest = self._hand = None

    def _evict(self) -> None:
        hand = self._hand or self._oldest
        while hand is not None and hand.visited:
            hand.visited = False
            hand = hand.newer or self._oldest
        assert hand is not None, "there is always something to evict from a full cache"
        self._hand = hand
        del self.links[hand.code]
        self._unlink(hand)
        self.evictions += 1

    def _unlink(self, entry: Entry) -> None:
        if self._hand is entry:
            self._hand = entry.newer
        if entry.newer is not None:
            entry.newer.older = entry.older
        else:
            self._newest = entry.older
        if entry.older is not None:
            entry.older.newer = entry.newer
        else:
            self._oldest = entry.newer
        entry.newer = entry.older = None
        self.bytes -= entry.size

    def _turn_absent(self) -> None:
        now = self._clock()
        age = now - self._absent_since
        if age >= 2 * self._absent_turn:
            self.clear_absent()
            self._absent_since = now
        elif age >= self._absent_turn:
            # Not `now`: what is in the set would live for longer than it should.
            self._absent_since += self._absent_turn
            self._absent, self._absent_before = set(), self._absent
        elif len(self._absent) >= self._max_absent:
            self._absent_since = now
            self._absent, self._absent_before = set(), self._absent
