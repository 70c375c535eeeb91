"""Values in paths and query strings."""

from __future__ import annotations

import re

import falcon
from falcon.routing import BaseConverter

from services.api.errors import bad_request
from services.api.schemas import MAX_ID

_NUMBER = re.compile(r"[0-9]{1,19}")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class IdConverter(BaseConverter):
    """An id in a path. What is no number, or too large for an id, matches no route: 404."""

    def convert(self, value: str) -> int | None:
        if _NUMBER.fullmatch(value) is None:
            return None
        number = int(value)
        return number if number <= MAX_ID else None


def integer(req: falcon.Request, name: str) -> int | None:
    """A whole number from 0 to MAX_ID, or None where there is no such parameter."""
    text = single(req, name)
    if text is None:
        return None
    if _NUMBER.fullmatch(text) is None or int(text) > MAX_ID:
        raise bad_request(name, "must be a number, not negative and not too large")
    return int(text)


def boolean(req: falcon.Request, name: str) -> bool | None:
    text = single(req, name)
    if text is None:
        return None
    if text.lower() not in _BOOLEANS:
        raise bad_request(name, "must be true or false")
    return _BOOLEANS[text.lower()]


def label(req: falcon.Request, name: str) -> str | None:
    """1 to 64 printable characters."""
    text = single(req, name)
    if text is not None and not (1 <= len(text) <= 64 and text.isprintable()):
        raise bad_request(name, "must be 1 to 64 printable characters")
    return text


def single(req: falcon.Request, name: str) -> str | None:
    value: str | list[str] | None = req.params.get(name)
    if isinstance(value, list):
        raise bad_request(name, "must be given once")
    return value
