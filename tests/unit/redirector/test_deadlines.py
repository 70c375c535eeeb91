"""Deadlines: many of them by one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from services.redirector.deadlines import Deadlines


def expired(scenario: Callable[[Deadlines[str]], Awaitable[None]], count: int) -> list[str]:
    """The first `count` items that expire, in order."""

    async def main() -> list[str]:
        seen: list[str] = []
        enough = asyncio.Event()

        def expire(item: str) -> None:
            seen.append(item)
            if len(seen) == count:
                enough.set()

        await scenario(Deadlines(expire))
        async with asyncio.timeout(5):
            await enough.wait()
        return seen

    return asyncio.run(main())


def test_every_item_expires_in_the_order_of_the_deadlines() -> None:
    async def scenario(deadlines: Deadlines[str]) -> None:
        for item, seconds in (("c", 0.06), ("a", 0.02), ("d", 0.06), ("b", 0.04)):
            deadlines.add(item, seconds)

    assert expired(scenario, 4) == ["a", "b", "c", "d"]


def test_an_item_does_not_expire_before_its_time() -> None:
    async def scenario(deadlines: Deadlines[str]) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        late = asyncio.Event()
        own: Deadlines[str] = Deadlines(lambda _item: late.set())
        own.add("late", 0.05)
        await late.wait()
        # Timers of some loops are exact to a millisecond only.
        assert loop.time() - started >= 0.049
        deadlines.add("done", 0)

    assert expired(scenario, 1) == ["done"]


def test_items_added_after_all_others_expired_expire_too() -> None:
    async def scenario(deadlines: Deadlines[str]) -> None:
        deadlines.add("first", 0.01)
        await asyncio.sleep(0.03)
        deadlines.add("second", 0.01)

    assert expired(scenario, 2) == ["first", "second"]
