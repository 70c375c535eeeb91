"""Batches: what is asked for in one turn of the loop travels together."""

from __future__ import annotations

import asyncio

from services.redirector.batches import LARGEST, Batches


class Runs:
    """What was run, each run waiting to be let go."""

    def __init__(self, *, at_once: int) -> None:
        self.seen: list[list[int]] = []
        self.under_way = 0
        self.most_under_way = 0
        self.gate = asyncio.Event()
        self.batches: Batches[int] = Batches(self.run, at_once=at_once)

    async def run(self, items: list[int]) -> None:
        self.seen.append(items)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await self.gate.wait()
        self.under_way -= 1


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_what_is_added_in_one_turn_runs_together() -> None:
    async def scenario() -> None:
        runs = Runs(at_once=4)
        for number in range(5):
            runs.batches.add(number)
        await turns()
        runs.batches.add(5)
        await turns()
        assert runs.seen == [[0, 1, 2, 3, 4], [5]]
        runs.gate.set()
        await runs.batches.drain()

    asyncio.run(scenario())


def test_while_all_are_busy_a_larger_batch_gathers() -> None:
    async def scenario() -> None:
        runs = Runs(at_once=2)
        for number in range(6):
            runs.batches.add(number)
            await turns()
        assert runs.seen == [[0], [1]]
        runs.gate.set()
        await runs.batches.drain()
        assert runs.seen == [[0], [1], [2, 3, 4, 5]]
        assert runs.most_under_way == 2

    asyncio.run(scenario())


def test_a_batch_has_a_largest_size() -> None:
    async def scenario() -> None:
        runs = Runs(at_once=2)
        runs.gate.set()
        for number in range(2 * LARGEST + 1):
            runs.batches.add(number)
        await runs.batches.drain()
        assert [len(items) for items in runs.seen] == [LARGEST, LARGEST, 1]

    asyncio.run(scenario())


def test_a_run_that_is_cancelled_frees_its_place() -> None:
    async def scenario() -> None:
        runs = Runs(at_once=1)
        runs.batches.add(0)
        await turns()
        for task in tuple(runs.batches._tasks):
            task.cancel()
        await turns()
        runs.gate.set()
        runs.batches.add(1)
        await runs.batches.drain()
        assert runs.seen == [[0], [1]]

    asyncio.run(scenario())
