"""JSON as PostgreSQL can hold it and every client can read it (RFC 7493, I-JSON).

A name occurs once in an object, numbers are finite, text is Unicode without NUL, and nesting has
a limit.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

MAX_DEPTH = 64
"""Levels of nesting; PostgreSQL and the JSON libraries of clients have some such limit, too."""


def parse(text: str) -> Any:
    """The value that `text` stands for, text in it unchecked; raises ValueError."""
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError(f"must not be nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise ValueError(f"must be JSON: {error}") from None


def check(value: Any) -> None:
    """Raises ValueError for what JSON can express and PostgreSQL can't hold."""
    level = [value]
    for _ in range(MAX_DEPTH):
        deeper: list[Any] = []
        for item in level:
            if isinstance(item, str):
                check_text(item)
            elif isinstance(item, dict):
                deeper += item
                deeper += item.values()
            elif isinstance(item, list):
                deeper += item
        if not deeper:
            return
        level = deeper
    raise ValueError(f"must not be nested deeper than {MAX_DEPTH} levels")


def check_text(text: str) -> None:
    """Raises ValueError."""
    if "\0" in text:
        raise ValueError("must not hold NUL characters")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("must not hold lone surrogates") from None


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
    raise ValueError(f"{name} is no JSON value")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_no_duplicates, parse_float=_finite, parse_constant=_no_constant
)
