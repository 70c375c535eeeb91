"""Waiting for what another process does, never longer than a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.01, 0.1


def wait_for(condition: Callable[[], T], what: str, *, seconds: float = 10) -> T:
    """The first truthy value of `condition`; fails the test when there is none in time.

    It is asked less and less often, as asking takes time from what is waited for. `what`
    completes the sentence "waited in vain for ...".
    """
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE_SECONDS
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what}, {seconds:g} s")
        time.sleep(pause)
        pause = min(pause * 1.3, LONGEST_PAUSE_SECONDS)
    return value
