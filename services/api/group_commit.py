"""Writes that wait for PostgreSQL at the same time go there together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_TOGETHER = 64


class _Entry(Generic[Item, Result]):
    """One item, and what became of it."""

    __slots__ = ("error", "item", "next", "result", "wake")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.result: Result | None = None
        self.error: Exception | None = None
        self.next: _Entry[Item, Result] | None = None
        """The one to wake after this one."""
        self.wake = threading.Lock()
        """Released when the item is done, or its thread is the next to work."""
        self.wake.acquire()


class GroupCommit(Generic[Item, Result]):
    """Has one of several threads do the work of all, while the others wait for it.

    Nobody waits for company: a lone item is worked on at once. But while one thread works the
    items of others gather, and the first of these threads takes all of them next. The busier the
    server is, the less an item costs.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Result]]) -> None:
        """`work` returns a result for each item, in their order; what it raises, all get."""
        self._work = work
        self._waiting: deque[_Entry[Item, Result]] = deque()
        self._is_working = False
        self._lock = threading.Lock()
        """Of the two above; nobody waits for anything while holding it."""

    def do(self, item: Item) -> Result:
        """The result for `item`; raises what `work` raised."""
        entry: _Entry[Item, Result] = _Entry(item)
        with self._lock:
            self._waiting.append(entry)
            has_to_wait = self._is_working
            self._is_working = True
        if has_to_wait:
            entry.wake.acquire()
        if entry.result is None and entry.error is None:
            self._work_on_some()
        if entry.next is not None:
            entry.next.wake.release()
        if entry.error is not None:
            raise entry.error
        assert entry.result is not None
        return entry.result

    def _work_on_some(self) -> None:
        """Called by the thread of the first item that waits."""
        with self._lock:
            count = min(len(self._waiting), MAX_TOGETHER)
            entries = [self._waiting.popleft() for _ in range(count)]
        try:
            results = self._work([entry.item for entry in entries])
        except Exception as error:  # noqa: BLE001  # each of the waiting threads raises it
            for entry in entries:
                entry.error = error
        else:
            for entry, result in zip(entries, results, strict=True):
                entry.result = result
        # First whoever works next, so that PostgreSQL does not wait for the others to wake up. They
        # wake one another: all at once they would only get into each other's way.
        self._hand_over()
        for entry, following in pairwise(entries):
            entry.next = following

    def _hand_over(self) -> None:
        with self._lock:
            self._is_working = bool(self._waiting)
            if self._waiting:
                self._waiting[0].wake.release()
