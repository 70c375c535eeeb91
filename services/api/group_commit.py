"""Writes that wait for PostgreSQL at the same time go there together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_TOGETHER = 64


class _Entry(Generic[Item, Result]):
    """One item, and what became of it."""

    __slots__ = ("error", "item", "result")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.result: Result | None = None
        self.error: Exception | None = None

    @property
    def is_done(self) -> bool:
        return self.result is not None or self.error is not None


class GroupCommit(Generic[Item, Result]):
    """Has one of several threads do the work of all, while the others wait for it.

    Nobody waits for company: a lone item is worked on at once. But while one thread works the
    items of others gather, and the next thread takes all of them. The busier the server is, the
    less an item costs.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Result]]) -> None:
        """`work` returns a result for each item, in their order; what it raises, all get."""
        self._work = work
        self._waiting: deque[_Entry[Item, Result]] = deque()
        self._turn = threading.Lock()

    def do(self, item: Item) -> Result:
        """The result for `item`; raises what `work` raised."""
        entry: _Entry[Item, Result] = _Entry(item)
        self._waiting.append(entry)
        with self._turn:
            while not entry.is_done:
                self._work_on_some()
        if entry.error is not None:
            raise entry.error
        assert entry.result is not None
        return entry.result

    def _work_on_some(self) -> None:
        entries = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_TOGETHER))]
        try:
            results = self._work([entry.item for entry in entries])
        except Exception as error:  # noqa: BLE001  # each of the waiting threads raises it
            for entry in entries:
                entry.error = error
        else:
            for entry, result in zip(entries, results, strict=True):
                entry.result = result
