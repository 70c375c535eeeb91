"""Gathers what is asked for in one turn of the event loop, to hand it on together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")

LARGEST = 500
"""Items in one batch."""


class Batches(Generic[T]):
    """Calls `run` with all items added in one turn; at most `at_once` calls are under way.

    While they are, items wait and make a larger batch. `run` must not raise.
    """

    def __init__(self, run: Callable[[list[T]], Awaitable[None]], *, at_once: int) -> None:
        self._run = run
        self._free = at_once
        self._waiting: list[T] = []
        self._scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, item: T) -> None:
        self._waiting.append(item)
        self._schedule()

    async def drain(self) -> None:
        """Returns when everything that was added has run."""
        while self._tasks or self._waiting:
            await asyncio.sleep(0)
            if self._tasks:
                await asyncio.wait(self._tasks)

    def _schedule(self) -> None:
        if self._waiting and self._free and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._depart)

    def _depart(self) -> None:
        self._scheduled = False
        while self._waiting and self._free:
            batch, self._waiting = self._waiting[:LARGEST], self._waiting[LARGEST:]
            self._free -= 1
            task = asyncio.get_running_loop().create_task(self._finish(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _finish(self, batch: list[T]) -> None:
        try:
            await self._run(batch)
        finally:
            self._free += 1
            self._schedule()
