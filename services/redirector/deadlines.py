"""Many deadlines with one timer: a timer for each look-up took a seventh of a Redis hit's time."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Calls `expire` with every item when its time is up.

    Nothing is taken out before: `expire` must bear items that need it no longer, and every item
    is kept until then.
    """

    def __init__(self, expire: Callable[[T], None]) -> None:
        self._expire = expire
        self._heap: list[tuple[float, int, T]] = []
        self._count = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, item: T, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        # The count keeps items from being compared.
        heapq.heappush(self._heap, (deadline, next(self._count), item))
        if self._timer is None or self._heap[0][2] is item:
            self._arm(loop, deadline)

    def _arm(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(deadline, self._look)

    def _look(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._heap and self._heap[0][0] <= now:
            self._expire(heapq.heappop(self._heap)[2])
        if self._heap:
            self._arm(loop, self._heap[0][0])
