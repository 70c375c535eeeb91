"""What a short code is: its alphabet, its length, the words it can't be, and how one is made."""

from __future__ import annotations

import re
import secrets
import string

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
GENERATED_LENGTH = 7
MIN_LENGTH = 3
MAX_LENGTH = 32

RESERVED = frozenset(
    {
        "alert-status",
        "dashboard",
        "events",
        "health",
        "logs",
        "metrics",
        "prometheus",
        "ready",
        "shorten",
        "urls",
        "users",
    }
)
"""Every first path segment that the API owns."""

_SHAPE = re.compile(rf"[A-Za-z0-9_-]{{{MIN_LENGTH},{MAX_LENGTH}}}")


class InvalidShortCode(ValueError):
    """The text can't be a short code; the message says why."""


def generate() -> str:
    """A random code of 7 base62 characters: one in 3.5 * 10^12, not to be guessed."""
    # One draw for all characters: each one is a system call, which lets go of the GIL.
    number = secrets.randbelow(len(BASE62) ** GENERATED_LENGTH)
    code = ""
    for _ in range(GENERATED_LENGTH):
        number, digit = divmod(number, len(BASE62))
        code += BASE62[digit]
    return code


def is_possible(code: str) -> bool:
    """Whether a link with this code may exist. False needs no look-up."""
    return _SHAPE.fullmatch(code) is not None and code not in RESERVED


def validate(code: str) -> str:
    """The code itself, if a link may be created with it; raises InvalidShortCode.

    Stricter than `is_possible`: "Users" redirects nowhere near "/users", but nobody may take it.
    """
    if _SHAPE.fullmatch(code) is None:
        raise InvalidShortCode(
            f"must be {MIN_LENGTH} to {MAX_LENGTH} characters of A-Z a-z 0-9 _ and -"
        )
    if code.lower() in RESERVED:
        raise InvalidShortCode("is a reserved word")
    return code
