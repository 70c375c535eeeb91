"""Waiting for what another process does, never longer than a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(
    condition: Callable[[], T], what: str, *, seconds: float = 10, pause: float = 0.02
) -> T:
    """The first truthy value of `condition`; fails the test when there is none in time.

    `what` completes the sentence "waited in vain for ...".
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what}, {seconds:g} s")
        time.sleep(pause)
    return value
