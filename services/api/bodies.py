"""JSON bodies: read within a limit, decoded strictly."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import falcon

from services.api.errors import bad_request

MAX_DEPTH = 64
"""Levels of nesting; PostgreSQL and every JSON library of a client have some such limit."""


def read_object(req: falcon.Request, max_bytes: int) -> dict[str, Any]:
    """The object that the body holds; raises HTTP errors 400 and 413.

    Stricter than the json module: a name occurs once, numbers are finite, text is Unicode that
    PostgreSQL can store. The media type is not looked at, so that `curl -d` just works.
    """
    if req.content_type and not _is_utf8(req.content_type):
        raise bad_request("Content-Type", "JSON is always UTF-8")
    try:
        value = _DECODER.decode(_read(req, max_bytes).decode("utf-8"))
    except UnicodeDecodeError:
        raise bad_request("body", "must be JSON in UTF-8") from None
    except RecursionError:
        raise bad_request("body", "is nested too deeply") from None
    except ValueError as error:
        raise bad_request("body", f"must be JSON: {error}") from None
    if not isinstance(value, dict):
        raise bad_request("body", "must be a JSON object")
    for name, member in value.items():
        _check(name if name.isprintable() else "body", [name, member])
    return value


def _is_utf8(content_type: str) -> bool:
    _, parameters = falcon.parse_header(content_type)
    return parameters.get("charset", "utf-8").lower() in ("utf-8", "utf8", "us-ascii")


def _read(req: falcon.Request, max_bytes: int) -> bytes:
    # gunicorn ends the stream where the body ends, also one that came in chunks without a length.
    length = req.content_length or 0
    raw = b"" if length > max_bytes else req.stream.read(max_bytes + 1)
    if max(length, len(raw)) > max_bytes:
        raise falcon.HTTPContentTooLarge(description=f"body: must be at most {max_bytes} bytes")
    return raw


def _check(field: str, value: Any) -> None:
    """Raises HTTP error 400 for what JSON can express and PostgreSQL can't hold."""
    level = [value]
    for _ in range(MAX_DEPTH):
        deeper: list[Any] = []
        for item in level:
            if isinstance(item, str):
                _check_text(field, item)
            elif isinstance(item, dict):
                deeper += item
                deeper += item.values()
            elif isinstance(item, list):
                deeper += item
        if not deeper:
            return
        level = deeper
    raise bad_request(field, f"must not be nested deeper than {MAX_DEPTH} levels")


def _check_text(field: str, text: str) -> None:
    if "\0" in text:
        raise bad_request(field, "must not hold NUL characters")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise bad_request(field, "must not hold lone surrogates") from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a name occurs twice in one object")
    return value


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_no_duplicates, parse_float=_finite, parse_constant=_no_constant
)
