"""The circuit breaker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from services.redirector import breaker as module
from services.redirector.breaker import FAILURES_TO_OPEN, Breaker


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.001)
    monkeypatch.setattr(module, "PROBE_TIMEOUT_SECONDS", 0.01)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        breaker.failed(OSError("down"))


async def watch(breaker: Breaker, probe: Callable[[], Awaitable[object]]) -> None:
    """Runs the breaker's watch until it is closed, for at most a second."""
    watching = asyncio.create_task(breaker.watch(probe))
    async with asyncio.timeout(1):
        while breaker.is_open:  # noqa: ASYNC110  # it has no event for this
            await asyncio.sleep(0.001)
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching


def test_opens_after_failures_on_end_only() -> None:
    breaker = Breaker("store")
    fail(breaker, FAILURES_TO_OPEN - 1)
    breaker.succeeded()
    fail(breaker, FAILURES_TO_OPEN - 1)
    assert not breaker.is_open
    fail(breaker, 1)
    assert breaker.is_open
    assert breaker.failures == 2 * FAILURES_TO_OPEN - 1


def test_closes_once_a_probe_succeeds_however_the_earlier_ones_failed() -> None:
    failures = iter([OSError("down"), ValueError("odd"), None])

    async def probe() -> None:
        failure = next(failures)
        if failure is not None:
            raise failure

    breaker = Breaker("store")
    fail(breaker, FAILURES_TO_OPEN)
    asyncio.run(watch(breaker, probe))
    assert list(failures) == []


def test_a_probe_that_hangs_is_given_up() -> None:
    hangs = iter([True, False])

    async def probe() -> None:
        if next(hangs):
            await asyncio.Event().wait()

    breaker = Breaker("store")
    fail(breaker, FAILURES_TO_OPEN)
    asyncio.run(watch(breaker, probe))
    assert list(hangs) == []


def test_opens_again_after_as_many_failures_as_the_first_time() -> None:
    async def probe() -> None:
        return

    async def scenario() -> None:
        breaker = Breaker("store")
        for _ in range(2):
            fail(breaker, FAILURES_TO_OPEN - 1)
            assert not breaker.is_open
            fail(breaker, 1)
            assert breaker.is_open
            await watch(breaker, probe)

    asyncio.run(scenario())


def test_a_store_that_is_back_is_found_within_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert 2 * module.PROBE_SECONDS + module.PROBE_TIMEOUT_SECONDS < 2
