"""The id that ties a request to its log entries, from nginx to every service and back."""

from __future__ import annotations

import contextvars
import random
import re

HEADER = "X-Request-ID"
CURRENT: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")
"""The id of the request that is being answered; empty outside of one."""

_WELL_FORMED = re.compile(r"[A-Za-z0-9_.-]{16,64}")


def accepted(given: str) -> str:
    """`given`, if it looks like an id, else a new one."""
    return given if _WELL_FORMED.fullmatch(given) else f"{random.getrandbits(128):032x}"
